//! The cases that every store of the traits has to pass, on each database.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use hm_metering::conformance::{Accounts, Case, Fixture};
use hm_metering::{AccountId, PlanId, Timestamp, UserId};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::account;
use hm_metering_seaorm::sea_orm::{ActiveModelTrait, IntoActiveModel};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{NOW, store};

/// Accounts as a server makes them: rows of our own table.
struct Rows(SeaOrmStore);

#[async_trait]
impl Accounts for Rows {
    async fn add(&self, plan: &PlanId, anchor: Timestamp) -> (AccountId, UserId) {
        let row = account::Model {
            id: Uuid::new_v4(),
            name: "Ada".into(),
            tier: plan.as_str().into(),
            tier_version: 0,
            created_at: anchor.as_micros(),
            updated_at: anchor.as_micros(),
            closed_at: None,
            next_tier: None,
            next_tier_at: None,
        };
        let id = AccountId::from_uuid(row.id);
        row.into_active_model()
            .reset_all()
            .insert(self.0.connection())
            .await
            .unwrap();
        (id, UserId::from_uuid(Uuid::new_v4()))
    }

    async fn set_plan(&self, account: AccountId, plan: &PlanId) {
        self.0.set_tier(account, plan, NOW).await.unwrap();
    }

    async fn schedule_plan(&self, account: AccountId, plan: &PlanId, at: Timestamp) {
        self.0.schedule_tier(account, plan, at, NOW).await.unwrap();
    }

    async fn close(&self, account: AccountId) {
        self.0.close_account(account, NOW).await.unwrap();
    }
}

async fn fixture<S: ?Sized>(database: TestDatabase, share: fn(SeaOrmStore) -> Arc<S>) -> Fixture<S> {
    let store = store(&database).await;
    Fixture::new(share(store.clone()), Rows(store)).with_guard(database)
}

/// Makes a database on a server, where one answers.
type OnServer = fn() -> BoxFuture<'static, Option<TestDatabase>>;

fn postgres() -> BoxFuture<'static, Option<TestDatabase>> {
    async { TestDatabase::postgres().await.unwrap() }.boxed()
}

fn mysql() -> BoxFuture<'static, Option<TestDatabase>> {
    async { TestDatabase::mysql().await.unwrap() }.boxed()
}

/// Runs a suite on a server, each case on a database of its own, a few at a time.
async fn on_server<S: ?Sized + Send + Sync + 'static>(
    cases: Vec<Case<S>>,
    database: OnServer,
    share: fn(SeaOrmStore) -> Arc<S>,
) {
    assert!(!cases.is_empty());
    let results = stream::iter(cases).map(|case| async move {
        let database = database().await?;
        let running = tokio::spawn(async move {
            let fixture = fixture(database, share).await;
            let name = case.name();
            let passed = AssertUnwindSafe(case.run(fixture)).catch_unwind().await.is_ok();
            (!passed).then_some(name)
        });
        running.await.unwrap()
    });
    let failed: Vec<_> = results
        .buffer_unordered(4)
        .filter_map(|name| async move { name })
        .collect()
        .await;
    assert!(failed.is_empty(), "failed: {failed:?}");
}

macro_rules! in_form {
    ($trait:path, $tests:ident, $cases:path) => {
        use hm_metering::conformance::Fixture;
        use hm_metering_seaorm::testing::TestDatabase;

        async fn sqlite() -> Fixture<dyn $trait> {
            crate::conformance::fixture(TestDatabase::sqlite().await.unwrap(), share).await
        }

        mod on_sqlite {
            hm_metering::$tests!(super::sqlite);
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn the_same_cases_pass_on_postgresql() {
            crate::conformance::on_server($cases(), crate::conformance::postgres, share).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn the_same_cases_pass_on_mariadb() {
            crate::conformance::on_server($cases(), crate::conformance::mysql, share).await;
        }
    };
}

/// Each suite on each database: the store as it is, and behind an `Arc` of a trait object, which is a store as well.
macro_rules! suites {
    ($($name:ident: $trait:path, $tests:ident, $cases:path;)*) => {$(
        mod $name {
            use std::sync::Arc;

            use hm_metering_seaorm::SeaOrmStore;

            mod plain {
                use super::*;

                fn share(store: SeaOrmStore) -> Arc<dyn $trait> {
                    Arc::new(store)
                }

                in_form!($trait, $tests, $cases);
            }

            mod behind_a_trait_object {
                use super::*;

                fn share(store: SeaOrmStore) -> Arc<dyn $trait> {
                    let object: Arc<dyn $trait> = Arc::new(store);
                    Arc::new(object)
                }

                in_form!($trait, $tests, $cases);
            }
        }
    )*};
}

suites! {
    keys: hm_metering::KeyStore, key_store_tests, hm_metering::conformance::keys::cases;
    quota: hm_metering::QuotaStore, quota_store_tests, hm_metering::conformance::quota::cases;
    sink: hm_metering::UsageSink, usage_sink_tests, hm_metering::conformance::usage::sink_cases;
    usage: hm_metering::UsageStore, usage_store_tests, hm_metering::conformance::usage::cases;
    settling: hm_metering::conformance::SettlingStore, settling_store_tests, hm_metering::conformance::settling::cases;
    counting: hm_metering::conformance::CountingStore, counting_store_tests, hm_metering::conformance::counting::cases;
}
