//! One counter's lease: its window, the operation that is under way, and what the last ones answered.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::{FencingToken, LeaseAsk, QuotaKey, QuotaWindow, Release, Window};
use crate::sync::{AtomicBool, AtomicU64, Mutex};
use crate::units::Units;

/// No store gives out so many tokens.
const NO_TOKEN: u64 = u64::MAX;

/// Why units could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Something was granted; try again.
    Granted,
    /// The store has nothing left.
    Exhausted,
    /// The store did not answer.
    Failed,
}

/// A counter's window and what is needed to lease for it.
pub(crate) struct Lease {
    pub(super) window: Window,
    /// One operation of this counter runs at a time.
    pub(super) busy: AtomicBool,
    /// Units that requests wait for.
    pub(super) waiting: AtomicU64,
    /// The token to settle with, as a number; [`NO_TOKEN`] as long as nothing was leased.
    token: AtomicU64,
    state: Mutex<LeaseState>,
}

#[derive(Default)]
pub(super) struct LeaseState {
    /// An operation whose outcome is unknown. It is repeated before any other.
    pub(super) pending: Option<Box<Operation>>,
    /// Where those who wait hear of the operation under way; none unless somebody does.
    answers: Option<watch::Sender<Answer>>,
    /// How many units were asked for last, before what was left bounded it.
    pub(super) size: u64,
    /// When something was last granted and not given back since, on the same clock.
    pub(super) granted_at: Option<NonZeroU64>,
    /// What the store last said is neither used nor leased.
    pub(super) left: Option<Units>,
    /// What was taken when the lease was last looked after.
    pub(super) taken_before: u64,
    /// How much was lately taken between two looks; halved with each.
    pub(super) recent: u64,
    /// When something was last granted or taken, as far as was looked; nanoseconds of the monotonic clock.
    pub(super) active_at: u64,
}

/// An operation of the store, to be repeated if its outcome is unknown.
#[derive(Clone)]
pub(super) enum Operation {
    /// With the moment it was asked at, on the monotonic clock.
    Lease(LeaseAsk, Duration),
    Release(Release),
}

impl Operation {
    /// The store's call, as metrics name it.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Lease(..) => "lease",
            Self::Release(_) => "release",
        }
    }
}

impl Lease {
    pub(super) fn new(key: QuotaKey) -> Self {
        Self {
            window: Window::new(key),
            busy: AtomicBool::new(false),
            waiting: AtomicU64::new(0),
            token: AtomicU64::new(NO_TOKEN),
            state: Mutex::default(),
        }
    }

    pub(crate) const fn window(&self) -> &Window {
        &self.window
    }

    /// The window that moves with time, where the limit holds for one.
    pub(super) fn quota_window(&self) -> Option<QuotaWindow> {
        let key = self.window.key();
        self.window.since().map(|since| QuotaWindow {
            account: key.account,
            meter: key.meter.clone(),
            since,
        })
    }

    /// The answer of the operation that ends next.
    pub(super) fn next_answer(&self) -> watch::Receiver<Answer> {
        self.with_state(|state| {
            let answers = state
                .answers
                .get_or_insert_with(|| watch::Sender::new(Answer::Granted));
            answers.subscribe()
        })
    }

    /// Wakes those who wait.
    pub(super) fn tell(&self, answer: Answer) {
        if let Some(answers) = self.with_state(|state| state.answers.take()) {
            answers.send_replace(answer);
        }
    }

    /// The token to settle with; none as long as nothing was leased.
    pub(crate) fn token(&self) -> Option<FencingToken> {
        let token = self.token.load(Ordering::Acquire);
        (token != NO_TOKEN).then_some(FencingToken(token))
    }

    /// Must come before units under this token can be taken, so that who takes some can settle them.
    pub(super) fn set_token(&self, token: FencingToken) {
        self.token.store(token.0, Ordering::Release);
    }

    /// Whether something has to be given back or repeated.
    pub(super) fn has_to_give_back(&self) -> bool {
        self.window.has_leased() || self.with_state(|state| state.pending.is_some())
    }

    /// Whether nothing is left that would have to be given back, recorded or repeated.
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_settled() && self.with_state(|state| state.pending.is_none())
    }

    pub(super) fn with_state<T>(&self, change: impl FnOnce(&mut LeaseState) -> T) -> T {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

/// Frees a lease for the next operation when dropped.
pub(super) struct Busy(pub(super) Arc<Lease>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// Counts a waiting request as long as it waits.
pub(super) struct Waiting<'a>(&'a Lease, Units);

impl<'a> Waiting<'a> {
    pub(super) fn new(lease: &'a Lease, need: Units) -> Self {
        lease.waiting.fetch_add(need.get(), Ordering::AcqRel);
        Self(lease, need)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(self.1.get(), Ordering::AcqRel);
    }
}
