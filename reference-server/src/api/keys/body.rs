//! What is sent about keys, and what of it is accepted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hm_metering::keys::{IpAllow, KeyLimits, KeyPatch, KeyQuotas};
use hm_metering::period::PeriodRule;
use hm_metering::plan::{Quota, RateLimit};
use hm_metering::{KeyEnv, Timestamp};
use ipnet::IpNet;
use salvo::oapi::ToSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::api::errors::Mistakes;
use crate::domain::keys::KeyWish;
use crate::domain::names;
use crate::error::AppError;

const MOST_SCOPES: usize = 32;
const LONGEST_SCOPE: usize = 64;
const MOST_FACTS: usize = 16;
const LONGEST_FACT_NAME: usize = 64;
const LONGEST_FACT: usize = 256;
const LONGEST_RATE_SECONDS: u32 = 24 * 60 * 60;
/// The name of a key's own rate in refusals.
const OWN_RATE: &str = "key";
const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "NewKey"))]
pub struct KeyBody {
    /// At most 100 characters.
    name: String,
    /// When it stops working by itself; never, unless said.
    #[serde(default)]
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    expires_at: Option<Timestamp>,
    /// What it may do: at most 32 of at most 64 letters, digits and `.:_-*`.
    #[serde(default)]
    scopes: Vec<String>,
    /// `live`, unless said, or `test`.
    #[serde(default)]
    #[salvo(schema(value_type = Option<String>))]
    env: KeyEnv,
    /// Networks that it may be used from, such as `203.0.113.0/24` or one address; at most 64, anywhere unless said.
    #[serde(default)]
    ip_allow: Vec<String>,
    /// A rate of its own, beside its account's.
    #[serde(default)]
    rate_limit: Option<RateLimitBody>,
    /// How many requests it may use of its account's; as many as there are, unless said.
    #[serde(default)]
    quota: Option<QuotaBody>,
    /// Facts of your own: at most 16, with names of at most 64 and values of at most 256 characters.
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

/// Changes of a key; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "KeyPatch"))]
pub struct KeyPatchBody {
    #[serde(default)]
    name: Option<String>,
    /// All scopes.
    #[serde(default)]
    scopes: Option<Vec<String>>,
    /// False switches it off, true on again.
    #[serde(default)]
    is_active: Option<bool>,
    /// All networks; none for anywhere.
    #[serde(default)]
    ip_allow: Option<Vec<String>>,
    /// Another rate; null for none of its own.
    #[serde(default, deserialize_with = "given")]
    #[salvo(schema(value_type = Option<RateLimitBody>))]
    rate_limit: Option<Option<RateLimitBody>>,
    /// Another quota; null for none of its own. With the same period, what it has used stays.
    #[serde(default, deserialize_with = "given")]
    #[salvo(schema(value_type = Option<QuotaBody>))]
    quota: Option<Option<QuotaBody>>,
    /// Null for never.
    #[serde(default, deserialize_with = "given")]
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    expires_at: Option<Option<Timestamp>>,
    /// All facts.
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
}

/// How often a key may be used.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "KeyRateLimit"))]
pub struct RateLimitBody {
    /// So many requests, at least one,
    limit: u32,
    /// in so many seconds: 1, unless said, to 86400.
    #[serde(default = "one")]
    per_seconds: u32,
    /// How many may come at once; `limit`, unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
}

/// How many requests a key may use in a period, of those that its account has.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "KeyQuota"))]
pub struct QuotaBody {
    /// So many requests, at least one,
    limit: u64,
    /// in each of these periods.
    #[serde(default)]
    period: QuotaPeriod,
}

/// The period of a key's quota: the account's month, unless said, or a week, day or hour of UTC.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[salvo(schema(name = "KeyQuotaPeriod"))]
enum QuotaPeriod {
    /// From the day of the month on which the account began.
    #[default]
    Month,
    /// From Monday.
    Week,
    /// From midnight.
    Day,
    /// From the full hour.
    Hour,
}

/// How a key is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "KeyRotation"))]
pub struct RotateBody {
    /// How long the old key still works: at most 30 days; not at all, unless said.
    #[serde(default)]
    overlap_seconds: u64,
}

impl KeyBody {
    pub(super) fn into_wish(self, now: Timestamp) -> Result<KeyWish, AppError> {
        let mut mistakes = Mistakes::default();
        let name = mistakes.check("name", names::name(&self.name));
        let expires_at = mistakes.check(
            "expiresAt",
            self.expires_at.map(|end| in_future(end, now)).transpose(),
        );
        let scopes = mistakes.check("scopes", scopes(self.scopes));
        let metadata = mistakes.check("metadata", facts(self.metadata));
        let ip_allow = mistakes.check("ipAllow", networks(&self.ip_allow));
        let limits = mistakes.check("rateLimit", limits(self.rate_limit));
        let quotas = mistakes.check("quota", quotas(self.quota));
        match (name, expires_at, scopes, ip_allow, (limits, quotas), metadata) {
            (
                Some(name),
                Some(expires_at),
                Some(scopes),
                Some(ip_allow),
                (Some(limits), Some(quotas)),
                Some(metadata),
            ) => Ok(KeyWish {
                name,
                env: self.env,
                scopes,
                ip_allow,
                limits,
                quotas,
                expires_at,
                metadata,
            }),
            _ => Err(mistakes.into_error()),
        }
    }
}

impl KeyPatchBody {
    pub(super) fn into_patch(self, now: Timestamp) -> Result<KeyPatch, AppError> {
        let mut mistakes = Mistakes::default();
        let end = |end: Option<Timestamp>| end.map(|end| in_future(end, now)).transpose();
        let name = mistakes.check("name", self.name.as_deref().map(names::name).transpose());
        let expires_at = mistakes.check("expiresAt", self.expires_at.map(end).transpose());
        let scopes = mistakes.check("scopes", self.scopes.map(scopes).transpose());
        let metadata = mistakes.check("metadata", self.metadata.map(facts).transpose());
        let ip_allow = mistakes.check("ipAllow", self.ip_allow.as_deref().map(networks).transpose());
        let limits = mistakes.check("rateLimit", self.rate_limit.map(limits).transpose());
        let quotas = mistakes.check("quota", self.quota.map(quotas).transpose());
        match (name, expires_at, scopes, ip_allow, (limits, quotas), metadata) {
            (
                Some(name),
                Some(expires_at),
                Some(scopes),
                Some(ip_allow),
                (Some(limits), Some(quotas)),
                Some(metadata),
            ) => Ok(KeyPatch {
                name,
                scopes,
                ip_allow,
                limits,
                quotas,
                is_active: self.is_active,
                expires_at,
                metadata,
            }),
            _ => Err(mistakes.into_error()),
        }
    }
}

impl RotateBody {
    pub(super) fn overlap(&self) -> Result<Duration, AppError> {
        let overlap = Duration::from_secs(self.overlap_seconds);
        if overlap <= LONGEST_OVERLAP {
            return Ok(overlap);
        }
        Err(AppError::invalid_field(
            "overlapSeconds",
            format!("must be at most {}", LONGEST_OVERLAP.as_secs()),
        ))
    }
}

/// Tells a field that is null from one that is not there.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn in_future(end: Timestamp, now: Timestamp) -> Result<Timestamp, &'static str> {
    if end > now {
        Ok(end)
    } else {
        Err("must be in the future")
    }
}

