//! Changes of the schema that come out alike on every database.
//!
//! MariaDB and MySQL commit each of them by itself, so a step that broke off, or that two processes do at the same time,
//! has left some of its changes behind. There, what is done already is passed over, and the step can be done again.

use sea_orm::DbBackend;
use sea_orm_migration::prelude::*;

/// Texts are compared byte by byte, trailing spaces included. The two servers call that differently; each reads the
/// comment that is meant for it.
const COLLATION: &str = "/*M! utf8mb4_nopad_bin */ /*!80017 utf8mb4_0900_bin */";

/// Makes a table. On MariaDB and MySQL its texts are compared as they are on the other databases, whatever the server's
/// own settings say.
///
/// # Errors
///
/// When the database refuses, or the table is there already; the latter not on MariaDB and MySQL.
pub async fn create_table(manager: &SchemaManager<'_>, mut table: TableCreateStatement) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        table
            .if_not_exists()
            .engine("InnoDB")
            .character_set("utf8mb4")
            .collate(COLLATION);
    }
    manager.create_table(table).await
}

/// Makes an index of `table`.
///
/// # Errors
///
/// When the database refuses, or the index is there already; the latter not on MariaDB and MySQL.
pub async fn create_index(
    manager: &SchemaManager<'_>,
    table: &str,
    index: IndexCreateStatement,
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql {
        let name = index.get_index_spec().get_name().unwrap_or_default();
        if manager.has_index(table, name).await? {
            return Ok(());
        }
    }
    manager.create_index(index).await
}

/// Adds columns to `table`, one by one, since SQLite takes one in a statement.
///
/// # Errors
///
/// When the database refuses, or a column is there already; the latter not on MariaDB and MySQL.
pub async fn add_columns(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: impl IntoIterator<Item = ColumnDef> + Send,
) -> Result<(), DbErr> {
    let columns: Vec<ColumnDef> = columns.into_iter().collect();
    for column in columns {
        let name = column.get_column_name();
        if manager.get_database_backend() == DbBackend::MySql && manager.has_column(table, &name).await? {
            continue;
        }
        let alter = Table::alter().table(table).add_column(column).to_owned();
        manager.alter_table(alter).await?;
    }
    Ok(())
}

/// Drops columns of `table`, one by one, since SQLite takes one in a statement.
///
/// # Errors
///
/// When the database refuses, or a column is not there; the latter not on MariaDB and MySQL.
pub async fn drop_columns(
    manager: &SchemaManager<'_>,
    table: &'static str,
    columns: impl IntoIterator<Item = String> + Send,
) -> Result<(), DbErr> {
    let columns: Vec<String> = columns.into_iter().collect();
    for column in columns {
        if manager.get_database_backend() == DbBackend::MySql && !manager.has_column(table, &column).await? {
            continue;
        }
        let alter = Table::alter().table(table).drop_column(column).to_owned();
        manager.alter_table(alter).await?;
    }
    Ok(())
}

/// Drops tables in the order given.
///
/// # Errors
///
/// When the database refuses, or a table is not there; the latter not on MariaDB and MySQL.
pub async fn drop_tables(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        let mut drop = Table::drop();
        drop.table(*table);
        if manager.get_database_backend() == DbBackend::MySql {
            drop.if_exists();
        }
        manager.drop_table(drop).await?;
    }
    Ok(())
}

/// Drops an index of `table`.
///
/// # Errors
///
/// When the database refuses, or the index is not there; the latter not on MariaDB and MySQL.
pub async fn drop_index(
    manager: &SchemaManager<'_>,
    table: &'static str,
    index: &'static str,
) -> Result<(), DbErr> {
    if manager.get_database_backend() == DbBackend::MySql && !manager.has_index(table, index).await? {
        return Ok(());
    }
    manager
        .drop_index(Index::drop().name(index).table(table).to_owned())
        .await
}
