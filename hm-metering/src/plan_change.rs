//! When a move from one plan to another takes effect: pure arithmetic, time is an argument.
//!
//! # The rule
//!
//! * **An upgrade takes effect at once.** Counters belong to periods and not to plans, so what was used in the period
//!   counts against the new limit.
//! * **A downgrade takes effect when the present period ends**, because until then the account has what it has. Where the
//!   old plan's quotas have several periods, it is the last of their ends. Without quotas there is no period, and it
//!   takes effect at once.
//! * Whoever asks for another moment gets it: [`When`].
//!
//! **A move is a downgrade if any limit gets lower, and an upgrade otherwise**, so nothing that was sold is taken away
//! before its time. Limits are compared one by one:
//!
//! * Quotas by their meter. A quota is lower if it allows fewer units in the same time, where a month has 30 days and a
//!   fixed or rolling period its length; zones don't matter. A meter without a quota is unlimited. It is lower as well if
//!   its [mode](QuotaMode) refuses what the old one let through: soft and shadow quotas refuse nothing, a balanced one less
//!   the greater its overshoot, a strict one most. Between limits that are unlimited, modes make no difference.
//! * Rate limits by their name. A rate is lower if it allows fewer requests in the same time, or a smaller burst. A
//!   rate that the old plan does not have is a new limit, so it is lower.
//! * Concurrency limits by their name. One is lower if it lets fewer requests be under way. One that the old plan does not
//!   have is a new limit.
//!
//! ```
//! use hm_metering::plan_change::{PlanChange, When};
//! # use hm_metering::{Plans, PlanId, Timestamp};
//! # fn ts(text: &str) -> Timestamp { text.parse::<chrono::DateTime<chrono::Utc>>().unwrap().into() }
//! let plans = Plans::from_toml(r#"
//!     [free]
//!     quotas = [{ meter = "requests", limit = 1000, period = "anchored_month" }]
//!     [pro]
//!     quotas = [{ meter = "requests", limit = 10000, period = "anchored_month" }]
//! "#)?;
//! let plan = |id: &'static str| &**plans.get(&PlanId::from_static(id)).unwrap();
//! let (now, began) = (ts("2026-11-25T13:14:15Z"), ts("2026-01-31T08:00:00Z"));
//!
//! let up = PlanChange::decide(plan("free"), plan("pro"), When::ByRule, now, began);
//! assert_eq!(up.at, now);
//! let down = PlanChange::decide(plan("pro"), plan("free"), When::ByRule, now, began);
//! assert_eq!(down.at, ts("2026-11-30T00:00:00Z"));
//! # Ok::<(), hm_metering::PlansError>(())
//! ```
//!
//! A store then moves the account at once, or schedules the move: `MemoryStore::set_plan` and `schedule_plan`, or
//! `SeaOrmStore::set_tier` and `schedule_tier`.

use std::time::Duration;

use crate::name::PlanId;
use crate::period::PeriodRule;
use crate::plan::{Plan, Quota, QuotaMode, RateLimit};
use crate::time::Timestamp;
use crate::units::Units;

/// What a move means for whoever is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Direction {
    /// No limit gets lower.
    Upgrade,
    /// A limit gets lower, whatever else gets higher.
    Downgrade,
}

/// When a move is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum When {
    /// An upgrade at once, a downgrade when the present period ends.
    ByRule,
    /// At once. What was used above a lower limit stays used: nothing is left until the period ends, and nothing is
    /// taken back.
    AtOnce,
    /// When the present period ends.
    AtPeriodEnd,
}

/// A move to another plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanChange {
    /// The new plan.
    pub plan: PlanId,
    /// The first moment at which it holds.
    pub at: Timestamp,
    /// What the move means.
    pub direction: Direction,
}

impl PlanChange {
    /// The move from one plan to another that is asked for at `now`, for an account that began at `anchor`.
    #[must_use]
    pub fn decide(from: &Plan, to: &Plan, when: When, now: Timestamp, anchor: Timestamp) -> Self {
        let direction = direction(from, to);
        let at = match (when, direction) {
            (When::AtOnce, _) | (When::ByRule, Direction::Upgrade) => now,
            (When::AtPeriodEnd, _) | (When::ByRule, Direction::Downgrade) => period_end(from, now, anchor),
        };
        Self {
            plan: to.id.clone(),
            at,
            direction,
        }
    }
}

