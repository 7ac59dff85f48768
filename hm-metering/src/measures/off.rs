//! Counting nothing.

use std::time::Duration;

use crate::name::OperationName;
use crate::usage::Outcome;

/// Nothing is counted of a meter.
#[derive(Clone, Debug)]
pub(crate) struct Measures;

#[expect(clippy::unused_self, reason = "it has the methods of its twin that counts")]
impl Measures {
    pub(crate) const fn new() -> Self {
        Self
    }
    pub(crate) const fn filled(&self, _: &'static str) {}
    pub(crate) const fn leased(&self, _: &'static str) {}
    pub(crate) const fn store_failed(&self, _: &'static str) {}
    pub(crate) const fn hook_panicked(&self, _: &'static str) {}
    pub(crate) const fn lost(&self, _: u64) {}
    pub(crate) const fn shed(&self) {}
    pub(crate) const fn refusal_missed(&self) {}
    pub(crate) const fn sync_failed(&self, _: &'static str) {}
    pub(crate) const fn feed_lags(&self, _: Duration) {}
    pub(crate) const fn journal(&self, _: f64, _: u64) {}
}

/// Nothing is counted of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OperationMeasures;

impl OperationMeasures {
    pub(crate) const fn new() -> Self {
        Self
    }
    pub(crate) const fn finished(&self, _: &OperationName, _: Outcome, _: Duration) {}
    pub(crate) const fn refused(&self, _: &OperationName, _: &'static str) {}
    pub(crate) const fn fell_back(&self, _: &OperationName, _: &'static str) {}
}

/// Nothing is counted of a limit by address.
pub(crate) struct AddressMeasures;

impl AddressMeasures {
    pub(crate) const fn new() -> Self {
        Self
    }
    pub(crate) const fn refused(&self, _: &'static str) {}
}

/// Nothing is counted of a sink.
pub(crate) struct SinkMeasures;

impl SinkMeasures {
    pub(crate) const fn new(_: &str) -> Self {
        Self
    }
    pub(crate) const fn sent(&self, _: &'static str, _: usize, _: Duration) {}
    pub(crate) const fn retried(&self) {}
    pub(crate) const fn missed(&self, _: u64) {}
}
