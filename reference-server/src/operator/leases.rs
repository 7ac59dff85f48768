//! `hm-server leases`: what replicas hold that don't come back.

use std::time::Duration;

use hm_metering::{ReplicaId, Timestamp};
use hm_metering_seaorm::operator::{LeaseHolder, forfeit as close_leases, lease_holder, lost_holders};
use serde_json::json;

use super::{OperatorError, open};
use crate::config::Config;
use crate::domain::audit::{self, Change, Origin};

/// A replica that was seen within this time may still run.
const LOST_AFTER: Duration = Duration::from_secs(3_600);

/// Why a replica keeps its leases.
#[derive(Debug, thiserror::Error)]
pub enum LeasesError {
    /// Nobody has said that the replica is lost.
    #[error(
        "nothing was changed. Replica {} holds {} units in {} leases. What it had spent of them and not recorded can be spent \
         again when they are given back, so limits can be exceeded by as much. Make sure that it doesn't run and that its \
         journal can't be started from again; then add --confirm",
        .0.replica, .0.units, .0.leases
    )]
    Unconfirmed(LeaseHolder),
    /// It holds nothing.
    #[error("replica {0} holds no leases")]
    NoLeases(ReplicaId),
    /// It may still run.
    #[error(
        "replica {} was last seen at {}, so it may still run; it must not have been seen for an hour",
        .0.replica, .0.seen_at
    )]
    Seen(LeaseHolder),
}

pub(super) async fn list(
    config: &Config,
    now: Timestamp,
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let (database, store) = open(config).await?;
    let holders = lost_holders(&store, now.minus(LOST_AFTER)).await?;
    for holder in &holders {
        print(&format!(
            "replica {}: {} units in {} leases, last seen at {}, {} hours ago",
            holder.replica,
            holder.units,
            holder.leases,
            holder.seen_at,
            hours(now, holder.seen_at)
        ));
    }
    print(&format!(
        "{} replicas hold leases and were not seen for an hour",
        holders.len()
    ));
    Ok(database.close().await?)
}

const fn hours(now: Timestamp, then: Timestamp) -> i64 {
    now.as_micros().saturating_sub(then.as_micros()) / 3_600_000_000
}

pub(super) async fn forfeit(
    config: &Config,
    now: Timestamp,
    (replica, confirmed): (ReplicaId, bool),
    print: &mut (dyn FnMut(&str) + Send),
) -> Result<(), OperatorError> {
    let (database, store) = open(config).await?;
    let since = now.minus(LOST_AFTER);
    let holder = lease_holder(&store, replica)
        .await?
        .ok_or(LeasesError::NoLeases(replica))?;
    if holder.seen_at >= since {
        return Err(LeasesError::Seen(holder).into());
    }
    if !confirmed {
        return Err(LeasesError::Unconfirmed(holder).into());
    }
    let state = json!({
        "leases": holder.leases,
        "units": holder.units,
        "seenAt": holder.seen_at.to_string(),
    });
    let change = Change::new("leases.forfeit", "replica", replica.as_uuid())
        .by_operator()
        .before(state);
    let origin = Origin {
        request_id: String::new(),
        at: now,
    };
    audit::record(database.writer(), change, &origin).await?;
    let done = close_leases(&store, replica, since, now).await?;
    print(&format!(
        "gave back {} units of {} leases of replica {replica}",
        done.units, done.leases
    ));
    Ok(database.close().await?)
}
