//! Rows that a table doesn't take.

use hm_metering::StoreErrorKind::{Conflict, Invalid, NotFound, Unexpected};
use sea_orm::DbBackend;

use super::{Said, fails, tables};
use crate::testing::TestDatabase;

/// A statement, and the code it brings on PostgreSQL, MariaDB and SQLite; none where it does well.
type Case = (&'static str, [Option<&'static str>; 3]);

fn place(backend: DbBackend) -> usize {
    match backend {
        DbBackend::Postgres => 0,
        DbBackend::MySql => 1,
        _ => 2,
    }
}

#[tokio::test]
async fn constraints_are_told_apart_by_their_codes() {
    let all = |postgres, mysql, sqlite| [Some(postgres), Some(mysql), Some(sqlite)];
    let cases: [(Case, _); 10] = [
        (
            (
                "INSERT INTO parents VALUES (1, 'new', 0)",
                all("23505", "1062", "1555"),
            ),
            Conflict,
        ),
        (
            (
                "INSERT INTO parents VALUES (9, 'one', 0)",
                all("23505", "1062", "2067"),
            ),
            Conflict,
        ),
        (
            (
                "UPDATE parents SET name = 'two' WHERE id = 1",
                all("23505", "1062", "2067"),
            ),
            Conflict,
        ),
        (
            (
                "INSERT INTO children VALUES (1, 99, 1)",
                all("23503", "1452", "787"),
            ),
            NotFound,
        ),
        (
            (
                "INSERT INTO parents VALUES (9, NULL, 0)",
                all("23502", "1048", "1299"),
            ),
            Invalid,
        ),
        (
            (
                "INSERT INTO parents (id) VALUES (9)",
                all("23502", "1364", "1299"),
            ),
            Invalid,
        ),
        (
            (
                "INSERT INTO children VALUES (1, 1, 0)",
                all("23514", "4025", "275"),
            ),
            Invalid,
        ),
        (
            (
                "INSERT INTO parents VALUES (9, 'too long a name', 0)",
                [Some("22001"), Some("1406"), None],
            ),
            Invalid,
        ),
        (
            (
                "INSERT INTO parents VALUES (9, 'n', 99999)",
                [Some("22003"), Some("1264"), None],
            ),
            Invalid,
        ),
        (
            ("INSERT INTO uncles VALUES (1)", all("42P01", "1146", "1")),
            Unexpected,
        ),
    ];
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        tables(db).await;
        let is_mysql = super::is_mysql(db).await;
        for ((sql, codes), kind) in cases {
            if let Some(code) = codes[place(db.get_database_backend())] {
                // A number of its own for a check that fails.
                let code = if is_mysql && code == "4025" { "3819" } else { code };
                let said = fails(db, sql).await;
                assert_eq!((said.code.as_str(), said.kind), (code, kind), "{sql}");
                assert!(!said.connection, "{sql}");
            }
        }
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_no_text_or_row_can_be_is_invalid() {
    for database in super::on_servers().await {
        let db = database.connection();
        tables(db).await;
        let (sql, code) = super::either(
            db,
            ("INSERT INTO parents VALUES (9, chr(0), 0)", "54000"),
            ("INSERT INTO parents VALUES (9, _utf8mb4 X'ff', 0)", "1300"),
        );
        assert_eq!(fails(db, sql).await, Said::plainly(code, Invalid), "{sql}");
        database.close().await.unwrap();
    }
}
