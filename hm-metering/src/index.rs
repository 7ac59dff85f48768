//! A map of shared values that have their keys in themselves: an entry is a pointer and a byte.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;

/// A value with a key of its own, which stays the same.
pub(crate) trait Keyed {
    type Key: Hash + Eq;

    fn key(&self) -> &Self::Key;
}

/// Values by their keys.
pub(crate) struct Index<T> {
    values: HashTable<Arc<T>>,
    hasher: RandomState,
}

impl<T> Default for Index<T> {
    fn default() -> Self {
        Self {
            values: HashTable::new(),
            hasher: RandomState::new(),
        }
    }
}

impl<T: Keyed> Index<T> {
    pub(crate) fn get(&self, key: &T::Key) -> Option<&Arc<T>> {
        let hash = self.hasher.hash_one(key);
        self.values.find(hash, |value| value.key() == key)
    }

    /// Keeps `value` in place of the one with the same key.
    pub(crate) fn insert(&mut self, value: Arc<T>) {
        let hash = self.hasher.hash_one(value.key());
        match self.values.find_mut(hash, |kept| kept.key() == value.key()) {
            Some(kept) => *kept = value,
            None => {
                let hasher = &self.hasher;
                self.values
                    .insert_unique(hash, value, |value| hasher.hash_one(value.key()));
            }
        }
    }

    /// Keeps those values only, and no more room than twice what they take.
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&Arc<T>) -> bool) {
        self.values.retain(|value| is_kept(value));
        let hasher = &self.hasher;
        self.values
            .shrink_to(self.values.len() * 2, |value| hasher.hash_one(value.key()));
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.values.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq)]
    struct Numbered(u32, &'static str);

    impl Keyed for Numbered {
        type Key = u32;

        fn key(&self) -> &u32 {
            &self.0
        }
    }

    #[test]
    fn there_is_one_value_for_a_key_and_the_last_one_stays() {
        let mut index = Index::default();
        for number in 0..1_000 {
            index.insert(Arc::new(Numbered(number, "first")));
        }
        index.insert(Arc::new(Numbered(7, "second")));
        assert_eq!((index.len(), index.values().count()), (1_000, 1_000));
        assert_eq!(**index.get(&7).unwrap(), Numbered(7, "second"));
        index.retain(|value| value.0 < 5);
        assert_eq!(index.len(), 5);
        assert!((0..5).all(|number| index.get(&number).is_some()));
        assert!(
            index.values.capacity() < 100,
            "room that nobody needs is given back"
        );
    }
}
