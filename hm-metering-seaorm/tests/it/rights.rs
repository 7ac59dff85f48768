//! Users of the database who may do less than change its schema.

use hm_metering::QuotaStore;
use hm_metering_seaorm::migration::{MigrateError, down, must_be_current, status, up};
use hm_metering_seaorm::operator;
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{Migrator, SeaOrmStore};
use uuid::Uuid;

use crate::fixtures::{account, ask, counter, holder, store};

/// A user of one database, who goes away with [`User::leave`].
struct User<'d> {
    database: &'d TestDatabase,
    name: String,
}

impl<'d> User<'d> {
    /// Who has these rights on all tables, and no others.
    async fn with(database: &'d TestDatabase, rights: &str) -> Self {
        let user = Self {
            database,
            name: format!("hm_test_{:x}", Uuid::new_v4().as_u128() >> 64),
        };
        let name = &user.name;
        let statements = if user.is_on_postgres() {
            format!(
                "REVOKE CREATE ON SCHEMA public FROM PUBLIC; CREATE ROLE {name} LOGIN; \
                 GRANT USAGE ON SCHEMA public TO {name}; \
                 GRANT {rights} ON ALL TABLES IN SCHEMA public TO {name}; \
                 GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {name}"
            )
        } else {
            let own = own_name(database);
            format!("CREATE USER {name}@'%'; GRANT {rights} ON `{own}`.* TO {name}@'%'")
        };
        user.does(&statements).await;
        user
    }

    fn is_on_postgres(&self) -> bool {
        self.database.connection().get_database_backend() == DbBackend::Postgres
    }

    async fn does(&self, statements: &str) {
        self.database
            .connection()
            .execute_unprepared(statements)
            .await
            .unwrap();
    }

    fn url(&self) -> String {
        let (scheme, rest) = self.database.url().split_once("://").unwrap();
        let (_, server) = rest.split_once('@').unwrap();
        format!("{scheme}://{}@{server}", self.name)
    }

    async fn leave(self) {
        let name = &self.name;
        let statements = if self.is_on_postgres() {
            format!("DROP OWNED BY {name}; DROP ROLE {name}")
        } else {
            format!("DROP USER {name}@'%'")
        };
        self.does(&statements).await;
    }
}

fn own_name(database: &TestDatabase) -> &str {
    let name = database.url().rsplit('/').next().unwrap();
    name.split('?').next().unwrap()
}

async fn has_migrations_table(db: &DatabaseConnection) -> bool {
    db.execute_unprepared("SELECT * FROM seaql_migrations")
        .await
        .is_ok()
}

#[tokio::test]
async fn who_may_not_change_the_schema_serves_with_one_that_is_there() {
    let servers = [TestDatabase::postgres().await, TestDatabase::mysql().await];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        let user = User::with(&database, "SELECT, INSERT, UPDATE, DELETE").await;
        let store = SeaOrmStore::open(&user.url()).await.unwrap();
        let key = counter(account(&store).await);
        let grant = store.lease(&ask(holder(), 1, &key, 10, 4)).await.unwrap();
        assert_eq!(grant.granted.get(), 4);
        let steps = status::<Migrator>(store.connection()).await.unwrap();
        assert!(steps.iter().all(|step| step.applied && step.known));
        // Which there is something to do for.
        let refused = down::<Migrator>(store.connection(), 1).await.unwrap_err();
        assert!(matches!(refused, MigrateError::Database(_)), "{refused}");
        store.close().await.unwrap();
        user.leave().await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn who_may_only_read_checks_the_ledger_and_sees_the_state_of_the_schema() {
    let servers = [TestDatabase::postgres().await, TestDatabase::mysql().await];
    for database in servers.into_iter().filter_map(Result::unwrap) {
        let writer = store(&database).await;
        let key = counter(account(&writer).await);
        writer.lease(&ask(holder(), 1, &key, 10, 4)).await.unwrap();
        let user = User::with(&database, "SELECT").await;
        if user.is_on_postgres() {
            // As all sessions are on a standby.
            let read_only = format!("ALTER ROLE {} SET default_transaction_read_only = on", user.name);
            user.does(&read_only).await;
        }
        let reader = SeaOrmStore::open(&user.url()).await.unwrap();
        must_be_current::<Migrator>(reader.connection()).await.unwrap();
        let steps = status::<Migrator>(reader.connection()).await.unwrap();
        assert!(steps.iter().all(|step| step.applied && step.known));
        let mut found = Vec::new();
        operator::check(&reader, |difference| found.push(difference.to_string()))
            .await
            .unwrap();
        assert_eq!(found, Vec::<String>::new());
        reader.close().await.unwrap();
        user.leave().await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn looking_at_an_empty_database_leaves_it_empty() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        let steps = status::<Migrator>(db).await.unwrap();
        assert!(!steps.is_empty() && steps.iter().all(|step| !step.applied && step.known));
        let error = must_be_current::<Migrator>(db).await.unwrap_err();
        assert!(matches!(error, MigrateError::TooOld(_)), "{error}");
        down::<Migrator>(db, 1).await.unwrap();
        assert!(!has_migrations_table(db).await);
        up::<Migrator>(db).await.unwrap();
        assert!(has_migrations_table(db).await);
        database.close().await.unwrap();
    }
}
