//! A hash table of fixed size that is read without a lock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use arc_swap::{ArcSwapOption, Guard};

/// A place that had no value yet: whoever looks for one and comes here need not go on.
const FREE: u8 = 0;
/// A place whose value was removed.
const LEFT: u8 = 1;
/// Other bytes are a part of a value's hash, so that few pointers are followed in vain.
const HASHES: u64 = 254;

/// Values at the first place that was free, from the one that their hash says.
///
/// One thread writes at a time. A value is there before its byte is, and a value that is found is compared with the key, so
/// that who reads meanwhile finds the right one or none.
pub(super) struct Table<T> {
    bytes: Box<[AtomicU8]>,
    values: Box<[ArcSwapOption<T>]>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            bytes: Box::default(),
            values: Box::default(),
        }
    }
}

impl<T> Table<T> {
    /// One with these values and their hashes, three fifths full when there is one more. Nobody reads it yet, so this is done
    /// without the steps that readers need.
    pub(super) fn of(contents: &[(u64, Arc<T>)]) -> Self {
        let places = ((contents.len() + 1) * 5 / 3).max(8);
        let mut bytes = vec![FREE; places];
        let mut values = vec![None; places];
        for (hash, value) in contents {
            if let Some(place) = way(*hash, places).find(|place| bytes[*place] == FREE) {
                bytes[place] = byte(*hash);
                values[place] = Some(Arc::clone(value));
            }
        }
        Self {
            bytes: bytes.into_iter().map(AtomicU8::new).collect(),
            values: values.into_iter().map(ArcSwapOption::new).collect(),
        }
    }

    /// How many places there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it is too full to find values soon, with so many places taken.
    pub(super) fn is_full_with(&self, taken: usize) -> bool {
        taken * 6 > self.len() * 5
    }

    /// Whether a much smaller one would do for so many values.
    pub(super) fn is_sparse_with(&self, live: usize) -> bool {
        self.len() > 64 && live * 5 < self.len()
    }

    /// The place and the value that `is_meant`.
    pub(super) fn find(&self, hash: u64, is_meant: impl Fn(&T) -> bool) -> Option<(usize, Arc<T>)> {
        let byte = byte(hash);
        for place in way(hash, self.len()) {
            let has = self.bytes[place].load(Ordering::Acquire);
            if has == FREE {
                return None;
            }
            if has == byte {
                let value = self.values[place].load();
                if value.as_deref().is_some_and(&is_meant) {
                    return Guard::into_inner(value).map(|value| (place, value));
                }
            }
        }
        None
    }

    pub(super) fn at(&self, place: usize) -> Option<Arc<T>> {
        self.values.get(place).and_then(ArcSwapOption::load_full)
    }

    /// Adds a value that is not in it. Answers whether the place was free before; one at least must be.
    pub(super) fn add(&self, hash: u64, value: Arc<T>) -> bool {
        for place in way(hash, self.len()) {
            let has = self.bytes[place].load(Ordering::Relaxed);
            if has <= LEFT {
                self.replace(place, value);
                self.bytes[place].store(byte(hash), Ordering::Release);
                return has == FREE;
            }
        }
        false
    }

    pub(super) fn replace(&self, place: usize, value: Arc<T>) {
        self.values[place].store(Some(value));
    }

    pub(super) fn remove(&self, place: usize) {
        self.bytes[place].store(LEFT, Ordering::Release);
        self.values[place].store(None);
    }
}

/// All places, from the one that the hash says.
fn way(hash: u64, places: usize) -> impl Iterator<Item = usize> {
    let home = ((u128::from(hash) * places as u128) >> 64) as usize;
    (home..places).chain(0..home)
}

const fn byte(hash: u64) -> u8 {
    (hash % HASHES) as u8 + LEFT + 1
}