pub(super) fn scopes(mut scopes: Vec<String>) -> Result<Vec<String>, &'static str> {
    let fits = |scope: &String| {
        (1..=LONGEST_SCOPE).contains(&scope.len())
            && scope
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".:_-*".contains(&byte))
    };
    if scopes.len() > MOST_SCOPES {
        return Err("must be at most 32");
    }
    if !scopes.iter().all(fits) {
        return Err("must each have 1 to 64 letters, digits and `.:_-*`");
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

fn networks(texts: &[String]) -> Result<IpAllow, &'static str> {
    if texts.len() > IpAllow::MAX {
        return Err("must be at most 64 networks");
    }
    let parse = |text: &String| {
        let network: Option<IpNet> = text.parse().ok();
        network.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
    };
    let parsed: Option<Vec<IpNet>> = texts.iter().map(parse).collect();
    let parsed = parsed.ok_or("must each be an address or a network such as 203.0.113.0/24")?;
    IpAllow::new(parsed).map_err(|_| "must be at most 64 networks")
}

fn limits(rate: Option<RateLimitBody>) -> Result<KeyLimits, &'static str> {
    let Some(rate) = rate else {
        return Ok(KeyLimits::default());
    };
    if !(1..=LONGEST_RATE_SECONDS).contains(&rate.per_seconds) {
        return Err("must have 1 to 86400 in `perSeconds`");
    }
    let rate = RateLimit {
        name: OWN_RATE.to_owned(),
        limit: rate.limit,
        per: Duration::from_secs(rate.per_seconds.into()),
        burst: rate.burst.unwrap_or(rate.limit),
    };
    KeyLimits::new([rate]).map_err(|_| "must have a `limit` and `burst` of at least 1")
}

fn quotas(quota: Option<QuotaBody>) -> Result<KeyQuotas, &'static str> {
    let Some(quota) = quota else {
        return Ok(KeyQuotas::default());
    };
    if quota.limit == 0 {
        return Err("must have a `limit` of at least 1");
    }
    let quota = Quota::new(quota.limit, quota.period.rule());
    KeyQuotas::new([quota]).map_err(|_| "must be one quota")
}

impl QuotaBody {
    /// The one quota of a key's own that can be given here.
    pub(super) fn of(quotas: &KeyQuotas) -> Option<Self> {
        let quota = quotas.as_slice().first()?;
        let periods = [
            QuotaPeriod::Month,
            QuotaPeriod::Week,
            QuotaPeriod::Day,
            QuotaPeriod::Hour,
        ];
        Some(Self {
            limit: quota.limit?.get(),
            period: periods.into_iter().find(|period| period.rule() == quota.period)?,
        })
    }
}

impl QuotaPeriod {
    const fn rule(self) -> PeriodRule {
        match self {
            Self::Month => PeriodRule::AnchoredMonth,
            Self::Week => PeriodRule::WEEK,
            Self::Day => PeriodRule::Day,
            Self::Hour => PeriodRule::Hour,
        }
    }
}

impl RateLimitBody {
    /// The one rate of a key's own that can be given here.
    pub(super) fn of(limits: &KeyLimits) -> Option<Self> {
        limits.rates().first().map(|rate| Self {
            limit: rate.limit,
            per_seconds: u32::try_from(rate.per.as_secs()).unwrap_or(u32::MAX),
            burst: Some(rate.burst),
        })
    }
}

const fn one() -> u32 {
    1
}

fn facts(facts: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, &'static str> {
    if facts.len() > MOST_FACTS {
        return Err("must be at most 16 facts");
    }
    let fits = |(name, fact): (&String, &String)| {
        (1..=LONGEST_FACT_NAME).contains(&name.chars().count()) && fact.chars().count() <= LONGEST_FACT
    };
    let plain = |(name, fact): (&String, &String)| !name.contains('\0') && !fact.contains('\0');
    if facts.iter().all(fits) && facts.iter().all(plain) {
        Ok(facts)
    } else {
        Err("must have names of at most 64 and values of at most 256 characters")
    }
}