/// Whether a move takes anything away.
#[must_use]
pub fn direction(from: &Plan, to: &Plan) -> Direction {
    let quota_is_lower = to.quotas.iter().any(|quota| {
        let before = from.quotas.iter().find(|before| before.meter == quota.meter);
        is_lower_quota(before, quota)
    });
    let rate_is_lower = to.rates.iter().any(|rate| {
        let before = from.rates.iter().find(|before| before.name == rate.name);
        before.is_none_or(|before| is_lower_rate(before, rate))
    });
    let concurrency_is_lower = to.concurrency.iter().any(|limit| {
        let before = from.concurrency.iter().find(|before| before.name == limit.name);
        before.is_none_or(|before| limit.limit < before.limit)
    });
    if quota_is_lower || rate_is_lower || concurrency_is_lower {
        Direction::Downgrade
    } else {
        Direction::Upgrade
    }
}

/// The last of the ends of the periods that a plan's quotas are in.
fn period_end(plan: &Plan, now: Timestamp, anchor: Timestamp) -> Timestamp {
    let ends = plan
        .quotas
        .iter()
        .map(|quota| quota.period.period_at(now, anchor).end);
    ends.max().unwrap_or(now)
}

fn is_lower_quota(before: Option<&Quota>, after: &Quota) -> bool {
    let Some(limit) = after.limit else {
        return false;
    };
    let Some((before, had)) = before.and_then(|before| Some((before, before.limit?))) else {
        return true;
    };
    u128::from(limit.get()) * seconds(before.period) < u128::from(had.get()) * seconds(after.period)
        || leeway(after.mode) < leeway(before.mode)
}

/// How many units beyond a quota's limit are let through.
const fn leeway(mode: QuotaMode) -> Units {
    match mode {
        QuotaMode::Strict => Units::ZERO,
        QuotaMode::Balanced { overshoot } => overshoot,
        QuotaMode::Soft | QuotaMode::Shadow => Units::MAX,
    }
}

fn is_lower_rate(before: &RateLimit, after: &RateLimit) -> bool {
    let nanos = |per: Duration| per.as_nanos();
    // In 96 bits of nanoseconds and 32 of requests, so the products fit.
    after.burst < before.burst
        || u128::from(after.limit) * nanos(before.per) < u128::from(before.limit) * nanos(after.per)
}

