//! The last changes, for answers that were under way when they came.

use std::collections::VecDeque;

use crate::keys::{ChangeSubject, Verified};

/// How many changes are remembered.
pub(super) const CHANGES: usize = 1_024;

/// A moment in the sequence of changes: what is kept of an answer asked for at a moment must not have changed since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment(u64);

#[derive(Debug, Default)]
pub(super) struct Changes {
    last: VecDeque<ChangeSubject>,
    seen: u64,
}

impl Changes {
    pub(super) const fn moment(&self) -> Moment {
        Moment(self.seen)
    }

    pub(super) fn push(&mut self, change: ChangeSubject) {
        self.seen += 1;
        self.last.push_back(change);
        if self.last.len() > CHANGES {
            self.last.pop_front();
        }
    }

    /// Anything may have changed.
    pub(super) fn push_unknown(&mut self) {
        self.seen += 1;
        self.last.clear();
    }

    /// Whether a verdict asked for at `since` is out of date: its key or account changed meanwhile, or it was made from an
    /// older version of the key than one that was seen, as a replica of a database that lags behind may give.
    pub(super) fn outdate(&self, verified: &Verified, since: Moment) -> bool {
        let missed = usize::try_from(self.seen.saturating_sub(since.0)).unwrap_or(usize::MAX);
        if missed > self.last.len() {
            return true;
        }
        let principal = &verified.principal;
        self.last
            .iter()
            .rev()
            .enumerate()
            .any(|(age, change)| match change {
                ChangeSubject::Key { key, version } => {
                    principal.key() == Some(*key) && (age < missed || verified.version < *version)
                }
                ChangeSubject::Account(id) => age < missed && principal.account() == *id,
            })
    }
}
