//! What accounts have used, as one event for each row, so that counters, events and rollups agree.

use std::collections::HashSet;

use hm_metering::quota::{QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Outcome, Recorded};
use hm_metering::{EventId, MeterName, OperationName, PlanId, Plans, ReplicaId, Timestamp, Units, UsageSink};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::{account, usage_batch};
use sea_orm::EntityTrait;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Counts, Mistakes};
use crate::database::Database;
use crate::operator::OperatorError;

/// What an account had used of a meter by a moment. A row is known again by its account, meter, moment and `id`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    account_id: Uuid,
    #[serde(default)]
    meter: Option<String>,
    units: u64,
    /// When it was used; it counts in the period that this lies in.
    at: Timestamp,
    /// Tells two uses of the same account, meter and moment apart.
    #[serde(default)]
    id: Option<String>,
}

pub(super) async fn import(
    database: &Database,
    store: &SeaOrmStore,
    plans: &Plans,
    rows: Vec<(usize, Row)>,
    (now, dry_run): (Timestamp, bool),
) -> Result<Counts, OperatorError> {
    let mut mistakes = Mistakes::default();
    let mut counts = Counts {
        rows: rows.len() as u64,
        ..Counts::default()
    };
    let (mut batches, mut seen) = (Vec::new(), HashSet::new());
    for (number, row) in rows {
        match batch(database, plans, &row, now).await? {
            Ok(batch) if seen.insert(batch.id) => batches.push(batch),
            Ok(_) => mistakes.add(
                number,
                "the same account, meter, time and id are in the file twice",
            ),
            Err(what) => mistakes.add(number, what),
        }
    }
    mistakes.finish().map_err(OperatorError::from)?;
    for batch in batches {
        let recorded = if dry_run {
            look(database, batch.id).await?
        } else {
            store.record(&batch).await?
        };
        match recorded {
            Recorded::New => counts.new += 1,
            Recorded::Repeated => counts.known += 1,
        }
    }
    Ok(counts)
}

async fn look(database: &Database, id: BatchId) -> Result<Recorded, OperatorError> {
    let key = (
        id.replica.as_uuid(),
        id.epoch.cast_signed(),
        id.number.cast_signed(),
    );
    let found = usage_batch::Entity::find_by_id(key)
        .one(database.reader())
        .await?;
    Ok(found.map_or(Recorded::New, |_| Recorded::Repeated))
}

async fn batch(
    database: &Database,
    plans: &Plans,
    row: &Row,
    now: Timestamp,
) -> Result<Result<Batch, &'static str>, OperatorError> {
    let found = account::Entity::find_by_id(row.account_id)
        .one(database.reader())
        .await?;
    Ok(match found {
        Some(account) => made(plans, &account, row, now),
        None => Err("there is no such account"),
    })
}

fn made(plans: &Plans, account: &account::Model, row: &Row, now: Timestamp) -> Result<Batch, &'static str> {
    let name = row.meter.as_deref().filter(|meter| !meter.is_empty());
    let meter = name.map_or(Ok(MeterName::REQUESTS), MeterName::parse);
    let meter = meter.map_err(|_| "that is no name of a meter")?;
    let units = Units::new(row.units);
    if units.is_zero() {
        return Err("there must be at least one unit");
    }
    if row.at > now {
        return Err("the time has not come yet");
    }
    let plan = PlanId::parse(account.tier_at(row.at))
        .ok()
        .and_then(|plan| plans.get(&plan))
        .ok_or("the account's plan is not among the settings' plans")?;
    let quota = plan.quotas.iter().find(|quota| quota.meter == meter);
    let anchor = Timestamp::from_micros(account.created_at);
    let settlements = quota.map(|quota| Settlement {
        key: QuotaKey {
            account: account.id.into(),
            key: None,
            meter: meter.clone(),
            period: quota.period.period_at(row.at, anchor),
        },
        plan: plan.id.clone(),
        limit: quota.limit,
        lease: None,
        units,
    });
    let [batch, event] = names(row, &meter);
    Ok(Batch {
        id: BatchId {
            replica: ReplicaId::from_uuid(batch),
            epoch: 1,
            number: 1,
        },
        created_at: now,
        events: vec![event_of(account, row, &meter, units, event)],
        settlements: settlements.into_iter().collect(),
    })
}

/// The same row has the same names, whichever file it is in.
fn names(row: &Row, meter: &MeterName) -> [Uuid; 2] {
    let mut hash = Sha256::new();
    hash.update(b"hm-server import usage");
    hash.update(row.account_id.as_bytes());
    hash.update(row.at.as_micros().to_le_bytes());
    hash.update((meter.as_str().len() as u64).to_le_bytes());
    hash.update(meter.as_str());
    hash.update(row.id.as_deref().unwrap_or_default());
    let digest = hash.finalize();
    let half = |from: usize| {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[from..from + 16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    };
    [half(0), half(16)]
}

fn event_of(account: &account::Model, row: &Row, meter: &MeterName, units: Units, id: Uuid) -> Event {
    Event {
        id: EventId::from_uuid(id),
        at: row.at,
        account: account.id.into(),
        user: None,
        key: None,
        operation: OperationName::from_static("import"),
        endpoint: "import".into(),
        method: "IMPORT".into(),
        source: None,
        status: 200,
        grpc_status: None,
        outcome: Outcome::Completed,
        refusal: None,
        would_refuse: None,
        units: vec![(meter.clone(), units)],
        over: false,
        response_time_us: 0,
        first_byte_us: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: row.id.clone().unwrap_or_default().chars().take(32).collect(),
        replica: ReplicaId::from_uuid(id),
        tags: Vec::new(),
    }
}
