//! Finding facts: by words, or by the day.

use chrono::{Datelike, NaiveDate};

use super::super::ask::LIMIT_DEFAULT;
use super::facts::Fact;

/// Words that occur everywhere and tell nothing.
const STOP_WORDS: &[&str] = &[
    "a", "about", "an", "and", "are", "as", "at", "be", "by", "can", "do", "does", "for", "from", "has",
    "have", "how", "in", "is", "it", "its", "of", "on", "or", "than", "that", "the", "their", "they", "this",
    "to", "was", "were", "what", "when", "where", "which", "who", "why", "with",
];

/// A fact with its words, taken apart once.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) fact: Fact,
    title: Vec<String>,
    topic: Vec<String>,
    text: Vec<String>,
}

impl Entry {
    pub(super) fn new(fact: Fact) -> Self {
        let words = |text| words(text).map(singular).collect();
        Self {
            title: words(fact.title),
            topic: words(fact.topic),
            text: words(fact.text),
            fact,
        }
    }
}

/// The facts in which a word of `query` occurs: those with most words, in the most telling places, first.
pub(super) fn matching<'a>(entries: &'a [Entry], query: &str) -> Vec<&'a Fact> {
    let wanted: Vec<String> = words(query)
        .filter(|word| !STOP_WORDS.contains(&word.as_str()))
        .map(singular)
        .collect();
    let mut found: Vec<(u32, &Fact)> = entries
        .iter()
        .map(|entry| (wanted.iter().map(|word| weight(entry, word)).sum(), &entry.fact))
        .filter(|(weight, _)| *weight > 0)
        .collect();
    // The sort is stable, so equals stay in the order of the collection.
    found.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    found.into_iter().map(|(_, fact)| fact).collect()
}

/// Every fact once, in an order that mixes the topics. The next day's begins where [`LIMIT_DEFAULT`] facts of this
/// day's end or a little after, so that an answer of usual length has nothing of the day before.
pub(super) fn of_the_day(entries: &[Entry], today: NaiveDate) -> Vec<&Fact> {
    let Ok(len) = i64::try_from(entries.len()) else {
        return Vec::new();
    };
    if len == 0 {
        return Vec::new();
    }
    // A stride without a common divisor visits every place once. The facts of one topic stand together, so a long
    // stride leads to another topic.
    let stride = coprime_from(len * 5 / 13, len);
    let start = i64::from(today.num_days_from_ce()) * coprime_from(i64::from(LIMIT_DEFAULT), len);
    (0..len)
        .filter_map(|step| usize::try_from(((start + step) * stride).rem_euclid(len)).ok())
        .filter_map(|place| entries.get(place))
        .map(|entry| &entry.fact)
        .collect()
}

fn weight(entry: &Entry, wanted: &str) -> u32 {
    3 * occurs(&entry.title, wanted) + 2 * occurs(&entry.topic, wanted) + occurs(&entry.text, wanted)
}

/// 2 for the word itself, 1 for a longer word that starts with it, 0 otherwise.
fn occurs(words: &[String], wanted: &str) -> u32 {
    let is_stem = wanted.chars().count() >= 3;
    let score = |word: &String| match word == wanted {
        true => 2,
        false => u32::from(is_stem && word.starts_with(wanted)),
    };
    words.iter().map(score).max().unwrap_or(0)
}

/// The words of a text in lower case.
fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// The word without the "s" of a plural, so that planets and planet are the same.
fn singular(word: String) -> String {
    match word.strip_suffix('s') {
        Some(stem) if stem.len() >= 3 && !stem.ends_with('s') => stem.to_owned(),
        _ => word,
    }
}

/// The first number at or after `least` that has no divisor in common with `len`.
fn coprime_from(least: i64, len: i64) -> i64 {
    (least.max(1)..)
        .find(|number| greatest_common_divisor(*number, len) == 1)
        .unwrap_or(1)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::LazyLock;

    use super::super::facts;
    use super::*;

    static FACTS: LazyLock<Vec<Entry>> = LazyLock::new(|| facts::all().into_iter().map(Entry::new).collect());

    fn day(n: i32) -> NaiveDate {
        NaiveDate::from_num_days_from_ce_opt(739_000 + n).unwrap()
    }

    #[test]
    fn the_collection_is_large_varied_and_without_repetition() {
        let titles: HashSet<&str> = FACTS.iter().map(|entry| entry.fact.title).collect();
        let topics: HashSet<&str> = FACTS.iter().map(|entry| entry.fact.topic).collect();
        assert!(FACTS.len() >= 60, "{}", FACTS.len());
        assert_eq!(titles.len(), FACTS.len());
        assert!(topics.len() >= 8, "{topics:?}");
        for Entry { fact, .. } in FACTS.iter() {
            assert!(
                fact.text.ends_with('.') && fact.text.len() > 40 && fact.title.len() <= 80,
                "{}",
                fact.title
            );
        }
    }

    #[test]
    fn each_day_has_its_own_first_fact_until_all_had_their_turn() {
        let days = i32::try_from(FACTS.len()).unwrap();
        let first: HashSet<&str> = (0..days).map(|n| of_the_day(&FACTS, day(n))[0].title).collect();
        assert_eq!(first.len(), FACTS.len());
    }

    #[test]
    fn the_pick_of_a_day_stays_the_same_and_holds_every_fact_once() {
        let picked: Vec<&str> = of_the_day(&FACTS, day(7)).iter().map(|fact| fact.title).collect();
        assert_eq!(
            picked,
            of_the_day(&FACTS, day(7))
                .iter()
                .map(|fact| fact.title)
                .collect::<Vec<_>>()
        );
        assert_eq!(picked.iter().collect::<HashSet<_>>().len(), FACTS.len());
    }

    #[test]
    fn a_few_facts_of_a_day_are_about_different_things() {
        let topics: HashSet<&str> = of_the_day(&FACTS, day(0))
            .iter()
            .take(4)
            .map(|fact| fact.topic)
            .collect();
        assert!(topics.len() >= 3, "{topics:?}");
    }

    #[test]
    fn the_next_day_has_other_facts() {
        let picked = |n| {
            of_the_day(&FACTS, day(n))
                .iter()
                .take(10)
                .map(|fact| fact.title)
                .collect::<HashSet<_>>()
        };
        for n in 0..200 {
            assert!(picked(n).is_disjoint(&picked(n + 1)), "day {n}");
        }
    }

    #[test]
    fn no_facts_give_no_pick() {
        assert!(of_the_day(&[], day(0)).is_empty());
        assert!(matching(&[], "octopus").is_empty());
    }

    #[test]
    fn more_matching_words_come_first() {
        let found = matching(&FACTS, "the hearts of an octopus");
        assert!(found[0].title.contains("Octopus"), "{}", found[0].title);
    }

    #[test]
    fn singular_plural_and_case_do_not_matter() {
        let titles = |query| {
            matching(&FACTS, query)
                .iter()
                .map(|fact| fact.title)
                .collect::<Vec<_>>()
        };
        assert!(!titles("planet").is_empty());
        assert_eq!(titles("planet"), titles("PLANETS"));
    }

    #[test]
    fn every_fact_is_found_by_its_title() {
        for Entry { fact, .. } in FACTS.iter() {
            assert_eq!(matching(&FACTS, fact.title)[0].title, fact.title);
        }
    }

    #[test]
    fn what_matches_nothing_finds_nothing() {
        for query in ["xyzzy", "the of and", "…!", "ab"] {
            assert!(matching(&FACTS, query).is_empty(), "{query}");
        }
    }
}
