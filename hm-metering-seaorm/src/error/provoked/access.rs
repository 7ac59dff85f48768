//! What a user may not, and what nobody may for now.

use hm_metering::StoreErrorKind::Unavailable;
use sea_orm::sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, PgConnection};
use sea_orm::{AccessMode, DatabaseConnection, DbErr, RuntimeErr, TransactionTrait};

use super::{Said, does, either, fails, on_servers, tables};
use crate::connect::{Options, connect, connect_reader};
use crate::testing::TestDatabase;

fn conn(error: sea_orm::sqlx::Error) -> Said {
    Said::of(&DbErr::Conn(RuntimeErr::SqlxError(error.into())))
}

/// The address with another user, and another database where one is named.
fn address(database: &TestDatabase, user: &str, name: Option<&str>) -> String {
    let (scheme, rest) = database.url().split_once("://").unwrap();
    let (_, server) = rest.split_once('@').unwrap();
    let (host, own) = server.split_once('/').unwrap();
    format!("{scheme}://{user}@{host}/{}", name.unwrap_or(own))
}

/// Says what connecting comes to, without a pool, which would try again.
async fn connecting(db: &DatabaseConnection, url: &str) -> Result<Box<dyn std::any::Any>, Said> {
    match either(db, true, false) {
        true => PgConnection::connect(url).await.map(|open| Box::new(open) as _),
        false => MySqlConnection::connect(url)
            .await
            .map(|open| Box::new(open) as _),
    }
    .map_err(conn)
}

/// A user that goes away with its database, and may have one connection.
async fn limited_user(database: &TestDatabase) -> String {
    let db = database.connection();
    let name = format!("hm_test_{:x}", uuid::Uuid::new_v4().as_u128() >> 64);
    does(
        db,
        &either(
            db,
            format!("CREATE ROLE {name} LOGIN CONNECTION LIMIT 1"),
            format!("CREATE USER {name}@'%' WITH MAX_USER_CONNECTIONS 1"),
        ),
    )
    .await;
    if !either(db, true, false) {
        does(
            db,
            &format!("GRANT SELECT ON `{}`.parents TO {name}@'%'", own_name(database)),
        )
        .await;
    }
    name
}

fn own_name(database: &TestDatabase) -> &str {
    let name = database.url().rsplit('/').next().unwrap();
    name.split('?').next().unwrap()
}

async fn drop_user(database: &TestDatabase, name: &str) {
    let db = database.connection();
    let drop = either(db, format!("DROP ROLE {name}"), format!("DROP USER {name}@'%'"));
    does(db, &drop).await;
}

#[tokio::test]
async fn too_many_connections_are_unavailable() {
    for database in on_servers().await {
        let db = database.connection();
        tables(db).await;
        let user = limited_user(&database).await;
        let url = address(&database, &user, None);
        let first = connecting(db, &url).await;
        let said = connecting(db, &url).await.err();
        let pooled = connect(
            &url,
            &Options {
                connect_timeout: std::time::Duration::from_millis(200),
                ..Options::default()
            },
        )
        .await;
        drop(first.unwrap_or_else(|said| panic!("{said:?}")));
        drop_user(&database, &user).await;
        let code = either(db, "53300", "1226");
        assert_eq!(said, Some(Said::plainly(code, Unavailable)));
        assert_eq!(super::kind_of(&pooled.unwrap_err()), Unavailable);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_user_or_database_that_is_not_there_is_unavailable() {
    for database in on_servers().await {
        let db = database.connection();
        let nobody = address(&database, "hm_test_nobody", None);
        let said = connecting(db, &nobody).await.err().unwrap();
        // MariaDB's two depend on how strangers are asked who they are.
        let codes = either(db, ["28000"; 2], ["1045", "1698"]);
        assert!(codes.contains(&said.code.as_str()), "{said:?}");
        assert_eq!(said, Said::plainly(&said.code, Unavailable));
        let nowhere = database.url().replace(own_name(&database), "hm_test_nowhere");
        let said = connecting(db, &nowhere).await.err();
        let code = either(db, "3D000", "1049");
        assert_eq!(said, Some(Said::plainly(code, Unavailable)));
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn rights_that_were_taken_away_are_unavailable() {
    for database in on_servers().await {
        let db = database.connection();
        tables(db).await;
        let user = limited_user(&database).await;
        let url = address(&database, &user, None);
        let sql = "UPDATE parents SET size = 1 WHERE id = 1";
        let failed = match either(db, true, false) {
            true => {
                let mut open = PgConnection::connect(&url).await.unwrap();
                open.execute(AssertSqlSafe(sql)).await.unwrap_err()
            }
            false => {
                let mut open = MySqlConnection::connect(&url).await.unwrap();
                open.execute(AssertSqlSafe(sql)).await.unwrap_err()
            }
        };
        drop_user(&database, &user).await;
        let code = either(db, "42501", "1142");
        assert_eq!(conn(failed), Said::plainly(code, Unavailable));
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_may_only_be_read_is_unavailable_for_writing() {
    let sql = "UPDATE parents SET size = 1 WHERE id = 1";
    for database in on_servers().await {
        let db = database.connection();
        tables(db).await;
        let only = Some(AccessMode::ReadOnly);
        let transaction = db.begin_with_config(None, only).await.unwrap();
        let code = either(db, "25006", "1792");
        assert_eq!(fails(&transaction, sql).await, Said::plainly(code, Unavailable));
        transaction.rollback().await.unwrap();
        database.close().await.unwrap();
    }
    let database = TestDatabase::empty_sqlite().await.unwrap();
    tables(database.connection()).await;
    let reader = connect_reader(database.url(), &Options::default()).await.unwrap();
    let said = fails(&reader.unwrap(), sql).await;
    assert_eq!(said, Said::plainly("8", Unavailable));
    database.close().await.unwrap();
}
