//! A meter in memory, with all that a test wants to turn and to look at.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::panic::Location;
use std::time::Duration;

use http::Request;

use super::clock::TestClock;
use super::events::Events;
use super::fixtures::{TestKey, TestKeys};
use super::flaky::FlakyStore;
use crate::keys::NewKey;
use crate::memory::MemoryStore;
use crate::meter::{Meter, MeterBuilder};
use crate::name::PlanId;
use crate::plan::{Limit, Plan, Plans};
use crate::time::Timestamp;
use crate::usage::Event;

/// How long a test waits for the ledger, by the clock of the machine or of a paused runtime.
const AT_MOST: Duration = Duration::from_secs(10);

/// A day.
#[must_use]
pub const fn day() -> Duration {
    Duration::from_secs(86_400)
}

/// An hour.
#[must_use]
pub const fn hour() -> Duration {
    Duration::from_secs(3_600)
}

/// A started [`Meter`] over stores in memory, with a clock that a test moves and a key for each plan; made by
/// [`Meter::test`]. It can be used wherever a [`Meter`] is.
///
/// For tests only: its methods panic when something fails.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use hm_metering::plan::Quota;
/// use hm_metering::testing::day;
/// use hm_metering::Meter;
/// use http::{Request, Response};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// let meter = Meter::test().plan("free", Quota::per_day(5)).start().await;
/// let answer = async |_: Request<()>| Ok::<_, std::io::Error>(Response::new("honey does not spoil".to_owned()));
/// let chat = meter.layer("chat").layer(service_fn(answer)); // or your whole service
/// let ask = async || chat.clone().oneshot(meter.request("/chat")).await.unwrap().status();
///
/// for _ in 0..5 {
///     assert_eq!(ask().await, 200);
/// }
/// assert_eq!(ask().await, 429);
/// meter.clock().advance(day());
/// assert_eq!(ask().await, 200);
///
/// assert_eq!(meter.events().await.len(), 7);
/// meter.assert_charged("requests", 6).await;
/// meter.shutdown().await; // nothing is left over
/// # }
/// ```
pub struct TestMeter {
    meter: Meter,
    store: FlakyStore<MemoryStore>,
    clock: TestClock,
    keys: TestKeys,
    issued: Vec<(PlanId, TestKey)>,
}

type ChangeKey<'a> = Box<dyn FnMut(&PlanId, &mut NewKey, Timestamp) + Send + 'a>;

/// Puts a [`TestMeter`] together; made by [`Meter::test`].
#[must_use]
pub struct TestMeterBuilder<'a> {
    plans: Vec<Plan>,
    start: Timestamp,
    change_key: ChangeKey<'a>,
    change: Box<dyn FnOnce(MeterBuilder) -> MeterBuilder + Send + 'a>,
}

impl Meter {
    /// Starts to put a meter for a test together: stores in memory, a clock that the test moves, and a key for each plan.
    pub fn test<'a>() -> TestMeterBuilder<'a> {
        TestMeterBuilder {
            plans: Vec::new(),
            start: TestMeter::START,
            change_key: Box::new(|_, _, _| ()),
            change: Box::new(|builder| builder),
        }
    }
}

impl<'a> TestMeterBuilder<'a> {
    /// A plan with a limit. Said again for the same plan, both hold.
    ///
    /// # Panics
    /// When `plan` is no name, see [`PlanId::from_static`].
    pub fn plan(mut self, plan: &'static str, limit: impl Into<Limit>) -> Self {
        let known = self.plans.iter().position(|known| known.id.as_str() == plan);
        let before = known.map_or_else(|| Plan::new(plan), |at| self.plans.remove(at));
        let at = known.unwrap_or(self.plans.len());
        self.plans.insert(at, before.limit(limit));
        self
    }

