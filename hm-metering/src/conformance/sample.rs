//! Keys, events and batches for the cases, and what they have in common.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::time::Duration;

use uuid::Uuid;

use super::fixture::Owner;
use crate::error::{StoreErrorKind, StoreResult};
use crate::id::{AccountId, IdSource};
use crate::key::{KeyDigest, KeyEnv, SlowHash};
use crate::keys::{IpAllow, KeyLimits, KeyQuotas, NewKey};
use crate::name::{MeterName, OperationName, PlanId};
use crate::period::Period;
use crate::plan::{Quota, RateLimit};
use crate::quota::{FencingToken, Holder, LeaseAsk, QuotaKey, Release, Settlement};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{Batch, BatchId, Event, Outcome, UsageQuery};

pub(super) const FREE: PlanId = PlanId::from_static("free");
pub(super) const PRO: PlanId = PlanId::from_static("pro");

/// So many seconds after the sample time that it has not come by any clock that an application makes its changes by.
pub(super) const FAR: i64 = 4_000_000_000;
pub(super) const TOKENS: MeterName = MeterName::from_static("tokens");

/// Texts that stores have stumbled over.
pub(super) const TEXTS: [&str; 10] = [
    "",
    " spaces at both ends ",
    "Robert'); DROP TABLE api_keys;--",
    "\" \\ ' ` $1 ? :name %s {} %",
    "línea\nnueva\ttab\r\n",
    "ключ 鍵 مفتاح 🔑👩‍👩‍👧‍👦",
    "e\u{301} is not é",
    "null",
    "{\"json\": [1, 2]}",
    "CASE case",
];

/// Moments far away and finer than a millisecond.
pub(super) const FAR_TIMES: [Timestamp; 6] = [
    Timestamp::MIN,
    Timestamp::from_micros(-62_135_596_799_999_999),
    Timestamp::from_micros(-1),
    Timestamp::from_micros(1),
    Timestamp::from_micros(1_700_000_000_123_456),
    Timestamp::MAX,
];

/// 2026-01-15 12:00 UTC.
const START: i64 = 1_768_478_400_000_000;

/// So many seconds after the sample time.
pub(super) const fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START + seconds * 1_000_000)
}

/// The next moment there is.
pub(super) const fn just_after(moment: Timestamp) -> Timestamp {
    Timestamp::from_micros(moment.as_micros() + 1)
}

/// An id that nothing else has.
pub(super) fn uuid() -> Uuid {
    static IDS: LazyLock<IdSource> = LazyLock::new(|| IdSource::from_os().expect("randomness for ids"));
    IDS.next(at(0))
}

pub(super) fn digest() -> KeyDigest {
    let mut bytes = [0x5a; 32];
    bytes[..16].copy_from_slice(uuid().as_bytes());
    KeyDigest::from_bytes(bytes)
}

pub(super) fn new_key(owner: Owner) -> NewKey {
    NewKey {
        id: uuid().into(),
        account: owner.account,
        user: owner.user,
        digest: digest(),
        pepper: 1,
        slow_hash: Some(SlowHash::new("$slow$").expect("printable")),
        name: "build server".to_owned(),
        prefix: "hm_live_abcd".to_owned(),
        last4: "wxyz".to_owned(),
        env: KeyEnv::Live,
        scopes: vec!["data:read".to_owned()],
        ip_allow: networks(&["192.0.2.0/24"]),
        limits: KeyLimits::new([rate("key", 7)]).expect("the rate makes sense"),
        quotas: KeyQuotas::new([Quota::per_month(9)]).expect("the quota makes sense"),
        not_before: None,
        expires_at: None,
        metadata: [("team".to_owned(), "search".to_owned())].into(),
        created_at: at(0),
    }
}

pub(super) fn networks(networks: &[&str]) -> IpAllow {
    let parsed = networks.iter().map(|text| text.parse().expect("a network"));
    IpAllow::new(parsed).expect("few networks")
}

