//! Several replicas of one service, what happens to them, and what they have to keep to.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::poll_fn;
use hm_metering::meter::AdmitFuture;
use hm_metering::period::PeriodRule;
use hm_metering::plan::{Plan, Quota, QuotaMode};
use hm_metering::quota::{Balance, Holder, QuotaKey, Settlement};
use hm_metering::testing::{TestClock, TestKeys};
use hm_metering::usage::{BatchId, Outcome};
use hm_metering::{
    AccountId, Admission, Admit, Call, Clock, MemoryStore, Meter, MeterName, Operation, OperationName,
    PlanId, Plans, QuotaStore, ReplicaId, Timestamp, Units, UsageSink,
};
use http::{HeaderMap, Method, StatusCode};

use super::link::{Fault, Link, WEATHERS};
use super::random::Random;

/// 25 November 2026, 13:14:15 UTC, in microseconds.
const START: i64 = 1_795_612_455_000_000;
const PERIOD: PeriodRule = PeriodRule::Hour;
const METERS: [MeterName; 2] = [MeterName::REQUESTS, MeterName::from_static("tokens")];
/// How many requests may be in flight, and how many may wait to be let in.
const OPEN_MAX: usize = 40;
const ASKING_MAX: usize = 12;
/// Longer than it takes until a lease that is not used is given back and its window forgotten.
const QUIET: Duration = Duration::from_secs(150);

/// Counters with more than this left are not spent to their end, for there is nothing to learn from it.
const REST_MAX: u64 = 100;

/// Units by meter.
type Costs = [u64; 2];

pub struct World {
    random: Random,
    store: MemoryStore,
    keys: TestKeys,
    headers: HeaderMap,
    account: AccountId,
    limits: Costs,
    fault: Option<Fault>,
    /// What a request may cost, ready made.
    menu: Vec<(Costs, Arc<Operation>)>,
    replicas: Vec<Replica>,
    /// Runs that ended and whose leases nobody has closed yet.
    dead: Vec<(ReplicaId, Run)>,
    open: Vec<Open>,
    asking: Vec<Asking>,
    /// What was charged and what is in flight, by counter. Each counter that was ever touched is in it.
    counts: BTreeMap<(usize, Timestamp), Count>,
    pub operations: u64,
}

#[derive(Default)]
struct Count {
    charged: u64,
    open: u64,
}

struct Replica {
    id: ReplicaId,
    clock: TestClock,
    meter: Meter,
    run: Run,
}

/// One run of a replica, from its start to its end.
struct Run {
    number: u64,
    link: Link,
    charged: HashMap<(usize, Timestamp), u64>,
}

/// A request in flight.
struct Open {
    replica: usize,
    admission: Admission,
    start: Timestamp,
    costs: Costs,
}

/// A request that waits to be let in.
struct Asking {
    replica: usize,
    future: AdmitFuture,
    costs: Costs,
}

