#![doc = include_str!("../README.md")]

#[cfg(feature = "axum")]
pub mod axum;
pub mod charge_rule;
pub mod client_address;
#[cfg(feature = "conformance")]
pub mod conformance;
mod endpoint;
pub mod error;
#[cfg(all(feature = "axum", any(doc, doctest)))]
pub mod guide;
mod heap;
pub mod id;
mod index;
pub mod key;
pub mod keys;
pub mod layer;
mod measures;
#[cfg(feature = "memory")]
pub mod memory;
pub mod meter;
pub mod name;
mod on_unavailable;
pub mod operation;
pub mod page;
pub mod period;
pub mod plan;
pub mod plan_change;
pub mod principal;
pub mod quota;
pub mod rate;
pub mod rate_layer;
pub mod refusal;
#[cfg(feature = "salvo")]
pub mod salvo;
mod shared;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod units;
pub mod usage;

pub use charge_rule::{ChargeRule, Ending, Overrun};
pub use client_address::{ForwardedHeader, PeerAddress, TrustedProxies};
pub use error::{StoreError, StoreErrorKind, StoreResult};
pub use id::{AccountId, EventId, KeyId, ReplicaId, UserId};
pub use key::{IssuedKey, KeyEnv, KeyFormat, Pepper, Peppers, PresentedKey};
pub use keys::{KeyStore, KeyVerifier, StoredKeyVerifier};
pub use layer::MeteringLayer;
#[cfg(feature = "memory")]
pub use memory::{MemoryRateLimiter, MemoryStore};
pub use meter::{
    Admission, Admit, Call, Charge, ConfigError, DecisionTrace, Finished, HeaderDraft, HeaderStyle, Hooks,
    Meter, MeterBuilder, Rejection, RequestId, ResetFormat,
};
pub use name::{MeterName, OperationName, PlanId};
pub use on_unavailable::OnUnavailable;
pub use operation::Operation;
pub use plan::{ConcurrencyLimit, Plan, PlanSource, Plans, PlansError, Quota, QuotaMode, RateLimit};
pub use principal::Principal;
pub use quota::QuotaStore;
pub use rate::RateLimiter;
pub use rate_layer::RateLimitLayer;
pub use refusal::{Refusal, RefusalKind};
pub use time::{Clock, SystemClock, Timestamp};
pub use units::Units;
pub use usage::{Journal, UsageSink, UsageStore};
