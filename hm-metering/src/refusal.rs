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
    /// We can't tell for the moment, or can't take more.
    Unavailable,
}

/// A request that was refused: why, and what the caller can do about it.
#[derive(Clone, PartialEq, Eq)]
pub struct Refusal {
    kind: RefusalKind,
    retry_after: Option<Duration>,
    limit: Option<ViolatedLimit>,
    scope: Option<String>,
    never: bool,
}

/// The limit that a refused request ran into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViolatedLimit {
    /// Its name, as in `RateLimit-Policy`.
    pub name: String,
    /// What it allows.
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
            limit: None,
            scope: None,
            never: false,
        }
    }

    /// The same request will be refused again however long the caller waits.
    #[must_use]
    pub const fn with_never(mut self) -> Self {
        self.never = true;
        self
    }

    /// How long the caller should wait.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Which limit it was.
    #[must_use]
    pub fn with_limit(mut self, limit: ViolatedLimit) -> Self {
        self.limit = Some(limit);
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

    /// Whether the request asks for more than its limit ever allows, such as more than the burst or than the whole quota:
    /// under this plan it will never be let through.
    #[must_use]
    pub const fn is_never(&self) -> bool {
        self.never
    }

    /// Which limit it was.
    #[must_use]
    pub const fn limit(&self) -> Option<&ViolatedLimit> {
        self.limit.as_ref()
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
            RefusalKind::Unavailable => "temporarily_unavailable",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self.kind {
            RefusalKind::MissingKey | RefusalKind::InvalidKey(_) => StatusCode::UNAUTHORIZED,
            RefusalKind::UnreadableKey => StatusCode::BAD_REQUEST,
            RefusalKind::AddressNotAllowed | RefusalKind::WrongEnvironment | RefusalKind::MissingScope => {
                StatusCode::FORBIDDEN
            }
            RefusalKind::RateLimited | RefusalKind::ConcurrencyLimited | RefusalKind::QuotaExceeded => {
                StatusCode::TOO_MANY_REQUESTS
            }
            RefusalKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
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
            RefusalKind::QuotaExceeded => match &self.limit {
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
            RefusalKind::Unavailable => f.write_str("The request can't be checked at the moment."),
        }
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal")
            .field("kind", &self.kind)
            .field("retry_after", &self.retry_after)
            .field("limit", &self.limit)
            .field("scope", &self.scope)
            .field("never", &self.never)
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
