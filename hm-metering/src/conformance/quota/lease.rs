//! Leasing units.

use super::{QuotaFixture, balance, lease, settle, state};
use crate::conformance::sample::{
    TOKENS, ask, at, counter, give_back, holder, just_after, kind, settlement, uuid,
};
use crate::error::StoreErrorKind;
use crate::id::KeyId;
use crate::keys::KeyQuotas;
use crate::name::MeterName;
use crate::period::Period;
use crate::quota::{Holder, QuotaKey};
use crate::time::Timestamp;
use crate::units::Units;

/// Counters come into being by themselves, with nothing used.
pub async fn a_counter_begins_with_nothing_used(fixture: QuotaFixture) {
    let key = counter(fixture.owner().await.account);
    assert_eq!(state(&fixture, &key).await, balance(0, 0));
    assert_eq!(fixture.store.balances(&[]).await.unwrap(), []);
}

/// A grant is what was wanted while there is enough, and the counter shows it as leased.
pub async fn a_lease_debits_what_it_grants(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let grant = lease(&fixture, holder, 1, &key, 30).await;
    assert_eq!((grant.granted.get(), grant.balance), (30, balance(0, 30)));
    assert_eq!(state(&fixture, &key).await, balance(0, 30));
}

/// Less than wanted, down to nothing, is a grant too.
pub async fn the_last_units_are_granted_and_then_none(fixture: QuotaFixture) {
    let key = counter(fixture.owner().await.account);
    for (want, granted, leased) in [(60, 60, 60), (60, 40, 100), (1, 0, 100)] {
        let grant = lease(&fixture, holder(), 1, &key, want).await;
        assert_eq!(
            (grant.granted.get(), grant.balance),
            (granted, balance(0, leased))
        );
    }
    assert_eq!(state(&fixture, &key).await, balance(0, 100));
}

/// Asking for nothing, or with a limit of nothing, grants nothing.
pub async fn nothing_is_granted_of_nothing(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    assert_eq!(lease(&fixture, holder, 1, &key, 0).await.granted, Units::ZERO);
    let none = fixture.store.lease(&ask(holder, 2, &key, 0, 10)).await.unwrap();
    assert_eq!(none.granted, Units::ZERO);
    assert_eq!(state(&fixture, &key).await, balance(0, 0));
}

/// The greatest limit can be leased whole, and not a unit more.
pub async fn the_greatest_limit_can_be_leased(fixture: QuotaFixture) {
    let (key, max) = (counter(fixture.owner().await.account), Units::MAX.get());
    let all = fixture.store.lease(&ask(holder(), 1, &key, max, max)).await;
    assert_eq!(all.unwrap().granted, Units::MAX);
    let more = fixture.store.lease(&ask(holder(), 1, &key, max, max)).await;
    assert_eq!(more.unwrap().granted, Units::ZERO);
    assert_eq!(state(&fixture, &key).await, balance(0, max));
}

/// A holder's lease grows and keeps its token.
pub async fn a_lease_keeps_its_token(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    let first = lease(&fixture, holder, 1, &key, 10).await;
    let second = lease(&fixture, holder, 2, &key, 20).await;
    assert_eq!((second.granted.get(), second.token), (20, first.token));
    assert_eq!(second.balance, balance(0, 30));
}

/// A limit that falls below what is leased already grants nothing and takes nothing back; one that rises grants more.
pub async fn the_limit_is_the_one_of_each_ask(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    for (operation, limit, granted, leased) in [(1, 50, 40, 40), (2, 30, 0, 40), (3, 60, 20, 60)] {
        let ask = ask(holder, operation, &key, limit, 40);
        let grant = fixture.store.lease(&ask).await.unwrap();
        assert_eq!(
            (grant.granted.get(), grant.balance),
            (granted, balance(0, leased))
        );
    }
}

