//! The quotas that a key has of its own.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::heap;
use crate::name::MeterName;
use crate::period::PeriodRule;
use crate::plan::{ModeText, Quota};
use crate::units::Units;

/// The quotas of one key, such as 1,000 of the 10,000 requests that its account has in a month. They hold beside those of the
/// account's plan: a request needs room in all of them, and what it is charged counts in all of them.
///
/// A key's counter is one of its own. It begins with nothing used when the quota is given, whatever the key has used before, and
/// goes on counting when the limit or the mode is changed. With another period it begins anew. A key that another one is
/// rotated to has another counter. Periods that count from when the account began do so here too.
///
/// It is written as a list, `[{ "meter": "requests", "limit": 1000, "period": "calendar_month" }]`, with periods and modes as
/// [`Plans::from_toml`](crate::Plans::from_toml) reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<QuotaText>", into = "Vec<QuotaText>")]
pub struct KeyQuotas(Vec<Quota>);

/// Why a key can't have these quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyQuotasError {
    /// There are more than [`KeyQuotas::MAX`].
    #[error("a key may have {} quotas at most", KeyQuotas::MAX)]
    TooMany,
    /// One has no limit, so that it would only count what the account counts.
    #[error("a key's quota must have a limit")]
    Unlimited,
    /// A meter has two of them.
    #[error("a key's quotas must count different meters")]
    Twice,
    /// The name of a meter is longer than [`KeyQuotas::METER_MAX`].
    #[error(
        "the meter of a key's quota may have a name of {} characters at most",
        KeyQuotas::METER_MAX
    )]
    Meter,
}

impl KeyQuotas {
    pub(crate) const NONE: &Self = &Self(Vec::new());

    /// How many there may be.
    pub const MAX: usize = 4;

    /// How long the name of a meter may be here, in bytes: stores keep the key's id beside it.
    pub const METER_MAX: usize = 31;

    /// These quotas, in this order.
    ///
    /// # Errors
    /// [`KeyQuotasError`], for the first thing that is wrong.
    pub fn new(quotas: impl IntoIterator<Item = Quota>) -> Result<Self, KeyQuotasError> {
        let quotas: Vec<Quota> = quotas.into_iter().take(Self::MAX + 1).collect();
        if quotas.len() > Self::MAX {
            return Err(KeyQuotasError::TooMany);
        }
        for (place, quota) in quotas.iter().enumerate() {
            if quota.limit.is_none() {
                return Err(KeyQuotasError::Unlimited);
            }
            if quota.meter.as_str().len() > Self::METER_MAX {
                return Err(KeyQuotasError::Meter);
            }
            if quotas.iter().take(place).any(|other| other.meter == quota.meter) {
                return Err(KeyQuotasError::Twice);
            }
        }
        Ok(Self(quotas))
    }

    /// The quotas. Each of them has a limit.
    #[must_use]
    pub const fn as_slice(&self) -> &[Quota] {
        self.0.as_slice()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both count the same meters in the same periods, so that the counters of one are those of the other.
    #[must_use]
    pub fn count_like(&self, other: &Self) -> bool {
        let is_in = |quota: &Quota| {
            let mut others = other.0.iter();
            others.any(|other| other.meter == quota.meter && other.period == quota.period)
        };
        self.0.len() == other.0.len() && self.0.iter().all(is_in)
    }

    /// What they take of memory, about.
    pub(crate) fn bytes(&self) -> usize {
        let names = self
            .0
            .iter()
            .map(|quota| heap::shared(quota.meter.as_str().len()));
        heap::list(&self.0) + names.sum::<usize>()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaText {
    meter: MeterName,
    limit: Units,
    period: PeriodRule,
    #[serde(default, skip_serializing_if = "ModeText::is_default")]
    mode: ModeText,
}

impl TryFrom<Vec<QuotaText>> for KeyQuotas {
    type Error = KeyQuotasError;

    fn try_from(quotas: Vec<QuotaText>) -> Result<Self, KeyQuotasError> {
        Self::new(quotas.into_iter().map(|quota| Quota {
            meter: quota.meter,
            limit: Some(quota.limit),
            period: quota.period,
            mode: quota.mode.into(),
        }))
    }
}

impl From<KeyQuotas> for Vec<QuotaText> {
    fn from(quotas: KeyQuotas) -> Self {
        let text = |quota: Quota| {
            Some(QuotaText {
                limit: quota.limit?,
                meter: quota.meter,
                period: quota.period,
                mode: quota.mode.into(),
            })
        };
        // Each has a limit.
        quotas.0.into_iter().filter_map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::QuotaMode;

    fn quotas(quotas: impl IntoIterator<Item = Quota>) -> KeyQuotas {
        KeyQuotas::new(quotas).unwrap()
    }

    #[test]
    fn quotas_that_make_no_sense_are_refused() {
        let day = Quota::per_day(5);
        for (quotas, error) in [
            (vec![Quota::unlimited(PeriodRule::Day)], KeyQuotasError::Unlimited),
            (vec![day.clone(), Quota::per_hour(1)], KeyQuotasError::Twice),
            (
                vec![day.clone().of("a-name-of-a-meter-that-is-long-enough")],
                KeyQuotasError::Meter,
            ),
            (
                ["a", "b", "c", "d", "e"]
                    .map(|meter| day.clone().of(meter))
                    .into(),
                KeyQuotasError::TooMany,
            ),
        ] {
            assert_eq!(KeyQuotas::new(quotas), Err(error));
        }
        assert_eq!(
            KeyQuotas::new(std::iter::repeat(day)),
            Err(KeyQuotasError::TooMany)
        );
    }

    #[test]
    fn what_is_written_can_be_read_and_nothing_else() {
        let some = quotas([
            Quota::new(1_000, PeriodRule::CalendarMonth),
            Quota::per_hour(0).of("tokens").mode(QuotaMode::Balanced {
                overshoot: Units::new(5),
            }),
            Quota::per_month(7).of("bytes").mode(QuotaMode::Shadow),
        ]);
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<KeyQuotas>(&text).unwrap(), some);
        assert_eq!(
            text,
            r#"[{"meter":"requests","limit":1000,"period":"calendar_month"},{"meter":"tokens","limit":0,"period":"hour","mode":{"balanced":5}},{"meter":"bytes","limit":7,"period":"anchored_month","mode":"shadow"}]"#
        );
        for text in [
            r#"[{"meter":"requests","limit":"unlimited","period":"day"}]"#,
            r#"[{"meter":"requests","limit":1,"period":"day","more":1}]"#,
            r#"[{"meter":"requests","limit":1,"period":"fortnight"}]"#,
            r#"[{"meter":"requests","limit":1,"period":"day"},{"meter":"requests","limit":1,"period":"hour"}]"#,
            r#"{"meter":"requests","limit":1,"period":"day"}"#,
        ] {
            assert!(serde_json::from_str::<KeyQuotas>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_limits_count_in_the_same_counters_and_other_periods_do_not() {
        let first = quotas([Quota::per_day(5), Quota::per_day(5).of("tokens")]);
        let raised = quotas([
            Quota::per_day(6).of("tokens").mode(QuotaMode::Soft),
            Quota::per_day(7),
        ]);
        assert!(first.count_like(&raised) && raised.count_like(&first));
        let hours = quotas([Quota::per_hour(5), Quota::per_day(5).of("tokens")]);
        let fewer = quotas([Quota::per_day(5)]);
        for other in [hours, fewer, KeyQuotas::default()] {
            assert!(!first.count_like(&other) && !other.count_like(&first));
        }
    }
}
