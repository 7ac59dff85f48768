//! Four servers share one database and one quota, while they and their database are killed at any moment.
//!
//! `HM_TEST_ROUNDS` says how many rounds there are: one unless it is set, twenty in CI, any number for a campaign.

use std::collections::BTreeSet;
use std::time::Duration;

use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::{Load, Shots};
use hm_system_tests::own_server::OwnServer;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::random::{Random, rounds};
use hm_system_tests::seen::Seen;
use hm_system_tests::server::{Server, Settings, run};
use tokio::time::sleep;

/// How often each server is killed in a round.
const KILLS: usize = 2;
const QUOTA: usize = 10_000;
/// What the last life of each server is asked for, so that the quota is used up while all of them work.
const CALLS: usize = 2_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_servers_share_one_quota_exactly_while_they_and_postgres_are_killed() {
    if let Some(postgres) = OwnServer::postgres().await {
        four_servers_share_one_quota_exactly_while_they_are_killed(postgres).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_servers_share_one_quota_exactly_while_they_and_mariadb_are_killed() {
    if let Some(mariadb) = OwnServer::mariadb().await {
        four_servers_share_one_quota_exactly_while_they_are_killed(mariadb).await;
    }
}

/// So is their database.
async fn four_servers_share_one_quota_exactly_while_they_are_killed(mut database: OwnServer) {
    let place = Place::at(database.url());
    let mut random = Random::from_environment();
    let mut seen = Vec::new();
    let rounds = rounds(1);
    for round in 0..rounds {
        let (person, key) = sign_up(&place, round).await;
        let mut lives = |number: usize| {
            let lives = [(); KILLS].map(|()| random.within(100..1_500));
            let name = format!("round-{round}-server-{number}");
            live_and_die(&place, settings(number), &key, lives, name)
        };
        let servers = [lives(0), lives(1), lives(2), lives(3)];
        // Not in every round: an answer that the database's absence turns into a 503 tests no lease.
        let crash = (round % 2 == 0).then(|| (random.within(300..2_500), random.within(0..1_500)));
        let [one, two, three, four] = servers;
        let (one, two, three, four, ()) =
            tokio::join!(one, two, three, four, crash_and_start(&mut database, crash));
        let mut of_round = Seen::default();
        let mut running = Vec::new();
        for (server, shots) in [one, two, three, four] {
            shots.iter().for_each(|shots| of_round.add(shots));
            running.push(server);
        }
        let spent = of_round.admitted;
        assert!(
            spent <= QUOTA,
            "{spent} served in round {round}, more than {QUOTA}"
        );
        of_round.use_up(&running[0], &person, &key, QUOTA).await;
        let rest = of_round.admitted - spent;
        eprintln!("round {round}: {spent} units spent between kills, {rest} afterwards");
        for server in running {
            server.stop().await;
        }
        seen.push(of_round);
    }

    let ended = run(&place, &settings(0), &["check"]).await;
    assert_eq!(ended.code, 0, "counters, events and sums agree: {}", ended.text);
    let ledger = Ledger::read(&place).await;
    let of_all = |names: fn(&Seen) -> &BTreeSet<String>| seen.iter().flat_map(names).cloned().collect();
    ledger.must_have_once(&of_all(|seen| &seen.answered), &of_all(|seen| &seen.sent));
    let quota = i64::try_from(QUOTA).unwrap();
    let accounts = ledger.by_account();
    assert_eq!(accounts.len(), rounds);
    for (account, sums) in accounts {
        assert_eq!(
            sums,
            (quota, quota, 0),
            "charged, used and leased of account {account}"
        );
    }
}

/// What the servers have in common; each has a journal of its own.
fn settings(number: usize) -> Settings {
    let file = format!(
        "[plans.free]\nrequests_per_month = {QUOTA}\nrequests_per_second = 1000000\n\
         [usage]\nflush_interval_ms = 50\n\
         [database]\nmax_connections = 8\n\
         [auth.password]\nmemory_kib = 8\niterations = 1\n"
    );
    Settings::default()
        .file(&file)
        .journal(&format!("journal-{number}"))
}

async fn sign_up(place: &Place, round: usize) -> (Person, Key) {
    let server = Server::start(place, &settings(0)).await;
    let person = Person::register(&server, &format!("person{round}@example.org")).await;
    let key = person.create_key(&server, "unlucky").await;
    server.stop().await;
    (person, key)
}

/// Starts a server, loads it and kills it, once for each of `lives`, which are in milliseconds. The last life goes on.
async fn live_and_die(
    place: &Place,
    settings: Settings,
    key: &Key,
    lives: [u64; KILLS],
    name: String,
) -> (Server, Vec<Shots>) {
    let mut all = Vec::new();
    for (number, life) in lives.iter().enumerate() {
        let server = Server::start_at_last(place, &settings).await;
        key.keep_secret(&server);
        let load = Load::begin(
            server.address(),
            &key.text,
            usize::MAX,
            &format!("{name}-{number}"),
        );
        // The moment is what is tested; nothing waits for this.
        sleep(Duration::from_millis(*life)).await;
        server.kill().await;
        all.push(load.end().await);
    }
    let server = Server::start_at_last(place, &settings).await;
    key.keep_secret(&server);
    let last = Load::begin(server.address(), &key.text, CALLS, &format!("{name}-last"));
    all.push(last.end().await);
    (server, all)
}

/// The database crashes after `crash.0` milliseconds and comes back after `crash.1` more.
async fn crash_and_start(database: &mut OwnServer, crash: Option<(u64, u64)>) {
    let Some((after, away)) = crash else { return };
    sleep(Duration::from_millis(after)).await;
    database.crash().await;
    sleep(Duration::from_millis(away)).await;
    database.start().await;
}
