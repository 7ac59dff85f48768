//! Operators' commands as processes of their own, beside servers that work.

use hm_metering_seaorm::sea_orm::ConnectionTrait;
use hm_system_tests::load::Load;
use hm_system_tests::on_every_database;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings, run};

on_every_database! {
    processes_that_start_at_once_migrate_once => processes_that_start_at_once_migrate_once_on_sqlite, processes_that_start_at_once_migrate_once_on_postgres, processes_that_start_at_once_migrate_once_on_mariadb;
    a_check_beside_a_server_under_load_is_clean_and_sees_what_was_changed => a_check_beside_a_server_under_load_is_clean_and_sees_what_was_changed_on_sqlite, a_check_beside_a_server_under_load_is_clean_and_sees_what_was_changed_on_postgres, a_check_beside_a_server_under_load_is_clean_and_sees_what_was_changed_on_mariadb;
    a_schema_from_the_future_is_refused_with_its_own_exit_code => a_schema_from_the_future_is_refused_with_its_own_exit_code_on_sqlite, a_schema_from_the_future_is_refused_with_its_own_exit_code_on_postgres, a_schema_from_the_future_is_refused_with_its_own_exit_code_on_mariadb;
}

fn quick() -> Settings {
    Settings::free_plan(1_000_000, 1_000_000)
}

async fn processes_that_start_at_once_migrate_once(place: Place) {
    let settings = quick();
    let (one, two, three) = tokio::join!(
        run(&place, &settings, &["migrate", "up"]),
        run(&place, &settings, &["migrate", "up"]),
        run(&place, &settings, &["migrate", "up"]),
    );
    for ended in [one, two, three] {
        assert_eq!(ended.code, 0, "{}", ended.text);
        let waits = ended.text.lines().any(|line| line.starts_with("pending "));
        assert!(!waits, "{}", ended.text);
    }
    let ended = run(&place, &settings, &["migrate", "status"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    let steps = ended
        .text
        .lines()
        .filter(|line| line.starts_with("applied "))
        .count();
    // Those of the store, and one of the server's own.
    assert_eq!(
        steps,
        hm_metering_seaorm::migration::migrations().len() + 1,
        "{}",
        ended.text
    );
    let ended = run(&place, &settings, &["check"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);
}

async fn a_check_beside_a_server_under_load_is_clean_and_sees_what_was_changed(place: Place) {
    let settings = quick();
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let key = ada.create_key(&server, "load").await;
    let load = Load::begin(server.address(), &key.text, usize::MAX, "check");
    load.reach(50).await;
    for round in 0..4 {
        let ended = run(&place, &settings, &["check"]).await;
        assert_eq!(ended.code, 0, "round {round}: {}", ended.text);
        load.reach(100 * (round + 1)).await;
    }
    let ended = run(&place, &settings, &["check", "--repair"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);
    server.stop().await;
    load.end().await;
    let ended = run(&place, &settings, &["check"]).await;
    assert_eq!(ended.code, 0, "{}", ended.text);

    let database = place.open().await;
    let changed = "UPDATE quota_counters SET used = used + 1 WHERE meter = 'requests'";
    database.execute_unprepared(changed).await.unwrap();
    let ended = run(&place, &settings, &["check"]).await;
    assert_eq!(ended.code, 1, "{}", ended.text);
    assert!(
        ended.text.contains("differs: counter: account "),
        "{}",
        ended.text
    );
    assert!(!ended.text.contains(&key.text), "a key is shown: {}", ended.text);
}

async fn a_schema_from_the_future_is_refused_with_its_own_exit_code(place: Place) {
    let settings = quick();
    assert_eq!(
        run(&place, &settings, &["check"]).await.code,
        3,
        "an empty database is older"
    );
    assert_eq!(run(&place, &settings, &["migrate", "up"]).await.code, 0);
    let later = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)";
    place.open().await.execute_unprepared(later).await.unwrap();
    for arguments in [&[][..], &["check"], &["migrate", "up"], &["migrate", "down"]] {
        let ended = run(&place, &settings, arguments).await;
        assert_eq!(ended.code, 3, "{arguments:?}: {}", ended.text);
        for part in ["newer than this program", "m20991231_000001_later"] {
            assert!(ended.text.contains(part), "{arguments:?}: {}", ended.text);
        }
    }
}
