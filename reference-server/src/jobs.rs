//! Work that a server does by itself, now and then. Several servers may do it at the same time.

use std::time::Duration;

use hm_metering::{StoreErrorKind, Timestamp};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::operator::{self, CLOSING_GRACE};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use crate::app::App;
use crate::operator::CLOSED_AT_ONCE;

/// How often it is looked for periods that are over.
const LOOK: Duration = Duration::from_secs(600);
/// How often in a look some of them are closed, at most: 100,000 in all.
const TURNS: u32 = 200;
/// How long the database has for others in between.
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is looked whether a part of the ledger is missing. They are made two months ahead.
const DAY: Duration = Duration::from_secs(86_400);
/// How long making them is waited for. What is under way then goes on.
const MAKING: Duration = Duration::from_secs(60);

/// Does all of it until it is dropped. A transaction that is under way then goes on to its end.
pub async fn run(app: App) {
    tokio::join!(close_periods(&app), keep_partitions(&app));
}

/// Closes the summaries of periods that ended more than [`CLOSING_GRACE`] ago.
async fn close_periods(app: &App) {
    let mut looks = every(LOOK);
    loop {
        looks.tick().await;
        close_summaries(app).await;
    }
}

/// One such look: closes some at a time until none is left, or so many are closed that it is time to look again. Answers how
/// many it closed; what fails is in the log, and is tried again at the next look. When the future is dropped, the
/// transaction that is under way goes on to its end.
pub async fn close_summaries(app: &App) -> u64 {
    let now = app.clock().now();
    let (mut closed, mut turns) = (0, 0);
    let left = loop {
        match operator::close_periods(app.store(), now, CLOSING_GRACE, CLOSED_AT_ONCE).await {
            Ok(some) => {
                closed += some;
                turns += 1;
                if some < CLOSED_AT_ONCE || turns == TURNS {
                    break some == CLOSED_AT_ONCE;
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "summaries can't be closed; it is tried again later"
                );
                break false;
            }
        }
        // Requests go first.
        tokio::time::sleep(PAUSE).await;
    };
    if closed > 0 {
        tracing::info!(
            summaries = closed,
            left,
            "closed the summaries of periods that are over"
        );
    }
    closed
}

/// Makes the parts of the ledger for this month and the next ones: first of all, and then daily. A server works without them
/// too, so nothing waits for it.
async fn keep_partitions(app: &App) {
    loop {
        let next = make_partitions(app.store(), app.clock().now()).await;
        tokio::time::sleep(next).await;
    }
}

/// Answers after how long they are looked at again.
async fn make_partitions(store: &SeaOrmStore, now: Timestamp) -> Duration {
    let made = timeout(MAKING, operator::make_partitions(store, now)).await;
    let Ok(made) = made else {
        tracing::warn!("partitions of the ledger are still being made; it is tried again in ten minutes");
        return LOOK;
    };
    let Err(error) = made else {
        return DAY;
    };
    // Somebody was in the way, or it is not allowed and will not be soon.
    let next = match error.kind() {
        StoreErrorKind::Unavailable | StoreErrorKind::Timeout => LOOK,
        _ => DAY,
    };
    tracing::warn!(
        error = &error as &dyn std::error::Error,
        minutes = next.as_secs() / 60,
        "partitions of the ledger can't be made; it is tried again later"
    );
    next
}

/// From one interval after now on.
fn every(interval: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
