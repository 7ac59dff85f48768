//! A database that is set to what no program expects.

use hm_metering::{QuotaStore, UsageSink};
use hm_metering_seaorm::operator;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend, Statement};
use hm_metering_seaorm::testing::TestDatabase;

use crate::fixtures::{NOW, account, ask, batch, counter, event, holder, settlement, store};
use crate::rows;

/// Each is the default of new sessions.
const SETTINGS: [&str; 12] = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_deferrable = on",
    "lock_timeout = '1ms'",
    "statement_timeout = '1ms'",
    "idle_in_transaction_session_timeout = '1ms'",
    "standard_conforming_strings = off",
    "timezone = 'Pacific/Chatham'",
    "datestyle = 'SQL, DMY'",
    "bytea_output = 'escape'",
    "transform_null_equals = on",
    "quote_all_identifiers = on",
    "search_path = 'elsewhere'",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_works_whatever_postgresql_is_set_to() {
    let Some(database) = TestDatabase::empty_postgres().await.unwrap() else {
        return;
    };
    let db = database.connection();
    let address = database.url().split('?').next().unwrap();
    let name = address.rsplit('/').next().unwrap();
    db.execute_unprepared("CREATE SCHEMA elsewhere").await.unwrap();
    for setting in SETTINGS {
        let set = format!("ALTER DATABASE {name} SET {setting}");
        db.execute_unprepared(&set).await.unwrap();
    }

    let store = store(&database).await;
    store.migrate().await.unwrap();
    store.migrate().await.unwrap();
    operator::make_partitions(&store, NOW).await.unwrap();
    rows::insert(store.connection()).await;
    rows::assert_present(store.connection()).await;
    let isolation = Statement::from_string(DbBackend::Postgres, "SHOW transaction_isolation");
    let row = store
        .connection()
        .query_one_raw(isolation)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(row.try_get_by_index::<String>(0).unwrap(), "read committed");

    let account = account(&store).await;
    let key = counter(account);
    let leases: Vec<_> = (0..8)
        .map(|_| {
            let (store, ask) = (store.clone(), ask(holder(), 1, &key, 6, 1));
            tokio::spawn(async move { store.lease(&ask).await })
        })
        .collect();
    let mut granted = 0;
    for lease in leases {
        granted += lease.await.unwrap().unwrap().granted.get();
    }
    assert_eq!(granted, 6);
    let settled = vec![settlement(&key, None, 1)];
    let batch = batch(holder(), 1, vec![event(account, None)], settled);
    store.record(&batch).await.unwrap();
    let balance = store.balances(&[key]).await.unwrap();
    assert_eq!((balance[0].used.get(), balance[0].leased.get()), (1, 6));
    database.close().await.unwrap();
}