/// Repeating the last operation grants what it granted the first time and debits nothing.
pub async fn a_repeated_lease_debits_once(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    for (operation, want, granted) in [(1, 30, 30), (2, 80, 70), (3, 10, 0)] {
        let ask = ask(holder, operation, &key, 100, want);
        let first = fixture.store.lease(&ask).await.unwrap();
        assert_eq!(first.granted.get(), granted);
        for _ in 0..3 {
            assert_eq!(fixture.store.lease(&ask).await.unwrap(), first);
        }
    }
    assert_eq!(state(&fixture, &key).await, balance(0, 100));
}

/// A lease repeated after others have leased still grants what it granted the first time.
pub async fn a_late_repeat_grants_what_it_granted(fixture: QuotaFixture) {
    let (key, holder_a, holder_b) = (counter(fixture.owner().await.account), holder(), holder());
    let first = lease(&fixture, holder_a, 1, &key, 30).await;
    lease(&fixture, holder_b, 1, &key, 100).await;
    let again = lease(&fixture, holder_a, 1, &key, 30).await;
    assert_eq!((again.granted, again.token), (first.granted, first.token));
    assert_eq!(state(&fixture, &key).await, balance(0, 100));
}

/// An operation number below the last one is a conflict and debits nothing; numbers may be left out.
pub async fn a_late_operation_is_a_conflict(fixture: QuotaFixture) {
    let (key, holder) = (counter(fixture.owner().await.account), holder());
    lease(&fixture, holder, 1, &key, 10).await;
    lease(&fixture, holder, 7, &key, 10).await;
    for late in [1, 2, 6] {
        let ask = ask(holder, late, &key, 100, 10);
        assert_eq!(kind(fixture.store.lease(&ask).await), StoreErrorKind::Conflict);
    }
    assert_eq!(state(&fixture, &key).await, balance(0, 20));
}

/// Operation numbers belong to one holder and one counter.
pub async fn each_holder_and_counter_has_its_own_numbers(fixture: QuotaFixture) {
    let account = fixture.owner().await.account;
    let (key, first) = (counter(account), holder());
    let tokens = QuotaKey {
        meter: TOKENS,
        ..key.clone()
    };
    let next_run = Holder { epoch: 2, ..first };
    lease(&fixture, first, 5, &key, 10).await;
    lease(&fixture, next_run, 1, &key, 10).await;
    lease(&fixture, holder(), 1, &key, 10).await;
    lease(&fixture, first, 1, &tokens, 10).await;
    assert_eq!(state(&fixture, &key).await, balance(0, 30));
    assert_eq!(state(&fixture, &tokens).await, balance(0, 10));
}

/// Counters of different accounts, meters and period starts don't touch each other, and balances come in the order
/// asked.
pub async fn counters_do_not_touch_each_other(fixture: QuotaFixture) {
    let (account, other) = (fixture.owner().await.account, fixture.owner().await.account);
    let later = Period {
        start: just_after(at(0)),
        end: at(86_400),
    };
    let key = counter(account);
    let keys = [
        QuotaKey {
            period: later,
            ..key.clone()
        },
        counter(other),
        QuotaKey {
            meter: TOKENS,
            ..key.clone()
        },
        key.clone(),
    ];
    for (number, key) in keys.iter().enumerate() {
        let grant = lease(&fixture, holder(), 1, key, 10 + number as u64).await;
        assert_eq!(grant.balance, balance(0, 10 + number as u64));
    }
    let never_used = counter(fixture.owner().await.account);
    let [a, b, c, d] = keys;
    let asked = [d.clone(), never_used, a, b, d, c];
    let expected = [13, 0, 10, 11, 13, 12].map(|leased| balance(0, leased));
    assert_eq!(fixture.store.balances(&asked).await.unwrap(), expected);
}

