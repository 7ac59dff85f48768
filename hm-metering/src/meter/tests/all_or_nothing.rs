//! Taking from every limit, or from none.

use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;

use super::replica::{Replica, clock, operation};
use crate::memory::MemoryStore;
use crate::meter::bucket::Buckets;
use crate::meter::decide::{Decision, undo};
use crate::meter::hold::{Beyond, Holds};
use crate::quota::Balance;
use crate::refusal::RefusalKind;
use crate::units::Units;

const PLAN: &str = r#"
    rates = [
        { name = "second", limit = 10, per_seconds = 1, burst = 50 },
        { name = "minute", limit = 20, per_seconds = 60, burst = 30 },
    ]
    concurrency = [{ name = "wide", limit = 9 }, { name = "narrow", limit = 2 }]
    quotas = [
        { meter = "requests", limit = 100, period = "day" },
        { meter = "tokens", limit = 40, period = "hour" },
    ]
"#;

#[tokio::test]
async fn a_refusal_of_any_kind_moves_nothing() {
    let replica = Replica::new(PLAN, MemoryStore::new(), &clock());
    // Everything is leased and known before, so that no refusal has to ask for anything.
    let all = replica.attempt(&operation(0, 100, Some(40))).await.unwrap();
    undo(&replica.account, Buckets::default(), &all);
    drop(all);
    let some = replica.attempt(&operation(25, 1, Some(30))).await.unwrap();
    let more = replica.attempt(&operation(0, 1, None)).await.unwrap();
    drop(more);

    let refuses = async |operation, kind| {
        let before = replica.state();
        for _ in 0..3 {
            let refusal = replica.attempt(&operation).await.unwrap_err();
            assert_eq!(refusal.kind(), kind);
            let is_never = kind == RefusalKind::CostExceedsLimit;
            assert_eq!(refusal.retry_after().is_none(), is_never, "{refusal:?}");
            assert_eq!(replica.state(), before, "{refusal:?}");
        }
    };
    refuses(operation(6, 1, Some(1)), RefusalKind::RateLimited).await;
    refuses(operation(31, 1, Some(1)), RefusalKind::CostExceedsLimit).await;
    refuses(operation(1, 1, Some(11)), RefusalKind::QuotaExceeded).await;
    refuses(operation(1, 1, Some(41)), RefusalKind::CostExceedsLimit).await;
    refuses(operation(1, 101, Some(1)), RefusalKind::CostExceedsLimit).await;
    let other = replica.attempt(&operation(1, 1, Some(1))).await.unwrap();
    refuses(operation(1, 1, Some(1)), RefusalKind::ConcurrencyLimited).await;
    drop((some, other));
    assert!(replica.serve(&operation(1, 1, Some(1))).await);
}

#[tokio::test]
async fn a_block_ends_when_it_would_have_ended_without_the_requests_it_refused() {
    let plan = "rates = [{ name = \"second\", limit = 1, per_seconds = 1, burst = 3 }]";
    let replica = Replica::new(plan, MemoryStore::new(), &clock());
    assert!(replica.serve(&operation(3, 1, None)).await);
    for _ in 0..19 {
        replica.clock.advance(Duration::from_millis(100));
        assert!(!replica.serve(&operation(2, 1, None)).await);
        assert!(!replica.serve(&operation(4, 1, None)).await);
    }
    replica.clock.advance(Duration::from_millis(100));
    assert!(replica.serve(&operation(2, 1, None)).await);
}

