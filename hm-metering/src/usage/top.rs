//! Who and what makes the most requests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::name::MeterName;
use crate::time::Timestamp;
use crate::units::Units;

/// What requests are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Facet {
    /// The key, as the text of its id. Requests without a key have none.
    Key,
    /// The route.
    Endpoint,
    /// The operation.
    Operation,
    /// What the handler says the answer came from. Requests of which nothing was said, or the empty text, have none.
    Source,
    /// The first digit of the HTTP status: `2` for answers, `4` and `5` for errors.
    StatusClass,
}

impl Facet {
    /// What `event` has of it.
    #[must_use]
    pub fn of(self, event: &Event) -> Option<String> {
        match self {
            Self::Key => event.key.map(|key| key.to_string()),
            Self::Endpoint => Some(event.endpoint.to_string()),
            Self::Operation => Some(event.operation.as_str().to_owned()),
            Self::Source => event
                .source
                .as_deref()
                .filter(|source| !source.is_empty())
                .map(str::to_owned),
            Self::StatusClass => Some(event.status_class().to_string()),
        }
    }
}

/// Sums over the events that have one value of a facet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FacetSums {
    /// The value; see [`Facet`] for which events have none.
    pub value: Option<String>,
    /// All events.
    pub requests: u64,
    /// Those that did not reach the handler.
    pub refused: u64,
    /// Those that reached the handler and ended with a status of 500 or above.
    pub failed: u64,
    /// What was charged of the meter [`MeterName::REQUESTS`].
    pub units: Units,
}

impl FacetSums {
    /// Counts one more event.
    pub fn add(&mut self, event: &Event) {
        self.requests += 1;
        if event.outcome.reached_handler() {
            self.failed += u64::from(event.status >= 500);
        } else {
            self.refused += 1;
        }
        self.units = self.units.plus(event.units_of(&MeterName::REQUESTS));
    }

    /// The sums of `events` by `facet`, most requests first; equals in the order of their values.
    pub fn of<'a>(facet: Facet, events: impl Iterator<Item = &'a Event>) -> Vec<Self> {
        let mut sums: BTreeMap<Option<String>, Self> = BTreeMap::new();
        for event in events {
            let value = facet.of(event);
            let sum = sums.entry(value.clone()).or_default();
            sum.value = value;
            sum.add(event);
        }
        let mut sums: Vec<_> = sums.into_values().collect();
        sums.sort_by_key(|sum| std::cmp::Reverse(sum.requests));
        sums
    }
}

/// Over what accounts are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActiveSpan {
    /// From midnight to midnight UTC.
    Day,
    /// From Monday to Monday, at midnight UTC.
    Week,
}

const DAY: i64 = 86_400_000_000;

impl ActiveSpan {
    /// The start of the span that `at` lies in.
    #[must_use]
    pub fn start_of(self, at: Timestamp) -> Timestamp {
        let day = at.as_micros().div_euclid(DAY);
        let start = match self {
            Self::Day => day,
            // 1 January 1970 was a Thursday.
            Self::Week => day - (day + 3).rem_euclid(7),
        };
        Timestamp::from_micros(start * DAY)
    }
}

/// How many accounts made a request in a day or week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveAccounts {
    /// Where the day or week begins.
    pub start: Timestamp,
    /// How many different accounts there were.
    pub accounts: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_begins_on_monday() {
        let start = |text: &str| {
            let at: Timestamp = serde_json::from_str(&format!("\"{text}\"")).unwrap();
            ActiveSpan::Week.start_of(at).to_string()
        };
        assert_eq!(start("2026-11-25T23:59:59Z"), "2026-11-23T00:00:00Z");
        assert_eq!(start("2026-11-23T00:00:00Z"), "2026-11-23T00:00:00Z");
        assert_eq!(start("1969-12-31T00:00:00Z"), "1969-12-29T00:00:00Z");
    }
}
