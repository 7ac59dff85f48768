//! A database server that is set to what no program expects.

use hm_metering_seaorm::entity::audit_entry;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, EntityTrait, PaginatorTrait};
use hm_system_tests::http::Call;
use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::fire;
use hm_system_tests::own_server::OwnServer;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings, run};

const MARIADB: [&str; 14] = [
    "autocommit = 0",
    "completion_type = 'CHAIN'",
    "sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PIPES_AS_CONCAT,IGNORE_SPACE,PAD_CHAR_TO_FULL_LENGTH,HIGH_NOT_PRECEDENCE'",
    "tx_isolation = 'SERIALIZABLE'",
    "innodb_lock_wait_timeout = 1",
    "lock_wait_timeout = 1",
    "max_statement_time = 0.001",
    "idle_transaction_timeout = 1",
    "time_zone = '+05:45'",
    "sql_select_limit = 1",
    "sql_safe_updates = 1",
    "sql_auto_is_null = 1",
    "default_storage_engine = MyISAM",
    "foreign_key_checks = 0",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_works_whatever_mariadb_is_set_to() {
    let Some(mariadb) = OwnServer::mariadb().await else {
        return;
    };
    let place = Place::at(mariadb.url());
    let database = place.open().await;
    for setting in MARIADB {
        let set = format!("SET GLOBAL {setting}");
        database.execute_unprepared(&set).await.unwrap();
    }
    database.close().await.unwrap();
    must_work(&place).await;
}

/// Signs up, makes and revokes keys, spends units and stops; all of it must be there then.
async fn must_work(place: &Place) {
    const SPENT: usize = 300;
    let settings = Settings::free_plan(100_000, 1_000_000);
    let server = Server::start(place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let spent = ada.create_key(&server, "spent").await;
    let revoked = ada.create_key(&server, "a \"quoted\" \\ name\\").await;
    let shots = fire(server.address(), &spent.text, SPENT, "one").await;
    assert_eq!(shots.admitted().len(), SPENT);
    let revoke = Call::delete(&format!("/api/v1/keys/{}", revoked.id)).bearer(&ada.access_token);
    assert_eq!(server.call(revoke).await.status, 204);
    server.stop().await;

    let ended = run(place, &settings, &["check"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    let ledger = Ledger::read(place).await;
    ledger.must_have_once(&shots.admitted(), &shots.sent());
    let charged = i64::try_from(SPENT).unwrap();
    assert_eq!((ledger.charged(), ledger.counted()), (charged, (charged, 0)));
    let database = place.look().await;
    // Two keys were made, and one was revoked.
    let audited = audit_entry::Entity::find().count(&database).await.unwrap();
    assert!(audited >= 3, "{audited} audit entries");
    database.close().await.unwrap();
}
