//! Limits on windows that move with time: several counters count against one limit.

use super::{QuotaFixture, balance, settle, state};
use crate::conformance::sample::{TOKENS, ask, at, at_once, counter, give_back, holder, settlement, uuid};
use crate::id::{AccountId, KeyId};
use crate::period::Period;
use crate::quota::{Holder, LeaseAsk, LeaseGrant, QuotaKey, QuotaStore, QuotaWindow, WindowState};
use crate::time::Timestamp;
use crate::units::Units;

const GRAIN: i64 = 60;

/// The account's requests in the sub-period of that number.
fn sub_period(account: AccountId, number: i64) -> QuotaKey {
    QuotaKey {
        period: Period {
            start: start(number),
            end: start(number + 1),
        },
        ..counter(account)
    }
}

fn start(number: i64) -> Timestamp {
    at(number * GRAIN)
}

/// A wish for some of 100 units in a window from sub-period `since` on.
fn ask_since(holder: Holder, operation: u64, key: &QuotaKey, since: i64, want: u64) -> LeaseAsk {
    LeaseAsk {
        since: Some(start(since)),
        ..ask(holder, operation, key, 100, want)
    }
}

async fn lease_since(
    fixture: &QuotaFixture,
    holder: Holder,
    operation: u64,
    key: &QuotaKey,
    since: i64,
    want: u64,
) -> LeaseGrant {
    let ask = ask_since(holder, operation, key, since, want);
    fixture.store.lease(&ask).await.unwrap()
}

async fn window(fixture: &QuotaFixture, key: &QuotaKey, since: i64) -> WindowState {
    let asked = [QuotaWindow {
        account: key.account,
        key: key.key,
        meter: key.meter.clone(),
        since: start(since),
    }];
    let answer = fixture.store.windows(&asked).await.unwrap();
    assert_eq!(answer.len(), 1, "one state for one window");
    answer[0]
}

fn window_state(used: u64, leased: u64, oldest: Option<i64>) -> WindowState {
    WindowState {
        balance: balance(used, leased),
        oldest: oldest.map(start),
    }
}

/// What was used or leased in a window's other counters counts against its limit, and what was before it does not.
pub async fn the_counters_of_a_window_share_its_limit(fixture: QuotaFixture) {
    let (account, holder) = (fixture.owner().await.account, holder());
    let keys: Vec<_> = (0..4).map(|number| sub_period(account, number)).collect();
    let first = lease_since(&fixture, holder, 1, &keys[0], -2, 30).await;
    settle(
        &fixture,
        holder,
        1,
        &[settlement(&keys[0], Some(first.token), 25)],
    )
    .await;
    let grant = lease_since(&fixture, holder, 2, &keys[1], -1, 50).await;
    assert_eq!(
        (grant.granted.get(), grant.balance, grant.oldest),
        (50, balance(25, 55), Some(start(0)))
    );
    // Twenty are left in the window from the first on.
    let grant = lease_since(&fixture, holder, 3, &keys[2], 0, 40).await;
    assert_eq!((grant.granted.get(), grant.balance), (20, balance(25, 75)));
    assert_eq!(
        lease_since(&fixture, holder, 4, &keys[3], 0, 1)
            .await
            .granted
            .get(),
        0
    );
    // The first has left the window.
    let grant = lease_since(&fixture, holder, 5, &keys[3], 1, 40).await;
    assert_eq!(
        (grant.granted.get(), grant.balance, grant.oldest),
        (30, balance(0, 100), Some(start(1)))
    );
    assert_eq!(state(&fixture, &keys[3]).await, balance(0, 30));
}

/// A window's state is the sum over its counters, and the start of the oldest with anything in it.
pub async fn a_window_is_the_sum_of_its_counters(fixture: QuotaFixture) {
    let (account, other) = (fixture.owner().await.account, fixture.owner().await.account);
    let (first, third) = (sub_period(account, 0), sub_period(account, 2));
    assert_eq!(window(&fixture, &first, -9).await, window_state(0, 0, None));
    let tokens = QuotaKey {
        meter: TOKENS,
        ..third.clone()
    };
    let owned = holder();
    let grant = lease_since(&fixture, owned, 1, &first, -2, 10).await;
    lease_since(&fixture, holder(), 1, &third, 0, 20).await;
    lease_since(&fixture, holder(), 1, &tokens, 0, 40).await;
    lease_since(&fixture, holder(), 1, &sub_period(other, 1), 0, 80).await;
    settle(&fixture, owned, 1, &[settlement(&first, Some(grant.token), 4)]).await;
    assert_eq!(window(&fixture, &third, 0).await, window_state(4, 26, Some(0)));
    assert_eq!(window(&fixture, &third, 1).await, window_state(0, 20, Some(2)));
    assert_eq!(window(&fixture, &tokens, -9).await, window_state(0, 40, Some(2)));
    // Given back, it is as if nothing had been there.
    let release = give_back(owned, 2, &first, grant.token, 6);
    fixture.store.release(&release).await.unwrap();
    assert_eq!(window(&fixture, &third, 0).await, window_state(4, 20, Some(0)));
    let asked: Vec<_> = [(&third, 3), (&tokens, 0), (&third, 2), (&third, 0)]
        .map(|(key, since)| QuotaWindow {
            account,
            key: key.key,
            meter: key.meter.clone(),
            since: start(since),
        })
        .into();
    let answer = fixture.store.windows(&asked).await.unwrap();
    let leased: Vec<_> = answer.iter().map(|state| state.balance.leased.get()).collect();
    assert_eq!(leased, [0, 40, 20, 20], "in the order asked");
    assert_eq!(fixture.store.windows(&[]).await.unwrap(), []);
}

