//! Requests that we answer ourselves, and why.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::keys::InvalidKey;
use crate::time::Timestamp;
use crate::units::Units;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// No key was presented.
    MissingKey,
    /// More than one key was presented, or a header that can't hold one.
    UnreadableKey,
    /// The key is not accepted. The reason is for logs; callers can't tell them apart.
    InvalidKey(InvalidKey),
    /// The key may not be used from the client's address.
    AddressNotAllowed,
    /// The operation takes keys of the other environment only.
    WrongEnvironment,
    /// The key lacks a scope that the operation asks for.
    MissingScope,
    /// Too many requests in a short time.
    RateLimited,
    /// Too many requests under way at the same time.
    ConcurrencyLimited,
    /// The period's units are used up.
    QuotaExceeded,
    /// The request takes more than a limit ever allows: more than a rate's burst, or more than a whole quota. Waiting does
    /// not help.
    CostExceedsLimit,
    /// We can't tell for the moment, or can't take more.
    Unavailable,
    /// The program's own [`Hooks`](crate::Hooks) say no, with this code.
    Custom(&'static str),
}

/// A request that was refused: why, and what the caller can do about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    kind: RefusalKind,
    retry_after: Option<Duration>,
    limits: Vec<ViolatedLimit>,
    scope: Option<String>,
    detail: Option<String>,
}

/// A limit that a refused request ran into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolatedLimit {
    /// Its name, as in `RateLimit-Policy`.
    pub name: String,
    /// What it allows: a quota in its period, a rate in its window, or at once where the request takes more than that.
    pub limit: Units,
    /// What can be had of it here and now.
    pub remaining: Units,
    /// What is left besides, but held by other processes for their requests.
    pub elsewhere: Units,
    /// What the request takes.
    pub needed: Units,
    /// When a quota's next period begins; none for rate limits.
    pub reset: Option<Timestamp>,
}

impl Refusal {
    /// A refusal without more to say.
    #[must_use]
    pub const fn new(kind: RefusalKind) -> Self {
        Self {
            kind,
            retry_after: None,
            limits: Vec::new(),
            scope: None,
            detail: None,
        }
    }

