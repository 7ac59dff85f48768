//! All shapes of a meter, each made once for the accounts that share it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::shape::LimitShape;
use super::style::HeaderStyle;
use crate::id::AccountId;
use crate::name::PlanId;
use crate::period::Period;
use crate::plan::Plan;

/// From this many shapes on, those that nobody has any more are looked for.
const SWEEP_FROM: usize = 256;

/// Which shape: a plan with one of its quotas in a period.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    plan: PlanId,
    position: usize,
    period: Period,
    copy: usize,
}

/// All shapes of a meter that show a quota. There are as many as plans, quotas and periods that accounts in memory have; periods that are
/// anchored on one day of the month are the same for all accounts.
pub(crate) struct Shapes {
    style: HeaderStyle,
    made: Mutex<Made>,
}

struct Made {
    shapes: HashMap<Key, Weak<LimitShape>>,
    sweep_at: usize,
}

impl Shapes {
    /// Accounts are spread over this many copies of a shape: every answer counts itself in and out of its shape, and cores
    /// that count in one place get in each other's way.
    pub(crate) const COPIES: usize = 16;

    pub(crate) fn new(style: HeaderStyle) -> Arc<Self> {
        Arc::new(Self {
            style,
            made: Mutex::new(Made {
                shapes: HashMap::new(),
                sweep_at: SWEEP_FROM,
            }),
        })
    }

    /// Which of the copies is an account's. The last bits of an id of version 7 are random.
    pub(crate) fn copy_for(account: AccountId) -> usize {
        usize::from(account.as_uuid().as_bytes()[15]) % Self::COPIES
    }

    /// A shape that is shared with nobody.
    pub(crate) fn make(&self, plan: &Arc<Plan>, quota: Option<(usize, Period)>) -> LimitShape {
        LimitShape::new(self.style, plan, quota)
    }

    /// The shape of answers that show the quota at this position of the plan in this period.
    pub(crate) fn get(
        &self,
        account: AccountId,
        plan: &Arc<Plan>,
        position: usize,
        period: Period,
    ) -> Arc<LimitShape> {
        let key = Key {
            plan: plan.id.clone(),
            position,
            period,
            copy: Self::copy_for(account),
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = made.shapes.get(&key).and_then(Weak::upgrade);
        // A plan may change and keep its name.
        if let Some(shape) = kept.filter(|shape| Arc::ptr_eq(&shape.plan, plan) || *shape.plan == **plan) {
            return shape;
        }
        let shape = Arc::new(self.make(plan, Some((position, period))));
        made.shapes.insert(key, Arc::downgrade(&shape));
        if made.shapes.len() >= made.sweep_at {
            made.shapes.retain(|_, shape| shape.strong_count() > 0);
            made.sweep_at = (made.shapes.len() * 2).max(SWEEP_FROM);
        }
        shape
    }
}

impl fmt::Debug for Shapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shapes")
            .field("style", &self.style)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::name::MeterName;
    use crate::period::PeriodRule;
    use crate::plan::{Plan, Quota, QuotaMode};
    use crate::time::Timestamp;
    use crate::units::Units;

    fn plan(limit: u64) -> Arc<Plan> {
        Arc::new(Plan {
            id: PlanId::from_static("pro"),
            rates: Vec::new(),
            concurrency: Vec::new(),
            quotas: vec![Quota {
                meter: MeterName::REQUESTS,
                limit: Some(Units::new(limit)),
                period: PeriodRule::Day,
                mode: QuotaMode::Strict,
            }],
        })
    }

    fn day(number: i64) -> Period {
        let at = Timestamp::from_micros(number * 86_400_000_000);
        PeriodRule::Day.period_at(at, at)
    }

    const ACCOUNT: AccountId = AccountId::from_uuid(Uuid::from_u128(7));

    #[test]
    fn accounts_of_a_plan_share_a_shape_until_it_changes_or_the_period_ends() {
        let shapes = Shapes::new(HeaderStyle::default());
        let get = |limit, number| shapes.get(ACCOUNT, &plan(limit), 0, day(number));
        let shape = get(5, 1);
        assert!(Arc::ptr_eq(&shape, &get(5, 1)));
        let raised = get(6, 1);
        assert_eq!(raised.quota.as_ref().unwrap().limit, Some(Units::new(6)));
        let tomorrow = get(6, 2);
        assert_eq!(tomorrow.quota.as_ref().unwrap().period, day(2));
    }

    #[test]
    fn shapes_that_nobody_has_any_more_are_forgotten() {
        let shapes = Shapes::new(HeaderStyle::default());
        for number in 0..10_000 {
            shapes.get(ACCOUNT, &plan(5), 0, day(number));
        }
        let made = shapes.made.lock().unwrap();
        assert!(made.shapes.len() <= SWEEP_FROM, "{} are kept", made.shapes.len());
    }
}
