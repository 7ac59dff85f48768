//! The page with all tables in the documentation is what the entities say.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use hm_metering_seaorm::entity as store;
use hm_metering_seaorm::testing::TestDatabase;
use hm_server::entity as server;
use hm_server::migration::Migrator;
use sea_orm::sea_query::ColumnType;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, EntityTrait, IdenStatic, Iterable, PrimaryKeyToColumn, Statement,
};
use sea_orm_migration::MigratorTrait;

/// Set it to write the page anew.
const WRITE: &str = "HM_WRITE_DOCS";

struct Table {
    name: String,
    /// Type, name, and whether it is part of the primary key.
    columns: Vec<(&'static str, String, bool)>,
}

fn table<E: EntityTrait>(entity: E) -> Table {
    let key: Vec<String> = E::PrimaryKey::iter()
        .map(|key| key.into_column().as_str().to_owned())
        .collect();
    let columns = E::Column::iter().map(|column| {
        let name = column.as_str().to_owned();
        let is_key = key.contains(&name);
        (type_of(column.def().get_column_type()), name, is_key)
    });
    Table {
        name: entity.table_name().to_owned(),
        columns: columns.collect(),
    }
}

fn type_of(column: &ColumnType) -> &'static str {
    match column {
        ColumnType::Uuid => "uuid",
        ColumnType::BigInteger => "bigint",
        ColumnType::Integer => "integer",
        ColumnType::SmallInteger => "smallint",
        ColumnType::Boolean => "boolean",
        ColumnType::Json | ColumnType::JsonBinary => "json",
        ColumnType::Blob | ColumnType::Binary(_) | ColumnType::VarBinary(_) => "bytes",
        _ => "text",
    }
}

fn tables() -> Vec<Table> {
    vec![
        table(store::account::Entity),
        table(store::user::Entity),
        table(store::membership::Entity),
        table(server::session::Entity),
        table(server::refresh_token::Entity),
        table(store::api_key::Entity),
        table(store::key_change::Entity),
        table(store::quota_counter::Entity),
        table(store::quota_lease::Entity),
        table(store::usage_batch::Entity),
        table(store::usage_event::Entity),
        table(store::usage_rollup_sum::Entity),
        table(store::usage_rollup_unit::Entity),
        table(store::usage_rollup_endpoint::Entity),
        table(store::usage_active_day::Entity),
        table(store::usage_summary::Entity),
        table(store::usage_correction::Entity),
        table(store::usage_mark::Entity),
        table(store::subscription::Entity),
        table(store::audit_entry::Entity),
    ]
}

/// By table and column: the table that a foreign key leads to.
type ForeignKeys = BTreeMap<(String, String), String>;

async fn foreign_keys(db: &impl ConnectionTrait, tables: &[Table]) -> ForeignKeys {
    let mut found = ForeignKeys::new();
    for table in tables {
        let ask = format!("PRAGMA foreign_key_list({})", table.name);
        let statement = Statement::from_string(DbBackend::Sqlite, ask);
        for row in db.query_all_raw(statement).await.unwrap() {
            let column: String = row.try_get("", "from").unwrap();
            let to: String = row.try_get("", "table").unwrap();
            found.insert((table.name.clone(), column), to);
        }
    }
    found
}

/// What a column's name says that it means, where no foreign key demands that it is there.
fn meant(column: &str) -> Option<&'static str> {
    match column {
        "account_id" => Some("accounts"),
        "user_id" => Some("users"),
        "key_id" => Some("api_keys"),
        "session_id" => Some("sessions"),
        _ => None,
    }
}

fn page(tables: &[Table], keys: &ForeignKeys) -> String {
    let mut text = String::from(
        "# Tables\n\n\
         Generated from the entities; `HM_WRITE_DOCS=1 cargo test -p hm-server --test it er_page` writes it anew. A solid line is a\n\
         foreign key. A dotted one is an id that outlives what it names: the ledger keeps its rows when a key or an account goes.\n\
         Times are microseconds since 1970 in UTC.\n\n```mermaid\nerDiagram\n",
    );
    for table in tables {
        for (_, column, _) in &table.columns {
            let key = keys.get(&(table.name.clone(), column.clone()));
            let (line, to) = match (key, meant(column)) {
                (Some(to), _) => ("||--o{", to.as_str()),
                (None, Some(to)) => ("||..o{", to),
                (None, None) => continue,
            };
            writeln!(text, "    {to} {line} {} : {column}", table.name).unwrap();
        }
    }
    for table in tables {
        writeln!(text, "    {} {{", table.name).unwrap();
        for (kind, column, is_key) in &table.columns {
            let mark = if *is_key { " PK" } else { "" };
            writeln!(text, "        {kind} {column}{mark}").unwrap();
        }
        text.push_str("    }\n");
    }
    text.push_str("```\n");
    text
}

#[tokio::test]
async fn the_page_of_tables_is_what_the_entities_say() {
    let database = TestDatabase::empty_sqlite().await.unwrap();
    let db = database.connection();
    Migrator::up(db, None).await.unwrap();
    let tables = tables();
    // A table without an entity is one that an earlier version wrote, or one of the migrations themselves.
    let all =
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name";
    let rows = db
        .query_all_raw(Statement::from_string(DbBackend::Sqlite, all))
        .await
        .unwrap();
    let without: Vec<String> = rows
        .iter()
        .map(|row| row.try_get::<String>("", "name").unwrap())
        .filter(|name| tables.iter().all(|table| table.name != *name))
        .collect();
    assert_eq!(without, ["seaql_migrations", "usage_rollups"]);
    for table in &tables {
        let columns = format!("SELECT COUNT(*) AS n FROM pragma_table_info('{}')", table.name);
        let row = db
            .query_one_raw(Statement::from_string(DbBackend::Sqlite, columns))
            .await
            .unwrap();
        let number: i64 = row.unwrap().try_get("", "n").unwrap();
        assert_eq!(number, table.columns.len() as i64, "{}", table.name);
    }
    let page = page(&tables, &foreign_keys(db, &tables).await);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/tables.md");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&file, &page).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == page,
        "docs/src/tables.md is not current; run this test with {WRITE}=1"
    );
    database.close().await.unwrap();
}
