//! Recording batches.

use super::SinkFixture;
use crate::conformance::sample::{at, at_once, batch, batch_of, drop_after, event, holder, kind, uuid};
use crate::error::StoreErrorKind;
use crate::quota::Holder;
use crate::units::Units;
use crate::usage::{Batch, BatchId, Event, Recorded};

/// The same batch counts once, however often it is sent.
pub async fn a_repeated_batch_is_recognised(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let batch = batch(vec![event(account, at(1)), event(account, at(2))]);
    assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::New);
    for _ in 0..3 {
        assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::Repeated);
    }
}

/// A batch that is put together again at another time is the same batch.
pub async fn a_batch_is_the_same_by_its_events(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let batch = batch(vec![event(account, at(1))]);
    fixture.store.record(&batch).await.unwrap();
    let again = Batch {
        created_at: at(999),
        ..batch
    };
    assert_eq!(fixture.store.record(&again).await.unwrap(), Recorded::Repeated);
}

/// An empty batch is a batch like any other.
pub async fn an_empty_batch_is_recorded(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let empty = batch(Vec::new());
    assert_eq!(fixture.store.record(&empty).await.unwrap(), Recorded::New);
    assert_eq!(fixture.store.record(&empty).await.unwrap(), Recorded::Repeated);
    let other = Batch {
        events: vec![event(account, at(1))],
        ..empty
    };
    assert_eq!(kind(fixture.store.record(&other).await), StoreErrorKind::Conflict);
}

/// Batches are told apart by replica, run and number.
pub async fn batches_of_any_origin_are_told_apart(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let first = holder();
    let next_run = Holder { epoch: 2, ..first };
    for holder in [first, next_run, holder()] {
        for number in [1, 2, 1_000_000_007] {
            let batch = batch_of(holder, number, vec![event(account, at(1))]);
            assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::New);
        }
    }
}

/// The same batch id with other events is a conflict, whichever field differs.
pub async fn a_batch_id_with_other_events_is_a_conflict(fixture: SinkFixture) {
    type Change = fn(&mut Batch);
    let changes: [Change; 18] = [
        |batch| batch.events.clear(),
        |batch| {
            batch.events.pop();
        },
        |batch| batch.events[0].status = 201,
        |batch| batch.events[1].at = at(2),
        |batch| batch.events[1].units[0].1 = Units::new(2),
        |batch| batch.events[1].units.clear(),
        |batch| batch.events[0].source = Some("".into()),
        |batch| batch.events[0].endpoint = "/x".into(),
        |batch| batch.events[0].response_time_us += 1,
        |batch| batch.events[0].grpc_status = Some(0),
        |batch| batch.events[0].would_refuse = Some("".into()),
        |batch| batch.events[0].over = true,
        |batch| batch.events[0].first_byte_us = Some(0),
        |batch| batch.events[0].bytes_in = 1,
        |batch| batch.events[0].bytes_out = 1,
        |batch| batch.events[0].replica = uuid().into(),
        |batch| batch.events[0].tags = vec![(String::new(), String::new())],
        |batch| batch.events[1].tags = vec![("model".to_owned(), "small".to_owned())],
    ];
    let account = fixture.owner().await.account;
    let first = batch(vec![event(account, at(1)), event(account, at(1))]);
    fixture.store.record(&first).await.unwrap();
    for change in changes {
        let mut other = first.clone();
        change(&mut other);
        assert_eq!(kind(fixture.store.record(&other).await), StoreErrorKind::Conflict);
    }
    assert_eq!(fixture.store.record(&first).await.unwrap(), Recorded::Repeated);
}

/// An event that is there from another batch is a conflict, with the same content or other.
pub async fn an_event_of_another_batch_is_a_conflict(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let known = event(account, at(1));
    fixture.store.record(&batch(vec![known.clone()])).await.unwrap();
    let changed = Event {
        status: 500,
        ..known.clone()
    };
    let elsewhere = Event {
        account: fixture.owner().await.account,
        at: at(7),
        ..known.clone()
    };
    for again in [known, changed, elsewhere] {
        let batch = batch(vec![again]);
        assert_eq!(kind(fixture.store.record(&batch).await), StoreErrorKind::Conflict);
    }
}

/// Nothing is recorded of a batch that is half new: neither its id nor its new events.
pub async fn nothing_of_a_half_new_batch_is_recorded(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let known = event(account, at(1));
    fixture.store.record(&batch(vec![known.clone()])).await.unwrap();
    let (before, after) = (event(account, at(0)), event(account, at(2)));
    let half = batch(vec![before.clone(), known, after.clone()]);
    assert_eq!(kind(fixture.store.record(&half).await), StoreErrorKind::Conflict);
    let new = Batch {
        events: vec![before, after],
        ..half
    };
    assert_eq!(fixture.store.record(&new).await.unwrap(), Recorded::New);
}

/// A batch that is sent by many at once is recorded once.
pub async fn simultaneous_sends_of_a_batch_record_once(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let events = (0..50).map(|second| event(account, at(second))).collect();
    let batch = batch(events);
    let answers = at_once((0..16).map(|_| {
        let (store, batch) = (fixture.store.clone(), batch.clone());
        async move { store.record(&batch).await.unwrap() }
    }))
    .await;
    let new = answers.iter().filter(|answer| **answer == Recorded::New).count();
    assert_eq!(new, 1);
}

/// Of many batches with one event in common, one is recorded and the others are conflicts.
pub async fn simultaneous_batches_share_no_event(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let shared = event(account, at(1));
    let answers = at_once((0..12).map(|number| {
        let mut events = vec![shared.clone(), event(account, at(number))];
        if number % 2 == 1 {
            events.reverse();
        }
        let (store, batch) = (fixture.store.clone(), batch(events));
        async move { store.record(&batch).await }
    }))
    .await;
    let (recorded, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(recorded.len(), 1);
    assert!(
        refused
            .into_iter()
            .all(|answer| kind(answer) == StoreErrorKind::Conflict)
    );
}

/// A send that is given up half-way can be repeated: the batch is recorded whole or not at all.
pub async fn a_dropped_send_can_be_repeated(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    for polls in 0..12 {
        let events = (0..20).map(|second| event(account, at(second))).collect();
        let batch = batch(events);
        drop_after(polls, fixture.store.record(&batch)).await;
        fixture.store.record(&batch).await.unwrap();
        assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::Repeated);
    }
}

/// Epochs and numbers may be as great as a 64-bit signed integer.
pub async fn great_batch_numbers_are_kept(fixture: SinkFixture) {
    let account = fixture.owner().await.account;
    let great = i64::MAX.unsigned_abs();
    let id = BatchId {
        replica: holder().replica,
        epoch: great,
        number: great,
    };
    let batch = Batch {
        id,
        ..batch(vec![event(account, at(1))])
    };
    assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::New);
    assert_eq!(fixture.store.record(&batch).await.unwrap(), Recorded::Repeated);
}
