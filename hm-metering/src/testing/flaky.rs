//! A store that fails, hangs and counts.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::calls::{Calls, StoreCall};
use crate::error::{StoreError, StoreErrorKind, StoreResult};

/// A store that fails and hangs when told to, and counts its calls. Clones are one store.
///
/// It is a [`KeyStore`](crate::KeyStore), [`QuotaStore`](crate::QuotaStore), [`UsageSink`](crate::UsageSink),
/// [`UsageStore`](crate::UsageStore) and [`RateLimiter`](crate::RateLimiter) as far as what it wraps is. A call is
/// counted when it begins, whatever becomes of it. Then it hangs, if the store hangs, and then it fails or is passed
/// on. Whoever holds [`FlakyStore::inner`] is not disturbed.
#[derive(Debug)]
pub struct FlakyStore<S> {
    inner: Arc<S>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    hangs: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    calls: Calls,
    waiting: u64,
    /// Faults of the next calls, each for so many.
    next: Option<(u64, Fault)>,
    /// The fault of all calls.
    always: Option<Fault>,
    /// The faults of single methods.
    of_call: Vec<(StoreCall, Fault)>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// It fails and nothing happens.
    Fails(StoreErrorKind),
    /// It happens, but the answer is lost.
    LosesAnswer,
}

impl<S> FlakyStore<S> {
    /// A store that works.
    #[must_use]
    pub fn new(store: S) -> Self {
        let shared = Shared {
            state: Mutex::default(),
            hangs: watch::Sender::new(false),
        };
        Self {
            inner: Arc::new(store),
            shared: Arc::new(shared),
        }
    }

    /// The store itself, which works at all times.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// The next `calls` calls, of any method, fail and do nothing. It replaces what was said of next calls before.
    pub fn fail_next(&self, calls: u64, kind: StoreErrorKind) {
        self.lock().next = Some((calls, Fault::Fails(kind)));
    }

    /// The next `calls` calls, of any method, do their work, but answer a time-out. It replaces what was said of
    /// next calls before.
    pub fn lose_next(&self, calls: u64) {
        self.lock().next = Some((calls, Fault::LosesAnswer));
    }

    /// All calls fail and do nothing, until [`FlakyStore::recover`].
    pub fn fail_all(&self, kind: StoreErrorKind) {
        self.lock().always = Some(Fault::Fails(kind));
    }

    /// All calls of one method fail and do nothing, until [`FlakyStore::recover`].
    pub fn fail_every(&self, call: StoreCall, kind: StoreErrorKind) {
        let mut state = self.lock();
        state.of_call.retain(|(has, _)| *has != call);
        state.of_call.push((call, Fault::Fails(kind)));
    }

    /// All calls hang, until [`FlakyStore::recover`]; those that were passed on already do not.
    pub fn hang(&self) {
        self.shared.hangs.send_replace(true);
    }

    /// The store works again, and calls that hang go on.
    pub fn recover(&self) {
        let mut state = self.lock();
        state.next = None;
        state.always = None;
        state.of_call.clear();
        drop(state);
        self.shared.hangs.send_replace(false);
    }

    /// The calls that it got.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.lock().calls.clone()
    }

    /// How many calls hang at this moment.
    #[must_use]
    pub fn hanging(&self) -> u64 {
        self.lock().waiting
    }

    fn take_fault(&self, call: StoreCall) -> Option<Fault> {
        let mut state = self.lock();
        if let Some((left, fault)) = &mut state.next {
            if *left > 0 {
                *left -= 1;
                return Some(*fault);
            }
            state.next = None;
        }
        let of_call = state.of_call.iter().find(|(has, _)| *has == call);
        of_call.map(|(_, fault)| *fault).or(state.always)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

impl<S: Send + Sync> FlakyStore<S> {
    /// Lets a call through, or not.
    pub(super) async fn call<T: Send>(
        &self,
        call: StoreCall,
        work: impl Future<Output = StoreResult<T>> + Send,
    ) -> StoreResult<T> {
        self.lock().calls.add(call);
        self.wait_while_hanging().await;
        match self.take_fault(call) {
            None => work.await,
            Some(Fault::Fails(kind)) => Err(StoreError::new(kind, "call flaky store")),
            Some(Fault::LosesAnswer) => {
                work.await?;
                Err(StoreError::new(StoreErrorKind::Timeout, "call flaky store"))
            }
        }
    }

    async fn wait_while_hanging(&self) {
        let mut hangs = self.shared.hangs.subscribe();
        if !*hangs.borrow_and_update() {
            return;
        }
        let _waiting = Waiting::new(&self.shared);
        // The sender lives as long as this store, so there is no error to see.
        let _ = hangs.wait_for(|hangs| !hangs).await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Clone for FlakyStore<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            shared: Arc::clone(&self.shared),
        }
    }
}

/// Counts a call that hangs, also when its future is dropped.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.lock().waiting += 1;
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}
