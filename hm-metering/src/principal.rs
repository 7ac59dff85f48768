//! Who was authenticated.

use std::fmt;
use std::sync::Arc;

use crate::id::{AccountId, KeyId, UserId};
use crate::key::KeyEnv;
use crate::keys::{IpAllow, KeyLimits};
use crate::name::PlanId;
use crate::time::Timestamp;

/// The caller of a metered request, as its key's record says. Cheap to clone; handlers get it from the
/// [`Charge`](crate::Charge::principal) in the request's extensions.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    account: AccountId,
    plan: PlanId,
    anchor: Timestamp,
    key: Option<KeyId>,
    user: Option<UserId>,
    env: KeyEnv,
    scopes: Vec<String>,
    ip_allow: IpAllow,
    limits: KeyLimits,
}

impl Principal {
    /// A caller of `account`, on `plan`. `anchor` is when the account began: anchored periods count from it.
    #[must_use]
    pub fn new(account: AccountId, plan: PlanId, anchor: Timestamp) -> Self {
        Self(Arc::new(Inner {
            account,
            plan,
            anchor,
            key: None,
            user: None,
            env: KeyEnv::Live,
            scopes: Vec::new(),
            ip_allow: IpAllow::default(),
            limits: KeyLimits::default(),
        }))
    }

    fn change(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Says which key was presented.
    #[must_use]
    pub fn with_key(self, key: KeyId, env: KeyEnv) -> Self {
        self.change(|inner| {
            inner.key = Some(key);
            inner.env = env;
        })
    }

    /// Says who made the key.
    #[must_use]
    pub fn with_user(self, user: UserId) -> Self {
        self.change(|inner| inner.user = Some(user))
    }

    /// Gives scopes.
    #[must_use]
    pub fn with_scopes(self, scopes: Vec<String>) -> Self {
        self.change(|inner| inner.scopes = scopes)
    }

    /// Says from where the key may be used; anywhere unless said.
    #[must_use]
    pub fn with_ip_allow(self, ip_allow: IpAllow) -> Self {
        self.change(|inner| inner.ip_allow = ip_allow)
    }

    /// Gives limits that hold for the key beside its account's; none unless said.
    #[must_use]
    pub fn with_limits(self, limits: KeyLimits) -> Self {
        self.change(|inner| inner.limits = limits)
    }

    /// Who is billed and limited.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.0.account
    }

    /// The account's plan when the key was looked up.
    #[must_use]
    pub fn plan(&self) -> &PlanId {
        &self.0.plan
    }

    /// When the account began.
    #[must_use]
    pub fn anchor(&self) -> Timestamp {
        self.0.anchor
    }

    /// The key that was presented; none where something else than a stored key speaks for the account.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.0.key
    }

    /// Who made the key.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.0.user
    }

    /// Whether it is a live or a test key.
    #[must_use]
    pub fn env(&self) -> KeyEnv {
        self.0.env
    }

    /// What the key may do.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        &self.0.scopes
    }

    /// Whether the key has `scope`.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.0.scopes.iter().any(|has| has == scope)
    }

    /// From where the key may be used.
    #[must_use]
    pub fn ip_allow(&self) -> &IpAllow {
        &self.0.ip_allow
    }

    /// The key's own limits.
    #[must_use]
    pub fn limits(&self) -> &KeyLimits {
        &self.0.limits
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("account", &self.0.account)
            .field("plan", &self.0.plan)
            .field("key", &self.0.key)
            .field("user", &self.0.user)
            .field("env", &self.0.env)
            .field("scopes", &self.0.scopes)
            .finish_non_exhaustive()
    }
}
