//! One account on one replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use uuid::Uuid;

use crate::id::{AccountId, ReplicaId};
use crate::meter::account::Account;
use crate::meter::bucket::Bucket;
use crate::meter::decide::{Decision, Now, Store, decide};
use crate::meter::hold::Holds;
use crate::meter::own::Own;
use crate::meter::report::{HeaderStyle, Shapes};
use crate::meter::terms::Terms;
use crate::name::{MeterName, OperationName, PlanId};
use crate::operation::Operation;
use crate::plan::Plans;
use crate::quota::{Answer, Holder, Lease, LeaseBook, QuotaStore};
use crate::refusal::Refusal;
use crate::testing::TestClock;
use crate::time::{Clock, Timestamp};
use crate::units::Units;

pub(super) const TOKENS: MeterName = MeterName::from_static("tokens");
const START: Timestamp = Timestamp::from_micros(1_795_612_455_000_000);
const IN_TIME: Duration = Duration::from_secs(5);

/// A replica that serves one account, which is the same on all of them.
pub(super) struct Replica {
    pub(super) account: Arc<Account>,
    pub(super) book: Arc<LeaseBook>,
    pub(super) clock: TestClock,
    pub(super) holder: Holder,
}

/// Everything that a decision may move.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    buckets: Vec<u64>,
    slots: Vec<u32>,
    /// Of each counter, what is left and what was taken.
    windows: Vec<(u64, u64)>,
}

pub(super) fn clock() -> TestClock {
    TestClock::at(START)
}

/// An operation that takes this many units of requests and of tokens, where it says so.
pub(super) fn operation(rate_units: u32, requests: u64, tokens: Option<u64>) -> Operation {
    let operation = Operation::new(OperationName::from_static("chat"))
        .rate_cost(rate_units)
        .cost(MeterName::REQUESTS, Units::new(requests));
    match tokens {
        Some(tokens) => operation.cost(TOKENS, Units::new(tokens)),
        None => operation,
    }
}

impl Replica {
    /// `plan` is the body of a plan's table.
    pub(super) fn new(plan: &str, store: impl QuotaStore, clock: &TestClock) -> Self {
        Self::of(AccountId::from_uuid(Uuid::nil()), plan, store, clock)
    }

    pub(super) fn of(account: AccountId, plan: &str, store: impl QuotaStore, clock: &TestClock) -> Self {
        let holder = Holder {
            replica: ReplicaId::from_uuid(Uuid::now_v7()),
            epoch: 1,
        };
        let book = LeaseBook::new(
            Arc::new(store),
            holder,
            Arc::new(clock.clone()),
            Handle::current(),
            IN_TIME,
            crate::measures::Measures::new(),
        );
        Self {
            account: Arc::new(Account::new(account, terms(plan, &book), START, None)),
            book,
            clock: clock.clone(),
            holder,
        }
    }

    /// Moves the account to another plan.
    pub(super) fn set_plan(&mut self, plan: &str) {
        let before = &self.account;
        let account = Account::new(before.id, terms(plan, &self.book), START, Some(before));
        self.account = Arc::new(account);
    }

    pub(super) fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    pub(super) fn decide(&self, operation: &Operation) -> Decision {
        decide(
            &self.account,
            Own::default(),
            operation,
            Some(&self.book),
            Store::Answers,
            self.now(),
        )
    }

    /// Decides, and asks for units as often as it takes.
    pub(super) async fn attempt(&self, operation: &Operation) -> Result<Holds, Refusal> {
        loop {
            match self.decide(operation) {
                Decision::Allowed(holds) => return Ok(holds),
                Decision::Refused(refusal, _) => return Err(refusal),
                Decision::Ask { lease, limit, need } => {
                    let answer = self.book.wait(&lease, limit, need, IN_TIME).await;
                    assert_ne!(answer, Answer::Failed);
                }
            }
        }
    }

    /// Serves a request that is charged what it took. Answers whether it was let through.
    pub(super) async fn serve(&self, operation: &Operation) -> bool {
        match self.attempt(operation).await {
            Ok(holds) => {
                for hold in holds.iter() {
                    hold.lease.window().note_charged(hold.units);
                }
                true
            }
            Err(_) => false,
        }
    }

    /// Serves requests until one is refused, and answers how many were not.
    pub(super) async fn drain(&self, operation: &Operation) -> u64 {
        let mut served = 0;
        while self.serve(operation).await {
            served += 1;
        }
        served
    }

    /// The present window of the plan's quota at this position.
    pub(super) fn lease(&self, position: usize) -> Arc<Lease> {
        let (_, counter) = self.account.quota(position).unwrap();
        counter.open(self.now().wall)
    }

    pub(super) fn state(&self) -> State {
        let window = |position| {
            let lease = self.lease(position);
            (lease.window().remaining().get(), lease.window().taken())
        };
        State {
            buckets: self.account.buckets().iter().map(Bucket::state).collect(),
            slots: self.account.slots().state(),
            windows: (0..self.account.quotas().count()).map(window).collect(),
        }
    }
}

fn terms(plan: &str, book: &LeaseBook) -> Arc<Terms> {
    let plans = Plans::from_toml(&format!("[free]\n{plan}")).unwrap();
    let plan = Arc::clone(plans.get(&PlanId::from_static("free")).unwrap());
    Terms::new(plan, &Shapes::new(HeaderStyle::default()), Some(book))
}

/// Lets time pass for all replicas of one clock, with a look after their leases each second.
pub(super) async fn pass(replicas: &[&Replica], seconds: u64) {
    for _ in 0..seconds {
        replicas[0].clock.advance(Duration::from_secs(1));
        for replica in replicas {
            replica.book.tend().await;
        }
        settle_down().await;
    }
}

/// Gives the tasks in the background their turn.
pub(super) async fn settle_down() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}
