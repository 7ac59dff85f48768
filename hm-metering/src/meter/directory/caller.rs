//! An accepted key in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::fingerprint::Fingerprint;
use crate::heap;
use crate::id::{AccountId, KeyId, UserId};
use crate::index::PLACE_BYTES;
use crate::key::KeyEnv;
use crate::keys::{InvalidKey, IpAllow, KeyLimits, KeyQuotas, Verified};
use crate::meter::account::Account;
use crate::meter::bucket::{Buckets, OwnBuckets};
use crate::meter::own::{Own, OwnQuotas};
use crate::name::PlanId;
use crate::principal::{Identity, Principal};
use crate::refusal::{Refusal, RefusalKind};
use crate::sync::AtomicBool;
use crate::time::Timestamp;

/// For how long nobody is waited for who could not answer.
const UNANSWERED_FOR_SECONDS: u64 = 10;

/// An accepted key. It is whom handlers know as [`Principal`] too, so that there is one allocation for a key; what few keys
/// have is in another.
#[derive(Debug)]
pub(crate) struct Caller {
    fingerprint: Fingerprint,
    pub(crate) account: Arc<Account>,
    key: Option<KeyId>,
    user: Option<UserId>,
    env: KeyEnv,
    rare: Option<Box<Rare>>,
    /// When the verdict was asked for, in nanoseconds of the monotonic clock.
    asked_at: u64,
    /// Whether it was used since the last look, for eviction.
    pub(super) used: AtomicBool,
    /// Set when the key changed.
    pub(super) stale: AtomicBool,
    /// When it may be asked for again after that failed, in whole seconds of the monotonic clock; zero when it did not.
    retry_at: AtomicU32,
    /// What it takes of memory, about.
    bytes: u32,
}

/// What most keys don't have.
#[derive(Debug)]
struct Rare {
    /// What the verifier calls the plan, where the plan's source has another name for it.
    plan: Option<PlanId>,
    scopes: Vec<String>,
    ip_allow: IpAllow,
    limits: KeyLimits,
    /// The rates of the key itself.
    buckets: Option<Arc<OwnBuckets>>,
    quotas: KeyQuotas,
    /// The counters of these; none where nothing counts them.
    counted: Option<Box<OwnQuotas>>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    plan_until: Option<Timestamp>,
}

impl Caller {
    /// `before` is what was known of the key: as long as its own rates stay, their state does.
    pub(crate) fn new(
        fingerprint: Fingerprint,
        verified: &Verified,
        account: Arc<Account>,
        asked_at: u64,
        before: Option<&Self>,
    ) -> Self {
        let principal = &verified.principal;
        let rare = Rare::new(verified, &account, before);
        // As if its account had no other key: then those that stay are never more than was counted.
        let bytes = heap::shared(size_of::<Self>())
            + PLACE_BYTES * (1 + usize::from(principal.key().is_some()))
            + rare.as_ref().map_or(0, |rare| rare.bytes())
            + account.bytes();
        Self {
            rare,
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            fingerprint,
            account,
            key: principal.key(),
            user: principal.user(),
            env: principal.env(),
            asked_at,
            used: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            retry_at: AtomicU32::new(0),
        }
    }

    /// As handlers know it.
    pub(crate) fn principal(self: &Arc<Self>) -> Principal {
        let own = Arc::clone(self);
        Principal::kept(own)
    }