/// So many in a second.
pub(super) fn rate(name: &str, limit: u32) -> RateLimit {
    RateLimit {
        name: name.to_owned(),
        limit,
        per: Duration::from_secs(1),
        burst: limit,
    }
}

pub(super) fn holder() -> Holder {
    Holder {
        replica: uuid().into(),
        epoch: 1,
    }
}

/// The account's requests in one day.
pub(super) fn counter(account: AccountId) -> QuotaKey {
    QuotaKey {
        account,
        key: None,
        meter: MeterName::REQUESTS,
        period: Period {
            start: at(0),
            end: at(86_400),
        },
    }
}

pub(super) fn ask(holder: Holder, operation: u64, key: &QuotaKey, limit: u64, want: u64) -> LeaseAsk {
    LeaseAsk {
        holder,
        operation,
        key: key.clone(),
        since: None,
        limit: Units::new(limit),
        want: Units::new(want),
        now: at(1),
        until: at(61),
    }
}

pub(super) fn give_back(
    holder: Holder,
    operation: u64,
    key: &QuotaKey,
    token: FencingToken,
    units: u64,
) -> Release {
    Release {
        holder,
        operation,
        key: key.clone(),
        token,
        units: Units::new(units),
        now: at(2),
    }
}

pub(super) fn settlement(key: &QuotaKey, lease: Option<FencingToken>, units: u64) -> Settlement {
    Settlement {
        key: key.clone(),
        plan: FREE,
        limit: Some(Units::new(1_000)),
        lease,
        units: Units::new(units),
    }
}

/// A request that was answered with 200 and charged one unit.
pub(super) fn event(account: AccountId, at: Timestamp) -> Event {
    Event {
        id: uuid().into(),
        at,
        account,
        user: None,
        key: None,
        operation: OperationName::from_static("data.query"),
        endpoint: "/api/v1/data".into(),
        method: "POST".into(),
        source: None,
        status: 200,
        grpc_status: None,
        outcome: Outcome::Completed,
        refusal: None,
        would_refuse: None,
        units: vec![(MeterName::REQUESTS, Units::ONE)],
        over: false,
        response_time_us: 1_500,
        first_byte_us: None,
        bytes_in: 0,
        bytes_out: 0,
        request_id: "request-1".to_owned(),
        replica: uuid().into(),
        tags: Vec::new(),
    }
}

/// A request that we refused.
pub(super) fn refused(account: AccountId, at: Timestamp) -> Event {
    Event {
        status: 429,
        outcome: Outcome::Refused,
        refusal: Some("quota_exceeded".into()),
        units: Vec::new(),
        response_time_us: 40,
        ..event(account, at)
    }
}

/// A batch of a holder that has no other.
pub(super) fn batch(events: Vec<Event>) -> Batch {
    batch_of(holder(), 1, events)
}

pub(super) fn batch_of(holder: Holder, number: u64, events: Vec<Event>) -> Batch {
    Batch {
        id: BatchId {
            replica: holder.replica,
            epoch: holder.epoch,
            number,
        },
        created_at: at(10),
        events,
        settlements: Vec::new(),
    }
}

/// All events of the account that have a time.
pub(super) const fn all_of(account: AccountId) -> UsageQuery {
    UsageQuery::new(account, Timestamp::MIN, Timestamp::MAX)
}

/// Of what kind the failure is that `result` has to be.
pub(super) fn kind<T: Debug>(result: StoreResult<T>) -> StoreErrorKind {
    result.expect_err("the store should have refused").kind()
}

/// Polls `future` so many times and then drops it, if it is not ready before.
pub(super) async fn drop_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Runs all futures at once, each in a task of its own, and answers their outputs in order.
pub(super) async fn at_once<F>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    let tasks: Vec<_> = futures.into_iter().map(tokio::spawn).collect();
    let mut outputs = Vec::with_capacity(tasks.len());
    for task in tasks {
        outputs.push(task.await.expect("a task of the case panicked"));
    }
    outputs
}
