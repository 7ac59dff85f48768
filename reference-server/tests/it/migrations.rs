//! The schema goes up, down and up again on every database.

use hm_metering_seaorm::testing::TestDatabase;
use hm_server::migration::Migrator;
use sea_orm_migration::MigratorTrait;

#[tokio::test]
async fn every_migration_can_be_undone_and_done_again() {
    for database in TestDatabase::every_empty().await.unwrap() {
        let db = database.connection();
        let steps = u32::try_from(Migrator::migrations().len()).unwrap();
        for step in 1..=steps {
            Migrator::up(db, Some(1)).await.unwrap();
            Migrator::down(db, Some(1)).await.unwrap();
            Migrator::up(db, Some(1)).await.unwrap();
            assert_eq!(
                Migrator::get_applied_migrations(db).await.unwrap().len(),
                step as usize
            );
        }
        Migrator::down(db, None).await.unwrap();
        assert!(Migrator::get_applied_migrations(db).await.unwrap().is_empty());
        Migrator::up(db, None).await.unwrap();
        Migrator::up(db, None).await.unwrap();
        assert!(Migrator::get_pending_migrations(db).await.unwrap().is_empty());
        database.close().await.unwrap();
    }
}