    /// Plans as a configuration has them, see [`Plans::from_toml`].
    ///
    /// # Panics
    /// When they can't be used.
    #[track_caller]
    #[expect(clippy::panic, reason = "a test whose plans are wrong has to stop")]
    pub fn plans(mut self, toml: &str) -> Self {
        let plans = Plans::from_toml(toml).unwrap_or_else(|error| panic!("the plans can't be used: {error}"));
        self.plans.extend(plans.iter().map(|plan| Plan::clone(plan)));
        self
    }

    /// The clock begins at `start` in place of [`TestMeter::START`], and so do the accounts.
    pub const fn at(mut self, start: Timestamp) -> Self {
        self.start = start;
        self
    }

    /// Changes the keys' records before they are kept, such as their scopes. `change` gets each plan's name, the record of its
    /// key, and the time.
    pub fn keys(mut self, change: impl FnMut(&PlanId, &mut NewKey, Timestamp) + Send + 'a) -> Self {
        self.change_key = Box::new(change);
        self
    }

    /// Changes what the meter is made of, such as `|builder| builder.journal(directory)`.
    pub fn with(mut self, change: impl FnOnce(MeterBuilder) -> MeterBuilder + Send + 'a) -> Self {
        let earlier = self.change;
        self.change = Box::new(|builder| change(earlier(builder)));
        self
    }

    /// Makes an account with a live key for each plan, and starts the meter. Without plans there is one, `free`, that has no
    /// limits.
    ///
    /// # Panics
    /// When the plans make no sense, or the meter can't be started.
    #[expect(clippy::panic, reason = "a test that can't begin has to stop")]
    pub async fn start(mut self) -> TestMeter {
        if self.plans.is_empty() {
            self.plans.push(Plan::new("free"));
        }
        let memory = MemoryStore::new();
        let clock = TestClock::at(self.start);
        let keys = TestKeys::new(memory.clone());
        let store = FlakyStore::new(memory);
        let mut issued = Vec::new();
        for plan in &self.plans {
            let change = &mut self.change_key;
            let change = |key: &mut NewKey| change(&plan.id, key, self.start);
            issued.push((
                plan.id.clone(),
                keys.issue_with(plan.id.clone(), self.start, change).await,
            ));
        }
        let plans = Plans::new(self.plans).unwrap_or_else(|error| panic!("the plans can't be used: {error}"));
        let builder = (self.change)(builder(&store, &clock, &keys).plans(plans));
        let meter = builder.start().await;
        TestMeter {
            meter: meter.unwrap_or_else(|error| panic!("the meter can't be started: {error}")),
            store,
            clock,
            keys,
            issued,
        }
    }
}

/// A meter over `store`, without plans.
fn builder(store: &FlakyStore<MemoryStore>, clock: &TestClock, keys: &TestKeys) -> MeterBuilder {
    Meter::builder(keys.verifier_over(store.clone()))
        .quota(store.clone())
        .usage(store.clone())
        .clock(clock.clone())
}

impl TestMeter {
    /// When the clock of a test begins, unless said: 25 November 2026, 13:14:15 UTC.
    pub const START: Timestamp = Timestamp::from_micros(1_795_612_455_000_000);

    /// Starts a meter with these plans, see [`Plans::from_toml`].
    ///
    /// # Panics
    /// When the plans can't be used, or the meter can't be started.
    pub async fn start(plans: &str) -> Self {
        Meter::test().plans(plans).start().await
    }

    /// The clock; advance it to let time pass.
    #[must_use]
    pub const fn clock(&self) -> &TestClock {
        &self.clock
    }

    /// The store of keys, quotas and events as the meter sees it: make it fail or hang, and count its calls.
    #[must_use]
    pub const fn store(&self) -> &FlakyStore<MemoryStore> {
        &self.store
    }

    /// Makes further keys and accounts.
    #[must_use]
    pub const fn keys(&self) -> &TestKeys {
        &self.keys
    }

