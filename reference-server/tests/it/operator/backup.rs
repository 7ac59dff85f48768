//! `backup` and `restore`.

use std::path::Path;

use hm_metering_seaorm::entity::account;
use hm_server::cli::Command;
use hm_server::operator::Verdict;
use sea_orm::EntityTrait;

use super::place::{Place, config_at};
use super::{CHECK, use_some};

#[tokio::test]
async fn a_backup_taken_while_a_server_writes_can_be_restored_elsewhere() {
    let place = Place::on_sqlite().await;
    let account = place.account().await;
    let store = place.store().await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for number in 1..=20 {
                use_some(&store, account, number).await;
            }
        })
    };
    let file = place.folder.path().join("copy.sqlite");
    let (_, said) = place.run(Command::Backup(file.clone())).await.unwrap();
    assert!(said.contains("copy.sqlite"), "{said}");
    writer.await.unwrap();
    assert_owner_only(&file);
    let said = place.refused(Command::Backup(file.clone())).await;
    assert!(said.contains("is there already"), "{said}");
    let said = place.refused(Command::Restore(file.clone())).await;
    assert!(said.contains("is there already"), "{said}");

    let restored = restored(&file, "deep/er/hm.sqlite").await;
    let (verdict, said) = restored.run(CHECK).await.unwrap();
    assert_eq!(verdict, Verdict::Well, "{said}");
    assert_eq!(accounts_of(&restored).await, 1);
}

#[cfg(unix)]
fn assert_owner_only(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[cfg(not(unix))]
fn assert_owner_only(_: &Path) {}

#[tokio::test]
async fn a_damaged_or_foreign_backup_is_not_restored_and_nothing_is_left() {
    let place = Place::on_sqlite().await;
    let account = place.account().await;
    use_some(&place.store().await, account, 1).await;
    let good = place.folder.path().join("good.sqlite");
    place.run(Command::Backup(good.clone())).await.unwrap();
    let mut bytes = std::fs::read(&good).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 8_192].fill(0x5a);
    let damaged = place.folder.path().join("damaged.sqlite");
    std::fs::write(&damaged, bytes).unwrap();
    let text = place.file("text.sqlite", "this is no database");
    let empty = place.file("empty.sqlite", "");
    let other = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", other.path().join("hm.sqlite").display());
    let target = Place {
        config: config_at(&url, other.path()),
        folder: other,
        server: None,
    };
    for file in [damaged, text, empty] {
        let said = target.refused(Command::Restore(file)).await;
        assert!(said.contains("not a whole database"), "{said}");
    }
    let said = target.refused(Command::Restore("missing.sqlite".into())).await;
    assert!(said.contains("there is no database at missing.sqlite"), "{said}");
    let left: Vec<_> = std::fs::read_dir(target.folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// Where a copy was restored to, as `name` in a folder of its own.
async fn restored(copy: &Path, name: &str) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join(name).display());
    let restored = Place {
        config: config_at(&url, folder.path()),
        folder,
        server: None,
    };
    restored.run(Command::Restore(copy.to_path_buf())).await.unwrap();
    restored
}

async fn accounts_of(place: &Place) -> usize {
    let store = place.store().await;
    let accounts = account::Entity::find().all(store.connection()).await.unwrap();
    accounts.len()
}

/// How many accounts are in a copy.
async fn accounts_in(copy: &Path) -> usize {
    accounts_of(&restored(copy, "hm.sqlite").await).await
}

#[tokio::test]
async fn what_a_killed_run_left_is_in_nobody_s_way_and_two_runs_are_in_each_other_s() {
    let place = Place::on_sqlite().await;
    place.account().await;
    let file = place.folder.path().join("copy.sqlite");
    place.file("copy.sqlite.partial", "half a copy");
    place.file("copy.sqlite.partial-wal", "and more of it");
    let lock = place.file("copy.sqlite.partial-lock", "");
    let held = std::fs::File::open(&lock).unwrap();
    held.lock().unwrap();
    let said = place.refused(Command::Backup(file.clone())).await;
    assert!(said.contains("another run"), "{said}");
    assert!(place.folder.path().join("copy.sqlite.partial").exists());
    drop(held);
    place.run(Command::Backup(file.clone())).await.unwrap();
    assert_owner_only(&file);
    let left: Vec<_> = std::fs::read_dir(place.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("partial"))
        .collect();
    assert!(left.is_empty(), "{left:?}");

    let other = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", other.path().join("hm.sqlite").display());
    let restored = Place {
        config: config_at(&url, other.path()),
        folder: other,
        server: None,
    };
    restored.file("hm.sqlite.restoring", "half a copy");
    restored.run(Command::Restore(file)).await.unwrap();
    let (verdict, said) = restored.run(CHECK).await.unwrap();
    assert_eq!(verdict, Verdict::Well, "{said}");
}

#[tokio::test]
async fn files_may_have_odd_names() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/100%25%3F.sqlite", folder.path().display());
    let place = Place {
        config: config_at(&url, folder.path()),
        folder,
        server: None,
    };
    place.run(Command::MigrateUp).await.unwrap();
    place.account().await;
    let databases: Vec<_> = std::fs::read_dir(place.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".sqlite"))
        .collect();
    assert_eq!(databases, ["100%?.sqlite"]);
    for name in ["is it?mode=ro.sqlite", "50%41#.sqlite", "ü ' \".sqlite"] {
        let copy = place.folder.path().join(name);
        place.run(Command::Backup(copy.clone())).await.unwrap();
        assert!(copy.is_file(), "{name}");
        assert_eq!(accounts_in(&copy).await, 1, "{name}");
    }
}
