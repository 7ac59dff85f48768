//! What a caller is told about its limits: the state of limits at a decision, and the headers it becomes.

mod render;
mod shape;
mod shapes;
pub(crate) mod standing;
mod style;
mod text;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use shape::LimitShape;
pub(crate) use shapes::Shapes;
pub use style::{HeaderDraft, HeaderStyle, ResetFormat};
pub(crate) use text::{millis_up, retry_seconds, write_retry_after};

use super::trace::LimitTrace;
use crate::name::MeterName;
use crate::plan::Plan;
use crate::time::Timestamp;
use crate::units::Units;

/// The state of a quota when a request was decided, the request itself included if it was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaReport<'a> {
    /// The limit's name: that of its period, such as `month`, after the meter's unless it counts requests.
    pub name: &'a str,
    /// What is counted.
    pub meter: &'a MeterName,
    /// What the period allows; none for unlimited.
    pub limit: Option<Units>,
    /// What was used, as far as this process knows.
    pub used: Units,
    /// What requests under way have taken besides, which is not used yet and can't be had. Told only to those who are refused
    /// for this quota; zero to others.
    pub in_flight: Units,
    /// When the period began.
    pub start: Timestamp,
    /// When the next period begins.
    pub reset: Timestamp,
}

impl QuotaReport<'_> {
    /// What is left; none for unlimited.
    #[must_use]
    pub fn remaining(&self) -> Option<Units> {
        self.limit
            .map(|limit| limit.minus(self.used).minus(self.in_flight))
    }
}

/// The state of a rate limit when a request was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateReport {
    /// Its position among the plan's rate limits.
    pub position: usize,
    /// What could be taken at once.
    pub remaining: u32,
    /// How long until the refused request would fit; none when it was let through, or will never fit.
    pub wait: Option<Duration>,
}

/// The state of the limits that a request was decided by. Cheap to make and to clone: what does not move is shared by all
/// reports of a plan and period.
#[derive(Clone, Debug)]
pub struct LimitReport {
    shape: Arc<LimitShape>,
    now: Timestamp,
    /// Of the quota that is shown, if one is.
    used: Units,
    in_flight: Units,
    rate: Option<RateReport>,
    /// How long a request that was refused for the quota has to wait, where that is not until its period ends.
    quota_wait: Option<Duration>,
}

impl LimitReport {
    /// The plan that held.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.shape.plan
    }

    /// When the request was decided.
    #[must_use]
    pub const fn at(&self) -> Timestamp {
        self.now
    }

    /// The quota that `X-RateLimit-*` headers describe: the one that the request was refused for, else the plan's first.
    #[must_use]
    pub fn quota(&self) -> Option<QuotaReport<'_>> {
        self.shape.quota.as_ref().map(|quota| QuotaReport {
            name: &quota.shown.name,
            meter: &quota.meter,
            limit: quota.limit,
            used: self.used,
            in_flight: self.in_flight,
            start: quota.period.start,
            reset: quota.period.end,
        })
    }

    /// The rate limit nearest to its end, where that matters: the request was refused for it, or there is no limited
    /// quota.
    #[must_use]
    pub const fn rate(&self) -> Option<&RateReport> {
        self.rate.as_ref()
    }

    /// The limits that it shows, for a trace.
    pub(crate) fn traces(&self) -> impl Iterator<Item = LimitTrace<'_>> {
        let quota = self.quota().map(|quota| LimitTrace {
            name: quota.name,
            violated: false,
            limit: quota.limit,
            used: Some(quota.used),
            remaining: quota.remaining(),
            elsewhere: None,
            needed: None,
            reset: Some(quota.reset),
        });
        let rate = self.rate.and_then(|rate| {
            let limit = self.shape.plan.rates.get(rate.position)?;
            Some(LimitTrace {
                name: self.shape.rate_name(rate.position),
                violated: false,
                limit: Some(Units::from(limit.limit)),
                used: None,
                remaining: Some(Units::from(rate.remaining)),
                elsewhere: None,
                needed: None,
                reset: None,
            })
        });
        quota.into_iter().chain(rate)
    }
}
