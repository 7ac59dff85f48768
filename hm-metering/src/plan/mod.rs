//! Plans: named sets of rate limits, concurrency limits and quotas.

mod build;
mod names;
mod text;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;
use thiserror::Error;

pub(crate) use self::names::LimitNames;
pub(crate) use self::text::ModeText;
use self::text::PlanText;
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::name::{MeterName, PlanId};
use crate::period::PeriodRule;
use crate::principal::Principal;
use crate::units::Units;

/// Short-window protection: `limit` requests' worth in every `per`, with bursts of up to `burst`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Its name in `RateLimit-Policy` and in refusals, such as `second`.
    pub name: String,
    /// How many requests flow in each window; at least one. A request counts as many times as its operation's
    /// [`rate_cost`](crate::Operation::rate_cost) says.
    pub limit: u32,
    /// The window; more than nothing.
    pub per: Duration,
    /// How many may come at once; at least one.
    pub burst: u32,
}

/// How many requests of an account may be under way at the same time, on one replica.
///
/// A request is under way from its admission until its response has ended, however it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimit {
    /// Its name in refusals, such as `concurrent`.
    pub name: String,
    /// How many; at least one.
    pub limit: u32,
}

/// How many units of a meter a period allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// What is counted.
    pub meter: MeterName,
    /// The most units in one period; none for unlimited.
    pub limit: Option<Units>,
    /// The period.
    pub period: PeriodRule,
    /// What becomes of requests that the limit has no room for. It makes no difference to an unlimited quota.
    pub mode: QuotaMode,
}

impl Quota {
    /// The most units that may be leased from the store; none for unlimited.
    pub(crate) fn lease_limit(&self) -> Option<Units> {
        self.mode.lease_limit(self.limit)
    }
}

impl QuotaMode {
    /// The most units that may be leased from the store where `limit` holds.
    pub(crate) fn lease_limit(self, limit: Option<Units>) -> Option<Units> {
        match self {
            Self::Balanced { overshoot } => limit.map(|limit| limit.plus(overshoot)),
            Self::Strict | Self::Soft | Self::Shadow => limit,
        }
    }
}

/// What becomes of requests that a quota has no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum QuotaMode {
    /// They are refused, and all replicas together never let through more than the limit. Near the limit replicas lease
    /// few units at a time, so requests wait for the store more often.
    #[default]
    Strict,
    /// They are refused once a replica knows that the limit is reached. As it learns late what others use, all replicas
    /// together may let through up to `overshoot` units more than the limit, and never more than that. Leases stay large
    /// near the limit in return.
    Balanced {
        /// The most units beyond the limit.
        overshoot: Units,
    },
    /// They are let through, counted, and marked as over the limit.
    Soft,
    /// They are let through, counted, and marked with the code they would have been refused with: for trying a limit out
    /// before it is enforced.
    Shadow,
}

/// A plan's limits. All of them hold at once.
///
/// ```
/// use hm_metering::Plans;
/// use hm_metering::plan::{ConcurrencyLimit, Plan, Quota, QuotaMode, RateLimit};
///
/// let plans = Plans::new([
///     Plan::new("free")
///         .rate(RateLimit::per_second(10))
///         .concurrency(ConcurrencyLimit::new(2))
///         .quota(Quota::per_month(1_000)),
///     Plan::new("pro")
///         .rate(RateLimit::per_second(100).burst(500))
///         .quota(Quota::per_month(100_000).mode(QuotaMode::Soft))
///         .quota(Quota::per_day(50_000).of("tokens")),
/// ])?;
/// # Ok::<(), hm_metering::PlansError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub id: PlanId,
    /// Per account, in the order they are checked.
    pub rates: Vec<RateLimit>,
    /// Per account and replica; all of them hold for every request.
    pub concurrency: Vec<ConcurrencyLimit>,
    /// Per account; each meter once. The first is the one that `X-RateLimit-*` headers describe.
    pub quotas: Vec<Quota>,
}

