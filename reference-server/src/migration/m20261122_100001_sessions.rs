//! Sessions and their refresh tokens.

use hm_metering_seaorm::migration::{create_index, create_table, drop_tables};
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, string_len, uuid};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let sessions = Table::create()
            .table("sessions")
            .col(uuid("id").primary_key())
            .col(uuid("user_id"))
            .col(big_integer("created_at"))
            .col(big_integer("expires_at"))
            .col(big_integer_null("ended_at"))
            .foreign_key(&mut cascade(
                "fk_sessions_user_id",
                "sessions",
                "user_id",
                "users",
            ))
            .to_owned();
        create_table(manager, sessions).await?;
        let by_user = index("idx_sessions_user_id", "sessions", "user_id");
        create_index(manager, "sessions", by_user).await?;
        let tokens = Table::create()
            .table("refresh_tokens")
            .col(string_len("digest", 64).primary_key())
            .col(uuid("session_id"))
            .col(big_integer("created_at"))
            .col(big_integer_null("used_at"))
            .foreign_key(&mut cascade(
                "fk_refresh_tokens_session_id",
                "refresh_tokens",
                "session_id",
                "sessions",
            ))
            .to_owned();
        create_table(manager, tokens).await?;
        let by_session = index("idx_refresh_tokens_session_id", "refresh_tokens", "session_id");
        create_index(manager, "refresh_tokens", by_session).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_tables(manager, &["refresh_tokens", "sessions"]).await
    }
}

/// Rows go away with what they belong to.
fn cascade(
    name: &'static str,
    table: &'static str,
    column: &'static str,
    owner: &'static str,
) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(name)
        .from(table, column)
        .to(owner, "id")
        .on_delete(ForeignKeyAction::Cascade)
        .to_owned()
}

fn index(name: &'static str, table: &'static str, column: &'static str) -> IndexCreateStatement {
    Index::create().name(name).table(table).col(column).to_owned()
}
