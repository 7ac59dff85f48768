//! Work that a server does by itself, now and then. Several servers may do it at the same time.

use std::time::Duration;

use hm_metering_seaorm::operator::{self, CLOSING_GRACE};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::app::App;
use crate::operator::CLOSED_AT_ONCE;

/// How often it is looked for periods that are over.
const LOOK: Duration = Duration::from_secs(600);

/// Closes the summaries of periods that ended more than [`CLOSING_GRACE`] ago, until it is dropped.
pub(crate) async fn close_periods(app: App) {
    let mut looks = interval_at(Instant::now() + LOOK, LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