    /// A refusal of the program's own: 403 with this code, a word for programs in lower case and underscores, and a sentence
    /// for people. Both go to the caller.
    ///
    /// Codes are counted each for itself and stand in events, where they are cut to 64 bytes, so there should be few.
    #[must_use]
    pub fn custom(code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::new(RefusalKind::Custom(code))
        }
    }

    /// How long the caller should wait.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Which limit it was. Said several times, the first is the one that it is refused for, and the others refuse it too.
    #[must_use]
    pub fn with_limit(mut self, limit: ViolatedLimit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Which scope is missing.
    #[must_use]
    pub fn with_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Why.
    #[must_use]
    pub const fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// How long the caller should wait; none when waiting does not help.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Which limit it was.
    #[must_use]
    pub fn limit(&self) -> Option<&ViolatedLimit> {
        self.limits.first()
    }

    /// Every limit that is known to refuse the request, the one that it is refused for first.
    #[must_use]
    pub fn limits(&self) -> &[ViolatedLimit] {
        &self.limits
    }

    /// Which scope is missing.
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// The stable word for programs. All keys that are not accepted have the same.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.kind {
            RefusalKind::MissingKey => "missing_api_key",
            RefusalKind::UnreadableKey => "unreadable_api_key",
            RefusalKind::InvalidKey(_) => "invalid_api_key",
            RefusalKind::AddressNotAllowed => "address_not_allowed",
            RefusalKind::WrongEnvironment => "wrong_environment",
            RefusalKind::MissingScope => "missing_scope",
            RefusalKind::RateLimited => "rate_limited",
            RefusalKind::ConcurrencyLimited => "too_many_concurrent_requests",
            RefusalKind::QuotaExceeded => "quota_exceeded",
            RefusalKind::CostExceedsLimit => "cost_exceeds_limit",
            RefusalKind::Unavailable => "temporarily_unavailable",
            RefusalKind::Custom(code) => code,
        }
    }

    /// The HTTP status that goes with it.
    ///
    /// A request that takes more than a limit ever allows has 429 as well, since it is a limit that refuses it and another
    /// plan would let it through; 403 says that the caller may not do this at all. What tells it apart is the code, and
    /// that there is no `Retry-After`.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.kind {
            RefusalKind::MissingKey | RefusalKind::InvalidKey(_) => StatusCode::UNAUTHORIZED,
            RefusalKind::UnreadableKey => StatusCode::BAD_REQUEST,
            RefusalKind::AddressNotAllowed
            | RefusalKind::WrongEnvironment
            | RefusalKind::MissingScope
            | RefusalKind::Custom(_) => StatusCode::FORBIDDEN,
            RefusalKind::RateLimited
            | RefusalKind::ConcurrencyLimited
            | RefusalKind::QuotaExceeded
            | RefusalKind::CostExceedsLimit => StatusCode::TOO_MANY_REQUESTS,
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The gRPC status that goes with it, a number of `google.rpc.Code`.
    #[must_use]
    pub const fn grpc_status(&self) -> i32 {
        match self.kind {
            // UNAUTHENTICATED
            RefusalKind::MissingKey | RefusalKind::UnreadableKey | RefusalKind::InvalidKey(_) => 16,
            // PERMISSION_DENIED
            RefusalKind::AddressNotAllowed
            | RefusalKind::WrongEnvironment
            | RefusalKind::MissingScope
            | RefusalKind::Custom(_) => 7,
            // RESOURCE_EXHAUSTED
            RefusalKind::RateLimited
            | RefusalKind::ConcurrencyLimited
            | RefusalKind::QuotaExceeded
            | RefusalKind::CostExceedsLimit => 8,
            // UNAVAILABLE
            RefusalKind::Unavailable => 14,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            RefusalKind::MissingKey => {
                f.write_str("Send an API key in X-API-Key or as a bearer token in Authorization.")
            }
            RefusalKind::UnreadableKey => f.write_str("Send one API key, in one header, as plain text."),
            RefusalKind::InvalidKey(_) => f.write_str("The API key is not valid."),
            RefusalKind::AddressNotAllowed => f.write_str("The API key may not be used from this address."),
            RefusalKind::WrongEnvironment => f.write_str(
                "The API key is for the other environment: live and test keys are told apart here.",
            ),
            RefusalKind::MissingScope => match &self.scope {
                Some(scope) => write!(f, "The API key lacks the scope {scope:?}."),
                None => f.write_str("The API key lacks a scope."),
            },
            RefusalKind::RateLimited => f.write_str("Too many requests in a short time."),
            RefusalKind::ConcurrencyLimited => f.write_str("Too many requests at the same time."),
            RefusalKind::QuotaExceeded => match self.limit() {
                Some(limit) => {
                    let ViolatedLimit {
                        name,
                        limit,
                        remaining,
                        elsewhere,
                        needed,
                        ..
                    } = limit;
                    write!(
                        f,
                        "The {name} quota allows {limit} units; this request needs {needed} and {remaining} are left."
                    )?;
                    if elsewhere.is_zero() {
                        Ok(())
                    } else {
                        write!(f, " Another {elsewhere} are held for other requests.")
                    }
                }
                None => f.write_str("The quota is used up."),
            },
            RefusalKind::CostExceedsLimit => match self.limit() {
                Some(ViolatedLimit {
                    name, limit, needed, ..
                }) => write!(
                    f,
                    "The {name} limit allows {limit} units at most; this request needs {needed}, so waiting does not help."
                ),
                None => f.write_str("The request needs more than its limit ever allows."),
            },
            RefusalKind::Unavailable => f.write_str("The request can't be checked at the moment."),
            RefusalKind::Custom(_) => {
                f.write_str(self.detail.as_deref().unwrap_or("The request is not allowed."))
            }
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("kind", &self.kind)
            .field("retry_after", &self.retry_after)
            .field("limits", &self.limits)
            .field("scope", &self.scope)
            .field("detail", &self.detail)
            .finish()
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_not_accepted_look_alike_from_outside() {
        let texts: Vec<_> = [
            InvalidKey::Malformed,
            InvalidKey::Unknown,
            InvalidKey::Revoked,
            InvalidKey::Expired,
        ]
        .map(|reason| Refusal::new(RefusalKind::InvalidKey(reason)))
        .iter()
        .map(|refusal| (refusal.status(), refusal.code(), refusal.to_string()))
        .collect();
        assert!(texts.iter().all(|text| *text == texts[0]));
    }
}
