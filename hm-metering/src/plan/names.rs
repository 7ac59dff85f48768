//! What the limits of a plan are called: headers, refusals and traces tell them apart by their names.

use super::{Plan, Quota};
use crate::name::MeterName;

impl Quota {
    /// Its name: that of its period, after the meter's unless it counts what everybody means.
    pub(crate) fn name(&self) -> String {
        let period = self.period.name();
        if self.meter == MeterName::REQUESTS {
            String::from(period)
        } else {
            format!("{}-{period}", self.meter)
        }
    }
}

/// Names that several limits of a plan have are mistakes. Two quotas of one meter are one already.
pub(super) fn check(plan: &Plan, mistakes: &mut Vec<String>) {
    let rates = plan.rates.iter().map(|rate| ("rate", rate.name.clone()));
    let concurrency = plan
        .concurrency
        .iter()
        .map(|limit| ("concurrency limit", limit.name.clone()));
    let mut named: Vec<(&str, String)> = Vec::new();
    for quota in &plan.quotas {
        named.push(("quota", quota.name()));
    }
    for (kind, name) in rates.chain(concurrency) {
        if let Some((other, _)) = named.iter().find(|(_, has)| *has == name) {
            mistakes.push(format!(
                "plan {}: a {other} and a {kind} are both called {name:?}; give the {kind} another name",
                plan.id
            ));
        }
        named.push((kind, name));
    }
}

/// The names of a plan's rates and concurrency limits as callers are told them, each once. A plan that was checked has them so;
/// others may come from a [`PlanSource`](super::PlanSource).
pub(crate) struct LimitNames {
    /// In the plan's order.
    pub(crate) rates: Vec<String>,
    /// In the plan's order.
    pub(crate) concurrency: Vec<String>,
}

impl LimitNames {
    /// Names that are taken by a quota, or by a limit before, get their kind behind them. `plain` is how a name can be shown.
    pub(crate) fn of(plan: &Plan, plain: impl Fn(&str) -> String) -> Self {
        let mut taken: Vec<String> = plan.quotas.iter().map(|quota| plain(&quota.name())).collect();
        let mut rename = |name: &str, kind: &str| {
            let name = plain(name);
            let others = (2..).map(|number| format!("{name}-{kind}-{number}"));
            let all = [name.clone(), format!("{name}-{kind}")].into_iter().chain(others);
            let free = all.into_iter().find(|name| !taken.contains(name));
            let free = free.unwrap_or(name);
            taken.push(free.clone());
            free
        };
        Self {
            rates: plan.rates.iter().map(|rate| rename(&rate.name, "rate")).collect(),
            concurrency: plan
                .concurrency
                .iter()
                .map(|limit| rename(&limit.name, "concurrency"))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::{ConcurrencyLimit, Plans, RateLimit};

    fn rate(name: &str) -> RateLimit {
        RateLimit::new(name, 1, Duration::from_secs(1))
    }

    fn concurrency(name: &str) -> ConcurrencyLimit {
        ConcurrencyLimit {
            name: name.to_owned(),
            limit: 1,
        }
    }

    fn mistakes(plan: Plan) -> String {
        Plans::new([plan]).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn each_limit_of_a_plan_has_a_name_of_its_own() {
        let plan = || Plan::new("free");
        for (kinds, name, plan) in [
            (
                "quota and a rate",
                "hour",
                plan().rate(RateLimit::per_hour(5)).quota(Quota::per_hour(9)),
            ),
            (
                "rate and a rate",
                "a",
                plan().rate(rate("a")).rate(rate("b")).rate(rate("a")),
            ),
            (
                "rate and a concurrency limit",
                "a",
                plan().concurrency(concurrency("a")).rate(rate("a")),
            ),
            ("concurrency limit and a concurrency limit", "a", {
                plan().concurrency(concurrency("a")).concurrency(concurrency("a"))
            }),
            (
                "quota and a rate",
                "tokens-day",
                plan()
                    .rate(rate("tokens-day"))
                    .quota(Quota::per_day(1).of("tokens")),
            ),
        ] {
            let told = mistakes(plan);
            let expected = format!("plan free: a {kinds} are both called {name:?}; give");
            assert!(told.starts_with(&expected), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
        }
        let apart = plan()
            .rate(RateLimit::per_second(1))
            .rate(rate("day"))
            .concurrency(ConcurrencyLimit::new(1))
            .quota(Quota::per_month(1))
            .quota(Quota::per_day(1).of("tokens"));
        assert_eq!(mistakes(apart), "");
        let other = Plan::new("pro").rate(rate("a"));
        assert!(Plans::new([plan().rate(rate("a")), other]).is_ok());
    }

    #[test]
    fn names_that_a_source_gives_twice_are_told_apart() {
        let plan = Plan::new("free")
            .rate(rate("hour"))
            .rate(rate("second"))
            .rate(rate("hour"))
            .rate(rate("hour-rate"))
            .concurrency(concurrency("second"))
            .quota(Quota::per_hour(9));
        let names = LimitNames::of(&plan, str::to_owned);
        assert_eq!(
            names.rates,
            ["hour-rate", "second", "hour-rate-2", "hour-rate-rate"]
        );
        assert_eq!(names.concurrency, ["second-concurrency"]);
    }
}
