//! A meter in memory, with any number of accounts that have one key each.

use std::time::Duration;

use async_trait::async_trait;
use hm_metering::keys::KeyIssuer;
use hm_metering::usage::{Batch, Recorded};
use hm_metering::{
    AccountId, Clock, IssuedKey, KeyEnv, KeyStore, MemoryStore, Meter, MeterBuilder, Pepper, Peppers, PlanId,
    Plans, StoreResult, StoredKeyVerifier, SystemClock, Timestamp, UsageSink, UserId,
};
use uuid::Uuid;

/// Plans whose limits nobody reaches, and one that lets a single request through.
const PLANS: &str = r#"
    [none]

    [rates]
    rates = [
        { name = "second", limit = 1000000000, per_seconds = 1 },
        { name = "minute", limit = 4000000000, per_seconds = 60 },
    ]

    [full]
    rates = [
        { name = "second", limit = 1000000000, per_seconds = 1 },
        { name = "minute", limit = 4000000000, per_seconds = 60 },
    ]
    quotas = [{ meter = "requests", limit = 999999999999, period = "calendar_month" }]

    [spent]
    rates = [{ name = "hour", limit = 1, per_seconds = 3600 }]
    quotas = [{ meter = "requests", limit = 999999999999, period = "calendar_month" }]
"#;

/// The operation that every request is.
pub const OPERATION: &str = "data.query";

/// How many keys are in memory at the most.
const CALLERS_MAX: usize = 2_000_000;
/// How many requests may be finished and not yet recorded; rounds are shorter.
const QUEUE: usize = 1_000_000;

/// What holds for an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limits {
    /// Nothing: keys and events only.
    None,
    /// Two rate limits.
    Rates,
    /// Two rate limits and a monthly quota.
    Full,
    /// A rate limit of one request in an hour, and a monthly quota.
    Spent,
}

impl Limits {
    /// The plan that has these limits.
    #[must_use]
    pub const fn plan(self) -> PlanId {
        match self {
            Self::None => PlanId::from_static("none"),
            Self::Rates => PlanId::from_static("rates"),
            Self::Full => PlanId::from_static("full"),
            Self::Spent => PlanId::from_static("spent"),
        }
    }
}

/// Accounts with a key each, kept in memory.
#[derive(Debug)]
pub struct Accounts {
    store: MemoryStore,
    peppers: Peppers,
    issuer: KeyIssuer,
}

impl Accounts {
    /// None yet.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn new() -> Self {
        let peppers = Peppers::new(Pepper::new(1, &[7; 32]).expect("a pepper that is long enough"));
        Self {
            store: MemoryStore::new(),
            issuer: KeyIssuer::new(peppers.clone()).expect("randomness"),
            peppers,
        }
    }

    /// Where they are kept.
    #[must_use]
    pub const fn store(&self) -> &MemoryStore {
        &self.store
    }

    /// Who says whom a key speaks for.
    #[must_use]
    pub fn verifier(&self) -> StoredKeyVerifier {
        StoredKeyVerifier::new(self.store.clone(), self.peppers.clone())
    }

    /// A new account with a key.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub async fn add(&self, limits: Limits) -> IssuedKey {
        let began = Timestamp::from_micros(0);
        let (account, user) = (
            AccountId::from_uuid(Uuid::now_v7()),
            UserId::from_uuid(Uuid::now_v7()),
        );
        self.store.add_account(account, limits.plan(), began);
        let (key, record) = self
            .issuer
            .issue(account, user, "bench", KeyEnv::Live, began)
            .expect("randomness");
        self.store.insert(&record).await.expect("a new key");
        key
    }

    /// A meter over the accounts, whose events nobody keeps: a store's work is measured elsewhere.
    pub fn meter(&self) -> MeterBuilder {
        Meter::builder(self.verifier())
            .plans(plans())
            .quota(self.store.clone())
            .usage(Nowhere)
            .callers(CALLERS_MAX)
            .queue(QUEUE)
            .batch_len_max(10_000)
    }
}

impl Default for Accounts {
    fn default() -> Self {
        Self::new()
    }
}

/// All plans of the benchmarks.
///
/// # Panics
/// Never: their text is a constant.
#[must_use]
pub fn plans() -> Plans {
    Plans::from_toml(PLANS).expect("the plans are sound")
}

/// Takes every batch and keeps nothing.
#[derive(Clone, Copy, Debug)]
pub struct Nowhere;

#[async_trait]
impl UsageSink for Nowhere {
    async fn record(&self, _: &Batch) -> StoreResult<Recorded> {
        Ok(Recorded::New)
    }
}

/// The system's clock, asked as often and at the same price, but about a thousand times slower. Nothing goes stale and no
/// lease is given back as idle while a program under an instrument crawls.
#[derive(Debug)]
pub struct SlowClock(SystemClock);

impl SlowClock {
    /// Starts with the real time.
    #[must_use]
    pub fn new() -> Self {
        Self(SystemClock::new())
    }
}

impl Default for SlowClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SlowClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        // Shifts, so that what is measured does not pay for a division that is none of its own.
        let real = self.0.monotonic();
        let whole = real.as_secs() % 1_024 * 1_000_000_000;
        let nanos = (whole + u64::from(real.subsec_nanos())) >> 10;
        Duration::new(real.as_secs() >> 10, nanos as u32)
    }
}
