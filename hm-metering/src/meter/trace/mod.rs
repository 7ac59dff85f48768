//! Why a request was decided as it was.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::report::{LimitReport, millis_up};
use crate::id::{AccountId, KeyId};
use crate::keys::InvalidKey;
use crate::name::{MeterName, OperationName, PlanId};
use crate::operation::Operation;
use crate::principal::Principal;
use crate::refusal::{Refusal, RefusalKind};
use crate::time::Timestamp;
use crate::units::Units;

/// Why a request was let through or refused: who called, what it needed, and how its limits stood.
///
/// Each refusal has one in its response's extensions and in the log, as one event at level `DEBUG`. For requests that are
/// let through, [`Admission::trace`](super::Admission::trace) makes one when asked. It can be serialized, for an
/// operators' API:
///
/// ```json
/// {"decision":"refused","code":"quota_exceeded","detail":"The month quota allows 5 units; …","requestId":"0198…",
///  "operation":"facts","accountId":"0198…","keyId":"0198…","plan":"free","keyState":"accepted","retryAfterMs":2590785000,
///  "costs":[{"meter":"requests","units":1}],
///  "limits":[{"name":"month","violated":true,"limit":5,"remaining":0,"elsewhere":0,"needed":1,"reset":"2026-12-25T00:00:00Z"}]}
/// ```
///
/// # For operators only
/// There is no secret in it, but it says what callers must not learn: whether a key that is not accepted is unknown,
/// revoked or expired. What callers may know is in the answer.
#[derive(Clone)]
pub struct DecisionTrace(Arc<Inner>);

struct Inner {
    refusal: Option<Refusal>,
    report: Option<LimitReport>,
    principal: Option<Principal>,
    operation: Option<Arc<Operation>>,
    request_id: String,
}

/// What was found out about the key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// It was accepted.
    Accepted,
    /// There was none.
    Missing,
    /// There were several, or a header that can't hold one.
    Unreadable,
    /// It was not accepted.
    NotAccepted(InvalidKey),
    /// Nobody looked, or nobody could tell.
    NotChecked,
}

/// How one limit stood when a request was decided. Numbers that nobody looked at are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct LimitTrace<'a> {
    /// Its name, as in `RateLimit-Policy`.
    pub name: &'a str,
    /// Whether it refused the request.
    pub violated: bool,
    /// What it allows; none for unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Units>,
    /// What was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<Units>,
    /// What could be had of it here and now; none for unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining: Option<Units>,
    /// What was left besides, but held by other processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<Units>,
    /// What the request takes of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needed: Option<Units>,
    /// When a quota's next period begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reset: Option<Timestamp>,
}

impl DecisionTrace {
    pub(crate) fn new(
        refusal: Option<Refusal>,
        report: Option<LimitReport>,
        principal: Option<Principal>,
        operation: Option<Arc<Operation>>,
        request_id: String,
    ) -> Self {
        Self(Arc::new(Inner {
            refusal,
            report,
            principal,
            operation,
            request_id,
        }))
    }

