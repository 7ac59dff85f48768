//! Counting. Handles are asked for once and kept: nothing is looked up for a request whose like was counted before.

use std::array;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, Label, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use crate::name::OperationName;
use crate::usage::Outcome;

/// How many values of a label have their counters kept. The words of this crate are fewer; a hook may refuse with more codes.
const KEPT: usize = 16;

/// Counters of one name that differ in one label.
struct Family {
    name: &'static str,
    label: &'static str,
    /// The labels that all of them have.
    common: Vec<Label>,
    kept: [OnceLock<(&'static str, Counter)>; KEPT],
}

impl Family {
    fn new(name: &'static str, label: &'static str, common: Vec<Label>) -> Self {
        Self {
            name,
            label,
            common,
            kept: array::from_fn(|_| OnceLock::new()),
        }
    }

    fn add(&self, value: &'static str, count: u64) {
        for place in &self.kept {
            let (has, counter) = place.get_or_init(|| (value, self.counter(value)));
            if *has == value {
                counter.increment(count);
                return;
            }
        }
        self.counter(value).increment(count);
    }

    fn counter(&self, value: &'static str) -> Counter {
        let mut labels = self.common.clone();
        labels.push(Label::new(self.label, value));
        counter!(self.name, labels)
    }
}

/// What is counted of a whole meter. Clones count together.
#[derive(Clone)]
pub(crate) struct Measures(Arc<Handles>);

struct Handles {
    fills: Family,
    leases: Family,
    failures: Family,
    hook_panics: Family,
    sync_failures: Family,
    lost: Counter,
    shed: Counter,
    refusals_missed: Counter,
    feed_lag: Gauge,
    room: Gauge,
    segments: Gauge,
}

impl Measures {
    pub(crate) fn new() -> Self {
        describe();
        Self(Arc::new(Handles {
            fills: Family::new("hm_metering_fills_total", "result", Vec::new()),
            leases: Family::new("hm_metering_leases_total", "result", Vec::new()),
            failures: Family::new("hm_metering_store_failures_total", "call", Vec::new()),
            hook_panics: Family::new("hm_metering_hook_panics_total", "hook", Vec::new()),
            sync_failures: Family::new("hm_metering_journal_sync_failures_total", "file", Vec::new()),
            lost: counter!("hm_metering_events_lost_total"),
            shed: counter!("hm_metering_sheds_total"),
            refusals_missed: counter!("hm_metering_refusals_missed_total"),
            feed_lag: gauge!("hm_metering_feed_lag_seconds"),
            room: gauge!("hm_metering_journal_room_ratio"),
            segments: gauge!("hm_metering_journal_segments"),
        }))
    }

    /// A key was looked up, with this result.
    pub(crate) fn filled(&self, result: &'static str) {
        self.0.fills.add(result, 1);
    }

    /// Units were asked for, with this result.
    pub(crate) fn leased(&self, result: &'static str) {
        self.0.leases.add(result, 1);
    }

    /// A call of a store failed, or was not answered in time.
    pub(crate) fn store_failed(&self, call: &'static str) {
        self.0.failures.add(call, 1);
    }

    /// A hook panicked.
    pub(crate) fn hook_panicked(&self, hook: &'static str) {
        self.0.hook_panics.add(hook, 1);
    }

    /// So many events will never be recorded.
    pub(crate) fn lost(&self, events: u64) {
        self.0.lost.increment(events);
    }

    /// A request is served although there is no room for its event.
    pub(crate) fn shed(&self) {
        self.0.shed.increment(1);
    }

    /// A refusal found no room and is not recorded.
    pub(crate) fn refusal_missed(&self) {
        self.0.refusals_missed.increment(1);
    }

    /// A file of the journal could not be forced to the disk.
    pub(crate) fn sync_failed(&self, file: &'static str) {
        self.0.sync_failures.add(file, 1);
    }

    /// The feed of changes was last read whole so long ago.
    pub(crate) fn feed_lags(&self, by: Duration) {
        self.0.feed_lag.set(by.as_secs_f64());
    }

    /// The share of the log's room that is left, and how many segments it has.
    pub(crate) fn journal(&self, room: f64, segments: u64) {
        self.0.room.set(room);
        #[expect(clippy::cast_precision_loss, reason = "there are not that many")]
        self.0.segments.set(segments as f64);
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measures").finish_non_exhaustive()
    }
}

/// What is counted of one operation.
pub(crate) struct OperationMeasures(OnceLock<Box<OperationHandles>>);

struct OperationHandles {
    requests: Family,
    refusals: Family,
    fallbacks: Family,
    seconds: Histogram,
}

impl OperationMeasures {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// A request ended.
    pub(crate) fn finished(&self, name: &OperationName, outcome: Outcome, took: Duration) {
        let handles = self.handles(name);
        handles.requests.add(outcome.as_str(), 1);
        if outcome.reached_handler() {
            handles.seconds.record(took.as_secs_f64());
        }
    }

    /// A request was refused with this code.
    pub(crate) fn refused(&self, name: &OperationName, code: &'static str) {
        self.handles(name).refusals.add(code, 1);
    }

    /// A request was served by this policy, although a store could not answer.
    pub(crate) fn fell_back(&self, name: &OperationName, policy: &'static str) {
        self.handles(name).fallbacks.add(policy, 1);
    }

    fn handles(&self, name: &OperationName) -> &OperationHandles {
        self.0.get_or_init(|| {
            let common = || vec![Label::new("operation", name.as_str().to_owned())];
            Box::new(OperationHandles {
                requests: Family::new("hm_metering_requests_total", "outcome", common()),
                refusals: Family::new("hm_metering_refusals_total", "code", common()),
                fallbacks: Family::new("hm_metering_fallbacks_total", "policy", common()),
                seconds: histogram!("hm_metering_response_seconds", common()),
            })
        })
    }
}

/// An operation that is still being described may get another name.
impl Clone for OperationMeasures {
    fn clone(&self) -> Self {
        Self::new()
    }
}

/// What was counted makes no operation another one.
impl PartialEq for OperationMeasures {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for OperationMeasures {}

impl fmt::Debug for OperationMeasures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationMeasures").finish_non_exhaustive()
    }
}

/// What is counted of limits by address.
pub(crate) struct AddressMeasures(OnceLock<Family>);

impl AddressMeasures {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// A request was refused by this bucket.
    pub(crate) fn refused(&self, bucket: &'static str) {
        let name = "hm_metering_address_refusals_total";
        let refusals = self.0.get_or_init(|| {
            describe_counter!(name, "Requests that were refused by their client's address");
            Family::new(name, "bucket", Vec::new())
        });
        refusals.add(bucket, 1);
    }
}

/// What is counted of one sink.
pub(crate) struct SinkMeasures {
    batches: Family,
    events: Counter,
    retries: Counter,
    missed: Counter,
    seconds: Histogram,
}

impl SinkMeasures {
    pub(crate) fn new(sink: &str) -> Self {
        let common = || vec![Label::new("sink", sink.to_owned())];
        Self {
            batches: Family::new("hm_metering_batches_total", "result", common()),
            events: counter!("hm_metering_batch_events_total", common()),
            retries: counter!("hm_metering_batch_retries_total", common()),
            missed: counter!("hm_metering_events_missed_total", common()),
            seconds: histogram!("hm_metering_batch_seconds", common()),
        }
    }

