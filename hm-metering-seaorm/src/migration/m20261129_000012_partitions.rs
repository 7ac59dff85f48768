//! On PostgreSQL the ledger is divided by ids, and so by the months in which they were made. Elsewhere nothing changes.
//!
//! Servers of the version before go on: the table's name, its columns and its primary key stay. Events that are there are not
//! copied. Their table becomes the part for all ids that were made until the end of this month, for which PostgreSQL reads it
//! once; those whose id tells no such time are moved to the part for all others. Whoever may use the table may go on using it.
//! Views and triggers that somebody else has put on it stay with that part, and have to be made anew.

use hm_metering::Timestamp;
use sea_orm::{DbBackend, Statement};
use sea_orm_migration::prelude::*;

use crate::store::operator::{Month, rights_like};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }

    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        if db.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        set_aside(db, "usage_events_past").await?;
        let create =
            "CREATE TABLE usage_events (LIKE usage_events_past INCLUDING DEFAULTS) PARTITION BY RANGE (id)";
        db.execute_unprepared(create).await?;
        add_indexes(db).await?;
        db.execute_unprepared("CREATE TABLE usage_events_default PARTITION OF usage_events DEFAULT")
            .await?;
        for table in ["usage_events", "usage_events_default"] {
            db.execute_unprepared(&rights_like(table, "usage_events_past"))
                .await?;
        }
        let end = this_month(db).await?.next().first_id();
        let move_others = format!(
            "WITH moved AS (DELETE FROM usage_events_past WHERE id >= '{end}' RETURNING *) \
             INSERT INTO usage_events_default SELECT * FROM moved"
        );
        db.execute_unprepared(&move_others).await?;
        let any = "SELECT 1 AS one FROM usage_events_past LIMIT 1";
        let any = db.query_one_raw(Statement::from_string(DbBackend::Postgres, any));
        let keep = if any.await?.is_some() {
            format!(
                "ALTER TABLE usage_events ATTACH PARTITION usage_events_past FOR VALUES FROM (MINVALUE) TO ('{end}')"
            )
        } else {
            "DROP TABLE usage_events_past".to_owned()
        };
        db.execute_unprepared(&keep).await?;
        Ok(())
    }

    /// Copies all events into one table.
    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let db = manager.get_connection();
        if db.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        set_aside(db, "usage_events_parts").await?;
        for statement in [
            "CREATE TABLE usage_events (LIKE usage_events_parts INCLUDING DEFAULTS)",
            "INSERT INTO usage_events SELECT * FROM usage_events_parts",
        ] {
            db.execute_unprepared(statement).await?;
        }
        add_indexes(db).await?;
        db.execute_unprepared(&rights_like("usage_events", "usage_events_parts"))
            .await?;
        db.execute_unprepared("DROP TABLE usage_events_parts").await?;
        Ok(())
    }
}

/// Takes the table's name away from it, and those of its indexes.
async fn set_aside(db: &SchemaManagerConnection<'_>, name: &str) -> Result<(), DbErr> {
    for statement in [
        // Those who wait for it look for the name again once they have their turn.
        "LOCK TABLE usage_events IN ACCESS EXCLUSIVE MODE".to_owned(),
        format!("ALTER TABLE usage_events RENAME TO {name}"),
        format!("ALTER INDEX usage_events_pkey RENAME TO {name}_pkey"),
        format!(
            "ALTER INDEX idx_usage_events_account_id_created_at_id RENAME TO idx_{name}_account_id_created_at_id"
        ),
        format!("ALTER INDEX idx_usage_events_created_at RENAME TO idx_{name}_created_at"),
    ] {
        db.execute_unprepared(&statement).await?;
    }
    Ok(())
}

async fn add_indexes(db: &SchemaManagerConnection<'_>) -> Result<(), DbErr> {
    for statement in [
        "ALTER TABLE usage_events ADD CONSTRAINT usage_events_pkey PRIMARY KEY (id)",
        "CREATE INDEX idx_usage_events_account_id_created_at_id ON usage_events (account_id, created_at, id)",
        "CREATE INDEX idx_usage_events_created_at ON usage_events (created_at)",
    ] {
        db.execute_unprepared(statement).await?;
    }
    Ok(())
}

/// By the database's clock: stores have none, and nothing depends on it but which part an event is in.
async fn this_month(db: &SchemaManagerConnection<'_>) -> Result<Month, DbErr> {
    let now = "SELECT CAST(EXTRACT(EPOCH FROM now()) * 1000000 AS bigint) AS now";
    let row = db
        .query_one_raw(Statement::from_string(DbBackend::Postgres, now))
        .await?
        .ok_or_else(|| DbErr::RecordNotFound("the time".to_owned()))?;
    Ok(Month::of(Timestamp::from_micros(row.try_get("", "now")?)))
}
