//! Events come back as they were recorded, once, and to their own account.

use super::{UsageFixture, all_events, newest_first, record};
use crate::conformance::sample::{
    FAR_TIMES, TEXTS, TOKENS, all_of, at, at_once, batch, drop_after, event, just_after, kind, refused, uuid,
};
use crate::error::StoreErrorKind;
use crate::name::{MeterName, OperationName};
use crate::page::PageRequest;
use crate::units::Units;
use crate::usage::{Batch, Event, Grain, Outcome, Recorded, UsageQuery};

/// Every field of an event comes back as it was, whichever way the request ended.
pub async fn events_come_back_as_they_were(fixture: UsageFixture) {
    let owner = fixture.owner().await;
    let outcomes = [
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
    let mut events: Vec<Event> = outcomes
        .into_iter()
        .map(|outcome| Event {
            user: Some(owner.user),
            key: Some(uuid().into()),
            source: Some("wiki".into()),
            status: 499,
            outcome,
            units: vec![(MeterName::REQUESTS, Units::MAX), (TOKENS, Units::ONE)],
            response_time_us: 30 * 86_400_000_000,
            first_byte_us: Some(29 * 86_400_000_000),
            bytes_in: 1,
            bytes_out: 1 << 40,
            tags: vec![
                ("model".to_owned(), "small".to_owned()),
                ("region".to_owned(), "eu".to_owned()),
            ],
            ..event(owner.account, at(1))
        })
        .collect();
    events.push(refused(owner.account, at(2)));
    events.push(Event {
        status: 100,
        units: Vec::new(),
        response_time_us: 0,
        request_id: String::new(),
        ..event(owner.account, at(3))
    });
    record(&fixture, &events).await;
    assert_eq!(
        all_events(&fixture, &all_of(owner.account)).await,
        newest_first(events)
    );
}

/// What is known of some requests only comes back as it was, from nothing to the greatest number there is.
pub async fn details_come_back_as_they_were(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let greatest = i64::MAX.unsigned_abs();
    let mut events = Vec::new();
    for (first_byte, bytes) in [(None, 0), (Some(0), 1), (Some(greatest), greatest)] {
        for (grpc_status, over, would_refuse) in [
            (None, true, None),
            (Some(0), false, Some("quota_exceeded")),
            (Some(16), true, Some("")),
            (Some(u8::MAX), false, None),
        ] {
            events.push(Event {
                grpc_status,
                would_refuse: would_refuse.map(Into::into),
                over,
                response_time_us: greatest,
                first_byte_us: first_byte,
                bytes_in: bytes,
                bytes_out: greatest - bytes,
                replica: uuid().into(),
                ..event(account, at(1))
            });
        }
    }
    record(&fixture, &events).await;
    assert_eq!(all_events(&fixture, &all_of(account)).await, newest_first(events));
}

/// Tags come back sorted by name, with any text as name and value, as many and as long as they may be.
pub async fn tags_come_back_as_they_were(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let tags = |number: usize| {
        let mut tags: Vec<_> = (0..number)
            .map(|place| {
                let name = format!("{place}{}", "N".repeat(Event::TAG_NAME_MAX - 1));
                // Two bytes a letter.
                (name, "ж".repeat(Event::TAG_VALUE_MAX / 2))
            })
            .collect();
        tags.sort();
        tags
    };
    let mut events: Vec<Event> = [0, 1, Event::TAGS_MAX]
        .map(|number| Event {
            tags: tags(number),
            ..event(account, at(1))
        })
        .into();
    // In the order of bytes, not by length and not without regard to case.
    let awkward = ["", "B", "a", "aa", "b", "null", "é", "名"];
    for text in TEXTS {
        events.push(Event {
            tags: awkward.map(|name| (name.to_owned(), text.to_owned())).into(),
            ..event(account, at(2))
        });
    }
    record(&fixture, &events).await;
    assert_eq!(all_events(&fixture, &all_of(account)).await, newest_first(events));
}

/// Any text comes back as it was, and names of the greatest length do.
pub async fn text_of_events_comes_back_as_it_was(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let name: &'static str = "abcdefghijklmnopqrstuvwxyz.0123456789_-abcdefghijklmnopqrstuvwxy";
    let mut events: Vec<Event> = TEXTS
        .iter()
        .map(|text| Event {
            endpoint: (*text).into(),
            method: "PROPFIND".into(),
            source: Some((*text).into()),
            request_id: (*text).to_owned(),
            ..event(account, at(1))
        })
        .collect();
    events.push(Event {
        operation: OperationName::from_static(name),
        endpoint: "é".repeat(128).into(),
        method: "M".repeat(32).into(),
        source: Some("s".repeat(64).into()),
        refusal: Some("r".repeat(64).into()),
        would_refuse: Some("w".repeat(64).into()),
        units: vec![(MeterName::from_static(name), Units::ONE)],
        request_id: "i".repeat(128),
        ..event(account, at(2))
    });
    record(&fixture, &events).await;
    assert_eq!(all_events(&fixture, &all_of(account)).await, newest_first(events));
}

/// Far-away times are kept to the microsecond, and a range's start is in it and its end is not.
pub async fn ranges_are_exact_to_the_microsecond(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events: Vec<Event> = FAR_TIMES.iter().map(|far| event(account, *far)).collect();
    record(&fixture, &events).await;
    for event in &events[..events.len() - 1] {
        let after = just_after(event.at);
        let query = UsageQuery::new(account, event.at, after);
        assert_eq!(all_events(&fixture, &query).await, std::slice::from_ref(event));
        assert_eq!(fixture.store.totals(&query).await.unwrap().requests, 1);
        let late = UsageQuery::new(account, after, just_after(after));
        let expected: Vec<_> = events
            .iter()
            .filter(|event| late.matches(event))
            .cloned()
            .collect();
        assert_eq!(all_events(&fixture, &late).await, expected);
    }
}

/// Empty and reversed ranges have no events.
pub async fn an_empty_range_has_no_events(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    record(&fixture, &[event(account, at(1))]).await;
    for (from, to) in [(1, 1), (2, 1), (50, -50)] {
        let query = UsageQuery::new(account, at(from), at(to));
        assert_eq!(all_events(&fixture, &query).await, []);
        assert_eq!(fixture.store.totals(&query).await.unwrap(), Default::default());
        let series = fixture.store.series(&query, Grain::Minute).await;
        assert_eq!(series.unwrap(), []);
        assert_eq!(fixture.store.response_times(&query, &[0.5]).await.unwrap(), None);
    }
}

/// Another account's events are neither seen nor counted, though its key is named.
pub async fn another_accounts_events_are_not_seen(fixture: UsageFixture) {
    let (account, stranger) = (fixture.owner().await.account, fixture.owner().await.account);
    let key = uuid().into();
    let mine = Event {
        key: Some(key),
        ..event(account, at(1))
    };
    let theirs = Event {
        key: Some(key),
        status: 500,
        ..event(stranger, at(1))
    };
    record(&fixture, &[mine.clone(), theirs]).await;
    let nobody = uuid().into();
    for (who, expected) in [(account, vec![mine.clone()]), (nobody, Vec::new())] {
        for query in [all_of(who), all_of(who).of_key(key)] {
            assert_eq!(all_events(&fixture, &query).await, expected);
            let totals = fixture.store.totals(&query).await.unwrap();
            assert_eq!((totals.requests, totals.failed), (expected.len() as u64, 0));
            let times = fixture.store.response_times(&query, &[1.0]).await.unwrap();
            assert_eq!(times.is_some(), !expected.is_empty());
        }
    }
    let series = fixture
        .store
        .series(&UsageQuery::new(account, at(0), at(60)), Grain::Hour)
        .await
        .unwrap();
    assert_eq!(series.iter().map(|point| point.totals.requests).sum::<u64>(), 1);
}

/// A query of one key has that key's events only.
pub async fn a_query_of_a_key_has_its_events_only(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let (key, other) = (uuid().into(), uuid().into());
    let events = [Some(key), Some(other), None].map(|key| Event {
        key,
        ..event(account, at(1))
    });
    record(&fixture, &events).await;
    let query = UsageQuery::new(account, at(0), at(60)).of_key(key);
    assert_eq!(all_events(&fixture, &query).await, [events[0].clone()]);
    assert_eq!(fixture.store.totals(&query).await.unwrap().requests, 1);
    let series = fixture.store.series(&query, Grain::Minute).await;
    assert_eq!(series.unwrap()[0].totals.requests, 1);
    let unknown = query.of_key(uuid().into());
    assert_eq!(all_events(&fixture, &unknown).await, []);
}

/// What a repeated batch brings is listed and counted once.
pub async fn a_repeated_batch_counts_once(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let batch = batch(vec![event(account, at(1)), event(account, at(2))]);
    for _ in 0..3 {
        fixture.store.record(&batch).await.unwrap();
    }
    let query = all_of(account);
    assert_eq!(
        all_events(&fixture, &query).await,
        newest_first(batch.events.clone())
    );
    let totals = fixture.store.totals(&query).await.unwrap();
    assert_eq!(
        (totals.requests, totals.units[&MeterName::REQUESTS].get()),
        (2, 2)
    );
}

/// What a conflicting batch brings is neither listed nor counted, and what was there stays.
pub async fn a_conflicting_batch_leaves_no_trace(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let first = batch(vec![event(account, at(1)), event(account, at(2))]);
    fixture.store.record(&first).await.unwrap();
    let other_events = Batch {
        events: vec![event(account, at(3))],
        ..first.clone()
    };
    let changed = Event {
        status: 503,
        ..first.events[0].clone()
    };
    let half_new = batch(vec![event(account, at(4)), changed, event(account, at(5))]);
    for batch in [other_events, half_new] {
        assert_eq!(kind(fixture.store.record(&batch).await), StoreErrorKind::Conflict);
        assert_eq!(
            all_events(&fixture, &all_of(account)).await,
            newest_first(first.events.clone())
        );
        let totals = fixture.store.totals(&all_of(account)).await.unwrap();
        assert_eq!((totals.requests, totals.failed), (2, 0));
    }
}

/// Ten thousand events are recorded in one batch.
pub async fn ten_thousand_events_are_recorded_at_once(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let events: Vec<Event> = (0..10_000)
        .map(|number| event(account, at(number % 977)))
        .collect();
    let batch = batch(events.clone());
    assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::New);
    assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::Repeated);
    let query = all_of(account);
    assert_eq!(fixture.store.totals(&query).await.unwrap().requests, 10_000);
    let long = PageRequest::first(100_000);
    let page = fixture.store.recent(&query, &long).await.unwrap();
    assert_eq!(page.items.len(), PageRequest::MAX);
    assert!(
        all_events(&fixture, &query).await == newest_first(events),
        "events differ"
    );
}