/// Any one limit of a plan; each kind becomes one by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Limit {
    /// Of a rate.
    Rate(RateLimit),
    /// Of requests under way.
    Concurrency(ConcurrencyLimit),
    /// Of units in a period.
    Quota(Quota),
}

/// Says which limits hold for a caller.
///
/// It is asked when a caller's entry is filled, never on the warm path. A changed answer takes effect when the
/// entry is filled again: at once on the replica that is told, else within the staleness bound.
#[async_trait]
pub trait PlanSource: Send + Sync + 'static {
    /// The plan that holds for `principal`.
    ///
    /// # Errors
    /// [`StoreErrorKind::NotFound`] for a plan that does not exist; others when the source can't tell.
    async fn plan_for(&self, principal: &Principal) -> StoreResult<Arc<Plan>>;
}

/// A fixed set of plans, from a configuration.
///
/// ```
/// # use hm_metering::{Plans, PlanId};
/// let plans = Plans::from_toml(r#"
///     [free]
///     rates = [{ name = "second", limit = 100, per_seconds = 1 }]
///     concurrency = [{ name = "concurrent", limit = 10 }]
///     quotas = [{ meter = "requests", limit = 1000, period = "anchored_month" }]
///
///     [pro]
///     quotas = [
///         { meter = "requests", limit = 100000, period = "anchored_month", mode = { balanced = 50 } },
///         { meter = "tokens", limit = 1000000, period = "day", mode = "soft" },
///     ]
///
///     [enterprise]
///     quotas = [{ meter = "requests", limit = "unlimited", period = "anchored_month" }]
/// "#)?;
/// assert_eq!(plans.get(&PlanId::from_static("free")).unwrap().rates[0].burst, 100);
/// # Ok::<(), hm_metering::PlansError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<PlanId, PlanText>")]
pub struct Plans(BTreeMap<PlanId, Arc<Plan>>);

/// Why a set of plans can't be used. Every mistake of the set is named, each on a line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct PlansError(Vec<String>);

impl Plans {
    /// Checks and keeps `plans`.
    ///
    /// # Errors
    /// When two plans have one name, or two limits of one plan, whatever their kinds (a quota has the name of its period, after
    /// that of its meter unless it counts `requests`, such as `month` or `tokens-day`); when a rate or concurrency limit lets
    /// nothing through or has a name that can't stand in a header; or when a plan counts a meter in two quotas.
    pub fn new(plans: impl IntoIterator<Item = Plan>) -> Result<Self, PlansError> {
        let mut mistakes = Vec::new();
        let mut kept = BTreeMap::new();
        for plan in plans {
            check(&plan, &mut mistakes);
            let id = plan.id.clone();
            if kept.insert(id.clone(), Arc::new(plan)).is_some() {
                mistakes.push(format!("plan {id}: defined twice"));
            }
        }
        if mistakes.is_empty() {
            Ok(Self(kept))
        } else {
            Err(PlansError(mistakes))
        }
    }

    /// Reads plans from TOML, a table for each; the example above shows every field. A rate's `burst` is its
    /// `limit` unless given. A quota's `mode` is `"strict"` unless given, or `"soft"`, `"shadow"`, or `{ balanced = n }`
    /// for an overshoot of at most `n` units.
    ///
    /// # Errors
    /// When it is not TOML, has a field that is not known, or a value that makes no sense.
    pub fn from_toml(text: &str) -> Result<Self, PlansError> {
        toml::from_str(text).map_err(|error| PlansError(vec![error.to_string()]))
    }

    /// The plan of that name.
    #[must_use]
    pub fn get(&self, id: &PlanId) -> Option<&Arc<Plan>> {
        self.0.get(id)
    }

    /// All plans, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Plan>> {
        self.0.values()
    }
}

#[async_trait]
impl PlanSource for Plans {
    async fn plan_for(&self, principal: &Principal) -> StoreResult<Arc<Plan>> {
        self.get(principal.plan())
            .cloned()
            .ok_or_else(|| StoreError::new(StoreErrorKind::NotFound, "find plan"))
    }
}