/// An account's counter and those of its keys don't touch each other, whatever is done to one of them.
pub async fn counters_of_keys_do_not_touch_each_other(fixture: QuotaFixture) {
    let owner = fixture.owner().await;
    let of_account = counter(owner.account);
    let keys: [KeyId; 2] = [uuid().into(), uuid().into()];
    let longest = MeterName::parse(&"m".repeat(KeyQuotas::METER_MAX)).expect("a name");
    let of_key = |key, meter: &MeterName| QuotaKey {
        key: Some(key),
        meter: meter.clone(),
        ..of_account.clone()
    };
    let all = [
        of_account.clone(),
        of_key(keys[0], &MeterName::REQUESTS),
        of_key(keys[1], &MeterName::REQUESTS),
        of_key(keys[0], &TOKENS),
        of_key(keys[0], &longest),
        QuotaKey {
            meter: longest.clone(),
            ..of_account.clone()
        },
    ];
    let (mut expected, run) = ([balance(0, 0); 6], holder());
    let mut tokens = Vec::new();
    for (number, key) in all.iter().enumerate() {
        let units = 10 + number as u64;
        let grant = lease(&fixture, run, 1, key, units).await;
        expected[number] = balance(0, units);
        assert_eq!((grant.granted.get(), grant.balance), (units, expected[number]));
        tokens.push(grant.token);
    }
    assert_eq!(fixture.store.balances(&all).await.unwrap(), expected);
    for (number, key) in all.iter().enumerate() {
        let spent = [settlement(key, Some(tokens[number]), number as u64 + 1)];
        settle(&fixture, run, number as u64 + 1, &spent).await;
        let release = give_back(run, 2, key, tokens[number], 2);
        let told = fixture.store.release(&release).await.unwrap();
        expected[number] = balance(number as u64 + 1, 7);
        assert_eq!(told, expected[number]);
        assert_eq!(fixture.store.balances(&all).await.unwrap(), expected);
    }
    let closed = fixture
        .store
        .close_earlier(Holder { epoch: 2, ..run }, at(5))
        .await;
    assert_eq!(closed.unwrap().get(), 42);
    let closed = [1, 2, 3, 4, 5, 6].map(|used| balance(used, 0));
    assert_eq!(fixture.store.balances(&all).await.unwrap(), closed);
    // Each is limited for itself.
    for (number, key) in all.iter().enumerate() {
        let grant = lease(&fixture, holder(), 1, key, 100).await;
        assert_eq!(grant.granted.get(), 99 - number as u64);
    }
}

/// There is one counter for one period start, wherever the period ends.
pub async fn a_periods_start_makes_the_counter(fixture: QuotaFixture) {
    let key = counter(fixture.owner().await.account);
    let longer = QuotaKey {
        period: Period {
            start: key.period.start,
            end: at(99_999),
        },
        ..key.clone()
    };
    lease(&fixture, holder(), 1, &key, 60).await;
    assert_eq!(lease(&fixture, holder(), 1, &longer, 60).await.granted.get(), 40);
    assert_eq!(state(&fixture, &longer).await, balance(0, 100));
}

/// Periods may be far away, and their start counts to the microsecond.
pub async fn far_away_periods_are_counted(fixture: QuotaFixture) {
    let account = fixture.owner().await.account;
    let starts = [
        Timestamp::MIN,
        Timestamp::from_micros(-1),
        Timestamp::from_micros(253_402_300_799_999_998),
    ];
    for start in starts {
        let period = Period {
            start,
            end: Timestamp::MAX,
        };
        let key = QuotaKey {
            period,
            ..counter(account)
        };
        lease(&fixture, holder(), 1, &key, 10).await;
        assert_eq!(state(&fixture, &key).await, balance(0, 10));
    }
}

/// Many balances can be asked for at once.
pub async fn many_balances_are_answered_in_order(fixture: QuotaFixture) {
    let account = fixture.owner().await.account;
    let period = |number: i64| Period {
        start: at(number * 60),
        end: at(number * 60 + 60),
    };
    let key = |number: i64| QuotaKey {
        period: period(number),
        ..counter(account)
    };
    for number in [3, 250, 499] {
        lease(&fixture, holder(), 1, &key(number), number as u64 % 100).await;
    }
    let asked: Vec<_> = (0..500).rev().map(key).collect();
    let answer = fixture.store.balances(&asked).await.unwrap();
    let leased: Vec<_> = answer.into_iter().map(|has| has.leased.get()).collect();
    let expected = |number: i64| match number {
        3 | 250 | 499 => number as u64 % 100,
        _ => 0,
    };
    assert_eq!(leased, (0..500).rev().map(expected).collect::<Vec<_>>());
}
