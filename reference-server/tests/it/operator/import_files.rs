//! What `import` says about files with mistakes.

use std::path::PathBuf;

use hm_server::cli::{Command, Import};
use sea_orm::EntityTrait;
use uuid::Uuid;

use super::place::Place;

#[tokio::test]
async fn one_mistake_in_a_file_changes_nothing_and_every_mistake_is_told_without_digests() {
    let place = Place::on_sqlite().await;
    let account = place.account().await;
    let (good, bad) = ("ab".repeat(32), "secret-digest-of-mine");
    let lines = [
        format!(r#"{{"account_id":"{account}","digest":"{good}","name":"n","prefix":"p","last4":"l"}}"#),
        format!(r#"{{"account_id":"{account}","digest":"{bad}","name":"n","prefix":"p","last4":"l"}}"#),
        format!(
            r#"{{"account_id":"{}","digest":"{}","name":"n","prefix":"p","last4":"l"}}"#,
            Uuid::new_v4(),
            "cd".repeat(32)
        ),
        format!(
            r#"{{"account_id":"{account}","digest":"{}","name":"n","prefix":"p","last4":"l","env":"prod"}}"#,
            "ef".repeat(32)
        ),
    ];
    let import = |file: PathBuf, what| Command::Import {
        what,
        file,
        dry_run: false,
    };
    let said = place
        .refused(import(place.file("k.jsonl", &lines.join("\n")), Import::Keys))
        .await;
    for part in [
        "row 2: the digest",
        "row 3: there is no such account",
        "row 4: env",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains(bad) && !said.contains(&good), "{said}");
    let keys = hm_metering_seaorm::entity::api_key::Entity::find();
    assert!(
        keys.all(place.store().await.connection())
            .await
            .unwrap()
            .is_empty()
    );
    for (name, text, part) in [
        ("a.txt", "", "must end in .csv or .jsonl"),
        ("a.jsonl", "{\"account_id\": 7}", "row 1: "),
        ("a.jsonl", "nonsense", "row 1: it is no JSON"),
        ("a.csv", "account_id,units\nx,y\n", "row 1: "),
        ("b.csv", "account_id,units,at\nx\n", "row 1: it has 1 columns"),
    ] {
        let said = place.refused(import(place.file(name, text), Import::Usage)).await;
        assert!(said.contains(part), "{part}: {said}");
    }
    let said = place.refused(import("missing.csv".into(), Import::Keys)).await;
    assert!(said.contains("missing.csv can't be read"), "{said}");
}
