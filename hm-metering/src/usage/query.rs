//! Questions to the ledger and their answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::id::{AccountId, KeyId};
use crate::name::MeterName;
use crate::time::Timestamp;
use crate::units::Units;

/// Which events are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// Whose.
    pub account: AccountId,
    /// From when, this moment included.
    pub from: Timestamp,
    /// Until when, this moment excluded.
    pub to: Timestamp,
    /// Of one key only.
    pub key: Option<KeyId>,
}

impl UsageQuery {
    /// The most points that one series has.
    pub const MAX_POINTS: u64 = 10_000;
    /// The most values of a facet that one answer has.
    pub const MAX_TOP: usize = 1_000;

    /// All events of `account` from `from` to before `to`.
    #[must_use]
    pub const fn new(account: AccountId, from: Timestamp, to: Timestamp) -> Self {
        Self {
            account,
            from,
            to,
            key: None,
        }
    }

    /// Only those of one key.
    #[must_use]
    pub const fn of_key(mut self, key: KeyId) -> Self {
        self.key = Some(key);
        self
    }

    /// Whether `event` is meant.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        event.account == self.account
            && self.from <= event.at
            && event.at < self.to
            && self.key.is_none_or(|key| event.key == Some(key))
    }
}

/// Sums over events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageTotals {
    /// All events.
    pub requests: u64,
    /// Those that did not reach the handler, most of them because we refused them.
    pub refused: u64,
    /// Those that reached the handler and ended with a status of 500 or above.
    pub failed: u64,
    /// What was charged, by meter; meters with nothing charged are left out.
    pub units: BTreeMap<MeterName, Units>,
}

impl UsageTotals {
    /// Counts one more event.
    pub fn add(&mut self, event: &Event) {
        self.requests += 1;
        if event.outcome.reached_handler() {
            self.failed += u64::from(event.status >= 500);
        } else {
            self.refused += 1;
        }
        for (meter, units) in &event.units {
            let sum = self.units.entry(meter.clone()).or_default();
            *sum = sum.plus(*units);
        }
    }
}

/// How finely a series is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grain {
    /// By minute.
    Minute,
    /// By hour.
    Hour,
    /// By day, from midnight UTC.
    Day,
}

impl Grain {
    /// Its length in microseconds.
    #[must_use]
    pub const fn micros(self) -> i64 {
        match self {
            Self::Minute => 60_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// The start of the grain that `at` lies in.
    #[must_use]
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        Timestamp::from_micros(at.as_micros() - at.as_micros().rem_euclid(self.micros()))
    }
}

/// Sums over one grain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeriesPoint {
    /// Where the grain begins.
    pub start: Timestamp,
    /// Its sums.
    pub totals: UsageTotals,
}
