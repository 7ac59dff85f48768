//! Sums that were damaged by hand are found, said to differ in what was damaged, and made anew.

use hm_metering::usage::{Event, Outcome, UsageQuery};
use hm_metering::{AccountId, StoreErrorKind, Timestamp, Units, UsageSink, UsageStore};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::{usage_active_day, usage_rollup_sum as sum};
use hm_metering_seaorm::operator::{self, Counted, Difference, Witness};
use hm_metering_seaorm::sea_orm::sea_query::Expr;
use hm_metering_seaorm::sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, EntityTrait, IntoActiveModel, QueryFilter,
};
use hm_metering_seaorm::testing::TestDatabase;

use crate::fixtures::{NOW, account, batch, event, holder, later, store};

/// The start of the day that the events lie in.
const DAY: i64 = NOW.as_micros() - NOW.as_micros() % 86_400_000_000;

async fn check(store: &SeaOrmStore) -> Vec<Difference> {
    let mut found = Vec::new();
    operator::check(store, |difference| found.push(difference.clone()))
        .await
        .unwrap();
    found
}

async fn repair(store: &SeaOrmStore, found: &[Difference]) {
    for difference in found.iter().filter(|difference| difference.witness.is_rollup()) {
        operator::rebuild_rollups(store, difference.account, difference.period.start)
            .await
            .unwrap();
    }
}

/// Thirty events within an hour, every third of them refused and every third failed, that take times from `fastest` on.
async fn used(store: &SeaOrmStore, fastest: u64) -> AccountId {
    let account = account(store).await;
    let events = (0..30)
        .map(|place| Event {
            at: later(place * 60),
            status: [200, 429, 503][place as usize % 3],
            outcome: [Outcome::Completed, Outcome::Refused, Outcome::Completed][place as usize % 3],
            units: Vec::new(),
            response_time_us: fastest + place as u64 * 1_000,
            ..event(account, None)
        })
        .collect();
    store
        .record(&batch(holder(), 1, events, Vec::new()))
        .await
        .unwrap();
    account
}

async fn change(store: &SeaOrmStore, sql: &str) {
    let changed = store.connection().execute_unprepared(sql).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
}

/// Puts other bytes in place of the sketches of one grain.
async fn set_sketches(store: &SeaOrmStore, account: AccountId, grain: i16, sketch: &[u8]) {
    let changed = sum::Entity::update_many()
        .col_expr(sum::Column::Sketch, Expr::value(sketch.to_vec()))
        .filter(sum::Column::AccountId.eq(account.as_uuid()))
        .filter(sum::Column::Grain.eq(grain))
        .filter(sum::Column::Refused.eq(0))
        .exec(store.connection())
        .await
        .unwrap();
    assert!(changed.rows_affected > 0);
}

fn units(numbers: [u64; 2]) -> [Option<Units>; 2] {
    numbers.map(|number| Some(Units::new(number)))
}

