//! Work that a server does by itself, now and then. Several servers may do it at the same time.

use std::time::Duration;

use hm_metering::Timestamp;
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::operator::{self, CLOSING_GRACE};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::operator::CLOSED_AT_ONCE;

/// How often it is looked for periods that are over.
const LOOK: Duration = Duration::from_secs(600);
/// How often it is looked whether a part of the ledger is missing. They are made two months ahead.
const DAY: Duration = Duration::from_secs(86_400);

/// Does all of it until it is dropped.
pub(crate) async fn run(app: App) {
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

async fn keep_partitions(app: &App) {
    let mut looks = every(DAY);
    loop {
        looks.tick().await;
        make_partitions(app.store(), app.clock().now()).await;
    }
}

/// Makes the parts of the ledger for this month and the next ones. A server works without them too.
pub(crate) async fn make_partitions(store: &SeaOrmStore, now: Timestamp) {
    if let Err(error) = operator::make_partitions(store, now).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "partitions of the ledger can't be made; it is tried again in a day"
        );
    }
}

/// From one interval after now on.
fn every(interval: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + interval, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
