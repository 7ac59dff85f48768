//! A store that histories are done on.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use hm_metering::key::{KeyDigest, KeyHash};
use hm_metering::keys::{ChangeCursor, KeyPatch, KeyUse, NewKey};
use hm_metering::page::{Page, PageRequest};
use hm_metering::period::Period;
use hm_metering::quota::{FencingToken, Holder, LeaseAsk, QuotaKey, QuotaWindow, Release, Settlement};
use hm_metering::usage::{Batch, BatchId, Event, Grain, Outcome, UsageQuery};
use hm_metering::{
    AccountId, EventId, KeyId, KeyStore, MemoryStore, MeterName, PlanId, QuotaStore, ReplicaId, StoreResult,
    Timestamp, Units, UsageSink, UsageStore, UserId,
};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use super::step::{Happening, Place, Settling, Step, TEXTS};
use crate::fixtures;

trait Store: KeyStore + QuotaStore + UsageSink + UsageStore {}
impl<S: KeyStore + QuotaStore + UsageSink + UsageStore> Store for S {}

enum Accounts {
    Memory(MemoryStore),
    Sql(SeaOrmStore),
}

pub struct Subject {
    pub name: String,
    store: Arc<dyn Store>,
    accounts: Accounts,
    world: u64,
    feed: Option<ChangeCursor>,
    /// Which accounts are on the plan "pro".
    pro: HashMap<u8, bool>,
    /// The first and the last token that each place was given.
    tokens: HashMap<Place, (FencingToken, FencingToken)>,
}

impl Subject {
    pub fn in_memory() -> Self {
        let store = MemoryStore::new();
        Self::new("memory", Arc::new(store.clone()), Accounts::Memory(store))
    }

    pub async fn on(database: &TestDatabase) -> Self {
        let store = fixtures::store(database).await;
        let name = database.url().split(':').next().unwrap_or_default();
        Self::new(name, Arc::new(store.clone()), Accounts::Sql(store))
    }

    fn new(name: &str, store: Arc<dyn Store>, accounts: Accounts) -> Self {
        Self {
            name: name.to_owned(),
            store,
            accounts,
            world: 0,
            feed: None,
            pro: HashMap::new(),
            tokens: HashMap::new(),
        }
    }

    pub const fn is_in_memory(&self) -> bool {
        matches!(self.accounts, Accounts::Memory(_))
    }

    /// Begins a history. Of the three accounts the last one does not exist.
    pub async fn enter(&mut self, world: u64) {
        self.world = world;
        self.tokens.clear();
        self.pro.clear();
        let plan = PlanId::from_static("free");
        for number in 0..2 {
            let account = self.account(number);
            match &self.accounts {
                Accounts::Memory(store) => assert!(store.add_account(account, plan.clone(), at(0))),
                Accounts::Sql(store) => store.open_account(account, "Ada", &plan, at(0)).await.unwrap(),
            }
        }
        // What is left of earlier histories is out of the way.
        while self.store.prune(at(100), 1_000).await.unwrap() > 0 {}
        self.feed = Some(self.store.changes_since(None, 1).await.unwrap().cursor);
    }

    /// Does a step, and answers what came of it as a text.
    pub async fn take(&mut self, step: &Step) -> String {
        match step {
            Step::Insert { .. }
            | Step::Find { .. }
            | Step::Get { .. }
            | Step::List { .. }
            | Step::Rename { .. }
            | Step::Switch { .. }
            | Step::Revoke { .. }
            | Step::Rotate { .. }
            | Step::Rehash { .. }
            | Step::MarkUsed { .. }
            | Step::Changes { .. }
            | Step::SetPlan { .. } => self.with_keys(step).await,
            Step::Lease { .. }
            | Step::Release { .. }
            | Step::Settle { .. }
            | Step::Balances { .. }
            | Step::Windows { .. }
            | Step::CloseEarlier { .. } => self.with_quotas(step).await,
            Step::Record { .. }
            | Step::Totals { .. }
            | Step::Series { .. }
            | Step::Recent { .. }
            | Step::Times { .. }
            | Step::Prune { .. } => self.with_usage(step).await,
        }
    }

