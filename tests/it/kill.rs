//! `kill -9` under load, again and again: every answered request is in the ledger once, and quotas are exact to the last
//! unit.

use std::collections::BTreeSet;
use std::time::Duration;

use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::Load;
use hm_system_tests::on_every_database;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::random::Random;
use hm_system_tests::seen::Seen;
use hm_system_tests::server::{Server, Settings};
use tokio::time::sleep;

/// How often the server is killed.
const ROUNDS: usize = 50;
/// Each account's requests meet so many kills. Its quota may be used up in between or not.
const ROUNDS_OF_AN_ACCOUNT: usize = 5;
const QUOTA: usize = 1_500;

on_every_database! {
    fifty_kills_under_load_lose_nothing_and_double_nothing => fifty_kills_under_load_lose_nothing_and_double_nothing_on_sqlite, fifty_kills_under_load_lose_nothing_and_double_nothing_on_postgres, fifty_kills_under_load_lose_nothing_and_double_nothing_on_mariadb;
}

async fn fifty_kills_under_load_lose_nothing_and_double_nothing(place: Place) {
    let mut random = Random::from_environment();
    // Batches are under way all the time, so that kills meet some whose outcome nobody knows.
    let settings = Settings::default().file(&format!(
        "[plans.free]\nrequests_per_month = {QUOTA}\nrequests_per_second = 1000000\n\
         [usage]\nflush_interval_ms = 30\n\
         [auth.password]\nmemory_kib = 8\niterations = 1\n"
    ));
    let people = sign_up(&place, &settings).await;
    let mut seen: Vec<Seen> = people.iter().map(|_| Seen::default()).collect();
    for round in 0..ROUNDS {
        let account = round / ROUNDS_OF_AN_ACCOUNT;
        let (_, key) = &people[account];
        let durability = if round % 3 == 2 { "power" } else { "process" };
        let settings = settings.clone().variable("HM_DURABILITY", durability);
        let server = Server::start(&place, &settings).await;
        key.keep_secret(&server);
        let load = Load::begin(server.address(), &key.text, usize::MAX, &format!("round-{round}"));
        load.reach(1).await;
        // The moment is what is tested; nothing waits for this.
        sleep(Duration::from_millis(random.within(0..400))).await;
        server.kill().await;
        seen[account].add(&load.end().await);
    }

    let server = Server::start(&place, &settings).await;
    for ((person, key), seen) in people.iter().zip(&mut seen) {
        seen.use_up(&server, person, key, QUOTA).await;
    }
    server.stop().await;

    let ledger = Ledger::read(&place).await;
    let of_all = |names: fn(&Seen) -> &BTreeSet<String>| seen.iter().flat_map(names).cloned().collect();
    ledger.must_have_once(&of_all(|seen| &seen.answered), &of_all(|seen| &seen.sent));
    let quota = i64::try_from(QUOTA).unwrap();
    let accounts = ledger.by_account();
    assert_eq!(accounts.len(), people.len());
    for (account, sums) in accounts {
        assert_eq!(
            sums,
            (quota, quota, 0),
            "charged, used and leased of account {account}"
        );
    }
}

async fn sign_up(place: &Place, settings: &Settings) -> Vec<(Person, Key)> {
    let server = Server::start(place, settings).await;
    let mut people = Vec::new();
    for number in 0..ROUNDS / ROUNDS_OF_AN_ACCOUNT {
        let person = Person::register(&server, &format!("person{number}@example.org")).await;
        let key = person.create_key(&server, "unlucky").await;
        people.push((person, key));
    }
    server.stop().await;
    people
}
