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

    let other = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", other.path().join("deep/er/hm.sqlite").display());
    let restored = Place {
        config: config_at(&url, other.path()),
        folder: other,
        server: None,
    };
    restored.run(Command::Restore(file)).await.unwrap();
    let (verdict, said) = restored.run(CHECK).await.unwrap();
    assert_eq!(verdict, Verdict::Well, "{said}");
    let accounts = account::Entity::find()
        .all(restored.store().await.connection())
        .await
        .unwrap();
    assert_eq!(accounts.len(), 1);
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
