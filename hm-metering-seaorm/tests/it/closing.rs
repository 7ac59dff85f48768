//! Closing what a dead run had leased, when that is a great deal.

use std::time::Duration;

use hm_metering::quota::{Holder, QuotaKey};
use hm_metering::{AccountId, QuotaStore, Units};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::connect::Options;
use hm_metering_seaorm::entity::{quota_counter, quota_lease};
use hm_metering_seaorm::sea_orm::{
    ActiveModelTrait, ColumnTrait, EntityTrait, IntoActiveModel, PaginatorTrait, QueryFilter,
};
use hm_metering_seaorm::testing::TestDatabase;
use uuid::Uuid;

use crate::fixtures::{NOW, ask, counter, holder, later};

const LEASES: usize = 20_000;
const UNITS: i64 = 5;

/// What a run held of that many accounts when it was killed.
async fn leased(store: &SeaOrmStore, dead: Holder) -> Vec<QuotaKey> {
    let keys: Vec<QuotaKey> = (0..LEASES)
        .map(|_| counter(AccountId::from_uuid(Uuid::new_v4())))
        .collect();
    for keys in keys.chunks(2_000) {
        let counters = keys.iter().map(|key| {
            let row = quota_counter::Model {
                account_id: key.account.as_uuid(),
                meter: key.meter.as_str().to_owned(),
                period_start: key.period.start.as_micros(),
                period_end: key.period.end.as_micros(),
                used: 1,
                leased: UNITS,
                token: 1,
                quota: Some(100),
                tier: "free".to_owned(),
                updated_at: NOW.as_micros(),
            };
            row.into_active_model().reset_all()
        });
        let leases = keys.iter().map(|key| {
            let row = quota_lease::Model {
                account_id: key.account.as_uuid(),
                meter: key.meter.as_str().to_owned(),
                period_start: key.period.start.as_micros(),
                replica: dead.replica.as_uuid(),
                epoch: dead.epoch.cast_signed(),
                token: 1,
                granted: UNITS + 1,
                settled: 1,
                last_op: 1,
                last_grant: Some(UNITS + 1),
                expires_at: later(60).as_micros(),
                state: "open".to_owned(),
                updated_at: NOW.as_micros(),
            };
            row.into_active_model().reset_all()
        });
        let db = store.connection();
        quota_counter::Entity::insert_many(counters)
            .exec_without_returning(db)
            .await
            .unwrap();
        quota_lease::Entity::insert_many(leases)
            .exec_without_returning(db)
            .await
            .unwrap();
    }
    keys
}

async fn open_leases(store: &SeaOrmStore, of: Holder) -> usize {
    let open = quota_lease::Entity::find()
        .filter(quota_lease::Column::Replica.eq(of.replica.as_uuid()))
        .filter(quota_lease::Column::State.eq("open"))
        .count(store.connection())
        .await
        .unwrap();
    usize::try_from(open).unwrap()
}

#[tokio::test]
async fn a_great_many_leases_are_closed_by_and_by_while_others_lease() {
    for database in TestDatabase::every().await.unwrap() {
        // Two connections: a second attempt beside the first would leave none for others.
        let options = Options {
            connections_max: 2,
            ..Options::default()
        };
        let store = SeaOrmStore::connect_with(database.url(), &options).await.unwrap();
        let watching = SeaOrmStore::connect(database.url()).await.unwrap();
        let dead = Holder { epoch: 1, ..holder() };
        let alive = Holder { epoch: 2, ..dead };
        let keys = leased(&store, dead).await;
        // Whoever waits for it loses patience again and again, as a flusher does.
        for _ in 0..5 {
            let close = store.close_earlier(alive, NOW);
            let _ = tokio::time::timeout(Duration::from_millis(20), close).await;
        }
        let other = holder();
        let (mut number, mut seen_half_way) = (0, false);
        loop {
            let open = open_leases(&watching, dead).await;
            if open == 0 {
                break;
            }
            seen_half_way |= open < LEASES;
            let grant = store.lease(&ask(other, 1, &keys[number], 100, 10)).await.unwrap();
            assert_eq!(grant.granted, Units::new(10));
            number += 1;
        }
        assert!(seen_half_way, "all leases were closed at once");
        // The others had it done.
        assert_eq!(store.close_earlier(alive, NOW).await.unwrap(), Units::ZERO);
        let balances = store.balances(&keys).await.unwrap();
        for (place, balance) in balances.iter().enumerate() {
            let leased = if place < number { 10 } else { 0 };
            assert_eq!(
                (balance.used, balance.leased),
                (Units::ONE, Units::new(leased)),
                "counter {place} of {number}"
            );
        }
        database.close().await.unwrap();
    }
}
