//! Shared values by keys that they hold themselves: an entry is a pointer and a byte, and reading takes no lock.

mod table;

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;

use self::table::Table;
use crate::sync::{Mutex, MutexGuard};

/// Values are spread over so many tables: one that has to grow is copied, and must not be large for that.
const SHARDS: usize = 32;

/// What a value's place takes, about: a pointer and a byte, in a table that is three fifths full.
pub(crate) const PLACE_BYTES: usize = (size_of::<usize>() + 1) * 5 / 3;

/// How values are found.
pub(crate) trait Lookup {
    type Value;
    type Key<'a>: Hash;
    type Hasher: BuildHasher + Default;

    /// The key in a value, which stays the same; none in one that can't be found this way.
    fn key(value: &Self::Value) -> Option<Self::Key<'_>>;

    fn has_key(value: &Self::Value, key: &Self::Key<'_>) -> bool;
}

/// Values by their keys.
///
/// Who reads while others write finds what was there when it began or came since. Writing locks a part of the values.
pub(crate) struct Index<L: Lookup> {
    shards: Box<[Shard<L::Value>]>,
    hasher: L::Hasher,
    len: AtomicUsize,
}

struct Shard<T> {
    table: ArcSwap<Table<T>>,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    /// How many values there are.
    live: usize,
    /// How many places are not free, be it that a value was removed from them.
    taken: usize,
}

/// A place in an index, for walking through its values.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hand {
    shard: usize,
    place: usize,
}

impl<L: Lookup> Default for Index<L> {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: L::Hasher::default(),
            len: AtomicUsize::new(0),
        }
    }
}

impl<L: Lookup> Index<L> {
    pub(crate) fn get(&self, key: &L::Key<'_>) -> Option<Arc<L::Value>> {
        let hash = self.hasher.hash_one(key);
        let found = self
            .shard(hash)
            .table
            .load()
            .find(hash, |value| L::has_key(value, key));
        found.map(|(_, value)| value)
    }

    /// The same, but never one that is being removed: what [`Index::remove_if`] found of its handles is still so
    /// when it is gone, as long as handles come from here and [`Index::get_or_insert`] only.
    pub(crate) fn get_exactly(&self, key: &L::Key<'_>) -> Option<Arc<L::Value>> {
        let hash = self.hasher.hash_one(key);
        let _room = self.shard(hash).room();
        self.get(key)
    }

    /// The value of that key, made if need be.
    pub(crate) fn get_or_insert(&self, key: &L::Key<'_>, make: impl FnOnce() -> L::Value) -> Arc<L::Value> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        let mut room = shard.room();
        if let Some((_, found)) = shard.table.load().find(hash, |value| L::has_key(value, key)) {
            return found;
        }
        let value = Arc::new(make());
        self.add(shard, &mut room, hash, Arc::clone(&value));
        value
    }

    /// Keeps `value` in place of the one with the same key, which it answers. One without a key is not kept.
    pub(crate) fn insert(&self, value: Arc<L::Value>) -> Option<Arc<L::Value>> {
        let key = L::key(&value)?;
        let hash = self.hasher.hash_one(&key);
        let shard = self.shard(hash);
        let mut room = shard.room();
        let table = shard.table.load();
        let found = table.find(hash, |has| L::has_key(has, &key));
        drop(key);
        if let Some((place, before)) = found {
            table.replace(place, value);
            return Some(before);
        }
        drop(table);
        self.add(shard, &mut room, hash, value);
        None
    }

    fn add(&self, shard: &Shard<L::Value>, room: &mut Room, hash: u64, value: Arc<L::Value>) {
        if shard.table.load().is_full_with(room.taken + 1) {
            self.rebuild(shard, room);
        }
        room.taken += usize::from(shard.table.load().add(hash, value));
        room.live += 1;
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// Removes the value of that key, if it is one that `is_meant`.
    pub(crate) fn remove_if(
        &self,
        key: &L::Key<'_>,
        is_meant: impl FnOnce(&Arc<L::Value>) -> bool,
    ) -> Option<Arc<L::Value>> {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        let mut room = shard.room();
        let table = shard.table.load();
        let (place, value) = table.find(hash, |has| L::has_key(has, key))?;
        if !is_meant(&value) {
            return None;
        }
        table.remove(place);
        room.live -= 1;
        self.len.fetch_sub(1, Ordering::Relaxed);
        if table.is_sparse_with(room.live) {
            drop(table);
            self.rebuild(shard, &mut room);
        }
        Some(value)
    }

    /// The next value from `hand` on, which moves past it; round and round. None when there is no value.
    pub(crate) fn next(&self, hand: &mut Hand) -> Option<Arc<L::Value>> {
        // The shard that it begins in comes again at the end, for the places before the hand.
        for _ in 0..=SHARDS {
            let table = self.shards[hand.shard % SHARDS].table.load();
            for place in hand.place..table.len() {
                if let Some(value) = table.at(place) {
                    hand.place = place + 1;
                    return Some(value);
                }
            }
            *hand = Hand {
                shard: (hand.shard + 1) % SHARDS,
                place: 0,
            };
        }
        None
    }

    pub(crate) fn for_each(&self, mut see: impl FnMut(&Arc<L::Value>)) {
        for shard in &self.shards {
            let table = shard.table.load();
            (0..table.len())
                .filter_map(|place| table.at(place))
                .for_each(|value| see(&value));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn shard(&self, hash: u64) -> &Shard<L::Value> {
        // A table takes the upper bits for the place and the lowest byte to tell values apart.
        &self.shards[(hash >> 8) as usize % SHARDS]
    }

    /// Makes a table with room for one more, and some. Who reads the old one meanwhile finds what was in it.
    fn rebuild(&self, shard: &Shard<L::Value>, room: &mut Room) {
        let old = shard.table.load();
        let values = (0..old.len()).filter_map(|place| old.at(place));
        let contents: Vec<_> = values
            .filter_map(|value| Some((L::key(&value).map(|key| self.hasher.hash_one(&key))?, value)))
            .collect();
        drop(old);
        room.taken = contents.len();
        let table = Table::of(&contents);
        drop(contents);
        shard.table.store(Arc::new(table));
    }
}

impl<T> Shard<T> {
    fn room(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Default for Shard<T> {
    fn default() -> Self {
        Self {
            table: ArcSwap::from_pointee(Table::default()),
            room: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests;