/// Batches that arrive at once are all counted.
pub async fn simultaneous_batches_are_all_counted(fixture: UsageFixture) {
    let account = fixture.owner().await.account;
    let recorded = at_once((0..24).map(|number: i64| {
        let mut events: Vec<_> = (0..10).map(|second| event(account, at(second * 30))).collect();
        if number % 2 == 1 {
            events.reverse();
        }
        let (store, batch) = (fixture.store.clone(), batch(events));
        async move { store.record(&batch).await }
    }))
    .await;
    for answer in recorded {
        assert_eq!(answer.unwrap(), Recorded::New);
    }
    let totals = fixture.store.totals(&all_of(account)).await.unwrap();
    assert_eq!(
        (totals.requests, totals.units[&MeterName::REQUESTS].get()),
        (240, 240)
    );
}

/// A send that is given up half-way and repeated counts once.
pub async fn a_dropped_send_counts_once(fixture: UsageFixture) {
    for polls in 0..12 {
        let account = fixture.owner().await.account;
        let events: Vec<_> = (0..20).map(|second| event(account, at(second))).collect();
        let batch = batch(events);
        drop_after(polls, fixture.store.record(&batch)).await;
        fixture.store.record(&batch).await.unwrap();
        let totals = fixture.store.totals(&all_of(account)).await.unwrap();
        assert_eq!(totals.requests, 20);
    }
}
