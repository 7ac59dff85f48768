//! An accepted key in memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::keys::{InvalidKey, Verified};
use crate::meter::account::Account;
use crate::meter::bucket::Bucket;
use crate::principal::Principal;
use crate::refusal::{Refusal, RefusalKind};
use crate::sync::AtomicBool;
use crate::time::Timestamp;

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
        }
    }

    /// Whether its key or account changed since it was asked for.
    pub(crate) fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire) || self.account.is_stale()
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
