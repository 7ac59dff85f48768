//! Keys on routes that cost nothing.

use std::net::IpAddr;
use std::time::Duration;

use hm_metering::keys::{InvalidKey, IpAllow};
use hm_metering::testing::StoreCall;
use hm_metering::{KeyStore, PresentedKey, Refusal, RefusalKind, StoreErrorKind, Units};

use crate::stage::{FIVE, Stage};

const HERE: &str = "192.0.2.7";

async fn identify(stage: &Stage, key: &str, client: &str) -> Result<(), RefusalKind> {
    let client: IpAddr = client.parse().unwrap();
    let answer = stage.meter.identify(&PresentedKey::new(key), Some(client)).await;
    answer
        .map(|principal| assert_eq!(principal.account(), stage.account))
        .map_err(|refusal: Refusal| refusal.kind())
}

fn look_ups(stage: &Stage) -> u64 {
    stage.flaky.calls().of(StoreCall::FindByDigest)
}

#[tokio::test(start_paused = true)]
async fn a_key_is_looked_up_once_and_costs_nothing() {
    let stage = Stage::new(FIVE).await;
    for _ in 0..100 {
        assert_eq!(identify(&stage, stage.key.expose(), HERE).await, Ok(()));
    }
    assert_eq!(look_ups(&stage), 1);
    assert_eq!(stage.events().await.len(), 0);
    assert_eq!(stage.balance().await.used, Units::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_does_not_count_is_refused_and_garbage_is_not_looked_up() {
    let stage = Stage::new(FIVE).await;
    let unknown = Stage::new(FIVE).await.key;
    for _ in 0..10 {
        for (key, reason) in [
            ("garbage", InvalidKey::Malformed),
            (unknown.expose(), InvalidKey::Unknown),
        ] {
            let answer = identify(&stage, key, HERE).await;
            assert_eq!(answer, Err(RefusalKind::InvalidKey(reason)), "{reason:?}");
        }
    }
    assert_eq!(look_ups(&stage), 1, "a no is remembered too");
    assert_eq!(identify(&stage, stage.key.expose(), HERE).await, Ok(()));
    stage
        .store
        .revoke(stage.account, stage.key_id, stage.now())
        .await
        .unwrap();
    stage.meter.forget_key(stage.key_id);
    assert_eq!(
        identify(&stage, stage.key.expose(), HERE).await,
        Err(RefusalKind::InvalidKey(InvalidKey::Revoked))
    );
}

#[tokio::test(start_paused = true)]
async fn dates_and_networks_of_a_key_hold_from_memory_as_well() {
    let stage = Stage::with_key(FIVE, |key, now| {
        key.expires_at = Some(now.plus(Duration::from_secs(3)));
        key.ip_allow = IpAllow::new(["192.0.2.0/24".parse().unwrap()]).unwrap();
    })
    .await;
    for _ in 0..2 {
        assert_eq!(identify(&stage, stage.key.expose(), HERE).await, Ok(()));
        assert_eq!(
            identify(&stage, stage.key.expose(), "198.51.100.1").await,
            Err(RefusalKind::AddressNotAllowed)
        );
    }
    stage.clock.advance(Duration::from_secs(3));
    assert_eq!(
        identify(&stage, stage.key.expose(), HERE).await,
        Err(RefusalKind::InvalidKey(InvalidKey::Expired))
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_means_not_now_and_unknown_keys_have_a_budget() {
    let stage = Stage::with(FIVE, Vec::new(), |builder| builder.unknown_keys(1)).await;
    stage
        .flaky
        .fail_every(StoreCall::FindByDigest, StoreErrorKind::Unavailable);
    assert_eq!(
        identify(&stage, stage.key.expose(), HERE).await,
        Err(RefusalKind::Unavailable)
    );
    stage.flaky.recover();
    let before = look_ups(&stage);
    for _ in 0..2_000 {
        let unknown = hm_metering::KeyFormat::default()
            .generate(hm_metering::KeyEnv::Live)
            .unwrap();
        assert!(identify(&stage, unknown.expose(), HERE).await.is_err());
    }
    let asked = look_ups(&stage) - before;
    assert!(asked < 600, "{asked} look-ups for 2,000 keys that nobody knows");
}