    async fn with_keys(&mut self, step: &Step) -> String {
        let store = &*self.store;
        match step {
            Step::Insert {
                account,
                key,
                digest,
                name,
            } => {
                let inserted = store.insert(&self.new_key(*account, *key, *digest, *name)).await;
                // Which of two reasons to refuse is named, no contract says.
                if *account == 2 && inserted.is_err() {
                    return "refused".to_owned();
                }
                told(inserted)
            }
            Step::Find { digests } => {
                let digests: Vec<_> = digests.iter().map(|digest| self.digest(*digest)).collect();
                told(store.find_by_digest(&digests).await)
            }
            Step::Get { account, key } => told(store.get(self.account(*account), self.key(*key)).await),
            Step::List { account, limit } => {
                let account = self.account(*account);
                pages(*limit, async |page| store.list(account, &page).await).await
            }
            Step::Rename { account, key, name } => {
                let name = Some(text(*name));
                let patch = KeyPatch {
                    name,
                    ..KeyPatch::default()
                };
                told(
                    store
                        .update(self.account(*account), self.key(*key), &patch, at(1))
                        .await,
                )
            }
            Step::Switch { account, key, on } => {
                let patch = KeyPatch {
                    is_active: Some(*on),
                    ..KeyPatch::default()
                };
                told(
                    store
                        .update(self.account(*account), self.key(*key), &patch, at(2))
                        .await,
                )
            }
            Step::Revoke {
                account,
                key,
                at: when,
            } => told(
                store
                    .revoke(self.account(*account), self.key(*key), at(*when))
                    .await,
            ),
            Step::Rotate {
                account,
                key,
                new,
                digest,
                end,
            } => {
                let (account_id, key) = (self.account(*account), self.key(*key));
                let new = self.new_key(*account, *new, *digest, 0);
                told(store.rotate(account_id, key, &new, at(*end), at(3)).await)
            }
            Step::Rehash { key, from, to } => {
                let to = KeyHash {
                    digest: self.digest(*to),
                    pepper: 9,
                    slow: None,
                };
                told(store.rehash(self.key(*key), &self.digest(*from), &to).await)
            }
            Step::MarkUsed { uses } => {
                let used = |(key, count, last): &(u8, u8, u8)| KeyUse {
                    key: self.key(*key),
                    count: u64::from(*count),
                    last_used_at: at(*last),
                };
                told(store.mark_used(&uses.iter().map(used).collect::<Vec<_>>()).await)
            }
            Step::Changes { limit } => {
                let page = store.changes_since(self.feed, *limit).await;
                let told = told(page.as_ref().map(|page| (&page.changes, page.more)));
                self.feed = page.map_or(self.feed, |page| Some(page.cursor));
                told
            }
            Step::SetPlan { account, pro } => self.set_plan(*account, *pro).await,
            _ => String::new(),
        }
    }

    async fn set_plan(&mut self, account: u8, pro: bool) -> String {
        // What becomes of a move to where an account is already is each store's own affair.
        if self.pro.insert(account, pro).unwrap_or(false) == pro {
            return String::new();
        }
        let plan = PlanId::from_static(if pro { "pro" } else { "free" });
        let account = self.account(account);
        let there = match &self.accounts {
            Accounts::Memory(store) => store.set_plan(account, plan),
            Accounts::Sql(store) => store.set_tier(account, &plan, at(4)).await.is_ok(),
        };
        there.to_string()
    }