    /// The key on the plan of that name; it is the same each time.
    ///
    /// # Panics
    /// When there is no such plan.
    #[must_use]
    #[track_caller]
    #[expect(clippy::panic, reason = "a test that asks for the wrong plan has to stop")]
    pub fn key(&self, plan: &str) -> &TestKey {
        let found = self.issued.iter().find(|(id, _)| id.as_str() == plan);
        found.map_or_else(|| panic!("there is no plan {plan:?}"), |(_, key)| key)
    }

    /// A request for `path` with the key of the first plan, and nothing in its body. For other keys see
    /// [`TestKey::headers`].
    ///
    /// # Panics
    /// When `path` is none.
    #[track_caller]
    #[expect(clippy::expect_used, reason = "a test that can't ask has to stop")]
    pub fn request<B: Default>(&self, path: &str) -> Request<B> {
        let mut request = Request::new(B::default());
        *request.uri_mut() = path.parse().expect("a path such as \"/chat\"");
        *request.headers_mut() = self.issued[0].1.headers();
        request
    }

    /// Another meter on the same stores and clock, not started yet, as another process would have it. It needs plans.
    pub fn another(&self) -> MeterBuilder {
        builder(&self.store, &self.clock, &self.keys)
    }

    /// Everything in the ledger, after what was finished has been recorded. A request is finished when the body of its
    /// response has been read to the end or dropped.
    ///
    /// # Panics
    /// When it can't be recorded: because the store was told to fail, or an event was lost.
    #[track_caller]
    pub fn events(&self) -> impl Future<Output = Events> + Send + use<'_> {
        let at = Location::caller();
        async move {
            assert!(
                self.meter.flush(AT_MOST).await,
                "what was finished could not be recorded; is the store still told to fail? ({at})"
            );
            self.events_so_far()
        }
    }

    /// What is in the ledger now. What was finished and not recorded yet is missing.
    #[must_use]
    pub fn events_so_far(&self) -> Events {
        Events::from(self.store.inner().events())
    }

    /// The one event that there is, after it has been recorded; see [`TestMeter::events`].
    ///
    /// # Panics
    /// When there is none, or another one.
    #[track_caller]
    pub fn event(&self) -> impl Future<Output = Event> + Send + use<'_> {
        let at = Location::caller();
        let events = self.events();
        async move {
            let events = events.await;
            assert_eq!(events.len(), 1, "one event was expected ({at}): {events:?}");
            events.one()
        }
    }

    /// That all requests so far were charged `units` of `meter` together; see [`TestMeter::events`].
    ///
    /// # Panics
    /// When they were charged something else.
    #[track_caller]
    pub fn assert_charged(&self, meter: &str, units: u64) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        let events = self.events();
        async move {
            let events = events.await;
            let charged = events.units_of(meter);
            assert_eq!(charged, units, "units of {meter} charged ({at}): {events:?}");
        }
    }

    /// Ends the meter, and asserts that nothing is left over: every finished request is in the ledger, and no unit is held
    /// for a request or leased.
    ///
    /// # Panics
    /// When something is left over: a response that is neither read to its end nor dropped, another meter on the same stores,
    /// or what a store that was told to fail did not take.
    #[track_caller]
    pub fn shutdown(self) -> impl Future<Output = ()> + Send {
        let at = Location::caller();
        async move {
            let report = self.meter.shutdown(AT_MOST).await;
            let lost = self.meter.events_lost();
            assert_eq!(lost, 0, "events were lost ({at})");
            assert!(
                report.recorded,
                "finished requests are not recorded; is the store still told to fail? ({at})"
            );
            assert!(
                report.released,
                "units are not given back; is the store still told to fail? ({at})"
            );
            let leased = self.store.inner().leased();
            assert!(
                leased.is_empty(),
                "units are still leased; is a response neither read to its end nor dropped? ({at}): {leased:?}"
            );
        }
    }
}

impl Deref for TestMeter {
    type Target = Meter;

    fn deref(&self) -> &Meter {
        &self.meter
    }
}

impl fmt::Debug for TestMeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestMeter")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TestMeterBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestMeterBuilder")
            .field("plans", &self.plans)
            .finish_non_exhaustive()
    }
}
