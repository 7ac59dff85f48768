//! Earlier answers, kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::answer::Item;
use super::ask::Ask;

/// Answers by question, at most `entries_max` of them, each for at most `ttl`. Time is an argument throughout.
#[derive(Debug)]
pub(super) struct Cache {
    ttl: Duration,
    entries_max: usize,
    entries: Mutex<HashMap<Question, Entry>>,
}

/// What makes two questions the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    source: &'static str,
    text: Option<String>,
    limit: u32,
}

impl Question {
    /// The question `ask` to the source of this name.
    pub(super) fn new(source: &'static str, ask: &Ask) -> Self {
        let text = ask.query().map(|query| query.as_str().to_owned());
        Self {
            source,
            text,
            limit: ask.limit(),
        }
    }
}

#[derive(Debug)]
struct Entry {
    items: Arc<[Item]>,
    stored: Duration,
}

impl Cache {
    /// An empty cache; with no entries or no time to live it keeps nothing.
    pub(super) fn new(entries_max: usize, ttl: Duration) -> Self {
        Self {
            ttl,
            entries_max,
            entries: Mutex::default(),
        }
    }

    /// The answer kept for `question`, unless it is too old at the monotonic time `now`.
    pub(super) fn get(&self, question: &Question, now: Duration) -> Option<Arc<[Item]>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries
            .get(question)
            .filter(|entry| self.is_fresh(entry, now))
            .map(|entry| Arc::clone(&entry.items))
    }

    /// Keeps an answer found at the monotonic time `now`. The oldest one makes room when there is none.
    pub(super) fn put(&self, question: Question, items: Arc<[Item]>, now: Duration) {
        if self.entries_max == 0 || self.ttl.is_zero() {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= self.entries_max && !entries.contains_key(&question) {
            // A walk through all of them, which follows a network round trip and so does not matter.
            entries.retain(|_, entry| self.is_fresh(entry, now));
            if entries.len() >= self.entries_max {
                let oldest = entries
                    .iter()
                    .min_by_key(|(_, entry)| entry.stored)
                    .map(|(question, _)| question.clone());
                if let Some(oldest) = oldest {
                    entries.remove(&oldest);
                }
            }
        }
        entries.insert(question, Entry { items, stored: now });
    }

    /// How many answers are kept, fresh or not.
    pub(super) fn len(&self) -> usize {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn is_fresh(&self, entry: &Entry, now: Duration) -> bool {
        now.saturating_sub(entry.stored) < self.ttl
    }
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    fn question(text: &str) -> Question {
        Question::new(
            "wiki",
            &Ask::parse(Some(text), None, NaiveDate::default()).unwrap(),
        )
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn an_answer_is_kept_until_its_time_is_over() {
        let cache = Cache::new(4, secs(10));
        cache.put(question("a"), Arc::from([]), secs(100));
        assert!(cache.get(&question("a"), secs(109)).is_some());
        assert!(cache.get(&question("a"), secs(110)).is_none());
    }

    #[test]
    fn the_oldest_answer_makes_room() {
        let cache = Cache::new(2, secs(10));
        cache.put(question("a"), Arc::from([]), secs(1));
        cache.put(question("b"), Arc::from([]), secs(2));
        cache.put(question("a"), Arc::from([]), secs(3));
        cache.put(question("c"), Arc::from([]), secs(4));
        assert!(cache.get(&question("b"), secs(4)).is_none());
        assert!(cache.get(&question("a"), secs(4)).is_some());
        assert!(cache.get(&question("c"), secs(4)).is_some());
    }

    #[test]
    fn a_flood_of_questions_does_not_make_it_grow() {
        let cache = Cache::new(16, secs(10));
        for n in 0..1_000 {
            cache.put(question(&n.to_string()), Arc::from([]), secs(n / 100));
        }
        assert_eq!(cache.len(), 16);
    }

    #[test]
    fn without_room_or_time_nothing_is_kept() {
        for cache in [Cache::new(0, secs(10)), Cache::new(8, Duration::ZERO)] {
            cache.put(question("a"), Arc::from([]), secs(1));
            assert_eq!(cache.len(), 0);
        }
    }

    #[test]
    fn source_and_limit_are_part_of_the_question() {
        let ask = |limit| Ask::parse(Some("a"), Some(limit), NaiveDate::default()).unwrap();
        assert_ne!(Question::new("wiki", &ask(1)), Question::new("wiki", &ask(2)));
        assert_ne!(Question::new("wiki", &ask(1)), Question::new("news", &ask(1)));
    }
}
