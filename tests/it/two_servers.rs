//! Two servers on one database, one account.

use std::time::Duration;

use hm_system_tests::http::{Call, Connection};
use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::{Load, fire};
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::wait::until;
use hm_system_tests::{on_every_database, on_servers};

const QUOTA: usize = 1_000;

on_servers! {
    two_servers_share_one_quota_exactly => two_servers_share_one_quota_exactly_on_postgres, two_servers_share_one_quota_exactly_on_mariadb;
    what_an_idle_server_has_leased_can_be_used_on_the_other => what_an_idle_server_has_leased_can_be_used_on_the_other_on_postgres, what_an_idle_server_has_leased_can_be_used_on_the_other_on_mariadb;
    a_key_revoked_on_one_server_is_soon_refused_by_the_other => a_key_revoked_on_one_server_is_soon_refused_by_the_other_on_postgres, a_key_revoked_on_one_server_is_soon_refused_by_the_other_on_mariadb;
}

async fn two_servers_share_one_quota_exactly(place: Place) {
    let settings = Settings::free_plan(QUOTA as u64, 1_000_000);
    let one = Server::start(&place, &settings).await;
    let two = Server::start(&place, &settings.clone().journal("journal-two")).await;
    let ada = Person::register(&one, "ada@example.org").await;
    let key = ada.create_key(&one, "shared").await;
    key.keep_secret(&two);

    let loads = [
        Load::begin(one.address(), &key.text, 800, "one"),
        Load::begin(two.address(), &key.text, 800, "two"),
    ];
    let mut admitted = 0;
    for load in loads {
        let shots = load.end().await;
        assert_eq!(shots.cut_off().count(), 0, "requests were cut off");
        assert_eq!(
            shots.admitted().len() + shots.refused("quota_exceeded").len(),
            800,
            "other answers"
        );
        admitted += shots.admitted().len();
    }
    assert!(admitted <= QUOTA, "{admitted} admitted");
    assert!(admitted >= QUOTA / 2, "{admitted} admitted, leases keep too much");

    // What one server has leased and not spent comes back when it is idle, and can be spent on the other one.
    let mut connections = [
        Connection::open(one.address()).await.unwrap(),
        Connection::open(two.address()).await.unwrap(),
    ];
    let mut seen = [0, 0];
    until(
        "the whole quota can be used",
        Duration::from_secs(60),
        async || {
            for (connection, seen) in connections.iter_mut().zip(&mut seen) {
                let answer = connection.send(Call::curiosity(&key.text)).await.unwrap();
                admitted += usize::from(answer.status == 200);
                let used = answer.number("x-ratelimit-used");
                assert!(
                    used >= *seen,
                    "X-RateLimit-Used went from {seen} back to {used} ({})",
                    answer.status
                );
                *seen = used;
            }
            assert!(admitted <= QUOTA, "{admitted} admitted");
            (admitted == QUOTA).then_some(())
        },
    )
    .await;
    for connection in &mut connections {
        for _ in 0..20 {
            connection
                .send(Call::curiosity(&key.text))
                .await
                .unwrap()
                .problem(429, "quota_exceeded");
        }
    }
    for server in [&one, &two] {
        until(
            "each server knows of all use",
            Duration::from_secs(30),
            async || {
                let ada = Person::log_in(server, "ada@example.org").await;
                (ada.usage(server).await["used"] == QUOTA).then_some(())
            },
        )
        .await;
    }
    one.stop().await;
    two.stop().await;
    let ledger = Ledger::read(&place).await;
    assert_eq!(ledger.counted(), (1_000, 0));
    assert_eq!(ledger.charged(), 1_000);
}

/// One server leases units and falls idle; the other one gets them without waiting for a period's end.
async fn what_an_idle_server_has_leased_can_be_used_on_the_other(place: Place) {
    let settings = Settings::free_plan(QUOTA as u64, 1_000_000);
    let one = Server::start(&place, &settings).await;
    let two = Server::start(&place, &settings.clone().journal("journal-two")).await;
    let ada = Person::register(&one, "ada@example.org").await;
    let key = ada.create_key(&one, "shared").await;
    key.keep_secret(&two);
    let on_one = fire(one.address(), &key.text, 100, "one").await.admitted().len();
    assert_eq!(on_one, 100);

    let mut connection = Connection::open(two.address()).await.unwrap();
    let (mut on_two, mut seen) = (0, 0);
    until(
        "the whole quota can be used",
        Duration::from_secs(60),
        async || {
            // In large portions, so that the quota is used up before the other server notices that it is idle.
            for _ in 0..100 {
                let answer = connection.send(Call::curiosity(&key.text)).await.unwrap();
                if answer.status == 200 {
                    // A refusal counts what the other server holds as used, so that nothing seems to be left.
                    let used = answer.number("x-ratelimit-used");
                    assert!(
                        used > seen,
                        "X-RateLimit-Used went from {seen} to {used} with one more request"
                    );
                    (on_two, seen) = (on_two + 1, used);
                }
            }
            assert!(on_one + on_two <= QUOTA, "{} admitted", on_one + on_two);
            (on_one + on_two == QUOTA).then_some(())
        },
    )
    .await;
    one.stop().await;
    two.stop().await;
    assert_eq!(Ledger::read(&place).await.counted(), (1_000, 0));
}

async fn a_key_revoked_on_one_server_is_soon_refused_by_the_other(place: Place) {
    let settings = Settings::free_plan(1_000_000, 1_000_000);
    let one = Server::start(&place, &settings).await;
    let two = Server::start(&place, &settings.clone().journal("journal-two")).await;
    let ada = Person::register(&one, "ada@example.org").await;
    let key = ada.create_key(&one, "short-lived").await;
    key.keep_secret(&two);
    for server in [&one, &two] {
        server.call(Call::curiosity(&key.text)).await.expect(200);
    }
    let revoke = Call::delete(&format!("/api/v1/keys/{}", key.id)).bearer(&ada.access_token);
    assert_eq!(one.call(revoke).await.status, 204);
    one.call(Call::curiosity(&key.text))
        .await
        .problem(401, "invalid_api_key");
    // Promised is a second; the rest is for a busy machine. The staleness bound would let it through for 5 seconds.
    until(
        "the other server refuses the key",
        Duration::from_secs(4),
        async || {
            let answer = two.call(Call::curiosity(&key.text)).await;
            (answer.status == 401).then_some(())
        },
    )
    .await;
    one.stop().await;
    two.stop().await;
}

on_every_database! {
    servers_that_start_together_agree_who_migrates => servers_that_start_together_agree_who_migrates_on_sqlite, servers_that_start_together_agree_who_migrates_on_postgres, servers_that_start_together_agree_who_migrates_on_mariadb;
}

async fn servers_that_start_together_agree_who_migrates(place: Place) {
    let settings = ["one", "two", "three"].map(|name| Settings::default().journal(name));
    let [one, two, three] = settings
        .each_ref()
        .map(|settings| Server::start(&place, settings));
    let (one, two, three) = tokio::join!(one, two, three);
    let ada = Person::register(&one, "ada@example.org").await;
    for server in [&two, &three] {
        assert_eq!(ada.usage(server).await["used"], 0);
    }
    tokio::join!(one.stop(), two.stop(), three.stop());
}
