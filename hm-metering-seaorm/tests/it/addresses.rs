//! The forms of an SQLite address.

use hm_metering::{KeyStore, StoreErrorKind};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend, Statement};

use crate::fixtures::{account, new_key};

async fn keeps_a_key(url: &str) -> SeaOrmStore {
    let store = SeaOrmStore::connect(url).await.unwrap();
    store.migrate().await.unwrap();
    let account = account(&store).await;
    let key = store.insert(&new_key(account)).await.unwrap();
    assert_eq!(store.get(account, key.id).await.unwrap().unwrap(), key);
    store
}

#[tokio::test]
async fn a_file_and_its_folders_are_made_and_opened_for_many_readers_and_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    for (number, form) in ["sqlite://{}", "sqlite:{}", "sqlite://{}?mode=rwc"]
        .into_iter()
        .enumerate()
    {
        let file = folder.path().join(format!("a folder/{number}/hm.sqlite"));
        let store = keeps_a_key(&form.replace("{}", file.to_str().unwrap())).await;
        assert!(file.is_file());
        for (pragma, expected) in [
            ("journal_mode", "wal"),
            ("foreign_keys", "1"),
            ("synchronous", "1"),
        ] {
            let statement = Statement::from_string(DbBackend::Sqlite, format!("PRAGMA {pragma}"));
            let row = store
                .connection()
                .query_one_raw(statement)
                .await
                .unwrap()
                .unwrap();
            let value = row
                .try_get_by_index::<String>(0)
                .or_else(|_| row.try_get_by_index::<i64>(0).map(|number| number.to_string()));
            assert_eq!(value.unwrap(), expected, "{pragma}");
        }
    }
}

#[tokio::test]
async fn a_database_in_memory_lives_as_long_as_its_store() {
    keeps_a_key("sqlite::memory:").await;
}

#[tokio::test]
async fn a_file_that_must_exist_and_does_not_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("missing/hm.sqlite");
    let error = SeaOrmStore::connect(&format!("sqlite://{}?mode=rw", file.display()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    assert!(!file.exists());
}
