//! Stopping by SIGTERM loses nothing.

use std::collections::BTreeSet;

use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::{Load, Shots};
use hm_system_tests::on_every_database;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};

on_every_database! {
    sigterm_under_load_loses_nothing => sigterm_under_load_loses_nothing_on_sqlite, sigterm_under_load_loses_nothing_on_postgres, sigterm_under_load_loses_nothing_on_mariadb;
    a_server_that_did_nothing_stops => a_server_that_did_nothing_stops_on_sqlite, a_server_that_did_nothing_stops_on_postgres, a_server_that_did_nothing_stops_on_mariadb;
}

async fn sigterm_under_load_loses_nothing(place: Place) {
    let settings = Settings::free_plan(10_000_000, 1_000_000);
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "busy").await;
    let load = Load::begin(server.address(), &key.text, usize::MAX, "load");
    load.reach(500).await;
    server.terminate();
    assert_eq!(server.exit_code().await, 0, "the exit code");
    let shots = load.end().await;

    let ledger = Ledger::read(&place).await;
    the_ledger_has_what_was_answered(&ledger, &shots);
    assert_eq!(
        ledger.counted(),
        (ledger.charged(), 0),
        "counter and ledger agree, and no lease is left open"
    );

    let server = Server::start(&place, &settings).await;
    key.keep_secret(&server);
    let ada = Person::log_in(&server, "ada@example.org").await;
    assert_eq!(
        ada.usage(&server).await["used"],
        ledger.charged(),
        "used after a restart"
    );
    server.stop().await;
}

fn the_ledger_has_what_was_answered(ledger: &Ledger, shots: &Shots) {
    let times = ledger.times();
    let admitted = shots.admitted();
    assert!(admitted.len() >= 500);
    for id in &admitted {
        assert_eq!(
            times.get(id.as_str()),
            Some(&1),
            "{id} was answered: how often is it in the ledger"
        );
    }
    let sent = shots.sent();
    let strangers: BTreeSet<_> = times.keys().filter(|id| !sent.contains(**id)).collect();
    assert!(strangers.is_empty(), "nobody sent {strangers:?}");
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    let charged = usize::try_from(ledger.charged()).unwrap();
    let most = admitted.len() + shots.cut_off().count();
    assert!(
        (admitted.len()..=most).contains(&charged),
        "{charged} charged, {} answered",
        admitted.len()
    );
}

async fn a_server_that_did_nothing_stops(place: Place) {
    let server = Server::start(&place, &Settings::default()).await;
    server.stop().await;
    let ledger = Ledger::read(&place).await;
    assert_eq!((ledger.events().len(), ledger.counted()), (0, (0, 0)));
}
