use super::unanswered::STALE_FOR;
use super::*;
use crate::time::Timestamp;

fn at(start: i64, end: i64, since: Option<i64>) -> Window {
    let period = Period {
        start: Timestamp::from_micros(start),
        end: Timestamp::from_micros(end),
    };
    let owner = Owner::account(AccountId::from_uuid(uuid::Uuid::nil()));
    let window = Window::new(owner, Arc::new(MeterName::REQUESTS), period);
    window.set_since(since.map(Timestamp::from_micros));
    window
}

fn window() -> Window {
    at(0, 1, None)
}

#[test]
fn units_come_back_when_the_oldest_leave_the_window() {
    let span = |window: &Window| {
        let Period { start, end } = window.span();
        (start.as_micros(), end.as_micros())
    };
    assert_eq!(span(&at(40, 50, None)), (40, 50));
    // Sub-periods of ten, a window of thirty.
    let window = at(40, 50, Some(10));
    assert_eq!(
        span(&window),
        (20, 50),
        "at the next sub-period, as nothing is known"
    );
    for (oldest, end) in [(10, 50), (20, 60), (40, 80), (90, 80)] {
        window.learn_oldest(Some(Timestamp::from_micros(oldest)));
        assert_eq!(span(&window), (end - 30, end));
    }
    window.learn_oldest(None);
    assert_eq!(span(&window), (20, 50));
}

#[test]
fn nothing_is_taken_without_a_lease_or_after_its_end() {
    let window = window();
    assert_eq!(window.take(Units::ONE, 5), Take::Short);
    window.grant(Units::new(2), 10, 0);
    assert_eq!(window.take(Units::ONE, 9), Take::Taken);
    assert_eq!(window.take(Units::ONE, 10), Take::Short);
    assert_eq!(window.take(Units::ONE, 9), Take::TakenLow);
    assert_eq!(window.take(Units::ONE, 9), Take::Short);
    assert_eq!(window.taken_by_all(), Units::new(2));
}

#[test]
fn units_put_back_can_be_taken_again() {
    let window = window();
    window.grant(Units::new(3), 10, 0);
    assert_eq!(window.take(Units::new(3), 0), Take::TakenLow);
    window.put_back(Units::new(2));
    assert_eq!(
        (window.taken_by_all(), window.remaining()),
        (Units::ONE, Units::new(2))
    );
    assert_eq!(window.drain(Units::new(5)), Units::ZERO);
    assert_eq!(window.drain(Units::ONE), Units::ONE);
    assert_eq!(window.drain(Units::ZERO), Units::ONE);
    assert_eq!(window.take(Units::ONE, 0), Take::Short);
}

#[test]
fn what_others_used_is_never_overestimated() {
    let window = window();
    window.note_taken(Units::new(5));
    window.note_submitted(Units::new(5));
    window.learn(Balance {
        used: Units::new(3),
        leased: Units::ZERO,
    });
    assert_eq!(window.taken_by_all(), Units::new(5));
    window.learn(Balance {
        used: Units::new(9),
        leased: Units::ZERO,
    });
    assert_eq!(window.taken_by_all(), Units::new(9));
    window.learn(Balance {
        used: Units::new(7),
        leased: Units::ZERO,
    });
    assert_eq!(window.taken_by_all(), Units::new(9));
}

#[test]
fn a_greater_limit_a_smaller_need_and_a_later_time_are_other_questions() {
    let window = window();
    let ask = |limit, need, now| window.exhaustion(Units::new(limit), Units::new(need), now);
    assert_eq!(ask(5, 3, 1), Exhaustion::No);
    window.grant(Units::new(2), u64::MAX, 0);
    window.set_exhausted(Units::new(5), 10);
    assert_eq!(ask(5, 3, 9), Exhaustion::Known);
    assert_eq!(ask(5, 3, 10), Exhaustion::Stale);
    assert_eq!(ask(6, 3, 1), Exhaustion::No);
    assert_eq!(ask(5, 2, 1), Exhaustion::No);
    assert_eq!(ask(5, 3, 10 + STALE_FOR), Exhaustion::No);
    assert!(!window.may_have_more(Units::new(5), 9) && window.may_have_more(Units::new(5), 10));
    window.clear_exhausted();
    assert_eq!(ask(5, 3, 9), Exhaustion::No);
}

#[test]
fn many_threads_take_exactly_what_was_leased() {
    let window = Arc::new(window());
    window.grant(Units::new(10_000), u64::MAX, 0);
    let taken: u64 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let window = Arc::clone(&window);
                scope.spawn(move || {
                    (0..5_000)
                        .filter(|_| window.take(Units::ONE, 0) != Take::Short)
                        .count() as u64
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(taken, 10_000);
    assert_eq!(
        (window.taken_by_all(), window.remaining()),
        (Units::new(10_000), Units::ZERO)
    );
}
