use allocation_counter::measure;
use uuid::Uuid;

use super::*;
use crate::id::AccountId;
use crate::keys::{ChangeSubject, IpAllow, KeyLimits, Verified};
use crate::meter::directory::tests::{
    SECOND, directory, directory_of, is_known, keep, lease_book, plan, verified,
};
use crate::meter::directory::{Fingerprint, LeaseBook};
use crate::name::PlanId;
use crate::plan::{ConcurrencyLimit, Plan, Quota, RateLimit};
use crate::principal::Principal;
use crate::rate::gcra::Check;
use crate::testing::TestClock;
use crate::time::{Clock, Timestamp};

/// What a meter believes of callers in these tests, and of their plan.
struct Asked<'a> {
    plan: Arc<Plan>,
    book: Option<&'a LeaseBook>,
}

impl Asked<'_> {
    fn keep(&self, directory: &Directory, number: u128, verified: &Verified) -> Arc<Caller> {
        let asked = (directory.moment(), SECOND);
        directory
            .keep(
                Fingerprint::new(number),
                verified,
                Arc::clone(&self.plan),
                self.book,
                asked,
            )
            .unwrap()
    }
}

fn without_limits() -> Asked<'static> {
    Asked {
        plan: plan(&[]),
        book: None,
    }
}

/// A caller with so many scopes of 40 letters.
fn scoped(number: u128, scopes: usize) -> Verified {
    let mut verified = verified(number);
    let scopes = (0..scopes).map(|scope| format!("{scope:040}")).collect();
    verified.principal = verified.principal.with_scopes(scopes);
    verified
}

/// With everything that a key can have.
fn equipped(number: u128) -> Verified {
    let mut verified = scoped(number, 20);
    let rate = |name: String| RateLimit {
        name,
        limit: 5,
        per: SECOND,
        burst: 5,
    };
    let limits = KeyLimits::new((0..4).map(|number| rate(format!("{number:030}")))).unwrap();
    let networks = (0..30).map(|number| format!("10.{number}.0.0/16").parse().unwrap());
    verified.principal = verified
        .principal
        .with_limits(limits)
        .with_ip_allow(IpAllow::new(networks).unwrap());
    verified.expires_at = Some(Timestamp::MAX);
    verified
}

/// Makes a caller of a number.
type Maker = fn(u128) -> Verified;

fn sum(directory: &Directory) -> usize {
    let mut sum = 0;
    directory.callers.for_each(|caller| sum += caller.bytes());
    sum
}

#[test]
fn callers_with_much_to_them_stay_within_the_bytes_and_small_ones_take_the_room() {
    let (most, asked) = (200_000, without_limits());
    let directory = directory_of(10_000, most);
    for number in 0..300 {
        asked.keep(&directory, number, &scoped(number, 100));
        assert!(directory.bytes() <= most);
        assert!(is_known(&directory, number, SECOND), "the last one is kept");
    }
    let large = directory.len();
    assert!((15..40).contains(&large), "{large} are kept");
    for number in 1_000..3_000 {
        asked.keep(&directory, number, &verified(number));
        assert!(directory.bytes() <= most);
    }
    assert!(directory.len() > 400, "{} are kept", directory.len());
    assert_eq!(directory.bytes(), sum(&directory));
    assert!(directory.accounts.len() <= directory.len() + 1);
}

#[test]
fn one_with_more_than_all_of_the_bytes_is_kept_alone() {
    let (directory, asked) = (directory_of(10, 2_000), without_limits());
    for number in 0..4 {
        asked.keep(&directory, number, &verified(number));
    }
    assert_eq!(directory.len(), 4);
    asked.keep(&directory, 5, &scoped(5, 100));
    assert!(is_known(&directory, 5, SECOND));
    assert_eq!(directory.len(), 1);
    asked.keep(&directory, 6, &verified(6));
    assert!(is_known(&directory, 6, SECOND));
    assert_eq!((directory.len(), directory.bytes()), (1, sum(&directory)));
}

