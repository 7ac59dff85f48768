//! A server that is stopped where it is (SIGSTOP, a paused machine, a lost host) holds nobody up.

use std::time::Duration;

use hm_metering_seaorm::sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement};
use hm_system_tests::http::Call;
use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::Load;
use hm_system_tests::on_servers;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::random::Random;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::wait::until;
use tokio::time::sleep;

on_servers! {
    a_server_that_is_stopped_in_a_flush_holds_nobody_up => a_server_that_is_stopped_in_a_flush_holds_nobody_up_on_postgres, a_server_that_is_stopped_in_a_flush_holds_nobody_up_on_mariadb;
}

/// How often a server is stopped until that was in mid-transaction.
const TRIES: usize = 200;

async fn a_server_that_is_stopped_in_a_flush_holds_nobody_up(place: Place) {
    let settings = Settings::default().file(
        "[plans.free]\nrequests_per_month = 100000000\nrequests_per_second = 1000000\n\
         [usage]\nflush_interval_ms = 50\n",
    );
    let one = Server::start(&place, &settings).await;
    let two = Server::start(&place, &settings.clone().journal("journal-two")).await;
    let ada = Person::register(&one, "ada@example.org").await;
    let key = ada.create_key(&one, "shared").await;
    key.keep_secret(&two);
    let load = Load::begin(one.address(), &key.text, usize::MAX, "load");
    load.reach(500).await;
    let database = place.look().await;
    stop_in_a_flush(&one, &database).await;

    // It has no lease yet, and the stopped one holds the counter.
    let mut asked = Vec::new();
    until("the other server serves", Duration::from_secs(20), async || {
        let name = format!("other-{}", asked.len());
        let answer = two.call(Call::curiosity(&key.text).named(&name)).await;
        let is_served = answer.status == 200;
        asked.push((name, answer));
        is_served.then_some(())
    })
    .await;

    // What was undone behind the stopped server's back is written when it goes on.
    database.close().await.unwrap();
    one.resume();
    load.stop();
    let mut shots = load.end().await;
    for (name, answer) in asked {
        shots.add(name, answer);
    }
    one.stop().await;
    two.stop().await;
    let ledger = Ledger::read(&place).await;
    ledger.must_have_once(&shots.admitted(), &shots.sent());
    assert_eq!(ledger.counted(), (ledger.charged(), 0));
}

async fn stop_in_a_flush(server: &Server, database: &DatabaseConnection) {
    let mut random = Random::from_environment();
    for _ in 0..TRIES {
        sleep(Duration::from_millis(random.within(1..60))).await;
        server.pause();
        if is_in_a_flush(database).await {
            return;
        }
        server.resume();
    }
    panic!("it was never stopped in a flush");
}

/// Whether a session that changes counters has nothing to do for so long that its client must be the stopped one.
async fn is_in_a_flush(database: &DatabaseConnection) -> bool {
    let backend = database.get_database_backend();
    let (idle, still) = match backend {
        DbBackend::Postgres => (
            "SELECT COUNT(*) FROM pg_stat_activity AS session JOIN pg_locks USING (pid) \
             WHERE session.datname = current_database() AND state LIKE 'idle in transaction%' \
             AND relation = 'quota_counters'::regclass AND mode = 'RowExclusiveLock'",
            " AND state_change < clock_timestamp() - INTERVAL '300 milliseconds'",
        ),
        _ => (
            "SELECT COUNT(*) FROM information_schema.innodb_trx AS trx \
             JOIN information_schema.processlist AS process ON process.id = trx.trx_mysql_thread_id \
             WHERE process.db = DATABASE() AND process.command = 'Sleep' AND trx_rows_modified > 0",
            " AND process.time_ms > 300",
        ),
    };
    let count = async |sql: String| {
        let row = database
            .query_one_raw(Statement::from_string(backend, sql))
            .await
            .unwrap()
            .unwrap();
        row.try_get_by_index::<i64>(0).unwrap()
    };
    // What it has sent already is done first.
    sleep(Duration::from_millis(50)).await;
    while count(idle.to_owned()).await > 0 {
        if count(format!("{idle}{still}")).await > 0 {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}
