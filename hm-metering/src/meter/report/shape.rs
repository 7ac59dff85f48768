//! What answers say of limits that stays the same for as long as a plan and a period do, made once for many answers.

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::Datelike;
use http::header::HeaderValue;

use super::render::Template;
use super::style::{HeaderDraft, HeaderStyle, ResetFormat};
use super::text::{plain_name, quoted, seconds_up};
use crate::name::MeterName;
use crate::period::Period;
use crate::plan::{LimitNames, Plan, Quota};
use crate::units::Units;

/// Everything about a plan, and one of its quotas in one period, that does not move.
#[derive(Debug)]
pub(crate) struct LimitShape {
    pub(super) style: HeaderStyle,
    pub(super) plan: Arc<Plan>,
    /// The quota that is shown, if any.
    pub(super) quota: Option<QuotaShape>,
    /// One for each of the plan's rates.
    pub(super) rates: Box<[Shown]>,
    /// The names of the plan's concurrency limits.
    concurrency: Box<[String]>,
    /// The headers of answers.
    pub(super) template: Template,
}

#[derive(Debug)]
pub(super) struct QuotaShape {
    /// Its position among the plan's quotas.
    pub(super) position: usize,
    pub(super) period: Period,
    pub(super) meter: MeterName,
    pub(super) limit: Option<Units>,
    pub(super) shown: Shown,
    /// `X-RateLimit-Reset`, where it does not depend on the time of day.
    pub(super) reset: Option<HeaderValue>,
}

/// A limit in headers.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) name: Box<str>,
    /// What it allows, or `unlimited`.
    pub(super) limit: HeaderValue,
    /// `RateLimit` up to the number that remains.
    pub(super) state: Box<str>,
}

impl LimitShape {
    pub(super) fn new(style: HeaderStyle, plan: &Arc<Plan>, quota: Option<(usize, Period)>) -> Self {
        let quota = quota.and_then(|(position, period)| {
            let quota = plan.quotas.get(position)?;
            Some(QuotaShape {
                position,
                period,
                meter: quota.meter.clone(),
                limit: quota.limit,
                shown: Shown::new(style, &quota.name(), quota.limit),
                reset: style.classic().and_then(|format| fixed_reset(format, period)),
            })
        });
        let names = LimitNames::of(plan, plain_name);
        let rates: Box<[Shown]> = plan
            .rates
            .iter()
            .zip(names.rates)
            .map(|(rate, name)| Shown::new(style, &name, Some(Units::from(rate.limit))))
            .collect();
        let policy = style
            .draft()
            .and_then(|draft| policy(draft, plan, quota.as_ref(), &rates));
        Self {
            style,
            plan: Arc::clone(plan),
            template: Template::new(style, quota.as_ref(), &rates, policy),
            quota,
            rates,
            concurrency: names.concurrency.into(),
        }
    }

    /// Whether it shows this quota in this period.
    pub(crate) fn shows(&self, position: usize, period: Period) -> bool {
        self.quota
            .as_ref()
            .is_some_and(|has| has.position == position && has.period == period)
    }

    /// The name of the rate limit at `position`, as headers show it.
    pub(crate) fn rate_name(&self, position: usize) -> &str {
        self.rates.get(position).map_or("", |rate| &rate.name)
    }

    /// The name of the concurrency limit at `position`, as refusals tell it.
    pub(crate) fn concurrency_name(&self, position: usize) -> &str {
        self.concurrency.get(position).map_or("", String::as_str)
    }

    /// The name of the quota, as headers show it.
    pub(crate) fn quota_name(&self) -> &str {
        self.quota.as_ref().map_or("", |quota| &quota.shown.name)
    }
}

impl Shown {
    fn new(style: HeaderStyle, name: &str, limit: Option<Units>) -> Self {
        let name = plain_name(name);
        let state = match (style.draft(), limit) {
            (Some(HeaderDraft::V8), _) => format!("{};r=", quoted(&name)),
            (Some(HeaderDraft::V7), Some(limit)) => format!("limit={limit}, remaining="),
            (Some(HeaderDraft::V6 | HeaderDraft::V7) | None, _) => String::new(),
        };
        Self {
            name: name.into(),
            limit: limit.map_or(HeaderValue::from_static("unlimited"), |limit| {
                HeaderValue::from(limit.get())
            }),
            state: state.into(),
        }
    }
}

/// The name of a quota of a key's own.
pub(super) fn own_quota_name(quota: &Quota) -> String {
    plain_name(&format!("key-{}", quota.name()))
}

fn fixed_reset(format: ResetFormat, period: Period) -> Option<HeaderValue> {
    match format {
        ResetFormat::Date => {
            let day = period.end.to_datetime();
            let text = format!("{:04}-{:02}-{:02}", day.year(), day.month(), day.day());
            HeaderValue::try_from(text).ok()
        }
        ResetFormat::EpochSeconds => {
            let seconds = u64::try_from(period.end.as_micros())
                .unwrap_or(0)
                .div_ceil(1_000_000);
            Some(HeaderValue::from(seconds))
        }
        ResetFormat::DeltaSeconds => None,
    }
}

/// Every limit of the plan that is one, the quota first. Windows are rounded up to whole seconds, so that they never
/// look shorter than they are; none is shorter than one.
fn policy(
    draft: HeaderDraft,
    plan: &Plan,
    quota: Option<&QuotaShape>,
    rates: &[Shown],
) -> Option<HeaderValue> {
    let quota = quota.and_then(|quota| Some((&*quota.shown.name, quota.limit?, quota.period.length())));
    let rates = plan
        .rates
        .iter()
        .zip(rates)
        .map(|(rate, shown)| (&*shown.name, Units::from(rate.limit), rate.per));
    let mut text = String::new();
    for (name, limit, window) in quota.into_iter().chain(rates) {
        let comma = if text.is_empty() { "" } else { ", " };
        let window = seconds_up(window).max(1);
        // Writing into a text does not fail.
        let _ = match draft {
            HeaderDraft::V6 | HeaderDraft::V7 => write!(text, "{comma}{limit};w={window}"),
            HeaderDraft::V8 => write!(text, "{comma}{};q={limit};w={window}", quoted(name)),
        };
    }
    if text.is_empty() {
        None
    } else {
        HeaderValue::try_from(text).ok()
    }
}