#[tokio::test]
async fn counts_and_times_that_were_changed_are_found_and_made_anew() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = used(&store, 500).await;
        assert_eq!(check(&store).await, []);
        let all: u64 = (0..30)
            .filter(|place| place % 3 != 1)
            .map(|place| 500 + place * 1_000)
            .sum();
        // All rows of a grain grow by one: of those that were refused, there are rows of their own.
        for (sql, witness, what, numbers) in [
            (
                "sums SET refused = refused + 1 WHERE grain = 2 AND refused > 0",
                Witness::Days,
                Counted::Refused,
                [10, 11],
            ),
            (
                "sums SET failed = failed - 1 WHERE grain = 2 AND failed > 0",
                Witness::Days,
                Counted::Failed,
                [10, 9],
            ),
            (
                "sums SET refused = 0 WHERE grain = 0",
                Witness::Minutes,
                Counted::Refused,
                [10, 0],
            ),
            (
                "sums SET failed = 0 WHERE grain = 1",
                Witness::Hours,
                Counted::Failed,
                [10, 0],
            ),
            (
                "endpoints SET refused = refused + 2 WHERE grain = 2",
                Witness::Endpoints,
                Counted::Refused,
                [10, 12],
            ),
            (
                "endpoints SET failed = 0 WHERE grain = 0",
                Witness::Endpoints,
                Counted::Failed,
                [10, 0],
            ),
            (
                "sums SET response_time_us_sum = response_time_us_sum + 7 WHERE grain = 2 AND failed > 0",
                Witness::Days,
                Counted::ResponseTime,
                [all, all + 7],
            ),
            (
                "sums SET response_time_us_max = response_time_us_max + 7 WHERE grain = 1 AND failed > 0",
                Witness::Hours,
                Counted::LongestResponse,
                [29_500, 29_507],
            ),
        ] {
            change(&store, &format!("UPDATE usage_rollup_{sql}")).await;
            let found = check(&store).await;
            assert_eq!(found.len(), 1, "{sql}: {found:#?}");
            let found = &found[0];
            assert_eq!(
                (found.account, found.witness, &found.what),
                (account, witness, &what),
                "{sql}"
            );
            assert_eq!([found.events, found.rollups], units(numbers), "{sql}");
            assert_eq!(found.period.start.as_micros(), DAY);
            repair(&store, std::slice::from_ref(found)).await;
            assert_eq!(check(&store).await, [], "after {sql}");
        }
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn sketches_that_lost_times_have_others_or_can_not_be_read_are_found_and_made_anew() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let (account, other) = (used(&store, 500).await, used(&store, 900_000).await);
        let query = UsageQuery::new(account, later(-3_600), later(7_200));
        let percentiles = store.response_times(&query, &[0.5, 0.99]).await.unwrap();
        let of_others: Vec<sum::Model> = sum::Entity::find()
            .filter(sum::Column::AccountId.eq(other.as_uuid()))
            .filter(sum::Column::Grain.eq(2))
            .filter(sum::Column::Failed.gt(0))
            .all(store.connection())
            .await
            .unwrap();
        // On the day each sketch has ten of the twenty times: of those that failed, and of the others.
        let foreign = of_others[0].sketch.as_slice();
        for (grain, witness) in [(0, Witness::Minutes), (1, Witness::Hours), (2, Witness::Days)] {
            for (sketch, rollups) in [
                (&b""[..], Some(Units::ZERO)),
                (foreign, (grain == 2).then_some(Units::new(20))),
                (&b"nonsense"[..], None),
            ] {
                set_sketches(&store, account, grain, sketch).await;
                let found = check(&store).await;
                assert_eq!(found.len(), 1, "{witness:?} {sketch:?}: {found:#?}");
                let found = &found[0];
                assert_eq!(
                    (found.account, found.witness, &found.what),
                    (account, witness, &Counted::ResponseTimes)
                );
                assert_eq!(found.events, Some(Units::new(20)));
                if sketch != foreign || grain == 2 {
                    assert_eq!(found.rollups, rollups, "{witness:?} {sketch:?}");
                }
                repair(&store, std::slice::from_ref(found)).await;
                assert_eq!(check(&store).await, [], "{witness:?} {sketch:?}");
            }
        }
        assert_eq!(
            store.response_times(&query, &[0.5, 0.99]).await.unwrap(),
            percentiles
        );
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn active_days_that_are_missing_or_made_up_are_found_and_put_right() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = used(&store, 500).await;
        let days = async || {
            let from = Timestamp::from_micros(DAY - 10 * 86_400_000_000);
            let span = hm_metering::usage::ActiveSpan::Day;
            store
                .active_accounts(from, later(90_000), span)
                .await
                .unwrap()
                .len()
        };
        change(&store, "DELETE FROM usage_active_days").await;
        assert_eq!(days().await, 0);
        let found = check(&store).await;
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(
            (found[0].account, found[0].witness),
            (account, Witness::ActiveDays)
        );
        assert_eq!([found[0].events, found[0].rollups], units([30, 0]));
        repair(&store, &found).await;
        assert_eq!((check(&store).await, days().await), (vec![], 1));

        for place in 1..=100 {
            let row = usage_active_day::Model {
                day_start: DAY - place % 5 * 86_400_000_000 - 86_400_000_000,
                account_id: uuid::Uuid::from_u128(place.unsigned_abs().into()),
            };
            row.into_active_model()
                .reset_all()
                .insert(store.connection())
                .await
                .unwrap();
        }
        let found = check(&store).await;
        assert_eq!(found.len(), 100);
        for difference in &found {
            assert_eq!(difference.witness, Witness::ActiveDays);
            assert_eq!([difference.events, difference.rollups], units([0, 1]));
        }
        repair(&store, &found).await;
        assert_eq!((check(&store).await, days().await), (vec![], 1));
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn where_events_were_pruned_sums_are_held_against_those_by_day_and_not_made_anew() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = used(&store, 500).await;
        store.prune(later(90_000), 1_000).await.unwrap();
        assert_eq!(check(&store).await, []);
        change(&store, "UPDATE usage_rollup_sums SET failed = 0 WHERE grain = 1").await;
        set_sketches(&store, account, 0, b"").await;
        let found = check(&store).await;
        let shown: Vec<_> = found
            .iter()
            .map(|found| (found.witness, &found.what, found.events, found.rollups))
            .collect();
        let zero = Some(Units::ZERO);
        assert_eq!(
            shown,
            [
                (Witness::Hours, &Counted::Failed, None, zero),
                (Witness::Minutes, &Counted::ResponseTimes, None, zero)
            ]
        );
        let error = operator::rebuild_rollups(&store, account, NOW).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        database.close().await.unwrap();
    }
}