    async fn with_quotas(&mut self, step: &Step) -> String {
        match step {
            Step::Lease {
                place,
                operation,
                window,
                limit,
                want,
            } => {
                let ask = LeaseAsk {
                    holder: self.holder(place.replica, place.epoch),
                    operation: u64::from(*operation),
                    key: self.counter(place.account, place.period),
                    since: window.map(day),
                    limit: Units::new(u64::from(*limit)),
                    want: Units::new(u64::from(*want)),
                    now: at(5),
                    until: at(60),
                };
                let grant = self.store.lease(&ask).await;
                if let Ok(grant) = &grant {
                    let token = grant.token;
                    let tokens = self.tokens.entry(place.clone()).or_insert((token, token));
                    tokens.1 = token;
                }
                told(grant.map(|grant| (grant.granted, grant.balance, grant.oldest)))
            }
            Step::Release {
                place,
                operation,
                units,
                first_token,
            } => {
                let (first, last) = self.tokens_of(place);
                let release = Release {
                    holder: self.holder(place.replica, place.epoch),
                    operation: u64::from(*operation),
                    key: self.counter(place.account, place.period),
                    token: if *first_token { first } else { last },
                    units: Units::new(u64::from(*units)),
                    now: at(6),
                };
                told(self.store.release(&release).await)
            }
            Step::Settle {
                replica,
                batch,
                settlements,
            } => {
                let (holder, id) = (self.holder(*replica, 0), self.batch_id(*replica, *batch));
                let settlements = self.settlements(*replica, settlements);
                told(self.store.settle(holder, id, &settlements, at(7)).await)
            }
            Step::Balances { counters } => {
                let key = |(account, period): &(u8, u8)| self.counter(*account, *period);
                told(
                    self.store
                        .balances(&counters.iter().map(key).collect::<Vec<_>>())
                        .await,
                )
            }
            Step::Windows { windows } => {
                let window = |(account, since): &(u8, u8)| QuotaWindow {
                    account: self.account(*account),
                    key: None,
                    meter: MeterName::REQUESTS,
                    since: day(*since),
                };
                told(
                    self.store
                        .windows(&windows.iter().map(window).collect::<Vec<_>>())
                        .await,
                )
            }
            Step::CloseEarlier { replica, epoch } => told(
                self.store
                    .close_earlier(self.holder(*replica, *epoch), at(8))
                    .await,
            ),
            _ => String::new(),
        }
    }

    async fn with_usage(&self, step: &Step) -> String {
        let store = &*self.store;
        let query = |account: u8, from: u8, to: u8| {
            UsageQuery::new(
                self.account(account),
                fixtures::later(hour(from)),
                fixtures::later(hour(to)),
            )
        };
        match step {
            Step::Record {
                replica,
                batch,
                events,
                settlements,
            } => {
                let batch = Batch {
                    id: self.batch_id(*replica, *batch),
                    created_at: at(9),
                    events: events.iter().map(|event| self.event(event)).collect(),
                    settlements: self.settlements(*replica, settlements),
                };
                told(store.record(&batch).await)
            }
            Step::Totals {
                account,
                key,
                from,
                to,
            } => {
                let query = UsageQuery {
                    key: key.map(|key| self.key(key)),
                    ..query(*account, *from, *to)
                };
                told(store.totals(&query).await)
            }
            Step::Series { account, from, to } => {
                told(store.series(&query(*account, *from, *to), Grain::Hour).await)
            }
            Step::Recent { account, limit } => {
                let query = query(*account, 0, 9);
                pages(*limit, async |page| store.recent(&query, &page).await).await
            }
            Step::Times { account, quantiles } => {
                let quantiles: Vec<f64> = quantiles.iter().map(|tenth| f64::from(*tenth) / 10.0).collect();
                told(store.response_times(&query(*account, 0, 9), &quantiles).await)
            }
            Step::Prune { before, limit } => told(store.prune(fixtures::later(hour(*before)), *limit).await),
            _ => String::new(),
        }
    }

    fn id(&self, kind: u8, number: u8) -> Uuid {
        Uuid::from_u64_pair(self.world, u64::from(kind) << 8 | u64::from(number) | 1 << 40)
    }

    fn account(&self, number: u8) -> AccountId {
        AccountId::from_uuid(self.id(1, number))
    }

    fn key(&self, number: u8) -> KeyId {
        KeyId::from_uuid(self.id(2, number))
    }

    fn digest(&self, number: u8) -> KeyDigest {
        let mut bytes = [number; 32];
        bytes[..16].copy_from_slice(self.id(3, number).as_bytes());
        KeyDigest::from_bytes(bytes)
    }

