//! The database goes away while requests are served.

use std::time::Duration;

use hm_system_tests::http::Call;
use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::{Load, Shots};
use hm_system_tests::on_servers;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::proxy::Proxy;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::wait::until;

const PATIENCE: Duration = Duration::from_secs(60);

on_servers! {
    what_is_served_while_the_database_is_away_is_in_the_ledger_later => what_is_served_while_the_database_is_away_is_in_the_ledger_later_on_postgres, what_is_served_while_the_database_is_away_is_in_the_ledger_later_on_mariadb;
    what_a_server_can_t_write_when_it_stops_is_written_by_the_next_start => what_a_server_can_t_write_when_it_stops_is_written_by_the_next_start_on_postgres, what_a_server_can_t_write_when_it_stops_is_written_by_the_next_start_on_mariadb;
}

/// A server that serves a load while its way to the database can be cut.
struct Outage {
    proxy: Proxy,
    server: Server,
    settings: Settings,
    key: Key,
    load: Load,
}

impl Outage {
    /// Begins when some requests have been served and the way is cut, and what is served now is served from memory.
    async fn begin(place: &Place) -> Self {
        let proxy = Proxy::before(place.database_server()).await;
        // Unlimited, so that no lease comes to its end.
        let plan = "[plans.free]\nrequests_per_month = \"unlimited\"\nrequests_per_second = 1000000\n";
        let settings = Settings::default()
            .file(plan)
            .variable("DATABASE_URL", &place.url_by_way_of(proxy.address()));
        let server = Server::start(place, &settings).await;
        let ada = Person::register(&server, "ada@example.org").await;
        let key = ada.create_key(&server, "patient").await;
        let load = Load::begin(server.address(), &key.text, usize::MAX, "load");
        load.reach(500).await;
        proxy.cut();
        let outage = Self {
            proxy,
            server,
            settings,
            key,
            load,
        };
        outage.must_serve("requests are served from memory").await;
        outage
    }

    async fn must_serve(&self, what: &str) {
        let before = self.load.admitted();
        until(what, PATIENCE, async || {
            (self.load.admitted() >= before + 100).then_some(())
        })
        .await;
    }
}

async fn the_ledger_is_complete(place: &Place, shots: &Shots) {
    let ledger = Ledger::read(place).await;
    ledger.must_have_once(&shots.admitted(), &shots.sent());
    let charged = ledger.charged();
    assert_eq!(
        ledger.counted(),
        (charged, 0),
        "counter and ledger agree, and no lease is left"
    );
}

async fn what_is_served_while_the_database_is_away_is_in_the_ledger_later(place: Place) {
    let outage = Outage::begin(&place).await;
    // What is in memory is believed for five seconds.
    let mut probes = Vec::new();
    until("the server says that it can't know", PATIENCE, async || {
        let name = format!("probe-{}", probes.len());
        let answer = outage
            .server
            .call(Call::curiosity(&outage.key.text).named(&name))
            .await;
        let status = answer.status;
        probes.push((name, answer.clone()));
        (status != 200).then(|| answer.problem(503, "temporarily_unavailable"))
    })
    .await;
    outage.proxy.mend();
    outage.must_serve("requests are served again").await;
    outage.load.stop();
    let mut shots = outage.load.end().await;
    assert_eq!(shots.cut_off().count(), 0, "requests were cut off");
    for (name, answer) in probes {
        shots.add(name, answer);
    }
    outage.server.stop().await;
    the_ledger_is_complete(&place, &shots).await;
}

async fn what_a_server_can_t_write_when_it_stops_is_written_by_the_next_start(place: Place) {
    let Outage {
        proxy,
        server,
        settings,
        key,
        load,
    } = Outage::begin(&place).await;
    server.terminate();
    let log = server.log().clone();
    assert_ne!(server.exit_code().await, 0, "the ledger is not complete");
    assert!(
        log.text().contains("wait in the journal at data/journal"),
        "{}",
        log.text()
    );
    let shots = load.end().await;

    proxy.mend();
    let server = Server::start(&place, &settings).await;
    key.keep_secret(&server);
    server.stop().await;
    the_ledger_is_complete(&place, &shots).await;
}
