//! All shapes of a meter, each made once for the accounts that share it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;

use super::shape::LimitShape;
use super::style::HeaderStyle;
use crate::id::AccountId;
use crate::name::PlanId;
use crate::period::Period;
use crate::plan::Plan;

/// Accounts are spread over this many copies of a shape: every answer counts itself in and out of its shape, and cores
/// that count in one place get in each other's way.
const COPIES: u8 = 16;
/// From this many shapes on, those that nobody has any more are looked for.
const SWEEP_FROM: usize = 256;

/// Which shape: a plan with one of its quotas in a period.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    plan: PlanId,
    quota: Option<(usize, Period)>,
    copy: u8,
}

/// All shapes of a meter. There are as many as plans, quotas and periods that accounts in memory have; periods that are
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
    pub(crate) fn new(style: HeaderStyle) -> Arc<Self> {
        Arc::new(Self {
            style,
            made: Mutex::new(Made {
                shapes: HashMap::new(),
                sweep_at: SWEEP_FROM,
            }),
        })
    }

    fn get(&self, account: AccountId, plan: &Arc<Plan>, quota: Option<(usize, Period)>) -> Arc<LimitShape> {
        let key = Key {
            plan: plan.id.clone(),
            quota,
            // The last bits of an id of version 7 are random.
            copy: account.as_uuid().as_bytes()[15] % COPIES,
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = made.shapes.get(&key).and_then(Weak::upgrade);
        // A plan may change and keep its name.
        if let Some(shape) = kept.filter(|shape| Arc::ptr_eq(&shape.plan, plan) || *shape.plan == **plan) {
            return shape;
        }
        let shape = Arc::new(LimitShape::new(self.style, plan, quota));
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

/// The shapes that an account's answers have at present: one for each of its quotas.
pub(crate) struct AccountShapes {
    shapes: Arc<Shapes>,
    first: ArcSwapOption<LimitShape>,
    others: Box<[ArcSwapOption<LimitShape>]>,
}

impl AccountShapes {
    pub(crate) fn new(shapes: &Arc<Shapes>, quotas: usize) -> Self {
        Self {
            shapes: Arc::clone(shapes),
            first: ArcSwapOption::empty(),
            others: (1..quotas).map(|_| ArcSwapOption::empty()).collect(),
        }
    }

    /// The shape of answers that show this quota in this period, or no quota. Made when the period begins; otherwise one
    /// read.
    pub(crate) fn get(
        &self,
        account: AccountId,
        plan: &Arc<Plan>,
        quota: Option<(usize, Period)>,
    ) -> Arc<LimitShape> {
        let place = match quota {
            Some((position @ 1.., _)) => self.others.get(position - 1),
            Some((0, _)) | None => Some(&self.first),
        };
        if let Some(shape) = place
            .and_then(ArcSwapOption::load_full)
            .filter(|shape| shape.shows(quota))
        {
            return shape;
        }
        let shape = self.shapes.get(account, plan, quota);
        if let Some(place) = place {
            place.store(Some(Arc::clone(&shape)));
        }
        shape
    }
}

impl fmt::Debug for AccountShapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountShapes").finish_non_exhaustive()
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
        let (one, other) = (AccountShapes::new(&shapes, 1), AccountShapes::new(&shapes, 1));
        let shape = one.get(ACCOUNT, &plan(5), Some((0, day(1))));
        assert!(Arc::ptr_eq(
            &shape,
            &one.get(ACCOUNT, &plan(5), Some((0, day(1))))
        ));
        assert!(Arc::ptr_eq(
            &shape,
            &other.get(ACCOUNT, &plan(5), Some((0, day(1))))
        ));
        let raised = AccountShapes::new(&shapes, 1).get(ACCOUNT, &plan(6), Some((0, day(1))));
        assert_eq!(raised.quota.as_ref().unwrap().limit, Some(Units::new(6)));
        let tomorrow = one.get(ACCOUNT, &plan(5), Some((0, day(2))));
        assert_eq!(tomorrow.quota.as_ref().unwrap().period, day(2));
    }

    #[test]
    fn shapes_that_nobody_has_any_more_are_forgotten() {
        let shapes = Shapes::new(HeaderStyle::default());
        let account = AccountShapes::new(&shapes, 1);
        for number in 0..10_000 {
            account.get(ACCOUNT, &plan(5), Some((0, day(number))));
        }
        let made = shapes.made.lock().unwrap();
        assert!(made.shapes.len() <= SWEEP_FROM, "{} are kept", made.shapes.len());
    }
}