#[tokio::test]
async fn refused_requests_are_in_nobodys_way() {
    const EACH: usize = 2_000;
    let plan = format!(
        "rates = [{{ name = 'a', limit = 1, per_seconds = 3600, burst = {burst} }}]\n\
         concurrency = [{{ name = 'c', limit = 4 }}]\n\
         quotas = [{{ meter = 'requests', limit = {limit}, period = 'day' }},
                   {{ meter = 'tokens', limit = 5, period = 'day' }}]",
        burst = 2 * EACH,
        limit = 2 * EACH,
    );
    let replica = Replica::new(&plan, MemoryStore::new(), &clock());
    for (position, units) in [(0, 2 * EACH as u64), (1, 0)] {
        let lease = replica.lease(position);
        lease.window().learn(Balance::default());
        // While nothing is left here, so that it holds for a single unit: nobody asks the store for the last ones.
        lease.window().set_exhausted(Units::MAX, u64::MAX);
        lease.window().grant(Units::new(units), u64::MAX, 0);
    }
    let (good, bad) = (operation(1, 1, None), operation(1, 1, Some(1)));
    // As many as the limits have room for; if one that is refused took anything even for a moment, one of these would miss it.
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    assert!(matches!(replica.decide(&good), Decision::Allowed(..)));
                    assert!(matches!(replica.decide(&bad), Decision::Refused(..)));
                }
            });
            scope.spawn(|| {
                for _ in 0..EACH {
                    assert!(matches!(replica.decide(&bad), Decision::Refused(..)));
                }
            });
        }
    });
    assert!(matches!(replica.decide(&good), Decision::Refused(..)));
    assert_eq!(replica.account.slots().state(), [0]);
}

#[tokio::test]
async fn what_is_undone_is_as_if_it_had_not_been() {
    let replica = Replica::new(PLAN, MemoryStore::new(), &clock());
    let first = replica.attempt(&operation(5, 3, Some(7))).await.unwrap();
    let before = replica.state();
    let second = replica.attempt(&operation(9, 1, Some(1))).await.unwrap();
    assert_ne!(replica.state(), before);
    undo(&replica.account, Buckets::default(), &second);
    drop(second);
    assert_eq!(replica.state(), before);
    drop(first);
}

/// A bucket as a leaking reservoir of exact level.
#[derive(Clone)]
struct Reservoir {
    interval: u128,
    burst: u128,
    level: u128,
}

#[derive(Clone)]
struct ModelQuota {
    mode: &'static str,
    limit: Option<u64>,
    /// Taken by requests that fitted.
    within: u64,
    /// Taken by requests that were let through beyond the limit.
    beyond: u64,
}

/// The same limits, decided one request after the other without thinking of speed, leases or stores.
#[derive(Clone)]
struct Model {
    rates: Vec<Reservoir>,
    slots: Vec<(u32, u32)>,
    quotas: Vec<ModelQuota>,
}

impl Model {
    fn advance(&mut self, millis: u64) {
        for rate in &mut self.rates {
            rate.level = rate.level.saturating_sub(u128::from(millis) * 1_000_000);
        }
    }

    fn fits(quota: &ModelQuota, need: u64) -> bool {
        let taken = quota.within + quota.beyond;
        quota.limit.is_none_or(|limit| match (need, quota.mode) {
            (0, _) => taken < limit,
            // What is beyond the limit takes nothing of what is within.
            _ => quota.within + need <= limit,
        })
    }

