//! `hm-server prune`.

use std::time::Duration;

use hm_metering::Timestamp;
use hm_metering_seaorm::operator::{prune_bookkeeping, prune_events, prune_minutes};

use super::{OperatorError, open};
use crate::config::Config;

/// How many events go in one transaction.
const EVENTS_AT_ONCE: usize = 5_000;
/// How many days names of batches, closed leases and changes stay at least: no journal is older that is started from again.
const BOOKKEEPING_DAYS: u32 = 90;
const DAY: Duration = Duration::from_secs(86_400);

pub(super) async fn run(
    config: &Config,
    now: Timestamp,
    (keep_days, keep_minutes_days): (u32, Option<u32>),
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let (database, store) = open(config).await?;
    let before = now.minus(DAY * keep_days);
    let removed = prune_events(&store, before, EVENTS_AT_ONCE).await?;
    if removed.partitions > 0 {
        print(&format!(
            "dropped {} partitions with events from before {before} only",
            removed.partitions
        ));
    }
    print(&format!("removed {} events from before {before}", removed.events));
    if let Some(days) = keep_minutes_days {
        let before = now.minus(DAY * days);
        let removed = prune_minutes(&store, before).await?;
        print(&format!(
            "removed {removed} sums by minute of the days before {before}"
        ));
    }
    let before = before.min(now.minus(DAY * BOOKKEEPING_DAYS));
    let removed = prune_bookkeeping(&store, before).await?;
    print(&format!(
        "removed names of {} batches, {} closed leases and {} changes of keys and accounts from before {before}",
        removed.batches, removed.leases, removed.changes
    ));
    Ok(database.close().await?)
}
