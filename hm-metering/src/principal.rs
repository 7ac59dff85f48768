//! Who was authenticated.

use std::fmt;
use std::sync::Arc;

use crate::id::{AccountId, KeyId, UserId};
use crate::key::KeyEnv;
use crate::keys::{IpAllow, KeyLimits, KeyQuotas};
use crate::name::PlanId;
use crate::time::Timestamp;

/// What says who a caller is: the answer of a verifier, or what the engine keeps of one.
pub(crate) trait Identity: Send + Sync + 'static {
    fn account(&self) -> AccountId;
    fn plan(&self) -> &PlanId;
    fn anchor(&self) -> Timestamp;
    fn key(&self) -> Option<KeyId>;
    fn user(&self) -> Option<UserId>;
    fn env(&self) -> KeyEnv;
    fn scopes(&self) -> &[String];
    fn ip_allow(&self) -> &IpAllow;
    fn limits(&self) -> &KeyLimits;
    fn quotas(&self) -> &KeyQuotas;
}

/// The caller of a metered request, as its key's record says. Cheap to clone; handlers get it from the
/// [`Charge`](crate::Charge::principal) in the request's extensions.
#[derive(Clone)]
pub struct Principal(Source);

#[derive(Clone)]
enum Source {
    Said(Arc<Said>),
    Kept(Arc<dyn Identity>),
}

/// What a verifier said.
#[derive(Clone)]
struct Said {
    account: AccountId,
    plan: PlanId,
    anchor: Timestamp,
    key: Option<KeyId>,
    user: Option<UserId>,
    env: KeyEnv,
    scopes: Vec<String>,
    ip_allow: IpAllow,
    limits: KeyLimits,
    quotas: KeyQuotas,
}

impl Identity for Said {
    fn account(&self) -> AccountId {
        self.account
    }

    fn plan(&self) -> &PlanId {
        &self.plan
    }

    fn anchor(&self) -> Timestamp {
        self.anchor
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
        &self.scopes
    }

    fn ip_allow(&self) -> &IpAllow {
        &self.ip_allow
    }

    fn limits(&self) -> &KeyLimits {
        &self.limits
    }

    fn quotas(&self) -> &KeyQuotas {
        &self.quotas
    }
}

impl Principal {
    /// A caller of `account`, on `plan`. `anchor` is when the account began: anchored periods count from it.
    #[must_use]
    pub fn new(account: AccountId, plan: PlanId, anchor: Timestamp) -> Self {
        Self(Source::Said(Arc::new(Said {
            account,
            plan,
            anchor,
            key: None,
            user: None,
            env: KeyEnv::Live,
            scopes: Vec::new(),
            ip_allow: IpAllow::default(),
            limits: KeyLimits::default(),
            quotas: KeyQuotas::default(),
        })))
    }

    /// Whom the engine keeps: nothing is copied.
    pub(crate) fn kept(identity: Arc<dyn Identity>) -> Self {
        Self(Source::Kept(identity))
    }

    pub(crate) fn identity(&self) -> &dyn Identity {
        match &self.0 {
            Source::Said(said) => &**said,
            Source::Kept(kept) => &**kept,
        }
    }

    fn change(self, change: impl FnOnce(&mut Said)) -> Self {
        let mut said = match self.0 {
            Source::Said(said) => said,
            Source::Kept(kept) => Arc::new(Said {
                account: kept.account(),
                plan: kept.plan().clone(),
                anchor: kept.anchor(),
                key: kept.key(),
                user: kept.user(),
                env: kept.env(),
                scopes: kept.scopes().to_vec(),
                ip_allow: kept.ip_allow().clone(),
                limits: kept.limits().clone(),
                quotas: kept.quotas().clone(),
            }),
        };
        change(Arc::make_mut(&mut said));
        Self(Source::Said(said))
    }

    /// Says which key was presented.
    #[must_use]
    pub fn with_key(self, key: KeyId, env: KeyEnv) -> Self {
        self.change(|said| {
            said.key = Some(key);
            said.env = env;
        })
    }