    /// Takes everything or nothing; answers what each quota does beyond its limit.
    fn take(&mut self, rate_units: u32, needs: &[Option<u64>]) -> Result<Vec<Option<Beyond>>, RefusalKind> {
        let weight = |rate: &Reservoir| rate.interval * u128::from(rate_units);
        if self
            .rates
            .iter()
            .any(|rate| rate.level + weight(rate) > rate.interval * rate.burst)
        {
            let is_never = self
                .rates
                .iter()
                .any(|rate| weight(rate) > rate.interval * rate.burst);
            return Err(if is_never {
                RefusalKind::CostExceedsLimit
            } else {
                RefusalKind::RateLimited
            });
        }
        if self.slots.iter().any(|(limit, count)| count >= limit) {
            return Err(RefusalKind::ConcurrencyLimited);
        }
        let mut beyond = Vec::new();
        for (quota, need) in self.quotas.iter().zip(needs) {
            let Some(need) = need else { continue };
            beyond.push(match (Self::fits(quota, *need), quota.mode) {
                (true, _) => None,
                (false, "'soft'") => Some(Beyond::Over),
                (false, "'shadow'") => Some(Beyond::WouldRefuse),
                (false, _) if quota.limit.is_some_and(|limit| *need > limit) => {
                    return Err(RefusalKind::CostExceedsLimit);
                }
                (false, _) => return Err(RefusalKind::QuotaExceeded),
            });
        }
        for rate in &mut self.rates {
            rate.level += rate.interval * u128::from(rate_units);
        }
        self.slots.iter_mut().for_each(|(_, count)| *count += 1);
        let named = self
            .quotas
            .iter_mut()
            .zip(needs)
            .filter_map(|(quota, need)| need.map(|need| (quota, need)));
        for ((quota, need), beyond) in named.zip(&beyond) {
            match beyond {
                Some(_) => quota.beyond += need,
                None => quota.within += need,
            }
        }
        Ok(beyond)
    }

    /// Gives back what was not charged of `needs`, and the slots.
    fn finish(&mut self, needs: &[Option<u64>], beyond: &[Option<Beyond>], keep: impl Fn(u64) -> u64) {
        self.slots.iter_mut().for_each(|(_, count)| *count -= 1);
        let named = self
            .quotas
            .iter_mut()
            .zip(needs)
            .filter_map(|(quota, need)| need.map(|need| (quota, need)));
        for ((quota, need), beyond) in named.zip(beyond) {
            match beyond {
                Some(_) => quota.beyond -= need - keep(need),
                None => quota.within -= need - keep(need),
            }
        }
    }

