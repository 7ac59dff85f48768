//! Keys that are kept under another hash when they are used.

use hm_metering::key::{Argon2Hasher, KeyHash, KeyHasher, LegacyBcrypt, SlowHash};
use hm_metering::keys::Verdict;
use hm_metering::testing::StoreCall;
use hm_metering::{
    KeyEnv, KeyFormat, KeyStore, KeyVerifier, Meter, Pepper, Peppers, Plans, PresentedKey, StoreErrorKind,
    StoredKeyVerifier,
};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler, until, with_key};

fn pepper(number: u16) -> Pepper {
    Pepper::new(number, &[number as u8; 32]).unwrap()
}

/// A key of the stage's account kept as `hasher` says, and a verifier over the flaky store that knows `later`.
async fn keep(
    stage: &Stage,
    hasher: &dyn KeyHasher,
    later: impl KeyHasher,
) -> (PresentedKey, KeyHash, StoredKeyVerifier) {
    let key = KeyFormat::default()
        .generate(KeyEnv::Live)
        .unwrap()
        .to_presented();
    let hash = hasher.hash(&key).unwrap();
    stage
        .keys
        .issue_for(stage.account, stage.user, stage.now(), |new| {
            new.digest = hash.digest;
            new.pepper = hash.pepper;
            new.slow_hash = hash.slow.clone();
        })
        .await;
    let verifier = StoredKeyVerifier::new(stage.flaky.clone(), later);
    (key, hash, verifier)
}

/// The same, of a key that is kept under an older pepper than the current one.
async fn keep_under_older(stage: &Stage) -> (PresentedKey, KeyHash, StoredKeyVerifier) {
    let both = Peppers::new(pepper(8)).and_older(pepper(7)).unwrap();
    keep(stage, &Peppers::new(pepper(7)), both).await
}

/// Whether the store still knows a key under this hash.
async fn is_kept(hash: &KeyHash, stage: &Stage) -> bool {
    stage
        .store
        .find_by_digest(&[hash.digest])
        .await
        .unwrap()
        .is_some()
}

async fn is_valid(verifier: &StoredKeyVerifier, key: &PresentedKey, stage: &Stage) -> bool {
    matches!(
        verifier.verify(key, stage.now()).await.unwrap(),
        Verdict::Valid(_)
    )
}

fn rehashes(stage: &Stage) -> u64 {
    stage.flaky.calls().of(StoreCall::Rehash)
}

#[tokio::test]
async fn a_used_key_moves_to_the_current_pepper_and_the_old_one_can_go() {
    let stage = Stage::new(FIVE).await;
    let (key, hash, verifier) = keep_under_older(&stage).await;
    assert!(is_valid(&verifier, &key, &stage).await);
    until(|| rehashes(&stage) == 1).await;
    let new_only = StoredKeyVerifier::new(stage.store.clone(), Peppers::new(pepper(8)));
    assert!(is_valid(&new_only, &key, &stage).await);
    assert!(!is_kept(&hash, &stage).await);
    // It is where it belongs now.
    assert!(is_valid(&verifier, &key, &stage).await);
    tokio::task::yield_now().await;
    assert_eq!(rehashes(&stage), 1);
}

#[tokio::test]
async fn a_rehash_that_fails_costs_nobody_the_key_and_is_tried_again() {
    let stage = Stage::new(FIVE).await;
    let (key, hash, verifier) = keep_under_older(&stage).await;
    stage
        .flaky
        .fail_every(StoreCall::Rehash, StoreErrorKind::Unavailable);
    for tries in 1..=3 {
        assert!(is_valid(&verifier, &key, &stage).await);
        until(|| rehashes(&stage) == tries).await;
    }
    assert!(is_kept(&hash, &stage).await);
    stage.flaky.recover();
    assert!(is_valid(&verifier, &key, &stage).await);
    until(|| rehashes(&stage) == 4).await;
    assert!(!is_kept(&hash, &stage).await);
}

#[tokio::test]
async fn a_key_that_is_not_valid_is_not_hashed_anew() {
    let stage = Stage::new(FIVE).await;
    let (key, hash, verifier) = keep_under_older(&stage).await;
    let found = stage.store.find_by_digest(&[hash.digest]).await.unwrap().unwrap();
    stage
        .store
        .revoke(stage.account, found.record.id, stage.now())
        .await
        .unwrap();
    assert!(!is_valid(&verifier, &key, &stage).await);
    tokio::task::yield_now().await;
    assert_eq!(rehashes(&stage), 0);
}

#[tokio::test]
async fn with_argon2_the_first_use_is_slow_and_the_others_are_from_memory() {
    let peppers = Peppers::new(pepper(7));
    let hasher = Argon2Hasher::new(peppers.clone()).with_cost(8, 1, 1).unwrap();
    let stage = Stage::new(FIVE).await;
    let (key, _, verifier) = keep(&stage, &hasher, hasher.clone()).await;
    let meter = Meter::builder(verifier.with_slow_hashes(1))
        .plans(Plans::from_toml(FIVE).unwrap())
        .usage(stage.store.clone())
        .clock(stage.clock.clone())
        .start()
        .await
        .unwrap();
    let service = meter.layer("facts").layer(handler(facts));
    for _ in 0..100 {
        let response = service.clone().oneshot(with_key(key.expose())).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(stage.flaky.calls().of(StoreCall::FindByDigest), 1);

    // What was kept as an HMAC moves to Argon2 when it is used.
    let (quick, hash, verifier) = keep(&stage, &peppers, hasher).await;
    assert!(is_valid(&verifier, &quick, &stage).await);
    until(|| rehashes(&stage) == 1).await;
    assert!(!is_kept(&hash, &stage).await);
    assert!(is_valid(&verifier, &quick, &stage).await);
}

#[tokio::test]
async fn a_key_of_an_earlier_system_is_proved_by_bcrypt_once_and_then_kept_like_others() {
    let stage = Stage::new(FIVE).await;
    let peppers = Peppers::new(pepper(7));
    let legacy = LegacyBcrypt::new(peppers.clone(), 12);
    let text = "sk_Jd82kQp1xz_the-rest-of-an-old-key";
    let made = bcrypt::hash(text, 4).unwrap();
    stage
        .keys
        .issue_for(stage.account, stage.user, stage.now(), |new| {
            new.digest = legacy.found_by(text);
            new.pepper = 7;
            new.slow_hash = Some(SlowHash::new(made.clone()).unwrap());
        })
        .await;
    let key = PresentedKey::new(text);
    let strict = StoredKeyVerifier::new(stage.flaky.clone(), legacy.clone());
    assert!(!is_valid(&strict, &key, &stage).await, "its form was not let in");
    let verifier = strict.with_older_form("sk_", 20..=72);
    for wrong in [
        "sk_Jd82kQp1xz_another",
        "sk_Jd82kQp1xz_the-rest-of-an-old-keY",
        "pk_Jd82kQp1xz_the-rest-of-an-old-key",
    ] {
        assert!(
            !is_valid(&verifier, &PresentedKey::new(wrong), &stage).await,
            "{wrong}"
        );
    }
    assert_eq!(rehashes(&stage), 0);
    assert!(is_valid(&verifier, &key, &stage).await);
    until(|| rehashes(&stage) == 1).await;
    // From now on the peppers are enough.
    let later = StoredKeyVerifier::new(stage.flaky.clone(), peppers).with_older_form("sk_", 20..=72);
    assert!(is_valid(&later, &key, &stage).await);
    assert!(is_valid(&verifier, &key, &stage).await);
    assert_eq!(rehashes(&stage), 1);
}
