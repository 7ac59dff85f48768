//! Plans as a program writes them.

use std::time::Duration;

use super::{ConcurrencyLimit, Limit, Plan, Quota, QuotaMode, RateLimit};
use crate::name::{MeterName, PlanId};
use crate::period::PeriodRule;
use crate::units::Units;

impl Plan {
    /// A plan without limits.
    ///
    /// # Panics
    /// When `id` is no name, see [`PlanId::from_static`]. Use `Plan::from(id)` for a [`PlanId`] that is not known when the
    /// program is compiled.
    #[must_use]
    pub const fn new(id: &'static str) -> Self {
        Self::of(PlanId::from_static(id))
    }

    const fn of(id: PlanId) -> Self {
        Self {
            id,
            rates: Vec::new(),
            concurrency: Vec::new(),
            quotas: Vec::new(),
        }
    }

    /// With one more rate limit.
    #[must_use]
    pub fn rate(self, limit: RateLimit) -> Self {
        self.limit(limit)
    }

    /// With one more limit of requests under way.
    #[must_use]
    pub fn concurrency(self, limit: ConcurrencyLimit) -> Self {
        self.limit(limit)
    }

    /// With one more quota.
    #[must_use]
    pub fn quota(self, quota: Quota) -> Self {
        self.limit(quota)
    }

    /// With one more limit of any kind.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<Limit>) -> Self {
        match limit.into() {
            Limit::Rate(limit) => self.rates.push(limit),
            Limit::Concurrency(limit) => self.concurrency.push(limit),
            Limit::Quota(quota) => self.quotas.push(quota),
        }
        self
    }
}

impl From<PlanId> for Plan {
    fn from(id: PlanId) -> Self {
        Self::of(id)
    }
}

impl RateLimit {
    /// So many requests in each second, and as many at once; its name is `second`.
    #[must_use]
    pub fn per_second(limit: u32) -> Self {
        Self::new("second", limit, Duration::from_secs(1))
    }

    /// So many requests in each minute, and as many at once; its name is `minute`.
    #[must_use]
    pub fn per_minute(limit: u32) -> Self {
        Self::new("minute", limit, Duration::from_secs(60))
    }

    /// So many requests in each hour, and as many at once; its name is `hour`.
    #[must_use]
    pub fn per_hour(limit: u32) -> Self {
        Self::new("hour", limit, Duration::from_secs(3_600))
    }

    /// So many requests in each `per`, and as many at once. [`Plans::new`](super::Plans::new) says what a name may be.
    #[must_use]
    pub fn new(name: &str, limit: u32, per: Duration) -> Self {
        Self {
            name: name.to_owned(),
            limit,
            per,
            burst: limit,
        }
    }

    /// Lets so many come at once.
    #[must_use]
    pub fn burst(mut self, requests: u32) -> Self {
        self.burst = requests;
        self
    }
}

impl ConcurrencyLimit {
    /// So many requests under way at the same time; its name is `concurrent`.
    #[must_use]
    pub fn new(limit: u32) -> Self {
        Self {
            name: "concurrent".to_owned(),
            limit,
        }
    }
}

impl Quota {
    /// So many requests in an hour of UTC.
    #[must_use]
    pub const fn per_hour(limit: u64) -> Self {
        Self::new(limit, PeriodRule::Hour)
    }

    /// So many requests in a day of UTC.
    #[must_use]
    pub const fn per_day(limit: u64) -> Self {
        Self::new(limit, PeriodRule::Day)
    }

    /// So many requests in a week of UTC, from Monday.
    #[must_use]
    pub const fn per_week(limit: u64) -> Self {
        Self::new(limit, PeriodRule::WEEK)
    }

    /// So many requests in a month from the day on which the account began, see [`PeriodRule::AnchoredMonth`].
    #[must_use]
    pub const fn per_month(limit: u64) -> Self {
        Self::new(limit, PeriodRule::AnchoredMonth)
    }

    /// So many requests in each period of `period`, and never more: [`QuotaMode::Strict`].
    #[must_use]
    pub const fn new(limit: u64, period: PeriodRule) -> Self {
        Self::over(Some(Units::new(limit)), period)
    }

    /// As many requests as come, counted in each period of `period`.
    #[must_use]
    pub const fn unlimited(period: PeriodRule) -> Self {
        Self::over(None, period)
    }

    const fn over(limit: Option<Units>, period: PeriodRule) -> Self {
        Self {
            meter: MeterName::REQUESTS,
            limit,
            period,
            mode: QuotaMode::Strict,
        }
    }

    /// Counts another meter than `requests`.
    ///
    /// # Panics
    /// When `meter` is no name, see [`MeterName::from_static`]. Set the field for one that is not known when the program is
    /// compiled.
    #[must_use]
    pub fn of(mut self, meter: &'static str) -> Self {
        self.meter = MeterName::from_static(meter);
        self
    }

    /// In another mode.
    #[must_use]
    pub const fn mode(mut self, mode: QuotaMode) -> Self {
        self.mode = mode;
        self
    }
}

impl From<RateLimit> for Limit {
    fn from(limit: RateLimit) -> Self {
        Self::Rate(limit)
    }
}

impl From<ConcurrencyLimit> for Limit {
    fn from(limit: ConcurrencyLimit) -> Self {
        Self::Concurrency(limit)
    }
}

impl From<Quota> for Limit {
    fn from(quota: Quota) -> Self {
        Self::Quota(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Plans;
    use super::*;

    #[test]
    fn a_plan_written_in_rust_is_the_one_written_in_toml() {
        let in_toml = Plans::from_toml(
            r#"
            [free]
            rates = [
                { name = "second", limit = 10, per_seconds = 1 },
                { name = "minute", limit = 60, per_seconds = 60, burst = 5 },
                { name = "hour", limit = 600, per_seconds = 3600 },
                { name = "often", limit = 3, per_seconds = 7 },
            ]
            concurrency = [{ name = "concurrent", limit = 2 }]
            quotas = [
                { meter = "requests", limit = 5, period = "day" },
                { meter = "tokens", limit = 6, period = "anchored_month", mode = "soft" },
                { meter = "pages", limit = 7, period = "week" },
                { meter = "images", limit = 8, period = "hour" },
                { meter = "bytes", limit = "unlimited", period = "calendar_month" },
            ]
            "#,
        );
        let in_rust = Plans::new([Plan::new("free")
            .rate(RateLimit::per_second(10))
            .rate(RateLimit::per_minute(60).burst(5))
            .rate(RateLimit::per_hour(600))
            .rate(RateLimit::new("often", 3, Duration::from_secs(7)))
            .concurrency(ConcurrencyLimit::new(2))
            .quota(Quota::per_day(5))
            .quota(Quota::per_month(6).of("tokens").mode(QuotaMode::Soft))
            .quota(Quota::per_week(7).of("pages"))
            .limit(Quota::per_hour(8).of("images"))
            .limit(Quota::unlimited(PeriodRule::CalendarMonth).of("bytes"))]);
        assert_eq!(in_rust, in_toml);
        assert!(in_rust.is_ok(), "{in_rust:?}");
    }

    #[test]
    fn limits_written_in_rust_are_checked_as_well() {
        let twice = Plan::new("free")
            .quota(Quota::per_day(5))
            .quota(Quota::per_week(5));
        assert!(Plans::new([twice]).is_err());
        assert!(Plans::new([Plan::new("free").rate(RateLimit::per_second(0))]).is_err());
        assert!(Plans::new([Plan::new("free"), Plan::from(PlanId::from_static("free"))]).is_err());
    }
}
