//! What the endpoint of a request is called, where it is not what the framework or the path says.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

type Naming = dyn Fn(&str) -> Cow<'static, str> + Send + Sync;

/// Names the endpoints of an operation.
#[derive(Clone)]
pub(crate) enum EndpointName {
    /// All of them have this one.
    Fixed(Arc<str>),
    /// This makes it of the route's template or the path.
    Of(Arc<Naming>),
}

impl EndpointName {
    /// What `endpoint` is called.
    pub(crate) fn of<'a>(&'a self, endpoint: &'a str) -> Cow<'a, str> {
        match self {
            Self::Fixed(name) => Cow::Borrowed(name),
            Self::Of(name) => catch_unwind(AssertUnwindSafe(|| name(endpoint))).unwrap_or_else(|_| {
                tracing::error!("what names endpoints panicked; the endpoint is called as it is");
                Cow::Borrowed(endpoint)
            }),
        }
    }
}

/// Closures are equal if they are the same one.
impl PartialEq for EndpointName {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fixed(one), Self::Fixed(other)) => one == other,
            (Self::Of(one), Self::Of(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for EndpointName {}

impl fmt::Debug for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(name) => f.debug_tuple("Fixed").field(name).finish(),
            Self::Of(_) => f.write_str("Of(…)"),
        }
    }
}