#[test]
fn a_caller_that_grows_makes_others_make_way_and_not_itself() {
    let (most, asked) = (6_000, without_limits());
    let directory = directory_of(10, most);
    for scopes in [0, 5, 60, 1, 60] {
        for number in 0..5 {
            asked.keep(&directory, number, &scoped(number, scopes));
            assert!(is_known(&directory, number, SECOND));
            assert!(directory.bytes() <= most, "{}", directory.bytes());
            assert_eq!(directory.bytes(), sum(&directory));
        }
    }
    assert_eq!(directory.len(), 1);
}

#[tokio::test]
async fn the_bytes_are_those_that_are_allocated_about() {
    let clock = TestClock::at(Timestamp::from_micros(0));
    let book = lease_book(&clock);
    let rates = Asked {
        plan: plan(&[5, 6]),
        book: None,
    };
    let quotas = Plan::new("free")
        .rate(RateLimit::per_second(1))
        .concurrency(ConcurrencyLimit::new(5))
        .quota(Quota::per_day(100))
        .quota(Quota::per_month(100).of("tokens"));
    let quotas = Asked {
        plan: Arc::new(quotas),
        book: Some(&book),
    };
    let cases: [(&Asked<'_>, Maker); 4] = [
        (&rates, verified),
        (&quotas, verified),
        (&rates, |number| scoped(number, 100)),
        (&quotas, equipped),
    ];
    for (asked, caller) in cases {
        let directory = directory(10_000);
        // What all callers of a plan share comes first.
        asked.keep(&directory, 0, &caller(0));
        let before = directory.bytes();
        let keep = |number| {
            let verified = caller(number);
            let kept = asked.keep(&directory, number, &verified);
            for (_, counter) in kept.account.quotas() {
                counter.open(clock.now());
            }
        };
        let measured = measure(|| (1..2_000).for_each(keep)).bytes_current;
        let (measured, counted) = (usize::try_from(measured).unwrap(), directory.bytes() - before);
        // Allocators round up, and that is in what is counted but not in what is measured.
        assert!(
            (counted * 75 / 100..=counted).contains(&measured),
            "{measured} are allocated, {counted} are counted"
        );
    }
}

#[test]
fn a_text_that_becomes_another_key_leaves_nothing_behind() {
    let (directory, asked) = (directory(10), without_limits());
    for number in 0..5 {
        asked.keep(&directory, 1, &verified(number));
    }
    assert_eq!((directory.len(), directory.by_key.len()), (1, 1));
    assert_eq!(directory.bytes(), sum(&directory));
}

/// Takes all that its account's rates of five a second have.
fn take(caller: &Caller) {
    let mut buckets = caller.account.buckets().iter();
    assert!(buckets.all(|bucket| matches!(bucket.take(nanos(SECOND), 5), Check::Fits(_))));
}

#[test]
fn those_whose_rates_have_recovered_make_way_first() {
    let directory = directory(4);
    let asked = Asked {
        plan: plan(&[5]),
        book: None,
    };
    for number in [1, 2, 3, 4] {
        let caller = asked.keep(&directory, number, &verified(number));
        if number != 3 {
            take(&caller);
        }
    }
    asked.keep(&directory, 5, &verified(5));
    let known = [1, 2, 3, 4, 5].map(|number| is_known(&directory, number, SECOND));
    assert_eq!(known, [true, true, false, true, true]);
}

#[test]
fn somebody_makes_way_though_no_rate_has_recovered() {
    let directory = directory(50);
    let asked = Asked {
        plan: plan(&[5]),
        book: None,
    };
    for number in 0..200 {
        let caller = asked.keep(&directory, number, &verified(number));
        take(&caller);
        assert!(directory.len() <= 50 && is_known(&directory, number, SECOND));
    }
}

#[test]
fn accounts_whose_last_caller_went_during_a_request_are_forgotten_when_it_is_over() {
    let directory = directory(2);
    let held: Vec<_> = (0..200)
        .map(|number| without_limits().keep(&directory, number, &verified(number)))
        .collect();
    assert_eq!(directory.accounts.len(), 200, "requests are under way in them");
    assert_eq!(directory.len(), 2);
    drop(held);
    for number in 1_000..1_100 {
        assert!(keep(&directory, number, directory.moment()));
    }
    assert!(
        directory.accounts.len() <= 4,
        "{} are kept",
        directory.accounts.len()
    );
}

/// With one slot, and a rate and a quota to tell plans apart.
fn one_at_a_time(rate: u32, quota: u64) -> Asked<'static> {
    let plan = Plan::new("free")
        .rate(RateLimit::per_second(rate))
        .quota(Quota::per_day(quota))
        .concurrency(ConcurrencyLimit::new(1));
    Asked {
        plan: Arc::new(plan),
        book: None,
    }
}

