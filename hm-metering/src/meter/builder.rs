//! Putting a meter together.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::hooks::{Hooked, Hooks};
use super::report::HeaderStyle;
use super::start::LEDGER;
use crate::client_address::TrustedProxies;
use crate::id::ReplicaId;
use crate::keys::KeyVerifier;
use crate::name::is_name;
use crate::plan::PlanSource;
use crate::quota::QuotaStore;
use crate::time::{Clock, SystemClock};
use crate::usage::{Journal, JournalError, UsageSink};

/// What a caller may take on average, unless said: twice what it usually does.
const CALLER_BYTES: usize = 1_024;
/// How much room there is for callers at least, unless said: few callers may be large ones.
const CALLERS_BYTES_LEAST: usize = 1 << 20;

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
    /// The journal can't be used.
    #[error("the journal can't be used")]
    Journal(#[from] JournalError),
    /// A name of a further sink is not one, or there twice.
    #[error(
        "{0:?} can't be the name of a sink: use 1 to 64 of a-z, 0-9, '.', '_' and '-', each once, and not \"ledger\""
    )]
    SinkName(String),
}

/// Puts a [`Meter`](crate::Meter) together; made by [`Meter::builder`](crate::Meter::builder).
#[must_use]
pub struct MeterBuilder {
    pub(super) verifier: Arc<dyn KeyVerifier>,
    pub(super) plans: Option<Arc<dyn PlanSource>>,
    pub(super) quota: Option<Arc<dyn QuotaStore>>,
    pub(super) usage: Option<Arc<dyn UsageSink>>,
    pub(super) others: Vec<(String, Arc<dyn UsageSink>)>,
    pub(super) journal: Option<Journal>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) proxies: TrustedProxies,
    pub(super) hooks: Hooked,
    pub(super) replica: Option<ReplicaId>,
    pub(super) headers: HeaderStyle,
    pub(super) staleness: Duration,
    pub(super) feed_interval: Duration,
    pub(super) invalid_for: Duration,
    pub(super) callers: usize,
    pub(super) callers_bytes_max: Option<usize>,
    pub(super) unknown_keys: u32,
    pub(super) queue: usize,
    pub(super) flush_interval: Duration,
    pub(super) batch_len_max: usize,
    pub(super) store_timeout: Duration,
    pub(super) record_timeout: Duration,
}

