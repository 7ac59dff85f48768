//! `import usage`.

use hm_metering_seaorm::entity::quota_counter;
use hm_server::cli::{Command, Import};
use hm_server::operator::Verdict;
use sea_orm::EntityTrait;

use super::CHECK;
use super::place::Place;

#[tokio::test]
async fn imported_usage_counts_in_its_period_once_and_the_ledger_agrees() {
    for place in Place::all().await {
        let account = place.account().await;
        let text = format!(
            "{{\"account_id\":\"{account}\",\"units\":120,\"at\":\"2026-11-20T00:00:00Z\"}}\n\
             {{\"account_id\":\"{account}\",\"units\":3,\"at\":\"2026-11-21T00:00:00Z\",\"id\":\"second\"}}\n"
        );
        let import = |dry_run| Command::Import {
            what: Import::Usage,
            file: place.file("usage.jsonl", &text),
            dry_run,
        };
        let (_, said) = place.run(import(true)).await.unwrap();
        assert!(said.contains("2 would be imported"), "{said}");
        for (command, part) in [
            (import(false), "2 imported, 0 there already"),
            (import(false), "0 imported, 2 there already"),
            (import(true), "0 would be imported, 2 there already"),
        ] {
            let (_, said) = place.run(command).await.unwrap();
            assert!(said.contains(part), "{part}: {said}");
        }
        let counters = quota_counter::Entity::find()
            .all(place.store().await.connection())
            .await
            .unwrap();
        assert_eq!(
            counters.iter().map(|counter| counter.used).collect::<Vec<_>>(),
            [123]
        );
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Well, "{said}");
        place.finish().await;
    }
}
