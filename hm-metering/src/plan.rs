//! Plans: named sets of rate limits and quotas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

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
    /// How many requests flow in each window, whatever they cost; at least one.
    pub limit: u32,
    /// The window; more than nothing.
    pub per: Duration,
    /// How many may come at once; at least one.
    pub burst: u32,
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
}

/// A plan's limits. All of them hold at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Its name.
    pub id: PlanId,
    /// Per account, in the order they are checked.
    pub rates: Vec<RateLimit>,
    /// Per account; each meter once. The first is the one that `X-RateLimit-*` headers describe.
    pub quotas: Vec<Quota>,
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
///     quotas = [{ meter = "requests", limit = 1000, period = "anchored_month" }]
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
    /// When a name is there twice, a rate lets nothing through or has a name that can't stand in a header, or a
    /// plan counts a meter in two quotas.
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
    /// `limit` unless given.
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
        if rate.name.is_empty() || rate.name.len() > 64 || !rate.name.bytes().all(is_plain) {
            mistakes.push(format!(
                "plan {id}, rate {:?}: a name has 1 to 64 of a-z, 0-9, '_' and '-'",
                rate.name
            ));
        }
    }
    for (i, quota) in plan.quotas.iter().enumerate() {
        if plan.quotas[..i].iter().any(|other| other.meter == quota.meter) {
            mistakes.push(format!("plan {id}: meter {} has two quotas", quota.meter));
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-')
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanText {
    #[serde(default)]
    rates: Vec<RateText>,
    #[serde(default)]
    quotas: Vec<QuotaText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateText {
    name: String,
    limit: u32,
    per_seconds: u32,
    burst: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaText {
    meter: MeterName,
    #[serde(deserialize_with = "limit")]
    limit: Option<Units>,
    period: PeriodRule,
}

fn limit<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Units>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a limit is a number of units or \"unlimited\"")]
    enum Limit {
        Units(Units),
        Word(Word),
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Word {
        Unlimited,
    }
    Ok(match Limit::deserialize(deserializer)? {
        Limit::Units(units) => Some(units),
        Limit::Word(Word::Unlimited) => None,
    })
}

impl TryFrom<BTreeMap<PlanId, PlanText>> for Plans {
    type Error = PlansError;

    fn try_from(texts: BTreeMap<PlanId, PlanText>) -> Result<Self, PlansError> {
        Self::new(texts.into_iter().map(|(id, text)| Plan {
            id,
            rates: text.rates.into_iter().map(RateLimit::from).collect(),
            quotas: text.quotas.into_iter().map(Quota::from).collect(),
        }))
    }
}

impl From<RateText> for RateLimit {
    fn from(text: RateText) -> Self {
        Self {
            name: text.name,
            limit: text.limit,
            per: Duration::from_secs(u64::from(text.per_seconds)),
            burst: text.burst.unwrap_or(text.limit),
        }
    }
}

impl From<QuotaText> for Quota {
    fn from(text: QuotaText) -> Self {
        Self {
            meter: text.meter,
            limit: text.limit,
            period: text.period,
        }
    }
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
            quotas = [
                { meter = "requests", limit = 1, period = "day" },
                { meter = "requests", limit = 2, period = "hour" },
            ]
            "#,
        )
        .unwrap_err()
        .to_string();
        for part in ["more than 0", "a name has", "two quotas"] {
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
            "[Free]\n",
        ] {
            assert!(Plans::from_toml(text).is_err(), "{text}");
        }
    }
}
