//! Telling the key store how often keys were used, where the ledger does not count that itself.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::id::KeyId;
use crate::keys::{KeyUse, KeyVerifier};
use crate::measures::Measures;
use crate::usage::Event;

/// How many keys wait to be told of at most. The uses of others are not counted.
const KEYS_MAX: usize = 16_384;

/// The uses that the key store has not been told of. One call is under way at a time, in a task of its own: the ledger does not
/// wait for it.
pub(crate) struct Uses {
    verifier: Arc<dyn KeyVerifier>,
    at_most: Duration,
    measures: Measures,
    waiting: HashMap<KeyId, KeyUse>,
    /// Answers what has to be told again.
    under_way: Option<JoinHandle<Vec<KeyUse>>>,
}

impl Uses {
    /// `at_most` is how long one call may take.
    pub(crate) fn new(verifier: Arc<dyn KeyVerifier>, at_most: Duration, measures: Measures) -> Self {
        Self {
            verifier,
            at_most,
            measures,
            waiting: HashMap::new(),
            under_way: None,
        }
    }

    /// Counts those of events that are in the ledger now.
    pub(super) fn note(&mut self, events: &[Event]) {
        let uses = events.iter().filter(|event| event.outcome.reached_handler());
        for (key, last_used_at) in uses.filter_map(|event| Some((event.key?, event.at))) {
            self.add(KeyUse {
                key,
                count: 1,
                last_used_at,
            });
        }
    }

    fn add(&mut self, used: KeyUse) {
        let is_full = self.waiting.len() >= KEYS_MAX;
        match self.waiting.entry(used.key) {
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                known.count = known.count.saturating_add(used.count);
                known.last_used_at = known.last_used_at.max(used.last_used_at);
            }
            Entry::Vacant(_) if is_full => {}
            Entry::Vacant(place) => {
                place.insert(used);
            }
        }
    }

    /// Whether so many keys wait that the next batch may find no place for its own.
    pub(super) fn are_many(&self) -> bool {
        self.waiting.len() >= KEYS_MAX / 2
    }

    /// Tells what waits, unless a call is under way: then it goes with the next.
    pub(super) async fn tell(&mut self) {
        if self.under_way.as_ref().is_some_and(JoinHandle::is_finished) {
            self.end().await;
        }
        if self.under_way.is_none() {
            self.begin();
        }
    }

    /// Waits for the call that is under way, and tells what is left.
    pub(super) async fn finish(&mut self) {
        self.end().await;
        self.begin();
        self.end().await;
    }

    fn begin(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let uses: Vec<KeyUse> = self.waiting.drain().map(|(_, used)| used).collect();
        let (verifier, measures, at_most) = (Arc::clone(&self.verifier), self.measures.clone(), self.at_most);
        self.under_way = Some(tokio::spawn(async move {
            let error: Box<dyn std::error::Error + Send + Sync> =
                match timeout(at_most, verifier.mark_used(&uses)).await {
                    Ok(Ok(())) => return Vec::new(),
                    Ok(Err(error)) => error.into(),
                    Err(late) => late.into(),
                };
            measures.store_failed("mark_used");
            tracing::warn!(
                error = &*error as &dyn std::error::Error,
                keys = uses.len(),
                "the key store can't be told how often keys were used"
            );
            // What came too late may have been counted.
            if error.is::<tokio::time::error::Elapsed>() {
                Vec::new()
            } else {
                uses
            }
        }));
    }

    async fn end(&mut self) {
        let Some(task) = self.under_way.take() else {
            return;
        };
        // A store that panics loses what it was told.
        for used in task.await.unwrap_or_default() {
            self.add(used);
        }
    }
}
