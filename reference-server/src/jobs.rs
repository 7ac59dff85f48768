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
/// How often it is looked whether a part of the ledger is missing. They are made two months ahead.
const DAY: Duration = Duration::from_secs(86_400);
/// How long making them is waited for. What is under way then goes on.
const MAKING: Duration = Duration::from_secs(60);

/// Does all of it until it is dropped.
pub async fn run(app: App) {
    tokio::join!(close_periods(&app), keep_partitions(&app));
}

/// Closes the summaries of periods that ended more than [`CLOSING_GRACE`] ago.
async fn close_periods(app: &App) {
    let mut looks = every(LOOK);
    loop {
        looks.tick().await;
        let now = app.clock().now();
        match operator::close_periods(app.store(), now, CLOSING_GRACE, CLOSED_AT_ONCE).await {
            Ok(0) => {}
            Ok(closed) => tracing::info!(
                summaries = closed,
                "closed the summaries of periods that are over"
            ),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "summaries can't be closed; it is tried again later"
            ),
        }
    }
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
