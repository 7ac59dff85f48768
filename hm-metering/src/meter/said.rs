//! What a handler has said of a request in flight, from any thread and until the request is over.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use smallvec::SmallVec;

use super::tally::Tally;
use crate::sync::{AtomicU64, Mutex, MutexGuard};
use crate::units::Units;

const TOUCHED: u64 = 1;
const FINISHED: u64 = 2;
const STOPPED: u64 = 4;
const TIMED_OUT: u64 = 8;
const LACKING: u64 = 16;

/// What the handler said, and what was taken because of it.
#[derive(Default)]
pub(super) struct Said {
    /// In one number, so that of a last word and the request's end one is first, and both know which.
    state: AtomicU64,
    /// None until something is said: most handlers say nothing, and their requests are the smaller for it.
    words: Mutex<Option<Box<Words>>>,
}

#[derive(Default)]
pub(super) struct Words {
    pub(super) tally: Tally,
    /// Units leased besides those of the holds, in their order.
    pub(super) extra: SmallVec<[Units; 1]>,
    /// The holds that more is leased for, each with what was said of it before it had too little.
    pub(super) lacking: SmallVec<[(usize, Units); 1]>,
    /// The hold that could not get enough, and what was said of it then.
    pub(super) refused: Option<(usize, Units)>,
}

impl Said {
    /// Changes what was said, unless the request is over.
    pub(super) fn change(&self, change: impl FnOnce(&mut Words)) {
        let mut words = self.words();
        // Whoever ends the request after this sees that there is something, and waits for the lock.
        if self.state.fetch_or(TOUCHED, Ordering::AcqRel) & FINISHED == 0 {
            let words = words.get_or_insert_default();
            change(words);
            if words.lacking.is_empty() {
                if self.has(LACKING) {
                    self.state.fetch_and(!LACKING, Ordering::AcqRel);
                }
            } else {
                self.state.fetch_or(LACKING, Ordering::AcqRel);
            }
        }
    }

    /// What was said so far; none if nothing was.
    pub(super) fn so_far<T>(&self, read: impl FnOnce(&Words) -> T) -> Option<T> {
        if !self.has(TOUCHED) {
            return None;
        }
        self.words().as_deref().map(read)
    }

    /// The request is over: takes what was said, and lets nothing be said any more. None if nothing was.
    pub(super) fn finish(&self) -> Option<Box<Words>> {
        let before = self.state.fetch_or(FINISHED, Ordering::AcqRel);
        if before & TOUCHED == 0 {
            return None;
        }
        self.words().take()
    }

    pub(super) fn stop(&self) {
        self.state.fetch_or(STOPPED, Ordering::AcqRel);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.has(STOPPED)
    }

    /// Whether more is being leased for what was said.
    pub(super) fn is_lacking(&self) -> bool {
        self.has(LACKING)
    }

    pub(super) fn note_timeout(&self) {
        self.state.fetch_or(TIMED_OUT, Ordering::AcqRel);
    }

    pub(super) fn is_timed_out(&self) -> bool {
        self.has(TIMED_OUT)
    }

    fn has(&self, flag: u64) -> bool {
        self.state.load(Ordering::Acquire) & flag != 0
    }

    fn words(&self) -> MutexGuard<'_, Option<Box<Words>>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shuttle::thread;

    use super::*;
    use crate::name::MeterName;
    use crate::sync::explore;

    #[test]
    fn what_is_said_while_the_request_ends_is_all_there_or_not_at_all() {
        explore(4_000, || {
            let (said, heard) = (Arc::new(Said::default()), Arc::new(AtomicU64::new(0)));
            let handlers = [(); 2].map(|()| {
                let (said, heard) = (Arc::clone(&said), Arc::clone(&heard));
                thread::spawn(move || {
                    for _ in 0..2 {
                        said.change(|words| {
                            words
                                .tally
                                .change(&MeterName::REQUESTS, |units| units.plus(Units::ONE));
                            heard.fetch_add(1, Ordering::AcqRel);
                        });
                    }
                })
            });
            let units = |words: Box<Words>| words.tally.meters.first().map_or(0, |(_, units)| units.get());
            let charged = said.finish().map_or(0, units);
            handlers.into_iter().for_each(|handler| handler.join().unwrap());
            assert_eq!(heard.load(Ordering::Acquire), charged);
            assert!(said.finish().is_none_or(|words| units(words) == 0));
        });
    }
}