/// How long a rule's periods are, about.
fn seconds(rule: PeriodRule) -> u128 {
    const DAY: u128 = 86_400;
    match rule {
        PeriodRule::AnchoredMonth | PeriodRule::CalendarMonth => 30 * DAY,
        PeriodRule::Week { .. } => 7 * DAY,
        PeriodRule::Day => DAY,
        PeriodRule::Hour => 3_600,
        PeriodRule::Fixed { seconds } | PeriodRule::AnchoredFixed { seconds } => seconds.get().into(),
        PeriodRule::Rolling(rolling) => rolling.length_seconds().get().into(),
        PeriodRule::Zoned(zoned) => seconds(zoned.in_utc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plans;

    fn plan(text: &str) -> Plan {
        let plans = Plans::from_toml(&format!("[plan]\n{text}")).unwrap();
        Plan::clone(plans.get(&PlanId::from_static("plan")).unwrap())
    }

    fn quotas(quotas: &[(&str, &str, &str)]) -> Plan {
        let all: Vec<_> = quotas
            .iter()
            .map(|(meter, limit, period)| {
                format!("{{ meter = '{meter}', limit = {limit}, period = {period} }}")
            })
            .collect();
        plan(&format!("quotas = [{}]", all.join(", ")))
    }

    fn rates(rates: &[(&str, u32, u32, u32)]) -> Plan {
        let all: Vec<_> = rates
            .iter()
            .map(|(name, limit, per, burst)| {
                format!("{{ name = '{name}', limit = {limit}, per_seconds = {per}, burst = {burst} }}")
            })
            .collect();
        plan(&format!("rates = [{}]", all.join(", ")))
    }

    #[test]
    fn a_move_is_a_downgrade_if_any_quota_gets_lower() {
        let free = quotas(&[("requests", "1000", "'day'"), ("tokens", "50", "'day'")]);
        let same_or_more = [
            quotas(&[("requests", "1000", "'day'"), ("tokens", "50", "'day'")]),
            quotas(&[("requests", "1001", "'day'"), ("tokens", "50", "'day'")]),
            quotas(&[("requests", "\"unlimited\"", "'day'")]),
            quotas(&[
                ("requests", "30000", "'calendar_month'"),
                ("tokens", "50", "'day'"),
            ]),
            quotas(&[("requests", "1000", "{ rule = 'day', zone = 'Asia/Tokyo' }")]),
            quotas(&[]),
        ];
        for to in &same_or_more {
            assert_eq!(direction(&free, to), Direction::Upgrade, "{to:?}");
        }
        let less = [
            quotas(&[("requests", "999", "'day'")]),
            quotas(&[("requests", "\"unlimited\"", "'day'"), ("tokens", "49", "'day'")]),
            quotas(&[("requests", "29999", "'calendar_month'")]),
            quotas(&[("requests", "1000", "'day'"), ("bytes", "1", "'day'")]),
        ];
        for to in &less {
            assert_eq!(direction(&free, to), Direction::Downgrade, "{to:?}");
        }
        let unlimited = quotas(&[("requests", "\"unlimited\"", "'day'")]);
        let most = quotas(&[("requests", "1000000000", "{ rule = 'fixed', seconds = 1 }")]);
        assert_eq!(direction(&unlimited, &most), Direction::Downgrade);
    }

    #[test]
    fn a_move_is_a_downgrade_if_any_concurrency_limit_gets_lower() {
        let limits = |limits: &[(&str, u32)]| {
            let all: Vec<_> = limits
                .iter()
                .map(|(name, limit)| format!("{{ name = '{name}', limit = {limit} }}"))
                .collect();
            plan(&format!("concurrency = [{}]", all.join(", ")))
        };
        let pro = limits(&[("concurrent", 50), ("uploads", 5)]);
        for to in [
            limits(&[("uploads", 5), ("concurrent", 50)]),
            limits(&[("concurrent", 51)]),
            limits(&[]),
        ] {
            assert_eq!(direction(&pro, &to), Direction::Upgrade, "{to:?}");
        }
        for to in [
            limits(&[("concurrent", 2), ("uploads", 500)]),
            limits(&[("concurrent", 50), ("uploads", 5), ("downloads", 1_000)]),
        ] {
            assert_eq!(direction(&pro, &to), Direction::Downgrade, "{to:?}");
        }
    }

    #[test]
    fn a_move_is_a_downgrade_if_a_quota_refuses_what_it_let_through() {
        use Direction::{Downgrade, Upgrade};
        let modes = [
            "'strict'",
            "{ balanced = 10 }",
            "{ balanced = 20 }",
            "'soft'",
            "'shadow'",
        ];
        let of = |mode: &str, limit: &str| {
            plan(&format!(
                "quotas = [{{ meter = 'requests', limit = {limit}, period = 'day', mode = {mode} }}]"
            ))
        };
        for (from, expected) in [
            [Upgrade, Upgrade, Upgrade, Upgrade, Upgrade],
            [Downgrade, Upgrade, Upgrade, Upgrade, Upgrade],
            [Downgrade, Downgrade, Upgrade, Upgrade, Upgrade],
            [Downgrade, Downgrade, Downgrade, Upgrade, Upgrade],
            [Downgrade, Downgrade, Downgrade, Upgrade, Upgrade],
        ]
        .into_iter()
        .enumerate()
        {
            for (to, expected) in expected.into_iter().enumerate() {
                let (from, to) = (modes[from], modes[to]);
                // More units don't make up for it.
                for limit in ["100", "1000"] {
                    let moved = direction(&of(from, "100"), &of(to, limit));
                    assert_eq!(moved, expected, "{from} to {to} of {limit}");
                }
                let unlimited = "\"unlimited\"";
                assert_eq!(direction(&of(from, "100"), &of(to, unlimited)), Upgrade);
                assert_eq!(direction(&of(from, unlimited), &of(to, unlimited)), Upgrade);
                assert_eq!(direction(&of(from, unlimited), &of(to, "100")), Downgrade);
            }
        }
    }

    #[test]
    fn a_move_is_a_downgrade_if_any_rate_gets_lower() {
        let free = rates(&[("second", 10, 1, 20)]);
        for to in [
            rates(&[("second", 10, 1, 20)]),
            rates(&[("second", 600, 60, 600)]),
            rates(&[]),
        ] {
            assert_eq!(direction(&free, &to), Direction::Upgrade, "{to:?}");
        }
        for to in [
            rates(&[("second", 599, 60, 600)]),
            rates(&[("second", 100, 1, 19)]),
            rates(&[("second", 10, 1, 20), ("minute", 1_000, 60, 1_000)]),
        ] {
            assert_eq!(direction(&free, &to), Direction::Downgrade, "{to:?}");
        }
    }

    #[test]
    fn a_downgrade_waits_for_the_last_period_of_the_old_plan() {
        let now = Timestamp::from_micros(1_795_612_455_000_000);
        let from = quotas(&[("requests", "10", "'day'"), ("tokens", "10", "'week'")]);
        let to = quotas(&[("requests", "5", "'day'"), ("tokens", "1", "'hour'")]);
        let decide = |from, to, when| PlanChange::decide(from, to, when, now, now).at;
        let week = PeriodRule::WEEK.period_at(now, now).end;
        assert_eq!(decide(&from, &to, When::ByRule), week);
        assert_eq!(decide(&from, &to, When::AtOnce), now);
        let none = rates(&[]);
        assert_eq!(decide(&from, &none, When::ByRule), now);
        assert_eq!(decide(&from, &none, When::AtPeriodEnd), week);
        assert_eq!(decide(&none, &from, When::ByRule), now, "no period to wait for");
    }
}
