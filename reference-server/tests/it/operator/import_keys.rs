//! `import keys`.

use std::path::PathBuf;
use std::sync::Arc;

use hm_metering::PresentedKey;
use hm_server::app::App;
use hm_server::cli::{Command, Import};
use hm_server::metrics::Metrics;
use hm_server::secrets::Secrets;

use super::place::{FixedClock, NOON, Place};
use crate::harness::Server;

#[tokio::test]
async fn keys_are_imported_by_digest_and_work() {
    for place in Place::all().await {
        let account = place.account().await;
        let server = Server::start().await;
        let person = server.register("ada@example.org").await;
        let text = server.key_of(&person).await.key;
        let secrets = Secrets::resolve(&place.config).unwrap();
        let pepper = hm_server::domain::keys::pepper(&secrets.key_pepper).unwrap();
        let digest: String = pepper
            .digest(&PresentedKey::new(text.as_str()))
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let csv = format!(
            "account_id,digest,name,prefix,last4,scopes\n{account},{digest},old key,hm_live_abcd,wxyz,data:read data:write\n"
        );
        let file = place.file("keys.csv", &csv);
        let import = |dry_run| Command::Import {
            what: Import::Keys,
            file: file.clone(),
            dry_run,
        };
        let (_, said) = place.run(import(true)).await.unwrap();
        assert!(said.contains("1 would be imported"), "{said}");
        let (_, said) = place.run(import(true)).await.unwrap();
        assert!(
            said.contains("1 would be imported"),
            "a dry run changed something: {said}"
        );
        let (_, said) = place.run(import(false)).await.unwrap();
        assert!(said.contains("1 imported"), "{said}");
        let (_, said) = place.run(import(false)).await.unwrap();
        assert!(said.contains("0 imported, 1 there already"), "{said}");
        let found = hm_metering::KeyStore::find_by_digest(
            &place.store().await,
            &[pepper.digest(&PresentedKey::new(text.as_str()))],
        )
        .await
        .unwrap()
        .unwrap();
        assert_eq!(found.record.account, account);
        assert_eq!(found.record.scopes, ["data:read", "data:write"]);
        place.finish().await;
    }
}

#[tokio::test]
async fn a_key_of_an_earlier_system_is_imported_with_its_bcrypt_hash_and_accepted() {
    let mut place = Place::on_sqlite().await;
    let account = place.account().await;
    let text = "sk_Jd82kQp1xz90_the-rest";
    let hash = "$2b$04$aaaaaaaaaaaaaaaaaaaaaO";
    let lines = |hash: &str| {
        format!(
            r#"{{"account_id":"{account}","start":"sk_Jd82kQp1xz90_","bcrypt":"{hash}","name":"old","prefix":"sk_Jd82","last4":"rest"}}"#
        )
    };
    let import = |file: PathBuf| Command::Import {
        what: Import::Keys,
        file,
        dry_run: false,
    };
    let made = bcrypt::hash(text, 4).unwrap();
    let said = place.refused(import(place.file("k.jsonl", &lines(&made)))).await;
    assert!(said.contains("keys.legacy.prefix must be set"), "{said}");
    place.config.keys.legacy = Some(hm_server::config::LegacyKeys {
        prefix: "sk_".to_owned(),
        start: 16,
    });
    let said = place.refused(import(place.file("k.jsonl", &lines(hash)))).await;
    assert!(said.contains("no bcrypt hash") && !said.contains(hash), "{said}");
    let (_, said) = place
        .run(import(place.file("k.jsonl", &lines(&made))))
        .await
        .unwrap();
    assert!(said.contains("1 imported"), "{said}");

    let secrets = Secrets::resolve(&place.config).unwrap();
    let (_, metrics) = Metrics::new().unwrap();
    let app = App::start(
        place.config.clone(),
        &secrets,
        Arc::new(FixedClock(NOON)),
        metrics,
    )
    .await
    .unwrap();
    let verify = |text: &'static str| {
        let verifier = app.verifier().clone();
        async move {
            hm_metering::KeyVerifier::verify(&verifier, &PresentedKey::new(text), NOON)
                .await
                .unwrap()
        }
    };
    use hm_metering::keys::Verdict;
    assert!(matches!(
        verify("sk_Jd82kQp1xz90_the-resT").await,
        Verdict::Invalid { .. }
    ));
    assert!(matches!(verify(text).await, Verdict::Valid(_)));
    app.shutdown().await.unwrap();
}
