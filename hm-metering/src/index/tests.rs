use std::hash::RandomState;

use super::*;

#[derive(Debug, PartialEq, Eq)]
struct Numbered(u32, &'static str);

struct ByNumber;

impl Lookup for ByNumber {
    type Value = Numbered;
    type Key<'a> = u32;
    type Hasher = RandomState;

    fn key(value: &Numbered) -> Option<u32> {
        Some(value.0)
    }

    fn has_key(value: &Numbered, key: &u32) -> bool {
        value.0 == *key
    }
}

fn filled(numbers: u32) -> Index<ByNumber> {
    let index = Index::default();
    for number in 0..numbers {
        assert!(index.insert(Arc::new(Numbered(number, "first"))).is_none());
    }
    index
}

fn places(index: &Index<ByNumber>) -> usize {
    index.shards.iter().map(|shard| shard.table.load().len()).sum()
}

fn count(index: &Index<ByNumber>) -> usize {
    let mut count = 0;
    index.for_each(|_| count += 1);
    count
}

/// Removes all values but those.
fn keep(index: &Index<ByNumber>, is_kept: impl Fn(u32) -> bool) {
    let mut numbers = Vec::new();
    index.for_each(|value| numbers.push(value.0));
    for number in numbers.into_iter().filter(|number| !is_kept(*number)) {
        assert!(index.remove_if(&number, |_| true).is_some());
    }
}

#[test]
fn there_is_one_value_for_a_key_and_the_last_one_stays() {
    let index = filled(1_000);
    let before = index.insert(Arc::new(Numbered(7, "second")));
    assert_eq!(before.as_deref(), Some(&Numbered(7, "first")));
    assert_eq!((index.len(), count(&index)), (1_000, 1_000));
    assert_eq!(*index.get(&7).unwrap(), Numbered(7, "second"));
    assert!(index.get(&1_000).is_none());
}

#[test]
fn a_value_is_made_once() {
    let index = filled(10);
    let made = index.get_or_insert(&10, || Numbered(10, "made"));
    assert!(Arc::ptr_eq(
        &made,
        &index.get_or_insert(&10, || Numbered(10, "again"))
    ));
    assert!(Arc::ptr_eq(&made, &index.get_exactly(&10).unwrap()));
    assert_eq!(index.get_or_insert(&3, || Numbered(3, "made")).1, "first");
    assert_eq!(index.len(), 11);
}

#[test]
fn what_is_removed_is_not_found_and_the_rest_is() {
    let index = filled(1_000);
    assert!(index.remove_if(&3, |_| false).is_none(), "it is not meant");
    for number in (0..1_000).filter(|number| number % 3 == 0) {
        assert_eq!(index.remove_if(&number, |_| true).unwrap().0, number);
        assert!(index.remove_if(&number, |_| true).is_none());
    }
    for number in 0..1_000 {
        assert_eq!(index.get(&number).is_some(), number % 3 != 0);
    }
    assert_eq!((index.len(), count(&index)), (666, 666));
}

#[test]
fn room_that_nobody_needs_is_given_back() {
    let index = filled(20_000);
    keep(&index, |number| number < 5);
    assert_eq!(index.len(), 5);
    assert!((0..5).all(|number| index.get(&number).is_some()));
    assert!(places(&index) < 32 * 64, "{} places are left", places(&index));
}

#[test]
fn coming_and_going_takes_no_more_room() {
    let index = filled(1_000);
    let before = places(&index);
    for number in 1_000..50_000 {
        index.remove_if(&(number - 1_000), |_| true).unwrap();
        index.insert(Arc::new(Numbered(number, "later")));
    }
    assert_eq!(index.len(), 1_000);
    assert!(places(&index) <= before * 3, "{} places", places(&index));
}

#[test]
fn a_hand_comes_to_every_value_in_a_round() {
    let index = filled(500);
    let mut hand = Hand::default();
    for _ in 0..2 {
        let mut seen: Vec<_> = (0..500).map(|_| index.next(&mut hand).unwrap().0).collect();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..500));
    }
    keep(&index, |number| number == 400);
    for _ in 0..3 {
        assert_eq!(index.next(&mut hand).unwrap().0, 400);
    }
    keep(&index, |_| false);
    assert!(index.next(&mut hand).is_none());
}

#[test]
fn what_stays_is_always_found_while_others_come_and_go() {
    let index = filled(100);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for round in 0..20 {
                for number in 100..1_100 {
                    index.insert(Arc::new(Numbered(number, "fleeting")));
                }
                for number in 100..1_100 {
                    index.remove_if(&number, |_| true);
                }
                index.insert(Arc::new(Numbered(round, "again")));
            }
        });
        while !writing.is_finished() {
            for number in 0..100 {
                assert_eq!(index.get(&number).unwrap().0, number);
            }
        }
    });
    assert_eq!(index.len(), 100);
}
