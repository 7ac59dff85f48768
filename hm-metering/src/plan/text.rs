//! Plans as a configuration writes them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{ConcurrencyLimit, Plan, Plans, PlansError, Quota, QuotaMode, RateLimit};
use crate::name::{MeterName, PlanId};
use crate::period::PeriodRule;
use crate::units::Units;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanText {
    #[serde(default)]
    rates: Vec<RateText>,
    #[serde(default)]
    concurrency: Vec<ConcurrencyText>,
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
struct ConcurrencyText {
    name: String,
    limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaText {
    meter: MeterName,
    #[serde(deserialize_with = "limit")]
    limit: Option<Units>,
    period: PeriodRule,
    #[serde(default)]
    mode: ModeText,
}

/// A quota's mode.
#[derive(Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModeText {
    #[default]
    Strict,
    Balanced(Units),
    Soft,
    Shadow,
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
            concurrency: text.concurrency.into_iter().map(ConcurrencyLimit::from).collect(),
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

impl From<ConcurrencyText> for ConcurrencyLimit {
    fn from(text: ConcurrencyText) -> Self {
        Self {
            name: text.name,
            limit: text.limit,
        }
    }
}

impl From<QuotaText> for Quota {
    fn from(text: QuotaText) -> Self {
        Self {
            meter: text.meter,
            limit: text.limit,
            period: text.period,
            mode: text.mode.into(),
        }
    }
}

impl ModeText {
    /// Whether it need not be said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<QuotaMode> for ModeText {
    fn from(mode: QuotaMode) -> Self {
        match mode {
            QuotaMode::Strict => Self::Strict,
            QuotaMode::Balanced { overshoot } => Self::Balanced(overshoot),
            QuotaMode::Soft => Self::Soft,
            QuotaMode::Shadow => Self::Shadow,
        }
    }
}

impl From<ModeText> for QuotaMode {
    fn from(text: ModeText) -> Self {
        match text {
            ModeText::Strict => Self::Strict,
            ModeText::Balanced(overshoot) => Self::Balanced { overshoot },
            ModeText::Soft => Self::Soft,
            ModeText::Shadow => Self::Shadow,
        }
    }
}
