//! Asking the verifier and the plan source: in a task of its own, with a deadline, once for many requests.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::Instrument;

use super::bucket::{self, OwnBuckets};
use super::directory::{Caller, Directory, Fingerprint};
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::key::PresentedKey;
use crate::keys::{InvalidKey, KeyVerifier, Verdict};
use crate::measures::Measures;
use crate::plan::{PlanSource, RateLimit};
use crate::quota::{LeaseBook, nanos};
use crate::rate::gcra::Check;
use crate::time::Clock;

/// How many different keys may be asked for at a time. Beyond that, requests are refused for the moment.
const UNDER_WAY: u32 = 512;
/// How often a fill starts anew because the key changed while it was looked up.
const ATTEMPTS: usize = 3;

/// What came of asking.
#[derive(Clone)]
pub(crate) enum Filled {
    /// Accepted.
    Caller(Arc<Caller>),
    /// Not accepted.
    Invalid(InvalidKey),
    /// Can't tell.
    Unavailable,
}

impl Filled {
    /// The word for it in metrics.
    const fn as_str(&self) -> &'static str {
        match self {
            Self::Caller(_) => "accepted",
            Self::Invalid(_) => "not_accepted",
            Self::Unavailable => "unavailable",
        }
    }

    /// Whether there is such a key, valid or not.
    const fn is_of_a_key(&self) -> bool {
        match self {
            Self::Caller(_) => true,
            Self::Invalid(reason) => !matches!(reason, InvalidKey::Unknown),
            Self::Unavailable => false,
        }
    }
}

/// How many look-ups of keys that nobody knows there may be.
///
/// A look-up of a key that is not in memory takes one from the budget, and gives it back when the key turns out to exist, so
/// that only unknown keys use it up. It holds as many as may be under way at a time: as long as no unknown keys come, none
/// is refused for its sake. When it is used up, requests with keys that are not in memory are refused for the moment
/// (503: nobody can tell), and those with keys in memory notice nothing, also when their verdict has to be renewed.
#[derive(Debug)]
pub(crate) struct Budget(OwnBuckets);

impl Budget {
    /// `per_second` flow back in each second.
    pub(crate) fn new(per_second: u32) -> Self {
        Self(OwnBuckets::new(&[RateLimit {
            name: String::new(),
            limit: per_second,
            per: Duration::from_secs(1),
            burst: UNDER_WAY,
        }]))
    }

    fn take(&self, now: Duration) -> bool {
        let mut buckets = self.0.get().iter();
        buckets.all(|bucket| matches!(bucket.take(nanos(now), 1), Check::Fits(_)))
    }

    fn put_back(&self) {
        bucket::put_back(self.0.get().iter(), 1);
    }
}

type UnderWay = HashMap<Fingerprint, watch::Receiver<Option<Filled>>>;

pub(crate) struct Filler {
    pub(crate) verifier: Arc<dyn KeyVerifier>,
    pub(crate) plans: Arc<dyn PlanSource>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) book: Option<Arc<LeaseBook>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
    pub(crate) store_timeout: Duration,
    pub(crate) invalid_for: Duration,
    pub(crate) under_way: Mutex<UnderWay>,
    pub(crate) unknown: Budget,
    pub(crate) turned_away: AtomicU64,
    pub(crate) measures: Measures,
}

impl Filler {
    /// Gets the verdict on `key`. Dropping the future gives up waiting and nothing else.
    pub(crate) async fn fill(self: Arc<Self>, fingerprint: Fingerprint, key: PresentedKey) -> Filled {
        let Some(mut answer) = self.join(fingerprint, key) else {
            self.measures.filled("over_budget");
            let turned_away = self.turned_away.fetch_add(1, Ordering::Relaxed) + 1;
            // Once for each doubling, so that a flood of keys is not a flood in the log.
            if turned_away.is_power_of_two() {
                tracing::warn!(
                    requests.refused = turned_away,
                    "too many keys that are not in memory"
                );
            }
            return Filled::Unavailable;
        };
        match answer.wait_for(Option::is_some).await {
            Ok(filled) => filled.clone().unwrap_or(Filled::Unavailable),
            Err(_) => Filled::Unavailable,
        }
    }

