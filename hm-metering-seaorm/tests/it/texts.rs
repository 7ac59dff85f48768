//! Texts that one database would keep and another not: all of them do the same.

use hm_metering::keys::{KeyPatch, NewKey};
use hm_metering::page::PageRequest;
use hm_metering::usage::{Event, UsageQuery};
use hm_metering::{AccountId, KeyStore, MeterName, PlanId, StoreErrorKind, Timestamp, UsageSink, UsageStore};
use hm_metering_seaorm::operator::{self, CLOSING_GRACE, Correction, close_periods, correct};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{NOW, account, batch, counter, event, holder, later, new_key, settlement, store};

#[tokio::test]
async fn keys_with_texts_that_do_not_fit_are_invalid() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let account = account(&store).await;
        let with = |change: fn(&mut NewKey)| {
            let mut key = new_key(account);
            change(&mut key);
            key
        };
        let wrong = [
            with(|key| key.name = "a\0b".to_owned()),
            with(|key| key.name = "n".repeat(256)),
            with(|key| key.prefix = "p".repeat(65)),
            with(|key| key.last4 = "l".repeat(9)),
            with(|key| key.scopes = vec!["data:read".to_owned(), "\0".to_owned()]),
            with(|key| key.metadata = [("team\0".to_owned(), "a".to_owned())].into()),
            with(|key| key.metadata = [("team".to_owned(), "\0a".to_owned())].into()),
        ];
        for key in wrong {
            let error = store.insert(&key).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{key:?}");
        }
        let most = with(|key| {
            key.name = "\u{1f511}".repeat(255);
            key.prefix = "p".repeat(64);
            key.last4 = "l".repeat(8);
            key.scopes = vec!["\u{1}".to_owned(), String::new()];
        });
        let kept = store.insert(&most).await.unwrap();
        assert_eq!((&kept.name, &kept.scopes), (&most.name, &most.scopes));
        let patches = [
            KeyPatch {
                name: Some("n".repeat(256)),
                ..KeyPatch::default()
            },
            KeyPatch {
                scopes: Some(vec!["\0".to_owned()]),
                ..KeyPatch::default()
            },
            KeyPatch {
                metadata: Some([("\0".to_owned(), String::new())].into()),
                ..KeyPatch::default()
            },
        ];
        for patch in patches {
            let error = store.update(account, kept.id, &patch, NOW).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid, "{patch:?}");
        }
        assert_eq!(store.get(account, kept.id).await.unwrap(), Some(kept));
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn accounts_and_corrections_with_texts_that_do_not_fit_are_invalid() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let free = PlanId::from_static("free");
        let open = async |name: &str| {
            let id = AccountId::from_uuid(Uuid::new_v4());
            store.open_account(id, name, &free, NOW).await
        };
        for name in ["a\0b", &"n".repeat(256)] {
            let error = open(name).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
        }
        open(&"ü".repeat(255)).await.unwrap();

        let counter = counter(account(&store).await);
        let event = event(counter.account, None);
        let batch = batch(holder(), 1, vec![event], vec![settlement(&counter, None, 1)]);
        store.record(&batch).await.unwrap();
        let after = later(86_400).plus(CLOSING_GRACE);
        close_periods(&store, after, CLOSING_GRACE, 10).await.unwrap();
        let credit = |reason: &str| Correction {
            count: 0,
            units: -1,
            reason: reason.to_owned(),
            late: false,
            at: after,
        };
        let start = counter.period.start;
        for reason in ["a\0b", &"x".repeat(256)] {
            let account = counter.account;
            let error = correct(&store, account, &MeterName::REQUESTS, start, &credit(reason))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Invalid);
        }
        database.close().await.unwrap();
    }
}

#[tokio::test]
async fn events_with_texts_that_do_not_fit_are_kept_with_what_fits() {
    for database in TestDatabase::every().await.unwrap() {
        let store = store(&database).await;
        let counter = counter(account(&store).await);
        let long = |character: char| character.to_string().repeat(600);
        let event = Event {
            endpoint: long('ü').into(),
            method: long('M').into(),
            source: Some(format!("\0{}", long('s')).into()),
            refusal: Some(long('r').into()),
            would_refuse: Some(long('w').into()),
            request_id: long('i'),
            tags: vec![("a\0".to_owned(), "\0b".to_owned())],
            ..event(counter.account, None)
        };
        let batch = batch(holder(), 1, vec![event], vec![settlement(&counter, None, 1)]);
        store.record(&batch).await.unwrap();
        store.record(&batch).await.unwrap();
        let all = UsageQuery::new(counter.account, Timestamp::MIN, Timestamp::MAX);
        let kept = store.recent(&all, &PageRequest::first(10)).await.unwrap().items;
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].endpoint.to_string(), "ü".repeat(512));
        assert_eq!(kept[0].method.to_string(), "M".repeat(32));
        let source = format!("\u{fffd}{}", "s".repeat(127));
        assert_eq!(kept[0].source.as_deref(), Some(source.as_str()));
        assert_eq!(kept[0].refusal.as_deref(), Some("r".repeat(64).as_str()));
        assert_eq!(kept[0].would_refuse.as_deref(), Some("w".repeat(64).as_str()));
        assert_eq!(kept[0].request_id, "i".repeat(128));
        assert_eq!(kept[0].tags, [("a\u{fffd}".to_owned(), "\u{fffd}b".to_owned())]);
        let mut found = Vec::new();
        operator::check(&store, |difference| found.push(difference.to_string()))
            .await
            .unwrap();
        assert_eq!(found, Vec::<String>::new());
        database.close().await.unwrap();
    }
}
