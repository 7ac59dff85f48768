//! A key or an account changes while it is asked for: whatever the order, what was known before is not believed after.

use std::sync::atomic::Ordering;

use shuttle::thread;
use uuid::Uuid;

use super::*;
use crate::id::{AccountId, KeyId};
use crate::key::KeyEnv;
use crate::meter::report::{HeaderStyle, Shapes};
use crate::name::PlanId;
use crate::plan::RateLimit;
use crate::principal::Principal;
use crate::sync::{AtomicBool, AtomicU64, explore};
use crate::time::Timestamp;

const SECOND: Duration = Duration::from_secs(1);
const KEY: Uuid = Uuid::from_u128(7);
const FINGERPRINT: Fingerprint = Fingerprint::new(7);

/// A directory, and what the store says.
struct Stage {
    directory: Directory,
    /// The version of the key and the account's rate. Zero is revoked.
    truth: AtomicU64,
    /// Whether the change was seen: from then on nothing older may be believed.
    is_applied: AtomicBool,
}

impl Stage {
    fn new() -> Arc<Self> {
        let bounds = Bounds {
            callers: 10,
            callers_bytes: 1 << 20,
            invalid: 10,
            staleness: SECOND * 5,
        };
        Arc::new(Self {
            directory: Directory::new(bounds, Shapes::new(HeaderStyle::default())),
            truth: AtomicU64::new(1),
            is_applied: AtomicBool::new(false),
        })
    }

    /// Asks the store and keeps the answer, as a fill does.
    fn fill(&self) {
        let since = self.directory.moment();
        let truth = self.truth.load(Ordering::SeqCst);
        if truth == 0 {
            self.directory
                .keep_invalid(FINGERPRINT, InvalidKey::Revoked, SECOND * 2);
            return;
        }
        let account = AccountId::from_uuid(KEY);
        let id = PlanId::from_static("free");
        let principal = Principal::new(account, id.clone(), Timestamp::from_micros(0))
            .with_key(KeyId::from_uuid(KEY), KeyEnv::Live);
        let verified = Verified {
            principal,
            not_before: None,
            expires_at: None,
            plan_until: None,
            version: 1,
        };
        let rate = RateLimit {
            name: "second".to_owned(),
            limit: u32::try_from(truth).unwrap(),
            per: SECOND,
            burst: 1,
        };
        let plan = Arc::new(Plan {
            id,
            rates: vec![rate],
            concurrency: Vec::new(),
            quotas: Vec::new(),
        });
        self.directory
            .keep(FINGERPRINT, &verified, plan, None, (since, SECOND));
    }

    /// What memory says: the truth that it was filled with, if it is believed.
    fn known(&self) -> Option<u64> {
        match self.directory.look_up(FINGERPRINT, SECOND) {
            Known::Caller(caller) => Some(u64::from(caller.account.plan().rates[0].limit)),
            Known::Invalid(_) => Some(0),
            Known::Nothing => None,
        }
    }

    fn change(&self, truth: u64, subject: ChangeSubject) {
        self.truth.store(truth, Ordering::SeqCst);
        self.directory.apply(subject);
        self.is_applied.store(true, Ordering::SeqCst);
    }

    /// Fills, looks and changes at the same time. After the change nothing else than `truth` is known.
    fn play(truth: u64, subject: ChangeSubject) {
        let stage = Self::new();
        stage.fill();
        let fills = [(); 2].map(|()| {
            let stage = Arc::clone(&stage);
            thread::spawn(move || stage.fill())
        });
        let change = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || stage.change(truth, subject))
        };
        for _ in 0..3 {
            let is_applied = stage.is_applied.load(Ordering::SeqCst);
            let known = stage.known();
            assert!(
                !is_applied || known.is_none_or(|known| known == truth),
                "{known:?}"
            );
        }
        fills.into_iter().for_each(|fill| fill.join().unwrap());
        change.join().unwrap();
        assert!(stage.known().is_none_or(|known| known == truth));
        stage.fill();
        assert_eq!(stage.known(), Some(truth));
    }
}

#[test]
fn a_fill_that_races_a_revocation_never_brings_the_key_back() {
    let key = KeyId::from_uuid(KEY);
    explore(4_000, move || {
        Stage::play(0, ChangeSubject::Key { key, version: 1 });
    });
}

#[test]
fn a_fill_that_races_a_change_of_plan_never_brings_the_old_one_back() {
    explore(4_000, || {
        Stage::play(2, ChangeSubject::Account(AccountId::from_uuid(KEY)));
    });
}
