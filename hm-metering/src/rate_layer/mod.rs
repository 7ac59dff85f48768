//! A rate limit by client address, for routes where nobody is known yet: login, sign-up, webhooks.
//!
//! It stands alone: no key, no account, no store. IPv6 clients are told apart by their first 64 bits. Requests whose
//! client's address is not known share one bucket. With the feature `metrics` the refused ones are counted.

mod buckets;
mod service;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Method};
use tower_layer::Layer;

pub use service::{RateLimitFuture, RateLimited};

use crate::client_address::{TrustedProxies, network_of};
use crate::measures::AddressMeasures;
use crate::meter::{Asked, Charge, Form, Rejection, RequestId};
use crate::rate::gcra::{Check, Rate};
use crate::refusal::{Refusal, RefusalKind, ViolatedLimit};
use crate::time::{Clock, SystemClock};
use crate::units::Units;
use buckets::Buckets;

/// Limits how often a client address may call a service. Cheap to clone; clones and the services made by them share their
/// state.
#[derive(Clone)]
#[must_use]
pub struct RateLimitLayer {
    shared: Arc<Shared>,
}

struct Shared {
    limit: u32,
    rate: Rate,
    proxies: TrustedProxies,
    clock: Arc<dyn Clock>,
    buckets: Buckets,
    measures: AddressMeasures,
}

impl RateLimitLayer {
    /// `limit` requests in every `per` from each client address, as many at once.
    pub fn new(limit: u32, per: Duration) -> Self {
        Self {
            shared: Arc::new(Shared {
                limit,
                rate: Rate::new(limit, per, limit),
                proxies: TrustedProxies::default(),
                clock: Arc::new(SystemClock::new()),
                buckets: Buckets::new(100_000),
                measures: AddressMeasures::new(),
            }),
        }
    }

    fn change(self, change: impl FnOnce(Shared) -> Shared) -> Self {
        let shared = Arc::try_unwrap(self.shared).unwrap_or_else(|shared| Shared {
            limit: shared.limit,
            rate: shared.rate,
            proxies: shared.proxies.clone(),
            clock: Arc::clone(&shared.clock),
            buckets: Buckets::new(shared.buckets.most()),
            measures: AddressMeasures::new(),
        });
        Self {
            shared: Arc::new(change(shared)),
        }
    }

    /// Believes these proxies about the client's address. State gathered so far is forgotten.
    pub fn trusted_proxies(self, proxies: TrustedProxies) -> Self {
        self.change(|shared| Shared { proxies, ..shared })
    }

    /// Another clock, for tests. State gathered so far is forgotten.
    pub fn clock(self, clock: impl Clock) -> Self {
        self.change(|shared| Shared {
            clock: Arc::new(clock),
            ..shared
        })
    }

    /// How many addresses are kept at most; 100,000. When all of them are in use, further ones share one bucket. State
    /// gathered so far is forgotten.
    pub fn addresses(self, most: usize) -> Self {
        self.change(|shared| Shared {
            buckets: Buckets::new(most),
            ..shared
        })
    }

    /// Counts a request, or refuses it.
    pub(crate) fn check(
        &self,
        peer: Option<IpAddr>,
        (method, headers): (&Method, &HeaderMap),
        request_id: impl FnOnce() -> String,
    ) -> Result<(), Box<Rejection>> {
        let shared = &self.shared;
        let client = peer.map(|peer| network_of(shared.proxies.client_of(peer, headers)));
        let now = u64::try_from(shared.clock.monotonic().as_nanos()).unwrap_or(u64::MAX);
        let (check, bucket) = shared.buckets.take(client, &shared.rate, now);
        let wait = match check {
            Check::Fits(_) => return Ok(()),
            Check::Later(nanos) => Some(Duration::from_nanos(nanos)),
            Check::Never => None,
        };
        shared.measures.refused(bucket.as_str());
        let mut refusal = Refusal::new(RefusalKind::RateLimited).with_limit(ViolatedLimit {
            name: "address".to_owned(),
            limit: Units::from(shared.limit),
            remaining: Units::ZERO,
            elsewhere: Units::ZERO,
            needed: Units::ONE,
            reset: None,
        });
        if let Some(wait) = wait {
            refusal = refusal.with_retry_after(wait);
        }
        let asked = Asked {
            request_id: request_id(),
            form: Form::of(headers),
            is_head: *method == Method::HEAD,
            ..Asked::default()
        };
        Err(Box::new(Rejection::new(refusal, None, asked)))
    }
}

/// A request's id: that of the metering layer around this one, or what something before has said; empty where nobody did.
pub(crate) fn request_id(extensions: &Extensions) -> String {
    let metered = extensions.get::<Charge>().map(Charge::request_id);
    let id = metered.or_else(|| extensions.get::<RequestId>().cloned());
    id.map_or_else(String::new, |RequestId(id)| id)
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimited<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimited::new(inner, self.clone())
    }
}

impl fmt::Debug for RateLimitLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer")
            .field("rate", &self.shared.rate)
            .field("proxies", &self.shared.proxies)
            .finish_non_exhaustive()
    }
}
