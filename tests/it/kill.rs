//! `kill -9`: never more than the quota, and the server comes back by itself.
//!
//! What was answered less than a flush interval before the kill is not promised to be in the ledger here; it takes the
//! journal for that.

use std::time::Duration;

use hm_system_tests::http::Call;
use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::{Load, fire};
use hm_system_tests::on_every_database;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::wait::until;

const QUOTA: usize = 1_000;
const FLUSHED: usize = 50;

on_every_database! {
    kill_under_load_never_admits_more_than_the_quota => kill_under_load_never_admits_more_than_the_quota_on_sqlite, kill_under_load_never_admits_more_than_the_quota_on_postgres;
}

async fn kill_under_load_never_admits_more_than_the_quota(place: Place) {
    let settings = Settings::free_plan(QUOTA as u64, 1_000_000);
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "unlucky").await;
    let flushed = fire(server.address(), &key.text, FLUSHED, "flushed").await;
    assert_eq!(flushed.admitted().len(), FLUSHED);
    until(
        "the ledger has what was answered",
        Duration::from_secs(30),
        async || (Ledger::read(&place).await.events().len() == FLUSHED).then_some(()),
    )
    .await;
    let load = Load::begin(server.address(), &key.text, usize::MAX, "before");
    load.reach(100).await;
    server.kill().await;
    let before = load.end().await;

    let server = Server::start(&place, &settings).await;
    key.keep_secret(&server);
    let after = fire(server.address(), &key.text, QUOTA + 200, "after").await;
    let admitted = [&flushed, &before, &after].map(|shots| shots.admitted().len());
    assert!(
        admitted.iter().sum::<usize>() <= QUOTA,
        "{admitted:?} admitted, that is more than {QUOTA}"
    );
    assert!(
        admitted[2] > 0,
        "the account can't be used after a kill: {admitted:?}"
    );
    assert_eq!(
        admitted[2] + after.refused("quota_exceeded").len(),
        QUOTA + 200,
        "other answers after a kill"
    );
    server
        .call(Call::curiosity(&key.text))
        .await
        .problem(429, "quota_exceeded");
    server.stop().await;

    let ledger = Ledger::read(&place).await;
    let times = ledger.times();
    for id in flushed.admitted().iter().chain(&after.admitted()) {
        assert_eq!(
            times.get(id.as_str()),
            Some(&1),
            "how often {id} is in the ledger"
        );
    }
    let twice: Vec<_> = times
        .iter()
        .filter(|(id, times)| **times > 1 && !id.is_empty())
        .collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    let (used, _) = ledger.counted();
    assert!(used <= i64::try_from(QUOTA).unwrap(), "{used} used");
    assert!(
        ledger.charged() <= used,
        "{} charged, {used} used",
        ledger.charged()
    );
}
