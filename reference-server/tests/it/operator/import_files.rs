//! What `import` says about files with mistakes.

use std::path::PathBuf;

use hm_metering_seaorm::entity::{api_key, quota_counter, usage_event};
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

/// What keys and usage there is.
async fn contents(place: &Place) -> (usize, usize, Vec<i64>) {
    let store = place.store().await;
    let keys = api_key::Entity::find().all(store.connection()).await.unwrap();
    let events = usage_event::Entity::find().all(store.connection()).await.unwrap();
    let counters = quota_counter::Entity::find()
        .all(store.connection())
        .await
        .unwrap();
    let used = counters.iter().map(|counter| counter.used).collect();
    (keys.len(), events.len(), used)
}

/// Imports the file as a dry run and in earnest: both say the same, and nothing is changed.
async fn refused_and_unchanged(place: &Place, what: Import, file: PathBuf, parts: &[&str]) {
    let before = contents(place).await;
    for dry_run in [true, false] {
        let file = file.clone();
        let said = place.refused(Command::Import { what, file, dry_run }).await;
        assert!(said.contains("nothing was imported"), "{said}");
        for part in parts {
            assert!(said.contains(part), "dry run {dry_run}: {part}: {said}");
        }
        assert_eq!(contents(place).await, before, "dry run {dry_run}");
    }
}

#[tokio::test]
async fn what_no_database_keeps_is_found_before_a_key_is_imported() {
    for place in Place::all().await {
        let account = place.account().await;
        let line = |place: u8, rest: &str| {
            let digest = format!("{place:02x}").repeat(32);
            let mut fields = serde_json::json!({
                "account_id": account, "digest": digest, "name": "n", "prefix": "p", "last4": "l",
            });
            let more: serde_json::Value = serde_json::from_str(rest).unwrap();
            let more = more.as_object().unwrap().clone();
            fields.as_object_mut().unwrap().extend(more);
            fields.to_string()
        };
        let lines = [
            line(1, "{}"),
            line(2, r#"{"name":"a\u0000b"}"#),
            line(3, r#"{"scopes":"data:read da\u0000ta"}"#),
            line(4, r#"{"prefix":"a\u001bb"}"#),
            line(5, r#"{"last4":"\u0000"}"#),
            line(6, r#"{"pepper":2}"#),
        ];
        let parts = [
            "row 2: the name",
            "row 3: there may be 50 scopes",
            "row 4: prefix and last4",
            "row 5: prefix and last4",
            "row 6: the server has no pepper of that number",
        ];
        let file = place.file("k.jsonl", &lines.join("\n"));
        refused_and_unchanged(&place, Import::Keys, file, &parts).await;
        place.finish().await;
    }
}

#[tokio::test]
async fn usage_that_is_not_what_was_imported_before_is_found_before_anything_is_imported() {
    for place in Place::all().await {
        let account = place.account().await;
        let line = |units: u64, day: u8, id: &str| {
            format!(
                r#"{{"account_id":"{account}","units":{units},"at":"2026-11-{day}T00:00:00Z","id":"{id}"}}"#
            )
        };
        let import = Command::Import {
            what: Import::Usage,
            file: place.file("first.jsonl", &line(7, 20, "a")),
            dry_run: false,
        };
        place.run(import).await.unwrap();
        let lines = [
            line(1, 19, "b"),
            line(8, 20, "a"),
            line(1_000_000_000_000_000, 19, "c"),
            line(0, 19, "d"),
            line(1, 19, r"e\u0000"),
        ];
        let parts = [
            "row 2: it was imported before with other units",
            "row 3: the units must be",
            "row 4: the units must be",
            "row 5: the id",
        ];
        let file = place.file("u.jsonl", &lines.join("\n"));
        refused_and_unchanged(&place, Import::Usage, file, &parts).await;
        let most = Command::Import {
            what: Import::Usage,
            file: place.file("most.jsonl", &line(999_999_999_999_999, 19, "c")),
            dry_run: false,
        };
        let (_, said) = place.run(most).await.unwrap();
        assert!(said.contains("1 imported"), "{said}");
        place.finish().await;
    }
}

#[tokio::test]
async fn a_record_without_an_end_is_not_read_to_the_end_of_the_file() {
    let place = Place::on_sqlite().await;
    let account = place.account().await;
    let names = "account_id,units,at,id\n";
    let good = format!("{account},1,2026-11-20T00:00:00Z,a\n");
    let long = format!("{account},1,2026-11-20T00:00:00Z,\"");
    let text = format!("{names}{good}{long}{}", "line\n".repeat(20_000));
    let file = place.file("u.csv", &text);
    refused_and_unchanged(&place, Import::Usage, file, &["row 2: the line is too long"]).await;
    let file = place.file("n.csv", &"account_id".repeat(10_000));
    let parts = ["the line of names: the line is too long"];
    refused_and_unchanged(&place, Import::Usage, file, &parts).await;
    let many: String = (0..2_000)
        .map(|place| good.replace(",a", &format!(",{place}")))
        .collect();
    let file = place.file("many.csv", &format!("{names}{many}"));
    let import = Command::Import {
        what: Import::Usage,
        file,
        dry_run: true,
    };
    let (_, said) = place.run(import).await.unwrap();
    assert!(said.contains("2000 would be imported"), "{said}");
}
