//! Putting a meter together.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use uuid::Uuid;

use super::directory::{Bounds, Directory, Fingerprints};
use super::feed::Feed;
use super::fill::Filler;
use super::flusher::{Flusher, Pace};
use super::{Engine, Meter, Tasks};
use crate::id::{IdSource, ReplicaId};
use crate::keys::KeyVerifier;
use crate::plan::PlanSource;
use crate::quota::{Holder, LeaseBook, QuotaStore};
use crate::time::{Clock, SystemClock};
use crate::usage::UsageSink;

/// What is missing or makes no sense in a [`MeterBuilder`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// No plans were given, so there are no limits to hold.
    #[error("a meter needs plans: MeterBuilder::plans")]
    NoPlans,
    /// No sink was given, so nothing would be recorded.
    #[error("a meter needs somewhere to record usage: MeterBuilder::usage")]
    NoUsage,
    /// A bound that must be more than nothing is nothing.
    #[error("{0} must be more than nothing")]
    Zero(&'static str),
    /// The meter was started outside a Tokio runtime, which its tasks run on.
    #[error("a meter must be started inside a Tokio runtime")]
    NoRuntime,
    /// The operating system has no randomness to give.
    #[error("the operating system has no randomness to give")]
    NoRandomness(#[source] getrandom::Error),
}

/// Puts a [`Meter`] together; made by [`Meter::builder`].
#[must_use]
pub struct MeterBuilder {
    verifier: Arc<dyn KeyVerifier>,
    plans: Option<Arc<dyn PlanSource>>,
    quota: Option<Arc<dyn QuotaStore>>,
    usage: Option<Arc<dyn UsageSink>>,
    clock: Arc<dyn Clock>,
    replica: Option<ReplicaId>,
    staleness: Duration,
    feed_interval: Duration,
    invalid_for: Duration,
    callers: usize,
    queue: usize,
    flush_interval: Duration,
    batch_len_max: usize,
    store_timeout: Duration,
    record_timeout: Duration,
}

impl MeterBuilder {
    pub(super) fn new(verifier: Arc<dyn KeyVerifier>) -> Self {
        Self {
            verifier,
            plans: None,
            quota: None,
            usage: None,
            clock: Arc::new(SystemClock::new()),
            replica: None,
            staleness: Duration::from_secs(5),
            feed_interval: Duration::from_millis(500),
            invalid_for: Duration::from_secs(1),
            callers: 100_000,
            queue: 65_536,
            flush_interval: Duration::from_secs(1),
            batch_len_max: 1_000,
            store_timeout: Duration::from_secs(2),
            record_timeout: Duration::from_secs(10),
        }
    }

    /// Which limits hold for whom. Required.
    pub fn plans(mut self, plans: impl PlanSource) -> Self {
        self.plans = Some(Arc::new(plans));
        self
    }

    /// Where quotas are counted. Without it the quotas of plans are not enforced and not shown.
    pub fn quota(mut self, store: impl QuotaStore) -> Self {
        self.quota = Some(Arc::new(store));
        self
    }

    /// Where finished requests go. Required.
    pub fn usage(mut self, sink: impl UsageSink) -> Self {
        self.usage = Some(Arc::new(sink));
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Which installation this is. Made at random unless said. No two running meters may have the same.
    pub const fn replica(mut self, replica: ReplicaId) -> Self {
        self.replica = Some(replica);
        self
    }

    /// For how long a verdict or plan is believed when changes can't be seen; 5 seconds.
    pub const fn staleness(mut self, bound: Duration) -> Self {
        self.staleness = bound;
        self
    }

    /// How often changes of keys and accounts are asked for; half a second.
    pub const fn feed_interval(mut self, interval: Duration) -> Self {
        self.feed_interval = interval;
        self
    }

    /// How many callers are kept in memory; 100,000. Those not used lately make way.
    pub const fn callers(mut self, most: usize) -> Self {
        self.callers = most;
        self
    }

    /// How many requests may be in flight or finished and not yet recorded; 65,536. Beyond that requests are refused
    /// with 503, so that none is lost.
    pub const fn queue(mut self, most: usize) -> Self {
        self.queue = most;
        self
    }

    /// How often finished requests are recorded and others' use is asked for; one second. Other replicas know of a request
    /// after up to two such intervals.
    pub const fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// How many events one batch has at most; 1,000.
    pub const fn batch_len_max(mut self, most: usize) -> Self {
        self.batch_len_max = most;
        self
    }

    /// How long a request may wait for a store, and a store's answer may take; 2 seconds.
    pub const fn store_timeout(mut self, at_most: Duration) -> Self {
        self.store_timeout = at_most;
        self
    }

    /// How long one attempt to record a batch may take; 10 seconds.
    pub const fn record_timeout(mut self, at_most: Duration) -> Self {
        self.record_timeout = at_most;
        self
    }

    /// Asks the verifier where its feed of changes stands, and starts the meter's tasks. A store that does not answer delays
    /// the start by [`MeterBuilder::store_timeout`] and does not prevent it.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is missing or makes no sense.
    pub async fn start(self) -> Result<Meter, ConfigError> {
        let (Some(plans), Some(sink)) = (self.plans.clone(), self.usage.clone()) else {
            return Err(if self.plans.is_none() {
                ConfigError::NoPlans
            } else {
                ConfigError::NoUsage
            });
        };
        self.check_bounds()?;
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let ids = IdSource::from_os().map_err(ConfigError::NoRandomness)?;
        let holder = self.holder(&ids);
        let settles_itself = |quota: &Arc<dyn QuotaStore>| {
            quota
                .settled_by()
                .is_some_and(|store| sink.identity() == Some(store))
        };
        let settle = self.quota.clone().filter(|quota| !settles_itself(quota));
        let book = self.quota.clone().map(|store| {
            LeaseBook::new(
                store,
                holder,
                Arc::clone(&self.clock),
                runtime.clone(),
                self.store_timeout,
            )
        });
        let directory = Arc::new(Directory::new(Bounds {
            callers: self.callers,
            invalid: self.callers,
            staleness: self.staleness,
        }));
        let (finished_sender, finished) = mpsc::channel(self.queue);
        let (request_sender, requests) = mpsc::channel(64);
        let events_lost = Arc::new(AtomicU64::new(0));
        let flusher = Flusher {
            sink,
            settle,
            holder,
            clock: Arc::clone(&self.clock),
            pace: Pace {
                interval: self.flush_interval,
                batch_len_max: self.batch_len_max,
                store_timeout: self.record_timeout,
            },
            finished,
            requests,
            next_batch: 1,
            events_lost: Arc::clone(&events_lost),
            is_asked: true,
        };
        let feed = Feed {
            verifier: Arc::clone(&self.verifier),
            directory: Arc::clone(&directory),
            clock: Arc::clone(&self.clock),
            interval: self.feed_interval,
            store_timeout: self.store_timeout,
        };
        let filler = Filler {
            verifier: Arc::clone(&self.verifier),
            plans,
            directory: Arc::clone(&directory),
            book: book.clone(),
            clock: Arc::clone(&self.clock),
            runtime: runtime.clone(),
            store_timeout: self.store_timeout,
            invalid_for: self.invalid_for,
            under_way: std::sync::Mutex::new(HashMap::new()),
        };
        let begun_at = feed.begin().await;
        let tasks = Tasks {
            flusher: Some(runtime.spawn(flusher.run())),
            feed: runtime.spawn(feed.run(begun_at)),
            book: book
                .clone()
                .map(|book| runtime.spawn(book.run(self.flush_interval))),
            recorded: false,
        };
        Ok(Meter(Arc::new(Engine {
            verifier: self.verifier,
            directory,
            filler: Arc::new(filler),
            book,
            fingerprints: Fingerprints::from_os().map_err(ConfigError::NoRandomness)?,
            ids,
            replica: holder.replica,
            clock: self.clock,
            finished: finished_sender,
            requests: request_sender,
            wait_at_most: self.store_timeout,
            refusals_missed: AtomicU64::new(0),
            events_lost,
            tasks: Mutex::new(tasks),
        })))
    }

    fn holder(&self, ids: &IdSource) -> Holder {
        let now = self.clock.now();
        let replica = self
            .replica
            .unwrap_or_else(|| ReplicaId::from_uuid(ids.next(now)));
        // Random bits rather than the time: a clock that was set back must not bring an epoch a second time. One bit
        // less, for databases whose integers have a sign.
        let random = Uuid::as_u64_pair(&ids.next(now)).1;
        Holder {
            replica,
            epoch: random >> 1,
        }
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        let zero = [
            ("callers", self.callers == 0),
            ("queue", self.queue == 0),
            ("batch_len_max", self.batch_len_max == 0),
            ("staleness", self.staleness.is_zero()),
            ("feed_interval", self.feed_interval.is_zero()),
            ("flush_interval", self.flush_interval.is_zero()),
            ("store_timeout", self.store_timeout.is_zero()),
            ("record_timeout", self.record_timeout.is_zero()),
        ];
        match zero.iter().find(|(_, is_zero)| *is_zero) {
            Some((name, _)) => Err(ConfigError::Zero(name)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for MeterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterBuilder").finish_non_exhaustive()
    }
}
