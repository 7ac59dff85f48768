//! `leases`.

use std::time::Duration;

use hm_metering::quota::{Holder, LeaseAsk, LeaseGrant, QuotaKey, Settlement};
use hm_metering::usage::{Batch, BatchId};
use hm_metering::{AccountId, MeterName, PlanId, QuotaStore, ReplicaId, Timestamp, Units, UsageSink};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::entity::audit_entry;
use hm_server::cli::Command;
use hm_server::operator::Verdict;
use sea_orm::EntityTrait;
use uuid::Uuid;

use super::place::{NOON, Place};
use super::{CHECK, event_of};

fn ago(minutes: u64) -> Timestamp {
    NOON.minus(Duration::from_secs(60 * minutes))
}

fn key(account: AccountId) -> QuotaKey {
    let day = Duration::from_secs(86_400);
    QuotaKey {
        account,
        key: None,
        meter: MeterName::REQUESTS,
        period: hm_metering::period::Period {
            start: NOON.minus(day),
            end: NOON.plus(day),
        },
    }
}

async fn lease(store: &SeaOrmStore, account: AccountId, holder: Holder, now: Timestamp) -> LeaseGrant {
    let ask = LeaseAsk {
        holder,
        operation: 1,
        key: key(account),
        since: None,
        limit: Units::new(1_000),
        want: Units::new(50),
        now,
        until: now.plus(Duration::from_secs(60)),
    };
    store.lease(&ask).await.unwrap()
}

/// The holder's `number`th batch: it has spent `units` of its lease.
async fn spend(
    store: &SeaOrmStore,
    account: AccountId,
    (holder, number): (Holder, u64),
    (grant, units): (LeaseGrant, u32),
    now: Timestamp,
) {
    let batch = Batch {
        id: BatchId {
            replica: holder.replica,
            epoch: holder.epoch,
            number,
        },
        created_at: now,
        events: (0..units).map(|_| event_of(account, now)).collect(),
        settlements: vec![Settlement {
            key: key(account),
            plan: PlanId::from_static("free"),
            limit: Some(Units::new(1_000)),
            lease: Some(grant.token),
            units: Units::from(units),
        }],
    };
    store.record(&batch).await.unwrap();
}

fn holder() -> Holder {
    Holder {
        replica: ReplicaId::from_uuid(Uuid::new_v4()),
        epoch: 1,
    }
}

#[tokio::test]
async fn what_a_lost_replica_had_leased_is_given_back_when_an_operator_confirms_it() {
    for place in Place::all().await {
        let account = place.account().await;
        let store = place.store().await;
        let (lost, running) = (holder(), holder());
        let grant = lease(&store, account, lost, ago(300)).await;
        spend(&store, account, (lost, 1), (grant, 20), ago(180)).await;
        // This one has not leased for long, and still records.
        let other = lease(&store, account, running, ago(300)).await;
        spend(&store, account, (running, 1), (other, 1), ago(10)).await;

        let (_, said) = place.run(Command::Leases).await.unwrap();
        let line = format!(
            "replica {}: 30 units in 1 leases, last seen at {}, 3 hours ago",
            lost.replica,
            ago(180)
        );
        assert!(said.contains(&line), "{said}");
        assert!(!said.contains(&running.replica.to_string()), "{said}");

        let forfeit = |holder: Holder, confirmed| Command::Forfeit {
            replica: holder.replica,
            confirmed,
        };
        let balance = async || store.balances(&[key(account)]).await.unwrap()[0];
        let before = balance().await;
        assert_eq!((before.used, before.leased), (Units::new(21), Units::new(79)));
        let said = place.refused(forfeit(lost, false)).await;
        assert!(said.contains("30 units") && said.contains("--confirm"), "{said}");
        let said = place.refused(forfeit(running, true)).await;
        assert!(said.contains("may still run"), "{said}");
        let said = place.refused(forfeit(holder(), true)).await;
        assert!(said.contains("holds no leases"), "{said}");
        assert_eq!(balance().await, before);

        let (_, said) = place.run(forfeit(lost, true)).await.unwrap();
        assert!(said.contains("gave back 30 units of 1 leases"), "{said}");
        let after = balance().await;
        assert_eq!((after.used, after.leased), (Units::new(21), Units::new(49)));
        let entries = audit_entry::Entity::find().all(store.connection()).await.unwrap();
        let entry = entries
            .iter()
            .find(|entry| entry.action == "leases.forfeit")
            .unwrap();
        assert_eq!(entry.subject_id, lost.replica.to_string());
        assert_eq!(entry.actor_kind, "operator");
        assert_eq!(entry.before.as_ref().unwrap()["units"], 30);

        // Its journal is found after all: what it spent is counted, and nothing is taken out of what others leased.
        spend(&store, account, (lost, 2), (grant, 7), NOON).await;
        let late = balance().await;
        assert_eq!((late.used, late.leased), (Units::new(28), Units::new(49)));
        let (verdict, said) = place.run(CHECK).await.unwrap();
        assert_eq!(verdict, Verdict::Well, "{said}");
        let said = place.refused(forfeit(lost, true)).await;
        assert!(said.contains("holds no leases"), "{said}");
        place.finish().await;
    }
}
