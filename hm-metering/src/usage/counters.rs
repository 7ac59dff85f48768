//! A sink that counts what is charged.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use metrics::{Counter, counter, describe_counter};

use super::{Batch, BatchId, Outcome, Recorded, UsageSink};
use crate::error::StoreResult;

const EVENTS: &str = "hm_metering_usage_events_total";
const UNITS: &str = "hm_metering_usage_units_total";

/// How many counters there are of each name before the rest is counted together.
const COUNTERS_MAX: usize = 512;
/// What operations and meters are called that came too late for a counter of their own.
const OTHER: &str = "other";

/// Counts finished requests and charged units through the facade of the crate [`metrics`](https://docs.rs/metrics), for
/// dashboards and alerts beside the ledger: give it to [`MeterBuilder::also`](crate::MeterBuilder::also).
///
/// | name | labels | counts |
/// | --- | --- | --- |
/// | `hm_metering_usage_events_total` | `operation`, `outcome` | events |
/// | `hm_metering_usage_units_total` | `meter`, `operation`, `outcome` | units that were charged |
///
/// `outcome` is `completed`, `refused`, `cut_short` (the client left, or the response was stopped) or `failed`. No account and
/// no key is a label. Each name has at most 512 counters; what would need more is counted under the operation and the meter
/// `other`, with one more for each class of outcome.
///
/// The counters agree with the ledger, as they are counted from the same events. Like all counters of a process they begin at
/// zero with it, and events that an earlier run left in the journal are counted by the run that sends them on.
///
/// The recorder in use when a counter is first needed gets it, so install one before the meter is started.
///
/// ```
/// # use hm_metering::{MeterBuilder, usage::CountersSink};
/// # fn add(builder: MeterBuilder) -> MeterBuilder {
/// builder.also("counters", CountersSink::new())
/// # }
/// ```
pub struct CountersSink(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    last: Option<BatchId>,
    events: Family,
    units: Family,
}

/// Counters of one name by what tells them apart. Each is asked for once and kept.
#[derive(Default)]
struct Family(HashMap<Labels, Counter>);

/// Meter (none where events are counted), operation, class of outcome.
type Labels = (Option<String>, String, &'static str);

impl CountersSink {
    /// Counts from zero.
    #[must_use]
    pub fn new() -> Self {
        describe_counter!(EVENTS, "Finished requests, as the ledger has them");
        describe_counter!(UNITS, "Units that were charged, as the ledger has them");
        Self(Mutex::default())
    }
}

impl Default for CountersSink {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CountersSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountersSink").finish_non_exhaustive()
    }
}

#[async_trait]
impl UsageSink for CountersSink {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Batches come one after the other, so the only one that can come again is the last.
        if counted.last == Some(batch.id) {
            return Ok(Recorded::Repeated);
        }
        counted.last = Some(batch.id);
        let (mut events, mut units) = (BTreeMap::new(), BTreeMap::new());
        for event in &batch.events {
            let (operation, class) = (event.operation.as_str(), class(event.outcome));
            *events.entry((operation, class)).or_insert(0_u64) += 1;
            for (meter, charged) in &event.units {
                let sum = units.entry((meter.as_str(), operation, class)).or_insert(0_u64);
                *sum = sum.saturating_add(charged.get());
            }
        }
        for ((operation, class), count) in events {
            counted.events.add(EVENTS, None, operation, class, count);
        }
        for ((meter, operation, class), count) in units {
            counted.units.add(UNITS, Some(meter), operation, class, count);
        }
        Ok(Recorded::New)
    }
}

impl Family {
    fn add(
        &mut self,
        name: &'static str,
        meter: Option<&str>,
        operation: &str,
        class: &'static str,
        count: u64,
    ) {
        let labels = (meter.map(str::to_owned), operation.to_owned(), class);
        let labels = if self.0.len() < COUNTERS_MAX || self.0.contains_key(&labels) {
            labels
        } else {
            (meter.map(|_| OTHER.to_owned()), OTHER.to_owned(), class)
        };
        let counter = self.0.entry(labels).or_insert_with_key(|labels| match labels {
            (Some(meter), operation, class) => {
                counter!(name, "meter" => meter.clone(), "operation" => operation.clone(), "outcome" => *class)
            }
            (None, operation, class) => {
                counter!(name, "operation" => operation.clone(), "outcome" => *class)
            }
        });
        counter.increment(count);
    }
}

/// The word for how a request ended, for those who only want to know whether it went well.
const fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "completed",
        Outcome::Refused => "refused",
        Outcome::ClientGone | Outcome::Stopped => "cut_short",
        Outcome::BodyError
        | Outcome::ServiceError
        | Outcome::Panicked
        | Outcome::TimedOut
        | Outcome::NotReached => "failed",
    }
}
