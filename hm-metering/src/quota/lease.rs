//! One counter's lease: its window, the operation that is under way, and what the last ones answered.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::tick::Tick;
use super::{FencingToken, LeaseAsk, Owner, QuotaWindow, Release, START, Window};
use crate::heap;
use crate::index::PLACE_BYTES;
use crate::name::MeterName;
use crate::period::Period;
use crate::sync::{AtomicU64, Mutex};
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
    /// The token to settle with, as a number; [`NO_TOKEN`] as long as nothing was leased.
    token: AtomicU64,
    state: Mutex<LeaseState>,
}

/// How busy a lease is, and what goes on with it. There is one for each counter in use, so it is small.
#[derive(Default)]
pub(super) struct LeaseState {
    /// What goes on at the moment; none when nothing does.
    going_on: Option<Box<GoingOn>>,
    /// The lower half of what was taken when the lease was last looked after.
    taken_before: u32,
    /// How much was lately taken between two looks; halved with each.
    pub(super) recent: u32,
    /// How many units were asked for last, before what was left bounded it.
    size: u32,
    /// When something was last granted and not given back since.
    pub(super) granted_at: Option<Tick>,
    /// When something was last granted or taken, as far as was looked.
    active_at: Option<Tick>,
    /// One more than what the store last said is neither used nor leased, or the most that this can hold.
    left: Option<NonZeroU32>,
}

/// What few leases have at a time.
#[derive(Default)]
struct GoingOn {
    /// An operation whose outcome is unknown. It is repeated before any other.
    pending: Option<Operation>,
    /// Where those who wait hear of the operation under way; none unless somebody does.
    answers: Option<watch::Sender<Answer>>,
    /// Units that requests wait for.
    waiting: Units,
}

impl LeaseState {
    pub(super) fn pending(&self) -> Option<&Operation> {
        self.going_on.as_ref()?.pending.as_ref()
    }

    pub(super) fn set_pending(&mut self, operation: Option<Operation>) {
        if operation.is_some() || self.going_on.is_some() {
            self.change(|going_on| going_on.pending = operation);
        }
    }

    /// Units that requests wait for.
    pub(super) fn waiting(&self) -> Units {
        self.going_on
            .as_ref()
            .map_or(Units::ZERO, |going_on| going_on.waiting)
    }

    fn change<T>(&mut self, change: impl FnOnce(&mut GoingOn) -> T) -> T {
        let going_on = self.going_on.get_or_insert_default();
        let answer = change(going_on);
        if going_on.pending.is_none() && going_on.answers.is_none() && going_on.waiting.is_zero() {
            self.going_on = None;
        }
        answer
    }

    /// How many units were asked for last.
    pub(super) fn size(&self) -> u64 {
        self.size.into()
    }

    pub(super) fn set_size(&mut self, size: u64) {
        self.size = u32::try_from(size).unwrap_or(u32::MAX);
    }

    /// A wish that was cut says nothing about the next one.
    pub(super) fn bound_size(&mut self, by: Units) {
        self.set_size(self.size().min(by.get().max(START)));
    }

    /// What the store last said is neither used nor leased, unless that is more than matters; none when it has not been
    /// asked.
    pub(super) fn left(&self) -> Option<Units> {
        self.left.map(|left| Units::from(left.get() - 1))
    }

    pub(super) fn set_left(&mut self, left: Option<Units>) {
        self.left = left.map(|left| {
            let left = u32::try_from(left.get()).unwrap_or(u32::MAX);
            NonZeroU32::MIN.saturating_add(left)
        });
    }

    pub(super) const fn note_active(&mut self, now: Duration) {
        self.active_at = Some(Tick::at(now));
    }

    /// For how long nothing was taken, as far as was looked.
    fn idle(&self, now: Duration) -> Duration {
        self.active_at.map_or(Duration::MAX, |at| at.age(now))
    }

    /// Notes what has been taken until `now`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "two looks are nearer to each other than that"
    )]
    pub(super) fn note_taken(&mut self, taken: u64, now: Duration) {
        let spent = (taken as u32).wrapping_sub(self.taken_before);
        if spent != 0 {
            self.taken_before = taken as u32;
            self.note_active(now);
        }
        // Less than nothing if more was put back than taken.
        let spent = u32::try_from(spent.cast_signed()).unwrap_or(0);
        self.recent = spent.max(self.recent / 2);
    }
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
    /// What one takes of memory, about, with its places among the leases and those that are looked after.
    pub(crate) const BYTES: usize =
        heap::shared(size_of::<Self>()) + PLACE_BYTES + 2 * size_of::<Arc<Self>>();

    pub(super) fn new(owner: Owner, meter: Arc<MeterName>, period: Period) -> Self {
        Self {
            window: Window::new(owner, meter, period),
            token: AtomicU64::new(NO_TOKEN),
            state: Mutex::default(),
        }
    }

    pub(crate) const fn window(&self) -> &Window {
        &self.window
    }

    /// The window that moves with time, where the limit holds for one.
    pub(super) fn quota_window(&self) -> Option<QuotaWindow> {
        self.window.since().map(|since| QuotaWindow {
            account: self.window.account(),
            key: self.window.key_id(),
            meter: self.window.meter().clone(),
            since,
        })
    }

    /// The answer of the operation that ends next.
    pub(super) fn next_answer(&self) -> watch::Receiver<Answer> {
        let subscribe = |going_on: &mut GoingOn| {
            let answers = going_on
                .answers
                .get_or_insert_with(|| watch::Sender::new(Answer::Granted));
            answers.subscribe()
        };
        self.with_state(|state| state.change(subscribe))
    }

    /// Wakes those who wait.
    pub(super) fn tell(&self, answer: Answer) {
        let answers = self.with_state(|state| {
            state.going_on.as_ref()?;
            state.change(|going_on| going_on.answers.take())
        });
        if let Some(answers) = answers {
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
        self.window.has_leased() || self.with_state(|state| state.pending().is_some())
    }

    /// Whether nothing is left that would have to be given back, recorded or repeated.
    pub(super) fn is_empty(&self) -> bool {
        self.window.is_settled() && self.with_state(|state| state.pending().is_none())
    }

    /// How many units were leased, were not spent, and are not known to be back in the store.
    pub(super) fn units_left(&self) -> Units {
        let on_their_way = self.with_state(|state| match state.pending() {
            Some(Operation::Release(release)) => release.units,
            Some(Operation::Lease(..)) | None => Units::ZERO,
        });
        self.window.leased().plus(on_their_way)
    }

    /// For how long nothing was taken, as far as was looked.
    pub(super) fn idle(&self, now: Duration) -> Duration {
        self.with_state(|state| state.idle(now))
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
        self.0.window.busy.store(false, Ordering::Release);
    }
}

/// Counts a waiting request as long as it waits.
pub(super) struct Waiting<'a>(&'a Lease, Units);

impl<'a> Waiting<'a> {
    pub(super) fn new(lease: &'a Lease, need: Units) -> Self {
        lease.with_state(|state| {
            state.change(|going_on| going_on.waiting = going_on.waiting.plus(need));
        });
        Self(lease, need)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.with_state(|state| {
            state.change(|going_on| going_on.waiting = going_on.waiting.minus(self.1));
        });
    }
}