    /// Why the request was refused; none if it was let through.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        self.0.refusal.as_ref()
    }

    /// The same, of a request that is known to be refused.
    pub(crate) fn refused(&self) -> &Refusal {
        const UNKNOWN: &Refusal = &Refusal::new(RefusalKind::Unavailable);
        self.0.refusal.as_ref().unwrap_or(UNKNOWN)
    }

    /// The limits it was decided by, where it came that far.
    #[must_use]
    pub fn report(&self) -> Option<&LimitReport> {
        self.0.report.as_ref()
    }

    /// The request's id; empty where nobody gave it one.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.0.request_id
    }

    /// What was asked for; none where no operation was declared.
    #[must_use]
    pub fn operation(&self) -> Option<&OperationName> {
        self.0.operation.as_deref().map(Operation::name)
    }

    /// Who was to be billed, if the caller is known.
    #[must_use]
    pub fn account(&self) -> Option<AccountId> {
        self.0.principal.as_ref().map(Principal::account)
    }

    /// Which key it was, if it is known.
    #[must_use]
    pub fn key(&self) -> Option<KeyId> {
        self.0.principal.as_ref().and_then(Principal::key)
    }

    /// The plan that held: the one whose limits were looked at, else the one of the key's record.
    #[must_use]
    pub fn plan(&self) -> Option<&PlanId> {
        let of_report = self.report().map(|report| &report.plan().id);
        of_report.or_else(|| self.0.principal.as_ref().map(Principal::plan))
    }

    /// What was found out about the key.
    #[must_use]
    pub fn key_state(&self) -> KeyState {
        match self.refusal().map(Refusal::kind) {
            Some(RefusalKind::MissingKey) => KeyState::Missing,
            Some(RefusalKind::UnreadableKey) => KeyState::Unreadable,
            Some(RefusalKind::InvalidKey(reason)) => KeyState::NotAccepted(reason),
            _ if self.0.principal.is_some() => KeyState::Accepted,
            _ => KeyState::NotChecked,
        }
    }

    /// How its limits stood, as far as they mattered: those that refused the request first, then the one that headers show.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitTrace<'_>> {
        let violated = self.refusal().map(Refusal::limits).unwrap_or_default();
        let mut limits: Vec<_> = violated
            .iter()
            .map(|limit| LimitTrace {
                name: &limit.name,
                violated: true,
                limit: Some(limit.limit),
                used: None,
                remaining: Some(limit.remaining),
                elsewhere: Some(limit.elsewhere),
                needed: Some(limit.needed),
                reset: limit.reset,
            })
            .collect();
        let shown = self.report().into_iter().flat_map(LimitReport::traces);
        for shown in shown {
            // A key's own rate may have the name of the plan's quota.
            let is_shown = |limit: &&mut LimitTrace<'_>| {
                limit.name == shown.name && limit.reset.is_some() == shown.reset.is_some()
            };
            match limits.iter_mut().find(is_shown) {
                Some(limit) => limit.used = shown.used,
                None => limits.push(shown),
            }
        }
        limits
    }

    /// Tells the log about a refusal.
    pub(crate) fn log(&self) {
        let refusal = self.refused();
        let limit = refusal.limit();
        tracing::debug!(
            refusal.code = refusal.code(),
            key.state = self.key_state().as_str(),
            account.id = self.account().map(tracing::field::display),
            key.id = self.key().map(tracing::field::display),
            plan.name = self.plan().map(tracing::field::display),
            operation.name = self.operation().map(tracing::field::display),
            scope.missing = refusal.scope(),
            limit.name = limit.map(|limit| limit.name.as_str()),
            limit.units = limit.map(|limit| limit.limit.get()),
            limit.remaining = limit.map(|limit| limit.remaining.get()),
            limit.elsewhere = limit.map(|limit| limit.elsewhere.get()),
            limit.needed = limit.map(|limit| limit.needed.get()),
            limit.reset = limit.and_then(|limit| limit.reset).map(tracing::field::display),
            retry_after_ms = refusal.retry_after().map(millis_up),
            request.id = self.request_id(),
            "a request was refused"
        );
    }
}

impl KeyState {
    /// The word for logs and APIs. For keys that are not accepted it is that of [`InvalidKey::as_str`].
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::NotAccepted(reason) => reason.as_str(),
            Self::NotChecked => "not_checked",
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    request_id: &'a str,
    operation: Option<&'a OperationName>,
    account_id: Option<AccountId>,
    key_id: Option<KeyId>,
    plan: Option<&'a PlanId>,
    key_state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing_scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    costs: Vec<CostView<'a>>,
    limits: Vec<LimitTrace<'a>>,
}

#[derive(Serialize)]
struct CostView<'a> {
    meter: &'a MeterName,
    units: Units,
}

impl Serialize for DecisionTrace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let refusal = self.refusal();
        let costs = self
            .0
            .operation
            .as_deref()
            .map(Operation::costs)
            .unwrap_or_default();
        let view = View {
            decision: if refusal.is_some() { "refused" } else { "allowed" },
            code: refusal.map(Refusal::code),
            detail: refusal.map(Refusal::to_string),
            at: self.report().map(LimitReport::at),
            request_id: self.request_id(),
            operation: self.operation(),
            account_id: self.account(),
            key_id: self.key(),
            plan: self.plan(),
            key_state: self.key_state().as_str(),
            missing_scope: refusal.and_then(Refusal::scope),
            retry_after_ms: refusal.and_then(Refusal::retry_after).map(millis_up),
            costs: costs
                .iter()
                .map(|(meter, units)| CostView { meter, units: *units })
                .collect(),
            limits: self.limits(),
        };
        view.serialize(serializer)
    }
}

impl fmt::Debug for DecisionTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecisionTrace")
            .field("refusal", &self.0.refusal)
            .field("key_state", &self.key_state())
            .field("principal", &self.0.principal)
            .field("operation", &self.operation())
            .field("limits", &self.limits())
            .field("request_id", &self.0.request_id)
            .finish()
    }
}

#[cfg(test)]
mod tests;
