//! The time, as the server sees it.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Tells the time. Tests give the server one that they move by hand.
pub trait Clock: Send + Sync + 'static {
    /// The time of day, in whole microseconds: what every database keeps.
    fn now(&self) -> DateTime<Utc>;

    /// Time since some moment in the past; never goes back.
    fn elapsed(&self) -> Duration;
}