    fn new_key(&self, account: u8, key: u8, digest: u8, name: u8) -> NewKey {
        NewKey {
            id: self.key(key),
            user: UserId::from_uuid(self.id(4, account)),
            digest: self.digest(digest),
            name: text(name),
            // Some are made in the same moment, so that lists have to tell them by their ids.
            created_at: at(key / 2),
            ..fixtures::new_key(self.account(account))
        }
    }

    fn holder(&self, replica: u8, epoch: u8) -> Holder {
        Holder {
            replica: ReplicaId::from_uuid(self.id(5, replica)),
            epoch: u64::from(epoch),
        }
    }

    fn batch_id(&self, replica: u8, number: u8) -> BatchId {
        let holder = self.holder(replica, 0);
        BatchId {
            replica: holder.replica,
            epoch: holder.epoch,
            number: u64::from(number),
        }
    }

    fn counter(&self, account: u8, period: u8) -> QuotaKey {
        QuotaKey {
            account: self.account(account),
            key: None,
            meter: MeterName::REQUESTS,
            period: Period {
                start: day(period),
                end: day(period + 1),
            },
        }
    }

    fn tokens_of(&self, place: &Place) -> (FencingToken, FencingToken) {
        let none = FencingToken(77);
        self.tokens.get(place).copied().unwrap_or((none, none))
    }

    fn settlements(&self, replica: u8, settlements: &[Settling]) -> Vec<Settlement> {
        let settlement = |settling: &Settling| {
            let place = Place {
                replica,
                epoch: 0,
                account: settling.account,
                period: settling.period,
            };
            let lease = settling.leased.then(|| self.tokens_of(&place).1);
            let key = self.counter(settling.account, settling.period);
            fixtures::settlement(&key, lease, u32::from(settling.units))
        };
        settlements.iter().map(settlement).collect()
    }

    fn event(&self, happening: &Happening) -> Event {
        const OUTCOMES: [Outcome; 9] = [
            Outcome::Completed,
            Outcome::Refused,
            Outcome::ClientGone,
            Outcome::BodyError,
            Outcome::ServiceError,
            Outcome::Panicked,
            Outcome::TimedOut,
            Outcome::Stopped,
            Outcome::NotReached,
        ];
        let meters = [("requests", happening.units), ("tokens", happening.tokens)];
        let units = meters.into_iter().filter(|(_, units)| *units > 0);
        Event {
            id: EventId::from_uuid(self.id(6, happening.id)),
            at: fixtures::later(hour(happening.at)),
            user: None,
            key: happening.key.map(|key| self.key(key)),
            source: Some(text(happening.source).into()),
            status: happening.status,
            outcome: OUTCOMES[usize::from(happening.outcome)],
            units: units
                .map(|(meter, units)| (MeterName::parse(meter).unwrap(), Units::new(units.into())))
                .collect(),
            response_time_us: u64::from(happening.micros),
            ..fixtures::event(self.account(happening.account), None)
        }
    }
}

fn at(second: u8) -> Timestamp {
    fixtures::later(i64::from(second))
}

/// Half hours, so that some events of an hour are in a range and others not.
fn hour(half: u8) -> i64 {
    i64::from(half) * 1_800
}

fn day(number: u8) -> Timestamp {
    fixtures::later(i64::from(number) * 86_400)
}

fn text(number: u8) -> String {
    TEXTS[usize::from(number) % TEXTS.len()].to_owned()
}

fn told<T: Debug>(answer: Result<T, impl std::borrow::Borrow<hm_metering::StoreError>>) -> String {
    format!("{:?}", answer.map_err(|error| error.borrow().kind()))
}

/// The items of all pages, page by page. The cursors between them are each store's own.
async fn pages<T: Debug>(limit: usize, ask: impl AsyncFn(PageRequest) -> StoreResult<Page<T>>) -> String {
    let mut page = PageRequest::first(limit);
    let mut items = Vec::new();
    loop {
        let Page { items: some, next } = match ask(page.clone()).await {
            Ok(page) => page,
            Err(error) => return format!("{:?} {items:?}", error.kind()),
        };
        items.push(some);
        match next {
            Some(next) => page.cursor = Some(next),
            None => return format!("{items:?}"),
        }
    }
}
