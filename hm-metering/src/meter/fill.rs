//! Asking the verifier and the plan source: in a task of its own, with a deadline, once for many requests.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::directory::{Caller, Directory, Fingerprint};
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::key::PresentedKey;
use crate::keys::{InvalidKey, KeyVerifier, Verdict};
use crate::plan::PlanSource;
use crate::quota::LeaseBook;
use crate::time::Clock;

/// How many different keys may be asked for at a time. Beyond that, requests are refused for the moment.
const UNDER_WAY: usize = 1_024;
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
}

impl Filler {
    /// Gets the verdict on `key`. Dropping the future gives up waiting and nothing else.
    pub(crate) async fn fill(self: Arc<Self>, fingerprint: Fingerprint, key: PresentedKey) -> Filled {
        let Some(mut answer) = self.join(fingerprint, key) else {
            tracing::warn!("too many unknown keys at a time; a request is refused");
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
        if under_way.len() >= UNDER_WAY {
            return None;
        }
        let (sender, answer) = watch::channel(None);
        under_way.insert(fingerprint, answer.clone());
        let entry = Entry {
            filler: Arc::clone(self),
            fingerprint,
        };
        self.runtime.spawn(async move {
            let filled = entry.filler.ask_in_time(fingerprint, &key).await;
            // First out of the table, so that whoever comes now asks anew, then wake those who wait.
            drop(entry);
            sender.send_replace(Some(filled));
        });
        Some(answer)
    }

    fn under_way(&self) -> std::sync::MutexGuard<'_, UnderWay> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask_in_time(&self, fingerprint: Fingerprint, key: &PresentedKey) -> Filled {
        match timeout(self.store_timeout, self.ask(fingerprint, key)).await {
            Ok(Ok(filled)) => filled,
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a key can't be checked");
                Filled::Unavailable
            }
            Err(_) => {
                tracing::warn!("a key can't be checked: no answer in time");
                Filled::Unavailable
            }
        }
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
                Verdict::Valid(verified) => {
                    let plan = self.plans.plan_for(&verified.principal).await?;
                    let (book, asked) = (self.book.as_deref(), (since, asked_at));
                    if let Some(caller) = self.directory.keep(fingerprint, verified, plan, book, asked) {
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