/// A window of a key has that key's counters alone, and the account's has none of them.
pub async fn windows_of_keys_do_not_touch_each_other(fixture: QuotaFixture) {
    let account = fixture.owner().await.account;
    let owners: [Option<KeyId>; 3] = [None, Some(uuid().into()), Some(uuid().into())];
    let of = |owner: usize, number: i64| QuotaKey {
        key: owners[owner],
        ..sub_period(account, number)
    };
    for (owner, units) in [(0, 10), (1, 20), (2, 40)] {
        lease_since(&fixture, holder(), 1, &of(owner, 0), -2, units).await;
        let grant = lease_since(&fixture, holder(), 1, &of(owner, 1), -1, units).await;
        assert_eq!(
            (grant.granted.get(), grant.balance, grant.oldest),
            (units, balance(0, 2 * units), Some(start(0)))
        );
    }
    let asked: Vec<_> = [(2, 0), (0, 0), (1, 1), (1, 0)]
        .map(|(owner, since)| QuotaWindow {
            account,
            key: owners[owner],
            meter: of(owner, since).meter,
            since: start(since),
        })
        .into();
    let answer = fixture.store.windows(&asked).await.unwrap();
    let leased: Vec<_> = answer.iter().map(|state| state.balance.leased.get()).collect();
    assert_eq!(leased, [80, 20, 20, 40], "in the order asked");
    // Each is limited for itself.
    for (owner, left) in [(0, 80), (1, 60), (2, 20)] {
        let grant = lease_since(&fixture, holder(), 1, &of(owner, 2), 0, 100).await;
        assert_eq!(grant.granted.get(), left);
    }
}

/// Counters that are later than the one leased from count too: somebody's clock may be ahead.
pub async fn later_counters_of_a_window_count(fixture: QuotaFixture) {
    let account = fixture.owner().await.account;
    let (present, ahead) = (sub_period(account, 3), sub_period(account, 5));
    lease_since(&fixture, holder(), 1, &ahead, 3, 70).await;
    let grant = lease_since(&fixture, holder(), 1, &present, 1, 70).await;
    assert_eq!((grant.granted.get(), grant.balance), (30, balance(0, 100)));
}

/// Repeating a lease of a window debits once, and grants what it granted the first time.
pub async fn a_repeated_lease_of_a_window_debits_once(fixture: QuotaFixture) {
    let (account, holder_a) = (fixture.owner().await.account, holder());
    let (key, next) = (sub_period(account, 0), sub_period(account, 1));
    for _ in 0..2 {
        let grant = lease_since(&fixture, holder_a, 1, &key, -2, 60).await;
        assert_eq!((grant.granted.get(), grant.balance), (60, balance(0, 60)));
    }
    lease_since(&fixture, holder(), 1, &next, -1, 100).await;
    let again = lease_since(&fixture, holder_a, 1, &key, -2, 60).await;
    assert_eq!((again.granted.get(), again.balance), (60, balance(0, 100)));
}

/// A window's limit may be below what is used and leased in it already.
pub async fn a_window_that_is_over_its_limit_grants_nothing(fixture: QuotaFixture) {
    let account = fixture.owner().await.account;
    let (key, next) = (sub_period(account, 0), sub_period(account, 1));
    settle(&fixture, holder(), 1, &[settlement(&key, None, 500)]).await;
    let grant = lease_since(&fixture, holder(), 1, &next, -1, 1).await;
    assert_eq!((grant.granted, grant.balance), (Units::ZERO, balance(500, 0)));
}

/// Leases in different counters of a window that run at the same time are granted exactly the limit.
pub async fn many_sub_periods_get_exactly_the_limit(fixture: QuotaFixture) {
    for _ in 0..4 {
        let account = fixture.owner().await.account;
        // Clocks that are up to three sub-periods apart, and a window of eight.
        let grants = at_once((0..32).map(|number| {
            let (store, key) = (fixture.store.clone(), sub_period(account, number % 4));
            async move {
                let ask = ask_since(holder(), 1, &key, number % 4 - 8, 5);
                store.lease(&ask).await.unwrap().granted.get()
            }
        }))
        .await;
        assert_eq!(grants.into_iter().sum::<u64>(), 100);
    }
}