fn check(plan: &Plan, mistakes: &mut Vec<String>) {
    let id = &plan.id;
    for rate in &plan.rates {
        if rate.limit == 0 || rate.burst == 0 || rate.per.is_zero() {
            mistakes.push(format!(
                "plan {id}, rate {:?}: limit, burst and window must be more than 0",
                rate.name
            ));
        }
        check_name(id, "rate", &rate.name, mistakes);
    }
    for limit in &plan.concurrency {
        let name = &limit.name;
        if limit.limit == 0 {
            mistakes.push(format!(
                "plan {id}, concurrency {name:?}: the limit must be more than 0"
            ));
        }
        check_name(id, "concurrency", name, mistakes);
    }
    for (i, quota) in plan.quotas.iter().enumerate() {
        if plan.quotas[..i].iter().any(|other| other.meter == quota.meter) {
            mistakes.push(format!("plan {id}: meter {} has two quotas", quota.meter));
        }
    }
    names::check(plan, mistakes);
}

fn check_name(id: &PlanId, what: &str, name: &str, mistakes: &mut Vec<String>) {
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
        mistakes.push(format!(
            "plan {id}, {what} {name:?}: a name has 1 to 64 of a-z, 0-9, '_' and '-'"
        ));
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let error = Plans::from_toml(
            r#"
            [free]
            rates = [{ name = "a\"b", limit = 0, per_seconds = 1 }]
            concurrency = [{ name = "c", limit = 0 }, { name = "c", limit = 1 }]
            quotas = [
                { meter = "requests", limit = 1, period = "day" },
                { meter = "requests", limit = 2, period = "hour" },
            ]
            "#,
        )
        .unwrap_err()
        .to_string();
        for part in [
            "window must be more than 0",
            "a name has",
            "the limit must be more than 0",
            "are both called \"c\"",
            "two quotas",
        ] {
            assert!(error.contains(part), "{part:?} is missing in {error}");
        }
    }

    #[test]
    fn unknown_fields_and_wrong_limits_are_refused() {
        for text in [
            "[free]\nquota = []",
            "[free]\nquotas = [{ meter = \"requests\", limit = \"many\", period = \"day\" }]",
            "[free]\nquotas = [{ meter = \"requests\", limit = -1, period = \"day\" }]",
            "[free]\nquotas = [{ meter = \"requests\", limit = 1, period = \"fortnight\" }]",
            "[free]\nquotas = [{ meter = \"requests\", limit = 1, period = \"day\", mode = \"lax\" }]",
            "[free]\nquotas = [{ meter = \"requests\", limit = 1, period = \"day\", mode = { balanced = -1 } }]",
            "[free]\nconcurrency = [{ name = \"c\", limit = -1 }]",
            "[Free]\n",
        ] {
            assert!(Plans::from_toml(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_mode_can_be_said() {
        let mode = |text: &str| {
            let plans =
                format!("[free]\nquotas = [{{ meter = \"requests\", limit = 100, period = \"day\"{text} }}]");
            let plans = Plans::from_toml(&plans).unwrap();
            let quota = plans.get(&PlanId::from_static("free")).unwrap().quotas[0].clone();
            (quota.mode, quota.lease_limit().map(Units::get))
        };
        let balanced = QuotaMode::Balanced {
            overshoot: Units::new(50),
        };
        assert_eq!(mode(""), (QuotaMode::Strict, Some(100)));
        assert_eq!(mode(", mode = \"strict\""), (QuotaMode::Strict, Some(100)));
        assert_eq!(mode(", mode = { balanced = 50 }"), (balanced, Some(150)));
        assert_eq!(mode(", mode = \"soft\""), (QuotaMode::Soft, Some(100)));
        assert_eq!(mode(", mode = \"shadow\""), (QuotaMode::Shadow, Some(100)));
    }
}
