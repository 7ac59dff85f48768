//! Summaries of periods that are over, and what is pruned.

use std::time::Duration;

use hm_metering::page::PageRequest;
use hm_metering::quota::QuotaKey;
use hm_metering::usage::{Grain, Recorded, UsageQuery};
use hm_metering::{AccountId, MeterName, StoreErrorKind, Timestamp, Units, UsageSink, UsageStore};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::operator::{
    self, CLOSING_GRACE, Correction, PeriodSummary, close_periods, correct, summaries,
};
use hm_metering_seaorm::sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use hm_metering_seaorm::testing::TestDatabase;

use crate::fixtures::{account, batch, counter, event, holder, later, settlement, store};

/// A day after the period's end, and a second.
fn after_grace() -> Timestamp {
    later(86_400).plus(CLOSING_GRACE).plus(Duration::from_secs(1))
}

async fn the_summary(store: &SeaOrmStore, account: AccountId) -> PeriodSummary {
    let range = (Timestamp::MIN, Timestamp::MAX);
    let mut found = summaries(store, account, &MeterName::REQUESTS, range)
        .await
        .unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

async fn check_is_clean(store: &SeaOrmStore) {
    let mut found = Vec::new();
    operator::check(store, |difference| found.push(difference.to_string()))
        .await
        .unwrap();
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn a_closed_summary_never_changes_and_what_comes_late_is_a_correction() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let counter = counter(account);
        let holder = holder();
        let one = |number, at: Timestamp| {
            let mut batch = batch(
                holder,
                number,
                vec![event(account, None)],
                vec![settlement(&counter, None, 1)],
            );
            batch.created_at = at;
            batch
        };
        store.record(&one(1, later(0))).await.unwrap();
        // Within the grace it still grows, also after the end of its period.
        let grace_over = later(86_400).plus(CLOSING_GRACE);
        let early = grace_over.minus(Duration::from_micros(1));
        assert_eq!(close_periods(&store, early, CLOSING_GRACE, 10).await.unwrap(), 0);
        store.record(&one(2, later(86_401))).await.unwrap();
        assert_eq!(the_summary(&store, account).await.units, Units::new(2));
        assert_eq!(
            close_periods(&store, grace_over, CLOSING_GRACE, 10)
                .await
                .unwrap(),
            1
        );
        let closed = the_summary(&store, account).await;
        assert_eq!((closed.closed_at, closed.count), (Some(grace_over), 2));

        let late = one(3, after_grace());
        assert_eq!(store.record(&late).await.unwrap(), Recorded::New);
        assert_eq!(store.record(&late).await.unwrap(), Recorded::Repeated);
        assert_eq!(
            close_periods(&store, after_grace(), CLOSING_GRACE, 10)
                .await
                .unwrap(),
            0
        );
        let with_late = the_summary(&store, account).await;
        assert_eq!(with_late.corrections.len(), 1);
        assert!(with_late.corrections[0].late);
        assert_eq!(
            (with_late.corrections[0].units, with_late.corrections[0].count),
            (1, 1)
        );
        assert_eq!(
            PeriodSummary {
                corrections: vec![],
                ..with_late.clone()
            },
            closed
        );
        assert_eq!(with_late.corrected(), Units::new(3));
        check_is_clean(&store).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn what_comes_late_is_a_correction_whatever_the_clock_of_its_writer_says() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let counter = counter(account);
        let one = |number| {
            let event = event(account, None);
            batch(holder(), number, vec![event], vec![settlement(&counter, None, 1)])
        };
        store.record(&one(1)).await.unwrap();
        close_periods(&store, after_grace(), CLOSING_GRACE, 10)
            .await
            .unwrap();
        let mut late = one(2);
        late.created_at = later(0);
        assert!(late.created_at < counter.period.end);
        store.record(&late).await.unwrap();
        let with_late = the_summary(&store, account).await;
        assert_eq!((with_late.units, with_late.count), (Units::ONE, 1));
        let late: Vec<_> = with_late
            .corrections
            .iter()
            .map(|late| (late.units, late.count, late.late))
            .collect();
        assert_eq!(late, [(1, 1, true)]);
        assert_eq!(with_late.corrected(), Units::new(2));
        check_is_clean(&store).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_period_that_got_longer_is_closed_after_its_new_end() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let holder = holder();
        let day = counter(account);
        let mut week = day.clone();
        week.period.end = later(7 * 86_400);
        let of = |number, at: Timestamp, counters: &[&QuotaKey]| {
            let charged = |counter: &&QuotaKey| settlement(counter, None, 1);
            let events = counters.iter().map(|_| hm_metering::usage::Event {
                at,
                ..event(account, None)
            });
            let mut batch = batch(
                holder,
                number,
                events.collect(),
                counters.iter().map(charged).collect(),
            );
            batch.created_at = at;
            batch
        };
        store.record(&of(1, later(0), &[&day])).await.unwrap();
        // Both ends in one batch, and what was charged by the old rule comes last.
        store.record(&of(2, later(10), &[&week, &day])).await.unwrap();
        store.record(&of(3, later(20), &[&day])).await.unwrap();
        let close = |at| close_periods(&store, at, CLOSING_GRACE, 10);
        assert_eq!(close(after_grace()).await.unwrap(), 0);
        store.record(&of(4, later(3 * 86_400), &[&week])).await.unwrap();
        let open = the_summary(&store, account).await;
        assert_eq!((open.period.end, open.count), (week.period.end, 5));
        check_is_clean(&store).await;
        let after = week.period.end.plus(CLOSING_GRACE);
        assert_eq!(close(after).await.unwrap(), 1);
        let late = after.plus(Duration::from_secs(1));
        store.record(&of(5, late, &[&week])).await.unwrap();
        let closed = the_summary(&store, account).await;
        assert_eq!((closed.units, closed.corrected()), (Units::new(5), Units::new(6)));
        assert_eq!(closed.period.end, week.period.end);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_correction_by_people_is_an_entry_of_its_own_with_a_reason() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let counter = counter(account);
        let events = (0..5).map(|_| event(account, None)).collect();
        store
            .record(&batch(holder(), 1, events, vec![settlement(&counter, None, 5)]))
            .await
            .unwrap();
        let credit = |reason: &str| Correction {
            count: 0,
            units: -2,
            reason: reason.to_owned(),
            late: false,
            at: after_grace(),
        };
        let start = counter.period.start;
        let requests = MeterName::REQUESTS;
        let open = correct(&store, account, &requests, start, &credit("an outage"))
            .await
            .unwrap_err();
        assert_eq!(open.kind(), StoreErrorKind::NotFound);
        close_periods(&store, after_grace(), CLOSING_GRACE, 10)
            .await
            .unwrap();
        for reason in ["", "  ", &"x".repeat(256)] {
            let refused = correct(&store, account, &requests, start, &credit(reason))
                .await
                .unwrap_err();
            assert_eq!(refused.kind(), StoreErrorKind::Invalid);
        }
        correct(&store, account, &requests, start, &credit("an outage"))
            .await
            .unwrap();
        let corrected = the_summary(&store, account).await;
        assert_eq!(
            (corrected.units, corrected.corrected()),
            (Units::new(5), Units::new(3))
        );
        assert_eq!(corrected.corrections, [credit("an outage")]);
        // What people decide is no difference between counter and ledger.
        check_is_clean(&store).await;
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn pruning_leaves_sums_counters_and_summaries_and_a_check_knows_what_is_gone() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let counter = counter(account);
        let hour = 3_600;
        let events: Vec<_> = (0..40)
            .map(|place| hm_metering::usage::Event {
                at: later(place * hour - 20 * hour),
                units: vec![
                    (MeterName::REQUESTS, Units::ONE),
                    (MeterName::from_static("tokens"), Units::new(3)),
                ],
                ..event(account, None)
            })
            .collect();
        store
            .record(&batch(holder(), 1, events, vec![settlement(&counter, None, 40)]))
            .await
            .unwrap();
        let all = UsageQuery::new(account, later(-30 * 24 * hour), later(30 * 24 * hour));
        let before = store.totals(&all).await.unwrap();
        let series = store.series(&all, Grain::Hour).await.unwrap();
        let times = store.response_times(&all, &[0.5, 0.99]).await.unwrap();

        // 12 hours from noon on are left of the second day.
        let until = later(18 * hour);
        let mut removed = 0;
        loop {
            match store.prune(until, 7).await.unwrap() {
                0 => break,
                some => {
                    assert!(some <= 7);
                    removed += some;
                }
            }
        }
        assert_eq!(removed, 38);
        let listed = store.recent(&all, &PageRequest::first(100)).await.unwrap().items;
        assert_eq!(listed.len(), 2);
        check_is_clean(&store).await;
        assert!(operator::prune_minutes(&store, until).await.unwrap() > 0);
        assert_eq!(operator::prune_minutes(&store, until).await.unwrap(), 0);
        check_is_clean(&store).await;
        assert_eq!(store.totals(&all).await.unwrap(), before);
        assert_eq!(store.series(&all, Grain::Hour).await.unwrap(), series);
        assert_eq!(store.response_times(&all, &[0.5, 0.99]).await.unwrap(), times);
        assert_eq!(the_summary(&store, account).await.units, Units::new(40));
        // Sums whose events are gone are all that is left of them, and are not made anew.
        let refused = operator::rebuild_rollups(&store, account, later(0))
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), StoreErrorKind::Invalid);
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn servers_on_one_database_close_different_summaries() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        for number in 1..=20 {
            let counter = counter(account(&store).await);
            let event = event(counter.account, None);
            let batch = batch(holder(), number, vec![event], vec![settlement(&counter, None, 1)]);
            store.record(&batch).await.unwrap();
        }
        let other = store.connection();
        let backend = other.get_database_backend();
        if backend != DbBackend::Sqlite {
            let holding = other.begin().await.unwrap();
            let oldest = "SELECT account_id FROM usage_summaries WHERE closed_at IS NULL \
                          ORDER BY period_end LIMIT 10 FOR UPDATE";
            let held = holding
                .query_all_raw(Statement::from_string(backend, oldest))
                .await
                .unwrap();
            assert_eq!(held.len(), 10);
            // Ten are held by another server, which is in no hurry.
            let closed = close_periods(&store, after_grace(), CLOSING_GRACE, 10);
            let closed = tokio::time::timeout(Duration::from_secs(8), closed).await;
            assert_eq!(closed.expect("it waited for the other server").unwrap(), 10);
            holding.rollback().await.unwrap();
        }
        let close = || close_periods(&store, after_grace(), CLOSING_GRACE, 6);
        let (one, two, three, four) = tokio::join!(close(), close(), close(), close());
        let mut closed: u64 = [one, two, three, four].into_iter().map(Result::unwrap).sum();
        while let some @ 1.. = close().await.unwrap() {
            closed += some;
        }
        assert_eq!(closed, if backend == DbBackend::Sqlite { 20 } else { 10 });
        check_is_clean(&store).await;
        database.close().await.unwrap();
    }
}
