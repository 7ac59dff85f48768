//! The time, as the sources are told it.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Tells the sources the time, so that they never ask the machine for it.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: for what is shown, and for the day.
    fn now(&self) -> DateTime<Utc>;

    /// Time since an arbitrary fixed start; never goes backwards. For ages and durations.
    fn monotonic(&self) -> Duration;
}