fn change(directory: &Directory, number: u128) {
    let account = AccountId::from_uuid(Uuid::from_u128(number));
    directory.apply(ChangeSubject::Account(account));
}

/// Makes the one other caller that there is room for make way.
fn evict(directory: &Directory, number: u128) {
    without_limits().keep(directory, number, &verified(number));
    assert_eq!(directory.len(), 1);
}

#[test]
fn requests_under_way_keep_their_slots_when_their_caller_makes_way() {
    // The rates when the request begins, and each time that its account is asked for again.
    for rates in [&[5, 5][..], &[5, 6], &[5, 5, 5], &[5, 6, 7], &[5, 6, 6, 5]] {
        let directory = directory(1);
        let mut under_way = None;
        for (number, rate) in (100..).zip(rates) {
            let caller = one_at_a_time(*rate, 1).keep(&directory, 1, &verified(1));
            let slots = caller.account.slots();
            if under_way.is_none() {
                let occupied = slots.occupy().unwrap();
                under_way = Some((occupied, Arc::clone(&caller)));
            } else {
                assert!(slots.occupy().is_err(), "{rates:?}: a second one got in");
            }
            drop(caller);
            // The account changes while its caller is there, and then has to make way.
            change(&directory, 1);
            let again = one_at_a_time(*rate, 2).keep(&directory, 1, &verified(1));
            assert!(again.account.slots().occupy().is_err());
            drop(again);
            evict(&directory, number);
        }
        drop(under_way);
        let caller = one_at_a_time(5, 1).keep(&directory, 1, &verified(1));
        assert!(caller.account.slots().occupy().is_ok(), "{rates:?}");
        drop(caller);
        for number in 200..210 {
            evict(&directory, number);
        }
        assert_eq!(directory.accounts.len(), 1, "{rates:?}");
        assert_eq!(directory.cold().replaced.len(), 0, "{rates:?}");
    }
}

#[test]
fn changes_of_accounts_with_slots_leave_little_behind() {
    let directory = directory(10);
    for number in 0..1_000_u128 {
        for rate in 1..5 {
            one_at_a_time(rate, 1).keep(&directory, number, &verified(number));
            change(&directory, number);
        }
    }
    let noted = directory.cold().replaced.len();
    assert!(noted <= 128, "{noted} are noted");
}

#[test]
fn a_caller_without_a_key_makes_way_like_others() {
    let (directory, asked) = (directory(2), without_limits());
    for number in 0..10 {
        let account = AccountId::from_uuid(Uuid::from_u128(number));
        let principal = Principal::new(account, PlanId::from_static("free"), Timestamp::from_micros(0));
        asked.keep(&directory, number, &Verified::new(principal));
        assert!(directory.len() <= 2 && directory.by_key.len() == 0);
    }
    assert_eq!(directory.bytes(), sum(&directory));
}