    fn undo_rates(&mut self, rate_units: u32) {
        for rate in &mut self.rates {
            let weight = rate.interval * u128::from(rate_units);
            rate.level = rate.level.saturating_sub(weight);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// How often it counts in each rate, and what it takes of requests and of tokens.
    Request(u32, u64, Option<u64>),
    /// One of those under way ends and is charged at most this much of each meter.
    Finish(prop::sample::Index, u64),
    Undo(prop::sample::Index),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let units = || prop_oneof![1 => Just(0), 8 => 1_u64..6, 1 => 6_u64..40];
    let tokens = prop::option::weighted(0.7, units());
    prop_oneof![
        8 => (0_u32..5, units(), tokens).prop_map(|(rate, requests, tokens)| Step::Request(rate, requests, tokens)),
        4 => (any::<prop::sample::Index>(), 0_u64..4).prop_map(|(index, most)| Step::Finish(index, most)),
        1 => any::<prop::sample::Index>().prop_map(Step::Undo),
        2 => (0_u64..3_000).prop_map(Step::Pass),
    ]
}

type RateParts = (u32, u32);
type QuotaParts = (Option<u64>, &'static str);

fn limits() -> impl Strategy<Value = (Vec<RateParts>, Vec<u32>, [QuotaParts; 2])> {
    let quota = || {
        let mode = prop::sample::select(vec!["'strict'", "{ balanced = 7 }", "'soft'", "'shadow'"]);
        (prop::option::weighted(0.9, 0_u64..60), mode)
    };
    (
        prop::collection::vec((1_u32..20, 1_u32..12), 0..3),
        prop::collection::vec(1_u32..6, 0..3),
        [quota(), quota()],
    )
}

fn plan(rates: &[RateParts], slots: &[u32], quotas: &[QuotaParts; 2]) -> String {
    let rate = |(i, (limit, burst)): (usize, &RateParts)| {
        format!("{{ name = 'r{i}', limit = {limit}, per_seconds = 1, burst = {burst} }}")
    };
    let slot = |(i, limit): (usize, &u32)| format!("{{ name = 's{i}', limit = {limit} }}");
    let quota = |((limit, mode), meter): (&QuotaParts, &str)| {
        let limit = limit.map_or_else(|| "'unlimited'".to_owned(), |limit| limit.to_string());
        format!("{{ meter = '{meter}', limit = {limit}, period = 'day', mode = {mode} }}")
    };
    let list = |entries: Vec<String>| entries.join(", ");
    format!(
        "rates = [{}]\nconcurrency = [{}]\nquotas = [{}]",
        list(rates.iter().enumerate().map(rate).collect()),
        list(slots.iter().enumerate().map(slot).collect()),
        list(quotas.iter().zip(["requests", "tokens"]).map(quota).collect()),
    )
}

/// A request under way, and what it took.
struct Open {
    holds: Holds,
    rate_units: u32,
    needs: [Option<u64>; 2],
    beyond: Vec<Option<Beyond>>,
}

async fn agree(
    rates: &[RateParts],
    slots: &[u32],
    quotas: &[QuotaParts; 2],
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let replica = Replica::new(&plan(rates, slots, quotas), MemoryStore::new(), &clock());
    let mut model = Model {
        rates: rates
            .iter()
            .map(|(limit, burst)| Reservoir {
                interval: u128::from(1_000_000_000 / limit),
                burst: u128::from(*burst),
                level: 0,
            })
            .collect(),
        slots: slots.iter().map(|limit| (*limit, 0)).collect(),
        quotas: quotas
            .iter()
            .map(|(limit, mode)| ModelQuota {
                mode,
                limit: *limit,
                within: 0,
                beyond: 0,
            })
            .collect(),
    };
    let mut open: Vec<Open> = Vec::new();
    for step in steps {
        match step {
            Step::Request(rate_units, requests, tokens) => {
                let asked = operation(*rate_units, *requests, *tokens);
                let needs = [Some(*requests), *tokens];
                let expected = model.take(*rate_units, &needs);
                let got = replica.attempt(&asked).await;
                match (got, expected) {
                    (Ok(holds), Ok(beyond)) => {
                        let marks: Vec<_> = holds.iter().map(|hold| hold.beyond).collect();
                        prop_assert_eq!(&marks, &beyond);
                        open.push(Open {
                            holds,
                            rate_units: *rate_units,
                            needs,
                            beyond,
                        });
                    }
                    (Err(refusal), Err(kind)) => prop_assert_eq!(refusal.kind(), kind),
                    (got, expected) => {
                        let got = got.map(|holds| holds.iter().count());
                        return Err(TestCaseError::fail(format!("{got:?}, expected {expected:?}")));
                    }
                }
            }
            Step::Finish(index, most) if !open.is_empty() => {
                let ended = open.swap_remove(index.index(open.len()));
                for hold in ended.holds.iter() {
                    hold.put_back(hold.units.minus(Units::new(*most)));
                }
                drop(ended.holds);
                model.finish(&ended.needs, &ended.beyond, |need| need.min(*most));
            }
            Step::Undo(index) if !open.is_empty() => {
                let undone = open.swap_remove(index.index(open.len()));
                undo(&replica.account, Buckets::default(), &undone.holds);
                drop(undone.holds);
                model.finish(&undone.needs, &undone.beyond, |_| 0);
                model.undo_rates(undone.rate_units);
            }
            Step::Pass(millis) => {
                replica.clock.advance(Duration::from_millis(*millis));
                model.advance(*millis);
            }
            Step::Finish(..) | Step::Undo(_) => {}
        }
        let slots: Vec<u32> = model.slots.iter().map(|(_, count)| *count).collect();
        prop_assert_eq!(replica.account.slots().state(), slots);
        for (position, quota) in model.quotas.iter().enumerate() {
            let taken = replica.lease(position).window().taken();
            prop_assert_eq!(taken, quota.within + quota.beyond);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn it_agrees_with_a_naive_model(
        (rates, slots, quotas) in limits(),
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(agree(&rates, &slots, &quotas, &steps))?;
    }
}
