//! The last batches that came, so that one that comes again counts once.

use std::collections::{HashMap, VecDeque};

use super::MemoryStore;
use crate::usage::BatchId;

/// What is known of each batch. The oldest are forgotten: nobody sends a batch again after so many others.
#[derive(Debug)]
pub(super) struct Batches<T> {
    known: HashMap<BatchId, T>,
    order: VecDeque<BatchId>,
}

impl<T> Default for Batches<T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<T> Batches<T> {
    pub(super) fn get(&self, id: BatchId) -> Option<&T> {
        self.known.get(&id)
    }

    /// Notes a batch. False if it was known.
    pub(super) fn insert(&mut self, id: BatchId, what: T) -> bool {
        if self.known.contains_key(&id) {
            return false;
        }
        if self.order.len() >= MemoryStore::MAX_BATCHES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        self.known.insert(id, what);
        true
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn the_last_batches_are_known_and_no_more_than_that() {
        let mut batches = Batches::default();
        let id = |number| BatchId {
            replica: Uuid::nil().into(),
            epoch: 1,
            number,
        };
        let most = MemoryStore::MAX_BATCHES as u64;
        for number in 0..most + 10 {
            assert!(batches.insert(id(number), number));
            assert!(!batches.insert(id(number), number));
        }
        assert_eq!(
            (batches.known.len(), batches.order.len()),
            (most as usize, most as usize)
        );
        assert_eq!((batches.get(id(9)), batches.get(id(10))), (None, Some(&10)));
    }
}
