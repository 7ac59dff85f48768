//! What goes into one batch, and how it is divided if the sink does not take it.

use crate::name::PlanId;
use crate::usage::Event;
use crate::usage::journal::record::{Charges, Record};
use crate::usage::journal::{Position, Sent};

/// Records on their way into one batch.
pub(super) struct Part {
    pub(super) events: Vec<Event>,
    /// One for each event.
    pub(super) ends: Vec<End>,
    pub(super) epoch: u64,
    /// The batch that an earlier run sent, if it is that one.
    pub(super) resent: Option<Sent>,
}

/// What belongs to an event and not into its batch.
#[derive(Debug)]
pub(super) struct End {
    pub(super) plan: Option<PlanId>,
    pub(super) charges: Charges,
    /// Behind its record.
    pub(super) at: Position,
    /// How many records of this run lie between the event before and here.
    pub(super) records: u64,
}

impl Part {
    /// An empty one, with room for so many.
    pub(super) fn with_room(events: usize) -> Self {
        Self {
            events: Vec::with_capacity(events),
            ends: Vec::with_capacity(events),
            epoch: 0,
            resent: None,
        }
    }

    pub(super) fn push(&mut self, record: Record, at: Position, records: u64) {
        let Record { event, plan, charges } = record;
        self.events.push(event);
        self.ends.push(End {
            plan,
            charges,
            at,
            records,
        });
    }

    /// In the order in which a stack gives them back.
    pub(super) fn halves(mut self) -> [Self; 2] {
        let half = self.events.len() / 2;
        let second = Self {
            events: self.events.split_off(half),
            ends: self.ends.split_off(half),
            epoch: self.epoch,
            resent: None,
        };
        self.resent = None;
        [second, self]
    }
}
