//! Concurrency limits: how many requests of an account are under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::plan::ConcurrencyLimit;

/// An account's concurrency limits and how many requests are under way in each.
#[derive(Clone, Debug)]
pub(crate) struct Slots(Arc<[Slot]>);

#[derive(Debug)]
struct Slot {
    limit: ConcurrencyLimit,
    /// Shared with the slots of the same name that an account had before its plan changed.
    under_way: Arc<AtomicU32>,
}

/// A request's place in every slot, given back when it says so, or else when it is dropped.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Occupied {
    slots: Option<Arc<[Slot]>>,
    has_left: AtomicBool,
}

impl Slots {
    /// `before` are the slots that the account had: requests that are under way go on counting in those of the same name.
    pub(crate) fn new(limits: &[ConcurrencyLimit], before: Option<&Self>) -> Self {
        let under_way = |limit: &ConcurrencyLimit| {
            let mut slots = before.into_iter().flat_map(|before| before.0.iter());
            slots
                .find(|slot| slot.limit.name == limit.name)
                .map_or_else(Arc::default, |slot| Arc::clone(&slot.under_way))
        };
        let slot = |limit: &ConcurrencyLimit| Slot {
            under_way: under_way(limit),
            limit: limit.clone(),
        };
        Self(limits.iter().map(slot).collect())
    }

    /// Looks whether every slot has room. Takes nothing, and answers with a limit that is reached.
    pub(crate) fn look(&self) -> Result<(), &ConcurrencyLimit> {
        let full = |slot: &&Slot| slot.under_way.load(Ordering::Acquire) >= slot.limit.limit;
        self.0.iter().find(full).map_or(Ok(()), |slot| Err(&slot.limit))
    }

    /// Occupies every slot, or none.
    pub(crate) fn occupy(&self) -> Result<Occupied, &ConcurrencyLimit> {
        if self.0.is_empty() {
            return Ok(Occupied::default());
        }
        for (position, slot) in self.0.iter().enumerate() {
            let more = |count: u32| (count < slot.limit.limit).then(|| count + 1);
            let occupied = slot
                .under_way
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
            if occupied.is_err() {
                self.0[..position].iter().for_each(Slot::leave);
                return Err(&slot.limit);
            }
        }
        Ok(Occupied {
            slots: Some(Arc::clone(&self.0)),
            has_left: AtomicBool::new(false),
        })
    }

    #[cfg(test)]
    pub(crate) fn state(&self) -> Vec<u32> {
        self.0
            .iter()
            .map(|slot| slot.under_way.load(Ordering::Acquire))
            .collect()
    }
}

impl Slot {
    fn leave(&self) {
        self.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Occupied {
    /// Gives the slots back, once.
    pub(crate) fn leave(&self) {
        if let Some(slots) = &self.slots
            && !self.has_left.swap(true, Ordering::AcqRel)
        {
            slots.iter().for_each(Slot::leave);
        }
    }
}

impl Drop for Occupied {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(limits: &[(&str, u32)]) -> Vec<ConcurrencyLimit> {
        let limit = |(name, limit): &(&str, u32)| ConcurrencyLimit {
            name: (*name).to_owned(),
            limit: *limit,
        };
        limits.iter().map(limit).collect()
    }

    #[test]
    fn all_slots_are_occupied_or_none_and_left_once() {
        let slots = Slots::new(&limits(&[("a", 3), ("b", 2)]), None);
        let (first, second) = (slots.occupy().unwrap(), slots.occupy().unwrap());
        assert_eq!(slots.occupy().unwrap_err().name, "b");
        assert_eq!(slots.look().unwrap_err().name, "b");
        assert_eq!(slots.state(), [2, 2]);
        first.leave();
        assert_eq!(slots.state(), [1, 1]);
        drop(first);
        assert_eq!(slots.state(), [1, 1]);
        assert!(slots.look().is_ok());
        drop(second);
        assert_eq!(slots.state(), [0, 0]);
    }

    #[test]
    fn requests_under_way_count_in_the_next_plan() {
        let before = Slots::new(&limits(&[("a", 3)]), None);
        let held = before.occupy().unwrap();
        let after = Slots::new(&limits(&[("b", 1), ("a", 1)]), Some(&before));
        assert_eq!(after.occupy().unwrap_err().name, "a");
        drop(held);
        assert!(after.occupy().is_ok());
        assert_eq!((before.state(), after.state()), (vec![0], vec![0, 0]));
    }

    #[test]
    fn threads_occupy_no_more_than_the_limit() {
        let slots = Slots::new(&limits(&[("a", 5), ("b", 4)]), None);
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Ok(held) = slots.occupy() {
                            most.fetch_max(slots.state()[1], Ordering::AcqRel);
                            drop(held);
                        }
                    }
                });
            }
        });
        assert!((1..=4).contains(&most.into_inner()));
        assert_eq!(slots.state(), [0, 0]);
    }
}
