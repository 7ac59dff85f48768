//! `migrate`, and commands on a schema that is not theirs.

use hm_server::cli::Command;
use hm_server::operator;

use super::place::Place;
use super::{CHECK, change};

#[tokio::test]
async fn commands_refuse_a_schema_that_is_not_theirs_and_say_which() {
    for place in Place::all().await {
        let store = place.store().await;
        change(
            &store,
            "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)",
        )
        .await;
        for command in [
            CHECK,
            Command::MigrateUp,
            Command::MigrateDown(1),
            Command::ClosePeriods,
        ] {
            let error = place.run(command).await.unwrap_err();
            assert!(operator::is_of_other_schema(&error));
            let said = hm_server::telemetry::chain(&error);
            assert!(
                said.contains("newer than this program") && said.contains("m20991231_000001_later"),
                "{said}"
            );
        }
        let (_, said) = place.run(Command::MigrateStatus).await.unwrap();
        assert!(
            said.contains("newer than this program m20991231_000001_later"),
            "{said}"
        );
        change(&store, "DELETE FROM seaql_migrations WHERE version LIKE 'm2099%'").await;
        let (_, said) = place.run(Command::MigrateDown(2)).await.unwrap();
        assert_eq!(said.matches("pending").count(), 2, "{said}");
        let said = place.refused(CHECK).await;
        assert!(said.contains("older than this program"), "{said}");
        place.run(Command::MigrateUp).await.unwrap();
        place.run(CHECK).await.unwrap();
        place.finish().await;
    }
}
