//! What accounts have used, as one event for each row, so that counters, events and rollups agree.

use std::collections::HashSet;

use hm_metering::quota::{QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Outcome, Recorded};
use hm_metering::{
    EventId, MeterName, OperationName, PlanId, Plans, ReplicaId, StoreErrorKind, Timestamp, Units, UsageSink,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::account;
use hm_metering_seaorm::operator::would_record;
use sea_orm::EntityTrait;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Counts, ImportError, Mistakes};
use crate::database::Database;
use crate::operator::OperatorError;

/// The longest `id`, in bytes.
const ID_MAX: usize = 255;

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
        let batch = match batch(database, plans, &row, now).await? {
            Ok(batch) => batch,
            Err(what) => {
                mistakes.add(number, what);
                continue;
            }
        };
        if !seen.insert(batch.id) {
            mistakes.add(
                number,
                "the same account, meter, time and id are in the file twice",
            );
            continue;
        }
        match would_record(store, &batch).await {
            Ok(Recorded::New) => batches.push((number, batch)),
            Ok(Recorded::Repeated) => counts.known += 1,
            Err(error) if error.kind() == StoreErrorKind::Conflict => {
                mistakes.add(number, "it was imported before with other units");
            }
            Err(error) => return Err(error.into()),
        }
    }
    mistakes.finish().map_err(OperatorError::from)?;
    counts.new = batches.len() as u64;
    if dry_run {
        return Ok(counts);
    }
    for (row, batch) in batches {
        match store.record(&batch).await {
            Ok(Recorded::New) => {}
            // Somebody else imports the same.
            Ok(Recorded::Repeated) => {
                counts.new -= 1;
                counts.known += 1;
            }
            Err(source) => return Err(ImportError::Row { row, source }.into()),
        }
    }
    Ok(counts)
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
    if row.units == 0 || row.units > Units::MAX.get() {
        return Err("the units must be from 1 to 999999999999999");
    }
    let units = Units::new(row.units);
    let id = row.id.as_deref().unwrap_or_default();
    if id.len() > ID_MAX || id.chars().any(char::is_control) {
        return Err("the id must have at most 255 bytes, and no control characters");
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
