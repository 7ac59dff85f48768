//! What a test looks for in the ledger.

use std::fmt;
use std::ops::Deref;

use crate::units::Units;
use crate::usage::{Event, Outcome};

/// Events of a ledger, oldest first. It is a slice of them, with finders that answer those of one kind, and a `Debug` of one
/// line for each, so that an assertion that fails shows what there is.
///
/// ```
/// # use hm_metering::testing::Events;
/// # fn look(events: Events) {
/// assert_eq!(events.with_status(429).len(), 1, "{events:?}");
/// assert_eq!(events.of_operation("chat").units_of("tokens"), 12);
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Events(Vec<Event>);

impl Events {
    /// Those of one operation.
    #[must_use]
    pub fn of_operation(&self, operation: &str) -> Self {
        self.only(|event| event.operation.as_str() == operation)
    }

    /// Those of one endpoint: a route's template where the framework tells it, else a path.
    #[must_use]
    pub fn at_endpoint(&self, endpoint: &str) -> Self {
        self.only(|event| event.endpoint == endpoint)
    }

    /// Those that ended so.
    #[must_use]
    pub fn with_outcome(&self, outcome: Outcome) -> Self {
        self.only(|event| event.outcome == outcome)
    }

    /// Those that were answered with this status.
    #[must_use]
    pub fn with_status(&self, status: u16) -> Self {
        self.only(|event| event.status == status)
    }

    /// What all of them together were charged of a meter.
    #[must_use]
    pub fn units_of(&self, meter: &str) -> u64 {
        let charged = self.0.iter().flat_map(|event| &event.units);
        charged
            .filter(|(name, _)| name.as_str() == meter)
            .fold(Units::ZERO, |sum, (_, units)| sum.plus(*units))
            .get()
    }

    /// The one event that there is.
    ///
    /// # Panics
    /// When there is none, or another one.
    #[must_use]
    #[track_caller]
    #[expect(clippy::panic, reason = "it is an assertion")]
    pub fn one(&self) -> Event {
        match &*self.0 {
            [event] => event.clone(),
            events => panic!("one event was expected, and there are {}: {self:?}", events.len()),
        }
    }

    fn only(&self, keep: impl Fn(&Event) -> bool) -> Self {
        Self(self.0.iter().filter(|event| keep(event)).cloned().collect())
    }
}

impl From<Vec<Event>> for Events {
    fn from(events: Vec<Event>) -> Self {
        Self(events)
    }
}

impl Deref for Events {
    type Target = [Event];

    fn deref(&self) -> &[Event] {
        &self.0
    }
}

impl IntoIterator for Events {
    type Item = Event;
    type IntoIter = std::vec::IntoIter<Event>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no events");
        }
        for event in &self.0 {
            write!(
                f,
                "\n  {} {} {} as {}: {} {}, charged",
                event.at,
                event.method,
                event.endpoint,
                event.operation,
                event.status,
                event.outcome.as_str(),
            )?;
            if event.units.is_empty() {
                f.write_str(" nothing")?;
            }
            for (meter, units) in &event.units {
                write!(f, " {units} {meter}")?;
            }
            if let Some(code) = &event.refusal {
                write!(f, " ({code})")?;
            }
        }
        Ok(())
    }
}
