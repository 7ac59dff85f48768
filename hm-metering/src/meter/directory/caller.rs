//! An accepted key in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::keys::{InvalidKey, Verified};
use crate::meter::account::Account;
use crate::meter::bucket::Bucket;
use crate::principal::Principal;
use crate::refusal::{Refusal, RefusalKind};
use crate::sync::AtomicBool;
use crate::time::Timestamp;

/// For how long nobody is waited for who could not answer.
const UNANSWERED_FOR_SECONDS: u64 = 10;

/// An accepted key.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) account: Arc<Account>,
    /// The rates of the key itself.
    pub(crate) buckets: Arc<[Bucket]>,
    not_before: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    plan_until: Option<Timestamp>,
    /// When the verdict was asked for, on the monotonic clock.
    pub(super) asked_at: Duration,
    /// Whether it was used since the last look, for eviction.
    pub(super) used: AtomicBool,
    /// Set when the key changed.
    pub(super) stale: AtomicBool,
    /// When it may be asked for again after that failed, in whole seconds of the monotonic clock; zero when it did not.
    retry_at: AtomicU32,
}

impl Caller {
    /// `before` is what was known of the key: as long as its own rates stay, their state does.
    pub(crate) fn new(
        verified: Verified,
        account: Arc<Account>,
        asked_at: Duration,
        before: Option<&Self>,
    ) -> Self {
        let limits = verified.principal.limits();
        let kept = before.filter(|before| before.principal.limits() == limits);
        Self {
            buckets: kept.map_or_else(
                || limits.rates().iter().map(Bucket::new).collect(),
                |before| Arc::clone(&before.buckets),
            ),
            principal: verified.principal,
            account,
            not_before: verified.not_before,
            expires_at: verified.expires_at,
            plan_until: verified.plan_until,
            asked_at,
            used: AtomicBool::new(false),
            stale: AtomicBool::new(false),
            retry_at: AtomicU32::new(0),
        }
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
        let allow = self.principal.ip_allow();
        if allow.is_empty() || allow.allows(client()) {
            Ok(())
        } else {
            Err(Refusal::new(RefusalKind::AddressNotAllowed))
        }
    }

    /// Whether its account has moved to another plan by `now`, so that the verifier has to be asked again.
    pub(crate) fn has_moved(&self, now: Timestamp) -> bool {
        self.plan_until.is_some_and(|until| until <= now)
    }

    /// Why the key is not accepted at `now` although its verdict was good.
    pub(crate) fn check_dates(&self, now: Timestamp) -> Result<(), InvalidKey> {
        if self.expires_at.is_some_and(|end| end <= now) {
            Err(InvalidKey::Expired)
        } else if self.not_before.is_some_and(|start| now < start) {
            Err(InvalidKey::NotYetValid)
        } else {
            Ok(())
        }
    }
}