impl MeterBuilder {
    pub(super) fn new(verifier: Arc<dyn KeyVerifier>) -> Self {
        Self {
            verifier,
            plans: None,
            quota: None,
            usage: None,
            others: Vec::new(),
            journal: None,
            clock: Arc::new(SystemClock::new()),
            proxies: TrustedProxies::default(),
            hooks: Hooked::default(),
            replica: None,
            headers: HeaderStyle::default(),
            staleness: Duration::from_secs(5),
            feed_interval: Duration::from_millis(500),
            invalid_for: Duration::from_secs(1),
            callers: 100_000,
            callers_bytes_max: None,
            unknown_keys: 100,
            queue: 65_536,
            flush_interval: Duration::from_secs(1),
            batch_len_max: 4_000,
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

    /// Who else hears of finished requests, such as counters or a message broker: each sink gets every event, in batches
    /// without settlements, at its own pace. `name` tells them apart in the journal, so it should stay the same.
    ///
    /// Such a sink never gets requests refused. One that falls behind by more than three quarters of the journal (by more than
    /// 32 MiB without one) misses the oldest events, with an error in the log for each stretch.
    pub fn also(mut self, name: &str, sink: impl UsageSink) -> Self {
        self.others.push((name.to_owned(), Arc::new(sink)));
        self
    }

    /// Where finished requests wait for the sinks, so that they outlive the process: a directory, or a [`Journal`] with
    /// more to say. Without it they wait in memory, and what is not recorded when the process dies is lost.
    ///
    /// The journal knows which replica this is; what an earlier run left in it is recorded first.
    pub fn journal(mut self, journal: impl Into<Journal>) -> Self {
        self.journal = Some(journal.into());
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Behind which proxies the service stands, so that the client's address can be told where a key may be used from some
    /// networks only. None unless said: the peer of the connection is then the client.
    pub fn trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.proxies = proxies;
        self
    }

    /// Who takes part in the life of requests; nobody unless said.
    pub fn hooks(mut self, hooks: impl Hooks) -> Self {
        self.hooks = Hooked(Some(Arc::new(hooks)));
        self
    }

    /// Which installation this is. Made at random unless said. No two running meters may have the same.
    pub const fn replica(mut self, replica: ReplicaId) -> Self {
        self.replica = Some(replica);
        self
    }

    /// Which limit headers answers carry; `X-RateLimit-*` with dates and the latest draft unless said.
    pub const fn headers(mut self, style: HeaderStyle) -> Self {
        self.headers = style;
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

    /// How many callers are kept in memory; 100,000, or fewer where [their bytes](Self::callers_bytes_max) are used up first, as
    /// with keys of many scopes or plans of several quotas. Those not used lately make way, and are asked for when they come
    /// again.
    ///
    /// What a caller used of its rates goes with it, and what its account used with the last one of it: when they come again, a
    /// whole burst may pass. Those whose rates have recovered make way first, as far as some are found among those not used
    /// lately. Where that matters, keep more callers than are in use within the longest window of a rate. Quotas and
    /// concurrency limits lose nothing.
    pub const fn callers(mut self, most: usize) -> Self {
        self.callers = most;
        self
    }

    /// How many bytes the callers in memory may take; 1 KiB for each of the [callers](Self::callers), and 1 MiB at least, unless
    /// said. Beyond it callers make way as beyond their number, until the new one fits; one that is greater than all of it is
    /// kept alone.
    ///
    /// It is an estimate: what a key has, with its scopes, networks and rates, and what its account has, with the leases of its
    /// quotas, as if each account had one key. What all accounts of a plan share is not in it. A key without scopes and rates
    /// takes 300 bytes, and 230 more for each quota of its plan.
    pub const fn callers_bytes_max(mut self, bytes: usize) -> Self {
        self.callers_bytes_max = Some(bytes);
        self
    }

    /// How many keys that turn out not to exist are looked up in a second; 100, and up to 512 at once. Anybody can make up
    /// keys that are well formed, so this is what a flood of them costs the store at most. Beyond it requests with keys that
    /// are not in memory are refused with 503 for the moment; those with keys in memory notice nothing.
    pub const fn unknown_keys(mut self, per_second: u32) -> Self {
        self.unknown_keys = per_second;
        self
    }

    /// How many requests may be in flight or finished and not yet recorded when there is no [journal](Self::journal);
    /// 65,536. Beyond that requests are refused with 503, so that none is lost.
    pub const fn queue(mut self, most: usize) -> Self {
        self.queue = most;
        self
    }

    /// How often finished requests are recorded and others' use is asked for; one second. Other replicas know of a request
    /// after up to two such intervals. Others' use is asked for once a second at most, however short the interval is, as long as
    /// nothing has to be given back, so that shorter ones don't cost the store more questions: then they know of it after an
    /// interval and a second, about.
    pub const fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// How many events one batch has at most; 4,000, and without a journal a quarter of the [queue](Self::queue) if that is
    /// less. A database takes about as many statements for a large batch as for a small one.
    pub const fn batch_len_max(mut self, most: usize) -> Self {
        self.batch_len_max = most;
        self
    }

    /// How long a request may wait for a store, and a store's answer may take; 2 seconds.
    pub const fn store_timeout(mut self, at_most: Duration) -> Self {
        self.store_timeout = at_most;
        self
    }

    /// How long one attempt to record a batch may take, for each thousand events or part of it; 10 seconds.
    pub const fn record_timeout(mut self, at_most: Duration) -> Self {
        self.record_timeout = at_most;
        self
    }

    /// How many bytes callers may take.
    pub(super) fn callers_bytes(&self) -> usize {
        let unless_said = self.callers.saturating_mul(CALLER_BYTES).max(CALLERS_BYTES_LEAST);
        self.callers_bytes_max.unwrap_or(unless_said)
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let zero = [
            ("callers", self.callers == 0),
            ("callers_bytes_max", self.callers_bytes_max == Some(0)),
            ("unknown_keys", self.unknown_keys == 0),
            ("queue", self.queue == 0),
            ("batch_len_max", self.batch_len_max == 0),
            ("staleness", self.staleness.is_zero()),
            ("feed_interval", self.feed_interval.is_zero()),
            ("flush_interval", self.flush_interval.is_zero()),
            ("store_timeout", self.store_timeout.is_zero()),
            ("record_timeout", self.record_timeout.is_zero()),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::Zero(name));
        }
        for (at, (name, _)) in self.others.iter().enumerate() {
            let is_taken = name == LEDGER || self.others[..at].iter().any(|(other, _)| other == name);
            if is_taken || !is_name(name) {
                return Err(ConfigError::SinkName(name.clone()));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for MeterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeterBuilder").finish_non_exhaustive()
    }
}