    /// Says who made the key.
    #[must_use]
    pub fn with_user(self, user: UserId) -> Self {
        self.change(|said| said.user = Some(user))
    }

    /// How much scopes may be, so that no key takes more than its share of memory: their bytes, and
    /// [`Principal::SCOPE_BYTES`] for each of them, together. That is a thousand scopes of 32 letters.
    pub const SCOPES_BYTES_MAX: usize = 64 * 1_024;

    /// What a scope counts beside its letters.
    pub const SCOPE_BYTES: usize = 32;

    /// Whether its scopes are no more than [`Principal::SCOPES_BYTES_MAX`].
    pub(crate) fn has_sound_scopes(&self) -> bool {
        let bytes = self.scopes().iter().map(|scope| scope.len() + Self::SCOPE_BYTES);
        bytes.sum::<usize>() <= Self::SCOPES_BYTES_MAX
    }

    /// Gives scopes. A meter does not accept a key whose scopes are more than [`Principal::SCOPES_BYTES_MAX`].
    #[must_use]
    pub fn with_scopes(self, scopes: Vec<String>) -> Self {
        self.change(|said| said.scopes = scopes)
    }

    /// Says from where the key may be used; anywhere unless said.
    #[must_use]
    pub fn with_ip_allow(self, ip_allow: IpAllow) -> Self {
        self.change(|said| said.ip_allow = ip_allow)
    }

    /// Gives rates that hold for the key beside its account's; none unless said.
    #[must_use]
    pub fn with_limits(self, limits: KeyLimits) -> Self {
        self.change(|said| said.limits = limits)
    }

    /// Gives quotas that hold for the key beside its account's; none unless said. They are counted by the key's id: a meter does not
    /// accept a caller that has some and of which [`Principal::with_key`] was not said.
    #[must_use]
    pub fn with_quotas(self, quotas: KeyQuotas) -> Self {
        self.change(|said| said.quotas = quotas)
    }

    /// Whether its quotas, if it has some, can be counted.
    pub(crate) fn has_sound_quotas(&self) -> bool {
        self.key().is_some() || self.quotas().is_empty()
    }

    /// Who is billed and limited.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.identity().account()
    }

    /// The account's plan when the key was looked up.
    #[must_use]
    pub fn plan(&self) -> &PlanId {
        self.identity().plan()
    }

    /// When the account began.
    #[must_use]
    pub fn anchor(&self) -> Timestamp {
        self.identity().anchor()
    }

    /// The key that was presented; none where something else than a stored key speaks for the account.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.identity().key()
    }

    /// Who made the key.
    #[must_use]
    pub fn user(&self) -> Option<UserId> {
        self.identity().user()
    }

    /// Whether it is a live or a test key.
    #[must_use]
    pub fn env(&self) -> KeyEnv {
        self.identity().env()
    }

    /// What the key may do.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        self.identity().scopes()
    }

    /// Whether the key has `scope`.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().iter().any(|has| has == scope)
    }

    /// From where the key may be used.
    #[must_use]
    pub fn ip_allow(&self) -> &IpAllow {
        self.identity().ip_allow()
    }

    /// The key's own rates.
    #[must_use]
    pub fn limits(&self) -> &KeyLimits {
        self.identity().limits()
    }

    /// The key's own quotas.
    #[must_use]
    pub fn quotas(&self) -> &KeyQuotas {
        self.identity().quotas()
    }
}

/// Two are equal when they say the same, whoever keeps them.
impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.account() == other.account()
            && self.plan() == other.plan()
            && self.anchor() == other.anchor()
            && self.key() == other.key()
            && self.user() == other.user()
            && self.env() == other.env()
            && self.scopes() == other.scopes()
            && self.ip_allow() == other.ip_allow()
            && self.limits() == other.limits()
            && self.quotas() == other.quotas()
    }
}

impl Eq for Principal {}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("account", &self.account())
            .field("plan", &self.plan())
            .field("key", &self.key())
            .field("user", &self.user())
            .field("env", &self.env())
            .field("scopes", &self.scopes())
            .finish_non_exhaustive()
    }
}
