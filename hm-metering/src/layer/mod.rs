//! The Tower layer around a service.
//!
//! [`MeteringLayer`] decides about each request before its service is called, hands [`Principal`](crate::Principal) and
//! [`Charge`] to the handler in the request's extensions, writes the limits' headers, and follows the
//! response to its last byte.
//!
//! It asks little of what it wraps: any request body, any response body of [`Bytes`](bytes::Bytes), a service that can be
//! cloned. It adds no error type: a refusal is a response. It has no type parameters of its own.
//!
//! Put it inside of layers whose work should not be paid for (such as compression, if raw bytes are billed), and outside
//! of everything that should. Two layers of one meter around a service charge once: the inner one only looks at the scopes
//! and the environment that it asks for, and says so in the log once. What it refuses is a refusal of the outer one too: its
//! event says so, and it costs nothing, as with everything inside that puts a [`Refusal`](crate::Refusal) into its
//! response's extensions. Layers of different meters know nothing of each other, and both charge; the handler finds the
//! [`Charge`] of the inner one.

mod body;
mod future;
mod nested;
mod service;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, Method};
use tower_layer::Layer;

pub use body::{MeteredBody, MeteredBodyError};
pub use future::ResponseFuture;
pub(crate) use future::refuse;
#[cfg(feature = "salvo")]
pub(crate) use nested::{Before, before, put_charge};
pub use service::Metering;

use crate::charge_rule::{ChargeRule, Overrun};
use crate::key::KeyEnv;
use crate::meter::{Charge, Meter, Rejection};
use crate::name::{MeterName, NameError, OperationName};
use crate::on_unavailable::OnUnavailable;
use crate::operation::Operation;
use crate::units::{AsUnits, Units};

/// Puts a [`Meter`] around services; made by [`Meter::layer`]. Cheap to clone.
#[derive(Clone)]
#[must_use]
pub struct MeteringLayer {
    meter: Meter,
    operation: Arc<Operation>,
    /// Whether the log says that it is inside of another one.
    is_mentioned: Arc<AtomicBool>,
}

impl Meter {
    /// A layer that meters requests as the operation of that name, one unit of `requests` each.
    ///
    /// # Panics
    /// When `operation` is no name, see [`OperationName`]; use [`Meter::layer_for`] for names that are not known
    /// when the program is compiled.
    pub fn layer(&self, operation: &'static str) -> MeteringLayer {
        self.layer_for(Operation::new(OperationName::from_static(operation)))
    }

    /// A layer that meters requests as `operation`.
    pub fn layer_for(&self, operation: Operation) -> MeteringLayer {
        MeteringLayer {
            meter: self.clone(),
            operation: Arc::new(operation),
            is_mentioned: Arc::default(),
        }
    }
}

impl MeteringLayer {
    /// A request takes `units` of `requests` in place of one.
    pub fn cost(self, units: u32) -> Self {
        self.change(|operation| operation.cost(MeterName::REQUESTS, Units::from(units)))
    }

    /// A request takes `units` of `meter`, besides what it takes of others. Say zero for a meter that only the handler
    /// charges, see [`Operation::cost`]: the quota of one that is not named is not looked at.
    ///
    /// # Errors
    /// When `meter` is no name.
    pub fn cost_of(self, meter: &str, units: impl AsUnits) -> Result<Self, NameError> {
        let (meter, units) = (MeterName::parse(meter)?, units.as_units());
        Ok(self.change(|operation| operation.cost(meter, units)))
    }

    /// A request counts `units` times in each rate limit, see [`Operation::rate_cost`].
    pub fn rate_cost(self, units: u32) -> Self {
        self.change(|operation| operation.rate_cost(units))
    }

    /// The key must have this scope; said several times, all of them.
    pub fn require_scope(self, scope: impl Into<String>) -> Self {
        self.change(|operation| operation.require_scope(scope))
    }

    /// The key must have one of these scopes, see [`Operation::require_any_scope`].
    pub fn require_any_scope<S: Into<String>>(self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.change(|operation| operation.require_any_scope(scopes))
    }

    /// The key must be of this environment: live or test.
    pub fn only_env(self, env: KeyEnv) -> Self {
        self.change(|operation| operation.only_env(env))
    }

    /// What to do when a store can't answer; requests are refused with 503, unless said.
    pub fn on_unavailable(self, policy: OnUnavailable) -> Self {
        self.change(|operation| operation.on_unavailable(policy))
    }

    /// Which requests are charged, see [`Operation::charge`]; those that succeed, unless said.
    pub fn charge(self, rule: ChargeRule) -> Self {
        self.change(|operation| operation.charge(rule))
    }

    /// What to do when a handler charges more than could be reserved, see [`Operation::overrun`]; it is charged all the
    /// same, unless said.
    pub fn overrun(self, overrun: Overrun) -> Self {
        self.change(|operation| operation.overrun(overrun))
    }

    /// What the endpoint of each request is called in its event, see [`Operation::endpoint`]; the route's template or the path,
    /// unless said.
    pub fn endpoint(self, name: impl Into<Arc<str>>) -> Self {
        self.change(|operation| operation.endpoint(name))
    }

    /// Has the name of each request's endpoint made of the path, see [`Operation::endpoint_by`].
    pub fn endpoint_by(self, name: impl Fn(&str) -> Cow<'static, str> + Send + Sync + 'static) -> Self {
        self.change(|operation| operation.endpoint_by(name))
    }

    fn change(self, change: impl FnOnce(Operation) -> Operation) -> Self {
        let operation = Arc::unwrap_or_clone(self.operation);
        Self {
            meter: self.meter,
            operation: Arc::new(change(operation)),
            is_mentioned: self.is_mentioned,
        }
    }

    /// Whether a request that an outer layer of this meter let through may also do what this one is for. It is not decided
    /// or charged a second time; only its scopes and its environment are looked at.
    pub(crate) fn check_again(
        &self,
        charge: &Charge,
        head: (&Method, &HeaderMap),
    ) -> Result<(), Box<Rejection>> {
        // Once for the layer, as it says something of the program and not of the request.
        if !self.is_mentioned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                operation.name = %self.operation.name(),
                "a request passes two metering layers; the inner one charges nothing"
            );
        }
        self.meter.check_again(&self.operation, charge, head)
    }

    pub(crate) const fn meter(&self) -> &Meter {
        &self.meter
    }

    pub(crate) const fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }
}

impl<S> Layer<S> for MeteringLayer {
    type Service = Metering<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Metering::new(inner, self.clone())
    }
}

impl fmt::Debug for MeteringLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeteringLayer")
            .field("operation", &self.operation)
            .finish_non_exhaustive()
    }
}
