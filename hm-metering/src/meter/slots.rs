//! Concurrency limits: how many requests of an account are under way.

use std::iter::zip;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::heap;
use crate::plan::ConcurrencyLimit;

/// How many requests of an account are under way, in each of its concurrency limits. Nothing where it has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots(Option<Arc<[Slot]>>);

#[derive(Debug)]
enum Slot {
    Own(AtomicU32),
    /// That of the same name that the account had before its plan changed.
    Earlier(Arc<[Self]>, usize),
}

/// An account's concurrency limits and its slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitedSlots<'a> {
    limits: &'a [ConcurrencyLimit],
    slots: &'a Slots,
}

/// A request's place in every slot, given back when it says so, or else when it is dropped.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Occupied {
    slots: Option<Arc<[Slot]>>,
    has_left: AtomicBool,
}

impl Slots {
    /// `before` are the slots that the account had, with their limits: requests that are under way go on counting in those
    /// of the same name.
    pub(crate) fn new(limits: &[ConcurrencyLimit], before: Option<LimitedSlots<'_>>) -> Self {
        if limits.is_empty() {
            return Self::default();
        }
        let earlier = before.and_then(|before| Some((before.limits, before.slots.0.as_ref()?)));
        let Some((had, slots)) = earlier else {
            return Self(Some(
                limits.iter().map(|_| Slot::Own(AtomicU32::new(0))).collect(),
            ));
        };
        let is_same =
            had.len() == limits.len() && zip(had, limits).all(|(had, limit)| had.name == limit.name);
        if is_same {
            return Self(Some(Arc::clone(slots)));
        }
        let slot = |limit: &ConcurrencyLimit| {
            let place = had.iter().position(|had| had.name == limit.name);
            match place.map(|place| (place, &slots[place])) {
                // It has its own, so that looking for the first one does not get longer with each change.
                Some((_, Slot::Earlier(slots, place))) => Slot::Earlier(Arc::clone(slots), *place),
                Some((place, Slot::Own(_))) => Slot::Earlier(Arc::clone(slots), place),
                None => Slot::Own(AtomicU32::new(0)),
            }
        };
        Self(Some(limits.iter().map(slot).collect()))
    }

    /// What they take of memory, about, without those that they share with an earlier plan.
    pub(crate) fn bytes(&self) -> usize {
        let slots = self.0.as_ref();
        slots.map_or(0, |slots| heap::shared(size_of_val(&**slots)))
    }

    /// With the limits that they were made for.
    pub(crate) const fn under<'a>(&'a self, limits: &'a [ConcurrencyLimit]) -> LimitedSlots<'a> {
        LimitedSlots { limits, slots: self }
    }
}

impl<'a> LimitedSlots<'a> {
    fn iter(self) -> impl Iterator<Item = (&'a ConcurrencyLimit, &'a Slot)> {
        zip(self.limits, self.slots.0.iter().flat_map(|slots| slots.iter()))
    }

    /// Looks whether every slot has room. Takes nothing, and answers with a limit that is reached.
    pub(crate) fn look(self) -> Result<(), &'a ConcurrencyLimit> {
        let mut full = self
            .iter()
            .filter(|(limit, slot)| slot.under_way().load(Ordering::Acquire) >= limit.limit);
        full.next().map_or(Ok(()), |(limit, _)| Err(limit))
    }

    /// Occupies every slot, or none.
    pub(crate) fn occupy(self) -> Result<Occupied, &'a ConcurrencyLimit> {
        let Some(slots) = &self.slots.0 else {
            return Ok(Occupied::default());
        };
        for (position, (limit, slot)) in self.iter().enumerate() {
            let more = |count: u32| (count < limit.limit).then(|| count + 1);
            let occupied = slot
                .under_way()
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
            if occupied.is_err() {
                slots[..position].iter().for_each(Slot::leave);
                return Err(limit);
            }
        }
        Ok(Occupied {
            slots: Some(Arc::clone(slots)),
            has_left: AtomicBool::new(false),
        })
    }

    #[cfg(test)]
    pub(crate) fn state(self) -> Vec<u32> {
        self.iter()
            .map(|(_, slot)| slot.under_way().load(Ordering::Acquire))
            .collect()
    }
}

impl Slot {
    fn under_way(&self) -> &AtomicU32 {
        let mut slot = self;
        loop {
            match slot {
                Self::Own(under_way) => return under_way,
                Self::Earlier(slots, place) => slot = &slots[*place],
            }
        }
    }

    fn leave(&self) {
        self.under_way().fetch_sub(1, Ordering::AcqRel);
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
        let limits = limits(&[("a", 3), ("b", 2)]);
        let slots = Slots::new(&limits, None);
        let slots = slots.under(&limits);
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
        let (first, second, third) = (
            limits(&[("a", 3)]),
            limits(&[("b", 1), ("a", 1)]),
            limits(&[("a", 2)]),
        );
        let before = Slots::new(&first, None);
        let before = before.under(&first);
        let held = before.occupy().unwrap();
        let after = Slots::new(&second, Some(before));
        let after = after.under(&second);
        let last = Slots::new(&third, Some(after));
        let last = last.under(&third);
        assert_eq!(last.state(), [1]);
        assert_eq!(after.occupy().unwrap_err().name, "a");
        drop(held);
        assert!(after.occupy().is_ok());
        assert_eq!((before.state(), after.state()), (vec![0], vec![0, 0]));
        assert_eq!(last.state(), [0]);
    }

    #[test]
    fn requests_under_way_count_under_a_changed_limit() {
        let (first, second) = (limits(&[("a", 3)]), limits(&[("a", 1)]));
        let before = Slots::new(&first, None);
        let held = before.under(&first).occupy().unwrap();
        let after = Slots::new(&second, Some(before.under(&first)));
        assert!(after.under(&second).occupy().is_err());
        drop(held);
        assert!(after.under(&second).occupy().is_ok());
    }

    #[test]
    fn threads_occupy_no_more_than_the_limit() {
        let limits = limits(&[("a", 5), ("b", 4)]);
        let slots = Slots::new(&limits, None);
        let slots = slots.under(&limits);
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