    /// The limits of the key itself.
    pub(crate) fn own(&self) -> Own<'_> {
        self.rare.as_ref().map_or_else(Own::default, |rare| Own {
            rates: rare.buckets(),
            quotas: rare.counted.as_deref(),
        })
    }

    /// The quotas of the key itself, where they are counted.
    pub(crate) fn own_quotas(&self) -> Option<&OwnQuotas> {
        self.rare.as_ref()?.counted.as_deref()
    }

    /// The rates of the key itself.
    pub(crate) fn buckets(&self) -> Buckets<'_> {
        let rare = self.rare.as_ref();
        rare.map_or_else(Buckets::default, |rare| rare.buckets())
    }

    /// What it takes of memory, about, with its places in the indexes and all of its account's state.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes as usize
    }

    /// Whether nothing is lost that limits requests, if it is forgotten at `now`: its rates and its account's are as if nobody
    /// had ever used them.
    pub(super) fn is_rested(&self, now: u64) -> bool {
        let mut buckets = self.account.buckets().iter().chain(self.buckets().iter());
        buckets.all(|bucket| bucket.is_full(now))
    }

    pub(super) const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the verdict was asked for, on the monotonic clock.
    pub(super) const fn asked_at(&self) -> Duration {
        Duration::from_nanos(self.asked_at)
    }

    /// Whether its key or account changed since it was asked for.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire) || self.account.is_stale()
    }

    /// Notes that the verifier or the plan source could not answer at `now`.
    pub(super) fn note_unanswered(&self, now: Duration) {
        let next = u32::try_from(now.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
        self.retry_at.store(next, Ordering::Release);
    }

    /// Whether they could not answer when they were last asked, not long before `now`.
    pub(crate) fn is_unanswered(&self, now: Duration) -> bool {
        let retry_at = u64::from(self.retry_at.load(Ordering::Acquire));
        retry_at != 0 && now.as_secs() < retry_at + UNANSWERED_FOR_SECONDS
    }

    /// Whether they may be asked again after a failure.
    pub(crate) fn has_rested(&self, now: Duration) -> bool {
        now.as_secs() >= u64::from(self.retry_at.load(Ordering::Acquire))
    }

    /// Whether the key may be used from where a request comes from. The address is asked for only if that matters.
    pub(crate) fn check_address(&self, client: impl FnOnce() -> Option<IpAddr>) -> Result<(), Refusal> {
        let allow = self.ip_allow();
        if allow.is_empty() || allow.allows(client()) {
            Ok(())
        } else {
            Err(Refusal::new(RefusalKind::AddressNotAllowed))
        }
    }

    /// Whether its account has moved to another plan by `now`, so that the verifier has to be asked again.
    pub(crate) fn has_moved(&self, now: Timestamp) -> bool {
        let until = self.rare.as_ref().and_then(|rare| rare.plan_until);
        until.is_some_and(|until| until <= now)
    }

    /// Why the key is not accepted at `now` although its verdict was good.
    pub(crate) fn check_dates(&self, now: Timestamp) -> Result<(), InvalidKey> {
        let Some(rare) = &self.rare else {
            return Ok(());
        };
        if rare.expires_at.is_some_and(|end| end <= now) {
            Err(InvalidKey::Expired)
        } else if rare.not_before.is_some_and(|start| now < start) {
            Err(InvalidKey::NotYetValid)
        } else {
            Ok(())
        }
    }
}

impl Rare {
    fn new(verified: &Verified, account: &Account, before: Option<&Caller>) -> Option<Box<Self>> {
        let principal = &verified.principal;
        let (plan, limits) = (principal.plan(), principal.limits());
        let before = before.and_then(|before| before.rare.as_ref());
        let buckets = match before.filter(|before| before.limits == *limits) {
            Some(before) => before.buckets.clone(),
            None if limits.is_empty() => None,
            None => Some(Arc::new(OwnBuckets::new(limits.rates()))),
        };
        let rare = Self {
            plan: (*plan != account.plan().id).then(|| plan.clone()),
            scopes: principal.scopes().to_vec(),
            ip_allow: principal.ip_allow().clone(),
            limits: limits.clone(),
            buckets,
            quotas: principal.quotas().clone(),
            counted: OwnQuotas::new(principal.key(), principal.quotas(), account.leases()).map(Box::new),
            not_before: verified.not_before,
            expires_at: verified.expires_at,
            plan_until: verified.plan_until,
        };
        let has_some = rare.plan.is_some()
            || !rare.scopes.is_empty()
            || !rare.ip_allow.is_empty()
            || !rare.limits.is_empty()
            || !rare.quotas.is_empty()
            || rare.not_before.is_some()
            || rare.expires_at.is_some()
            || rare.plan_until.is_some();
        has_some.then(|| Box::new(rare))
    }

    fn buckets(&self) -> Buckets<'_> {
        let buckets = self.buckets.as_ref();
        buckets.map_or_else(Buckets::default, |buckets| buckets.get())
    }

    /// What it takes of memory, about.
    fn bytes(&self) -> usize {
        let plan = self.plan.as_ref();
        heap::block(size_of::<Self>())
            + plan.map_or(0, |plan| heap::shared(plan.as_str().len()))
            + heap::texts(&self.scopes)
            + heap::list(self.ip_allow.networks())
            + self.limits.bytes()
            + self.buckets.as_ref().map_or(0, |buckets| buckets.bytes())
            + self.quotas.bytes()
            + self.counted.as_ref().map_or(0, |counted| counted.bytes())
    }
}

impl Identity for Caller {
    fn account(&self) -> AccountId {
        self.account.id
    }

    fn plan(&self) -> &PlanId {
        let own = self.rare.as_ref().and_then(|rare| rare.plan.as_ref());
        own.unwrap_or(&self.account.plan().id)
    }

    fn anchor(&self) -> Timestamp {
        self.account.anchor
    }

    fn key(&self) -> Option<KeyId> {
        self.key
    }

    fn user(&self) -> Option<UserId> {
        self.user
    }

    fn env(&self) -> KeyEnv {
        self.env
    }

    fn scopes(&self) -> &[String] {
        self.rare.as_ref().map_or(&[], |rare| &rare.scopes)
    }

    fn ip_allow(&self) -> &IpAllow {
        self.rare.as_ref().map_or(IpAllow::ANY, |rare| &rare.ip_allow)
    }

    fn limits(&self) -> &KeyLimits {
        self.rare.as_ref().map_or(KeyLimits::NONE, |rare| &rare.limits)
    }

    fn quotas(&self) -> &KeyQuotas {
        self.rare.as_ref().map_or(KeyQuotas::NONE, |rare| &rare.quotas)
    }
}
