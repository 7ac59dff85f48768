//! What is the same for all accounts of a plan, made once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use super::bucket::BucketTerms;
use super::report::{LimitShape, Shapes};
use crate::id::AccountId;
use crate::name::{MeterName, PlanId};
use crate::plan::{Plan, Quota};
use crate::quota::{LeaseBook, Leases};

/// From this many plans on, those that no account has any more are looked for.
const SWEEP_FROM: usize = 256;

/// A plan as its accounts share it.
pub(crate) struct Terms {
    pub(crate) plan: Arc<Plan>,
    /// One for each of the plan's rates.
    pub(crate) rates: Box<[BucketTerms]>,
    /// How its quotas are counted; none where nothing counts them.
    pub(crate) counted: Option<CountedTerms>,
    pub(crate) shapes: Arc<Shapes>,
    /// The shapes of answers that show no quota. Answers count themselves in and out of them, so cores should have different
    /// ones.
    plain: [OnceLock<Arc<LimitShape>>; Shapes::COPIES],
}

/// How a plan's quotas are counted.
pub(crate) struct CountedTerms {
    pub(crate) leases: Arc<Leases>,
    /// One for each of the plan's quotas.
    pub(crate) meters: Box<[Arc<MeterName>]>,
}

impl Terms {
    pub(crate) fn new(plan: Arc<Plan>, shapes: &Arc<Shapes>, book: Option<&LeaseBook>) -> Arc<Self> {
        let meter = |quota: &Quota| Arc::new(quota.meter.clone());
        Arc::new(Self {
            counted: book.map(|book| CountedTerms {
                leases: Arc::clone(book.leases()),
                meters: plan.quotas.iter().map(meter).collect(),
            }),
            rates: plan.rates.iter().map(BucketTerms::new).collect(),
            plan,
            shapes: Arc::clone(shapes),
            plain: Default::default(),
        })
    }

    /// The shape of an account's answers that show no quota.
    pub(super) fn plain_shape(&self, account: AccountId) -> Arc<LimitShape> {
        let place = &self.plain[Shapes::copy_for(account)];
        Arc::clone(place.get_or_init(|| Arc::new(self.shapes.make(&self.plan, None))))
    }
}

impl fmt::Debug for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terms")
            .field("plan", &self.plan.id)
            .finish_non_exhaustive()
    }
}

/// The terms of all plans that accounts in memory have.
pub(crate) struct TermsBook {
    shapes: Arc<Shapes>,
    made: HashMap<PlanId, Weak<Terms>>,
    sweep_at: usize,
}

impl TermsBook {
    pub(crate) fn new(shapes: Arc<Shapes>) -> Self {
        Self {
            shapes,
            made: HashMap::new(),
            sweep_at: SWEEP_FROM,
        }
    }

    /// The terms of `plan`, shared with the accounts that have the same. `book` counts its quotas, and is the same each time.
    pub(crate) fn get(&mut self, plan: Arc<Plan>, book: Option<&LeaseBook>) -> Arc<Terms> {
        let kept = self.made.get(&plan.id).and_then(Weak::upgrade);
        // A plan may change and keep its name.
        if let Some(terms) = kept.filter(|terms| Arc::ptr_eq(&terms.plan, &plan) || *terms.plan == *plan) {
            return terms;
        }
        if self.made.len() >= self.sweep_at {
            self.made.retain(|_, terms| terms.strong_count() > 0);
            self.sweep_at = (self.made.len() * 2).max(SWEEP_FROM);
        }
        let terms = Terms::new(plan, &self.shapes, book);
        self.made.insert(terms.plan.id.clone(), Arc::downgrade(&terms));
        terms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::report::HeaderStyle;

    fn plan(name: &str, limit: u64) -> Arc<Plan> {
        Arc::new(Plan::from(PlanId::parse(name).unwrap()).quota(Quota::per_day(limit)))
    }

    #[test]
    fn accounts_of_a_plan_share_its_terms_until_it_changes() {
        let mut book = TermsBook::new(Shapes::new(HeaderStyle::default()));
        let first = book.get(plan("pro", 5), None);
        assert!(Arc::ptr_eq(&first, &book.get(plan("pro", 5), None)));
        let raised = book.get(plan("pro", 6), None);
        assert!(!Arc::ptr_eq(&first, &raised));
        assert!(Arc::ptr_eq(&raised, &book.get(plan("pro", 6), None)));
        assert!(!Arc::ptr_eq(&raised, &book.get(plan("free", 6), None)));
    }

    #[test]
    fn terms_that_no_account_has_any_more_are_forgotten() {
        let mut book = TermsBook::new(Shapes::new(HeaderStyle::default()));
        for number in 0..10_000 {
            book.get(plan(&number.to_string(), 5), None);
        }
        assert!(book.made.len() <= SWEEP_FROM, "{} are kept", book.made.len());
    }
}