    /// The fill that is under way for this key, or a new one. None when there are too many.
    fn join(
        self: &Arc<Self>,
        fingerprint: Fingerprint,
        key: PresentedKey,
    ) -> Option<watch::Receiver<Option<Filled>>> {
        let mut under_way = self.under_way();
        if let Some(answer) = under_way.get(&fingerprint) {
            return Some(answer.clone());
        }
        let is_known = self.directory.knows(fingerprint);
        if under_way.len() >= UNDER_WAY as usize || !(is_known || self.unknown.take(self.clock.monotonic())) {
            return None;
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(fingerprint, answer.clone());
        let entry = Entry {
            filler: Arc::clone(self),
            fingerprint,
        };
        let asking = async move {
            let filled = entry.filler.ask_in_time(fingerprint, &key).await;
            if !is_known && filled.is_of_a_key() {
                entry.filler.unknown.put_back();
            }
            // First out of the table, so that whoever comes now asks anew, then wake those who wait.
            drop(entry);
            sender.send_replace(Some(filled));
        };
        self.runtime
            .spawn(asking.instrument(tracing::debug_span!("fill")));
        Some(answer)
    }

    /// Asks in the background for a caller that could not be asked for lately, for those who come later.
    pub(crate) fn retry(self: &Arc<Self>, caller: &Caller, fingerprint: Fingerprint, key: &PresentedKey) {
        if caller.has_rested(self.clock.monotonic()) {
            drop(self.join(fingerprint, key.clone()));
        }
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_in_time(&self, fingerprint: Fingerprint, key: &PresentedKey) -> Filled {
        match timeout(self.store_timeout, self.ask(fingerprint, key)).await {
            Ok(Ok(filled)) => {
                self.measures.filled(filled.as_str());
                return filled;
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a key can't be checked");
            }
            Err(_) => tracing::warn!("a key can't be checked: no answer in time"),
        }
        self.measures.filled(Filled::Unavailable.as_str());
        self.measures.store_failed("verify");
        self.directory
            .note_unanswered(fingerprint, self.clock.monotonic());
        Filled::Unavailable
    }

    async fn ask(&self, fingerprint: Fingerprint, key: &PresentedKey) -> StoreResult<Filled> {
        for _ in 0..ATTEMPTS {
            let since = self.directory.moment();
            let asked_at = self.clock.monotonic();
            match self.verifier.verify(key, self.clock.now()).await? {
                Verdict::Invalid { reason, .. } => {
                    self.directory
                        .keep_invalid(fingerprint, reason, asked_at + self.invalid_for);
                    return Ok(Filled::Invalid(reason));
                }
                Verdict::Valid(verified) if !verified.principal.has_sound_scopes() => {
                    let key = verified.principal.key().map(tracing::field::display);
                    tracing::warn!(key.id = key, "a key has more scopes than can be kept in memory");
                    let reason = InvalidKey::TooManyScopes;
                    self.directory
                        .keep_invalid(fingerprint, reason, asked_at + self.invalid_for);
                    return Ok(Filled::Invalid(reason));
                }
                Verdict::Valid(verified) if !verified.principal.has_sound_quotas() => {
                    tracing::warn!("a caller has quotas of its own, and no id to count them by");
                    let reason = InvalidKey::QuotasWithoutId;
                    self.directory
                        .keep_invalid(fingerprint, reason, asked_at + self.invalid_for);
                    return Ok(Filled::Invalid(reason));
                }
                Verdict::Valid(verified) => {
                    let plan = self.plans.plan_for(&verified.principal).await?;
                    let (book, asked) = (self.book.as_deref(), (since, asked_at));
                    if let Some(caller) = self.directory.keep(fingerprint, &verified, plan, book, asked) {
                        return Ok(Filled::Caller(caller));
                    }
                }
            }
        }
        Err(StoreError::new(
            StoreErrorKind::Unavailable,
            "check a key that keeps changing",
        ))
    }
}

impl fmt::Debug for Filler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filler").finish_non_exhaustive()
    }
}

/// A fill's place in the table, given up when it ends in whatever way.
struct Entry {
    filler: Arc<Filler>,
    fingerprint: Fingerprint,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.filler.under_way().remove(&self.fingerprint);
    }
}