    /// A batch of so many events got to its end, after so long.
    pub(crate) fn sent(&self, result: &'static str, events: usize, took: Duration) {
        self.batches.add(result, 1);
        if result == "recorded" {
            self.events.increment(events as u64);
        }
        self.seconds.record(took.as_secs_f64());
    }

    /// An attempt to record a batch failed, and is repeated.
    pub(crate) fn retried(&self) {
        self.retries.increment(1);
    }

    /// The sink was too slow for so many events.
    pub(crate) fn missed(&self, events: u64) {
        self.missed.increment(events);
    }
}

fn describe() {
    for (name, what) in [
        (
            "hm_metering_requests_total",
            "Requests that ended, refused ones included",
        ),
        ("hm_metering_refusals_total", "Requests that were refused"),
        (
            "hm_metering_fallbacks_total",
            "Requests that were served although a store could not answer",
        ),
        ("hm_metering_fills_total", "Look-ups of keys"),
        ("hm_metering_leases_total", "Attempts to lease units"),
        (
            "hm_metering_store_failures_total",
            "Calls of stores that failed or were not answered in time",
        ),
        ("hm_metering_hook_panics_total", "Hooks that panicked"),
        (
            "hm_metering_events_lost_total",
            "Events that will never be in the ledger",
        ),
        (
            "hm_metering_sheds_total",
            "Requests that were served without room for their events",
        ),
        (
            "hm_metering_refusals_missed_total",
            "Refusals that were not recorded for want of room",
        ),
        (
            "hm_metering_journal_sync_failures_total",
            "Attempts to force the journal to the disk that failed",
        ),
        (
            "hm_metering_batches_total",
            "Batches that were recorded, refused for good or left to a later run",
        ),
        ("hm_metering_batch_events_total", "Events in recorded batches"),
        (
            "hm_metering_batch_retries_total",
            "Attempts to record a batch that failed and were repeated",
        ),
        (
            "hm_metering_events_missed_total",
            "Events that a sink was too slow for",
        ),
    ] {
        describe_counter!(name, what);
    }
    describe_gauge!(
        "hm_metering_feed_lag_seconds",
        Unit::Seconds,
        "Since when the feed of changes was not read whole"
    );
    describe_gauge!(
        "hm_metering_journal_room_ratio",
        "The share of the room for events that is left"
    );
    describe_gauge!("hm_metering_journal_segments", "Segments of the journal");
    describe_histogram!(
        "hm_metering_response_seconds",
        Unit::Seconds,
        "From a request's arrival to the end of its response"
    );
    describe_histogram!(
        "hm_metering_batch_seconds",
        Unit::Seconds,
        "From the first attempt to record a batch to the last"
    );
}
