//! The ledger: a batch is recorded whole or not at all, and once.

use async_trait::async_trait;
use hm_metering::error::StoreResult;
use hm_metering::quota::StoreIdentity;
use hm_metering::usage::{Batch, Event, Recorded};
use hm_metering::{StoreErrorKind, UsageSink};
use redb::{ReadableTable, WriteTransaction};
use serde_json::json;

use crate::quota::{batch_name, settle_once};
use crate::{BATCHES, EVENTS, Failure, FileStore};

#[async_trait]
impl UsageSink for FileStore {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let batch = batch.clone();
        self.write("record a batch", move |transaction| record(transaction, &batch))
            .await
    }

    fn identity(&self) -> Option<StoreIdentity> {
        Some(self.identity)
    }
}

fn record(transaction: &WriteTransaction, batch: &Batch) -> Result<Recorded, Failure> {
    let mut events: Vec<(u128, Vec<u8>)> = batch
        .events
        .iter()
        .map(|event| (event.id.as_uuid().as_u128(), written(event)))
        .collect();
    events.sort();
    let ids: Vec<String> = events.iter().map(|(id, _)| id.to_string()).collect();
    let ids = json!(ids).to_string().into_bytes();

    let mut ledger = transaction.open_table(EVENTS)?;
    let known = transaction
        .open_table(BATCHES)?
        .insert(&*batch_name(batch.id), &*ids)?
        .map(|known| known.value() == ids);
    match known {
        Some(true) => {
            for (id, event) in &events {
                let is_same = ledger.get(id)?.is_some_and(|kept| kept.value() == event);
                if !is_same {
                    return Err(Failure::Refused(StoreErrorKind::Conflict));
                }
            }
            Ok(Recorded::Repeated)
        }
        // The transaction is undone, so the batch keeps the events that it had.
        Some(false) => Err(Failure::Refused(StoreErrorKind::Conflict)),
        None => {
            for (id, event) in &events {
                if ledger.insert(id, &**event)?.is_some() {
                    return Err(Failure::Refused(StoreErrorKind::Conflict));
                }
            }
            settle_once(transaction, batch.id, &batch.settlements)?;
            Ok(Recorded::New)
        }
    }
}

/// An event as it is kept. The same event is always written in the same way, so that it can be compared.
fn written(event: &Event) -> Vec<u8> {
    let units: Vec<_> = event
        .units
        .iter()
        .map(|(meter, units)| (meter.as_str(), units.get()))
        .collect();
    let event = json!({
        "id": event.id,
        "at": event.at.as_micros(),
        "account": event.account,
        "user": event.user,
        "key": event.key,
        "operation": event.operation.as_str(),
        "endpoint": event.endpoint,
        "method": event.method,
        "source": event.source,
        "status": event.status,
        "grpc_status": event.grpc_status,
        "outcome": event.outcome.as_str(),
        "refusal": event.refusal,
        "would_refuse": event.would_refuse,
        "units": units,
        "over": event.over,
        "response_time_us": event.response_time_us,
        "first_byte_us": event.first_byte_us,
        "bytes_in": event.bytes_in,
        "bytes_out": event.bytes_out,
        "request_id": event.request_id,
        "replica": event.replica,
        "tags": event.tags,
    });
    event.to_string().into_bytes()
}