impl World {
    pub async fn new(seed: u64, fault: Option<Fault>) -> Self {
        let mut random = Random::new(seed, 0);
        let store = MemoryStore::new();
        let keys = TestKeys::new(store.clone());
        let key = keys
            .issue(PlanId::from_static("free"), Timestamp::from_micros(START))
            .await;
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-api-key"),
            key.issued.expose().parse().unwrap(),
        )]);
        let limit = random.pick(&[1, 30, 200, 500, 1_500]);
        // One of the two is used up first, and which one it is changes.
        let limits = [limit, limit * random.pick(&[1, 2, 4])];
        let menu = [[1, 0], [1, 0], [1, 1], [1, 1], [1, 2], [3, 1], [15, 20]];
        let operation = |costs: Costs| {
            let mut operation = Operation::new(OperationName::from_static("work"));
            for (meter, units) in METERS.into_iter().zip(costs).filter(|(_, units)| *units > 0) {
                operation = operation.cost(meter, Units::new(units));
            }
            (costs, Arc::new(operation))
        };
        let mut world = Self {
            menu: menu.map(operation).to_vec(),
            replicas: Vec::new(),
            dead: Vec::new(),
            open: Vec::new(),
            asking: Vec::new(),
            counts: BTreeMap::new(),
            operations: 0,
            account: key.account,
            random,
            store,
            keys,
            headers,
            limits,
            fault,
        };
        for _ in 0..=world.random.below(4) {
            let id = ReplicaId::from_uuid(uuid::Uuid::from_u128(u128::from(world.random.next())));
            let clock = TestClock::at(Timestamp::from_micros(START));
            world.skew(&clock);
            let (meter, run) = world.start(id, &clock).await;
            world.replicas.push(Replica {
                id,
                clock,
                meter,
                run,
            });
        }
        world
    }

    /// Starts a run. What is in memory of keys and plans is not what this is about, so it is believed for ever.
    async fn start(&mut self, id: ReplicaId, clock: &TestClock) -> (Meter, Run) {
        let link = Link::new(self.store.clone(), self.random.next(), self.fault);
        link.set_weather(self.random.pick(&WEATHERS));
        let quotas = METERS.into_iter().zip(self.limits);
        let meter = self.meter(id, clock, &link, quotas.collect()).await;
        let run = Run {
            number: self.random.next() >> 1,
            link,
            charged: HashMap::new(),
        };
        (meter, run)
    }

    async fn meter(
        &self,
        id: ReplicaId,
        clock: &TestClock,
        link: &Link,
        quotas: Vec<(MeterName, u64)>,
    ) -> Meter {
        let quotas = quotas.into_iter().map(|(meter, limit)| Quota {
            meter,
            limit: Some(Units::new(limit)),
            period: PERIOD,
            mode: QuotaMode::Strict,
        });
        let plan = Plan {
            id: PlanId::from_static("free"),
            rates: Vec::new(),
            concurrency: Vec::new(),
            quotas: quotas.collect(),
        };
        let for_ever = Duration::from_secs(1_000_000);
        Meter::builder(self.keys.verifier())
            .plans(Plans::new([plan]).unwrap())
            .quota(link.clone())
            .usage(link.clone())
            .clock(clock.clone())
            .replica(id)
            .staleness(for_ever)
            .feed_interval(for_ever)
            .start()
            .await
            .unwrap()
    }

    /// One thing happens. What must always hold is checked after it.
    pub async fn step(&mut self) {
        self.operations += 1;
        match self.random.below(1_000) {
            0..550 => self.ask().await,
            550..780 => self.finish_one(),
            780..880 => self.poll_all().await,
            880..900 => self.give_up_one(),
            900..960 => self.pass_some().await,
            960..985 => tokio::task::yield_now().await,
            985..992 => self.set_a_clock(),
            992..995 => self.change_weather(),
            995..997 => self.end_a_run(true).await,
            997 => self.end_a_run(false).await,
            _ => self.take_over_one().await,
        }
        self.check().await;
    }

    async fn ask(&mut self) {
        let replica = self.random.index(self.replicas.len());
        let (costs, operation) = &self.menu[self.random.index(self.menu.len())];
        let costs = *costs;
        let call = Call::new(&Method::POST, &self.headers, "/work");
        match self.replicas[replica].meter.admit(operation, call) {
            Admit::Ready(Ok(admission)) => self.serve(replica, admission, costs),
            Admit::Ready(Err(_)) => {}
            Admit::Pending(future) => {
                if self.asking.len() == ASKING_MAX {
                    self.give_up_one();
                }
                self.asking.push(Asking {
                    replica,
                    future,
                    costs,
                });
                self.poll_all().await;
            }
        }
    }

    fn serve(&mut self, replica: usize, admission: Admission, costs: Costs) {
        // It was decided in this very step, in the period that the replica's clock says.
        let now = self.replicas[replica].clock.now();
        let start = PERIOD.period_at(now, now).start;
        for (meter, units) in costs.into_iter().enumerate().filter(|(_, units)| *units > 0) {
            self.counts.entry((meter, start)).or_default().open += units;
        }
        self.open.push(Open {
            replica,
            admission,
            start,
            costs,
        });
        if self.open.len() > OPEN_MAX {
            self.finish_one();
        }
    }

    /// A request ends: served, charged less than was declared, failed, or never reached.
    fn finish_one(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let at = self.random.index(self.open.len());
        let Open {
            replica,
            mut admission,
            start,
            costs,
        } = self.open.swap_remove(at);
        let ending = self.random.below(20);
        let charged = match ending {
            0 => [0, 0],
            1 => costs.map(|units| units / 2),
            2 => [0, 0],
            _ => costs,
        };
        if ending > 0 {
            admission.handler_called();
        }
        if ending == 1 {
            for (meter, units) in METERS.iter().zip(charged) {
                admission.charge().set(meter, Units::new(units));
            }
        }
        match ending {
            0 => drop(admission),
            2 => {
                admission.answered(StatusCode::INTERNAL_SERVER_ERROR);
                admission.finish(Outcome::Completed);
            }
            _ => {
                admission.answered(StatusCode::OK);
                admission.finish(Outcome::Completed);
            }
        }
        for (meter, units) in charged.into_iter().enumerate() {
            let run = &mut self.replicas[replica].run;
            *run.charged.entry((meter, start)).or_default() += units;
            let count = self.counts.entry((meter, start)).or_default();
            count.charged += units;
            count.open -= costs[meter];
        }
    }

    /// Looks after those who wait to be let in.
    async fn poll_all(&mut self) {
        tokio::task::yield_now().await;
        let mut decided = Vec::new();
        poll_fn(|context| {
            self.asking
                .retain_mut(|asking| match asking.future.as_mut().poll(context) {
                    Poll::Ready(decision) => {
                        decided.push((asking.replica, asking.costs, decision));
                        false
                    }
                    Poll::Pending => true,
                });
            Poll::Ready(())
        })
        .await;
        for (replica, costs, decision) in decided {
            if let Ok(admission) = decision {
                self.serve(replica, admission, costs);
            }
        }
    }

    /// A client goes away while it waits.
    fn give_up_one(&mut self) {
        if !self.asking.is_empty() {
            let at = self.random.index(self.asking.len());
            self.asking.swap_remove(at);
        }
    }

    async fn pass_some(&mut self) {
        let most = self.random.pick(&[5, 200, 200, 1_500, 3_000, 12_000]);
        let time = self.random.millis(most);
        self.pass(time).await;
    }

    /// Time passes for everybody, so that what is done in the background gets done.
    async fn pass(&self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let now = left.min(Duration::from_secs(1));
            left -= now;
            self.replicas
                .iter()
                .for_each(|replica| replica.clock.advance(now));
            tokio::time::sleep(now).await;
        }
        // Whatever is due now gets its turn before the next step.
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    /// Somebody sets a machine's wall clock, most often within the hour.
    fn set_a_clock(&mut self) {
        let replica = self.random.index(self.replicas.len());
        let clock = self.replicas[replica].clock.clone();
        self.skew(&clock);
    }

    fn skew(&mut self, clock: &TestClock) {
        let seconds = self.random.pick(&[10, 600, 600, 3_600, 3_600, 7_200]);
        let micros = self.random.below(2 * seconds * 1_000_000);
        let offset = i64::try_from(micros).unwrap() - i64::try_from(seconds * 1_000_000).unwrap();
        clock.set(Timestamp::from_micros(START + offset));
    }

    fn change_weather(&mut self) {
        let replica = self.random.index(self.replicas.len());
        let weather = self.random.pick(&WEATHERS);
        self.replicas[replica].run.link.set_weather(weather);
    }

    /// A run ends, killed or in good order, and the replica starts anew.
    async fn end_a_run(&mut self, is_killed: bool) {
        let at = self.random.index(self.replicas.len());
        // Those who wait are not let in, and what is in flight is never answered and never charged.
        self.asking.retain(|asking| asking.replica != at);
        let counts = &mut self.counts;
        if is_killed {
            self.replicas[at].run.link.kill();
        }
        let lost = self.open.extract_if(.., |open| open.replica == at);
        lost.for_each(|lost| {
            for (meter, units) in lost.costs.into_iter().enumerate().filter(|(_, units)| *units > 0) {
                counts.entry((meter, lost.start)).or_default().open -= units;
            }
        });
        if !is_killed {
            // Whether everything gets done depends on the weather; what does not is left to the next run.
            let meter = self.replicas[at].meter.clone();
            let at_most = self.random.millis(20_000);
            let _ = meter.shutdown(at_most).await;
        }
        let (id, clock) = (self.replicas[at].id, self.replicas[at].clock.clone());
        let (meter, run) = self.start(id, &clock).await;
        let replica = &mut self.replicas[at];
        replica.meter = meter;
        let ended = std::mem::replace(&mut replica.run, run);
        ended.link.kill();
        self.dead.push((id, ended));
    }

    async fn take_over_one(&mut self) {
        if !self.dead.is_empty() {
            let (id, _) = self.dead[self.random.index(self.dead.len())];
            self.take_over(id).await;
        }
    }

    /// What the next run does with the journals of a replica's earlier ones: everything that they charged is settled,
    /// and then their leases are closed.
    async fn take_over(&mut self, id: ReplicaId) {
        let runs: Vec<_> = self.dead.extract_if(.., |(dead, _)| *dead == id).collect();
        for (_, run) in runs {
            run.link.cut();
            self.replay(id, &run).await;
        }
        let replica = self.replicas.iter().find(|replica| replica.id == id).unwrap();
        let none_yet = Holder {
            replica: id,
            epoch: u64::MAX,
        };
        let present = replica.run.link.holder().unwrap_or(none_yet);
        let now = replica.clock.now();
        self.store.close_earlier(present, now).await.unwrap();
        let again = self.store.close_earlier(present, now).await.unwrap();
        assert!(again.is_zero(), "what is closed is closed");
    }

    async fn replay(&self, id: ReplicaId, run: &Run) {
        let mut left = run.charged.clone();
        for batch in run.link.batches() {
            self.store.record(&batch).await.unwrap();
            for settlement in &batch.settlements {
                let meter = METERS
                    .iter()
                    .position(|meter| *meter == settlement.key.meter)
                    .unwrap();
                let charged = left.get_mut(&(meter, settlement.key.period.start)).unwrap();
                *charged = charged
                    .checked_sub(settlement.units.get())
                    .expect("no more is settled than was charged");
            }
        }
        let settlement = |((meter, start), units)| {
            let key = self.key(meter, start);
            Settlement {
                plan: PlanId::from_static("free"),
                limit: Some(Units::new(self.limits[meter])),
                lease: run.link.token(&key),
                units: Units::new(units),
                key,
            }
        };
        let settlements: Vec<_> = left
            .into_iter()
            .filter(|(_, units)| *units > 0)
            .map(settlement)
            .collect();
        let Some(holder) = run.link.holder() else {
            assert!(settlements.is_empty(), "nothing is charged without a lease");
            return;
        };
        let batch = BatchId {
            replica: id,
            epoch: holder.epoch,
            number: run.number,
        };
        for _ in 0..2 {
            self.store
                .settle(holder, batch, &settlements, Timestamp::from_micros(START))
                .await
                .unwrap();
        }
    }

    fn key(&self, meter: usize, start: Timestamp) -> QuotaKey {
        QuotaKey {
            account: self.account,
            key: None,
            meter: METERS[meter].clone(),
            period: PERIOD.period_at(start, start),
        }
    }

    async fn balances(&self) -> Vec<Balance> {
        let keys: Vec<_> = self
            .counts
            .keys()
            .map(|(meter, start)| self.key(*meter, *start))
            .collect();
        self.store.balances(&keys).await.unwrap()
    }

    /// What holds at every moment.
    async fn check(&self) {
        let balances = self.balances().await;
        for (((meter, start), count), balance) in self.counts.iter().zip(balances) {
            let limit = self.limits[*meter];
            let admitted = count.charged + count.open;
            assert!(
                admitted <= limit,
                "{admitted} of {limit} admitted, meter {meter}, {start}"
            );
            let taken = balance.used.plus(balance.leased).get();
            assert!(
                taken <= limit,
                "{taken} of {limit} used and leased, meter {meter}, {start}"
            );
            let used = balance.used.get();
            assert!(used <= count.charged, "{used} used, {} charged", count.charged);
        }
    }

    /// Lets everything come to an end, and checks that nothing is lost, doubled or stranded.
    pub async fn end(&mut self) {
        self.asking.clear();
        while !self.open.is_empty() {
            self.finish_one();
            self.operations += 1;
        }
        for at in 0..self.replicas.len() {
            self.replicas[at].run.link.set_weather(0);
            self.take_over(self.replicas[at].id).await;
        }
        if self.random.chance(500) {
            // A service that nobody uses gives everything back by itself.
            self.pass(QUIET).await;
        } else {
            for replica in &self.replicas {
                let report = replica.meter.shutdown(Duration::from_secs(120)).await;
                assert!(report.recorded && report.released, "{report:?}");
            }
        }
        for replica in &self.replicas {
            assert_eq!(replica.meter.events_lost(), 0);
        }
        let balances = self.balances().await;
        for (((meter, start), count), balance) in self.counts.iter().zip(balances) {
            let left = (balance.used.get(), balance.leased.get());
            assert_eq!(
                left,
                (count.charged, 0),
                "used and leased, meter {meter}, {start}"
            );
        }
        self.spend_the_rest().await;
    }

    /// What was charged, by counter.
    pub fn charged(&self) -> String {
        let charged = self.counts.iter().map(|(at, count)| (at, count.charged));
        format!("{:?}", charged.collect::<Vec<_>>())
    }

    /// Exactly the limit can be spent, one unit after the other, before the first request is refused.
    async fn spend_the_rest(&mut self) {
        let counters: Vec<_> = self
            .counts
            .iter()
            .map(|(at, count)| (*at, count.charged))
            .collect();
        for ((meter, start), charged) in counters {
            if self.limits[meter] - charged > REST_MAX {
                continue;
            }
            let clock = TestClock::at(start);
            let link = Link::new(self.store.clone(), 0, None);
            let id = ReplicaId::from_uuid(uuid::Uuid::from_u128(u128::from(self.random.next())));
            let limit = self.limits[meter];
            let quotas = vec![(METERS[meter].clone(), limit)];
            let last = self.meter(id, &clock, &link, quotas).await;
            let operation = Operation::new(OperationName::from_static("rest"));
            let operation = Arc::new(operation.cost(METERS[meter].clone(), Units::ONE));
            let mut spent = charged;
            loop {
                let call = Call::new(&Method::POST, &self.headers, "/rest");
                let decision = match last.admit(&operation, call) {
                    Admit::Ready(decision) => decision,
                    Admit::Pending(future) => future.await,
                };
                self.operations += 1;
                let Ok(mut admission) = decision else {
                    break;
                };
                admission.handler_called();
                admission.answered(StatusCode::OK);
                admission.finish(Outcome::Completed);
                spent += 1;
            }
            assert_eq!(spent, limit, "units that could be spent, meter {meter}, {start}");
            let report = last.shutdown(Duration::from_secs(60)).await;
            assert!(report.recorded && report.released, "{report:?}");
            let balance = self.store.balances(&[self.key(meter, start)]).await.unwrap()[0];
            assert_eq!((balance.used.get(), balance.leased.get()), (limit, 0));
        }
    }
}
