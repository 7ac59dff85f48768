//! `tollgate-auth` and `tollgate-admission`, set up as in their own benchmarks: a registry of HMACs, a map of snapshots, a
//! weighted rate and a lease that nobody uses up, an event that is thrown away, and a clock that stands still.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use hm_bench::cost::timed;
use hm_bench::rounds::{Contestant, GROUP};
use jiff::Timestamp;
use tollgate_admission::{
    AdmissionEngine, ArcSwapSnapshotMap, LeaseSlot, NoGate, Principal, PublishableSnapshotUpdate, SnapshotMap,
};
use tollgate_auth::{CredentialVerifier, HmacRegistry, SessionCredential};
use tollgate_core::{
    AccountId, AccountSnapshot, AccountStatus, CostTable, CostUnits, FencingToken, Generation, KeyId,
    LeaseGrant, LeaseId, LocalLease, LocalSharding, OpIndex, PermissionBits, PublishableSnapshot, RequestId,
    ResolvedLimits, UsageEvent, UsageSlot,
};

const PRINCIPALS_MAX: NonZeroUsize = NonZeroUsize::new(1_000_000).expect("not zero");

#[derive(Clone, Copy)]
struct Query;

impl OpIndex for Query {
    fn index(&self) -> usize {
        0
    }
}

/// Throws the event away, as its benchmark does.
struct Discarded;

impl UsageSlot for Discarded {
    fn record(self, event: UsageEvent) {
        std::hint::black_box(event);
    }
}

pub(crate) struct Tollgate {
    name: &'static str,
    registry: HmacRegistry,
    engine: AdmissionEngine<ArcSwapSnapshotMap>,
    secrets: Vec<Vec<u8>>,
    /// One for each key, as if each had a connection of its own that stays open.
    sessions: Option<Vec<SessionCredential>>,
    now: Timestamp,
}

impl Tollgate {
    /// Verifies the key of each request.
    pub(crate) fn new(keys: u32) -> Self {
        let now = Timestamp::from_second(1_755_600_000).expect("in range");
        let registry = HmacRegistry::new(b"the secret of a server in a benchmark");
        let minted: Vec<_> = (0..u128::from(keys))
            .map(|key| registry.mint(KeyId(key)).expect("randomness"))
            .collect();
        registry.install(minted.iter().map(|key| (key.principal, key.digest, None)));
        // Its own map is made for 65,536 principals unless told otherwise.
        let map = ArcSwapSnapshotMap::with_capacities(
            LocalSharding::SINGLE,
            ArcSwapSnapshotMap::DEFAULT_MAX_NEGATIVE_ENTRIES,
            PRINCIPALS_MAX,
        );
        let engine = AdmissionEngine::new(map);
        let updates = minted
            .iter()
            .zip(1..)
            .map(|(key, account)| update(key.principal, AccountId(account)))
            .collect();
        engine
            .map()
            .apply_publishable_many(updates)
            .expect("sound snapshots");
        Self {
            name: "tollgate",
            registry,
            engine,
            secrets: minted.into_iter().map(|key| key.secret.to_vec()).collect(),
            sessions: None,
            now,
        }
    }

    /// Verifies the key of a connection once, and compares it in later requests.
    pub(crate) fn with_sessions(keys: u32) -> Self {
        Self {
            name: "tollgate, sessions",
            sessions: Some((0..keys).map(|_| SessionCredential::new()).collect()),
            ..Self::new(keys)
        }
    }

    fn verify(&self, key: u32) -> Principal {
        let secret = self.secrets[key as usize].as_slice();
        match &self.sessions {
            None => self.registry.verify(secret).map(|verified| verified.principal),
            Some(sessions) => sessions[key as usize].authenticate(Some(secret), &self.registry, self.now),
        }
        .expect("a key that is known")
    }
}

impl Contestant for Tollgate {
    fn stages(&self) -> Vec<String> {
        ["verify", "admit", "end"]
            .map(|stage| format!("{}: {stage}", self.name))
            .to_vec()
    }

    fn run(&mut self, keys: &[u32], spent: &mut [Duration]) {
        for group in keys.chunks(GROUP) {
            let mut principals = Vec::with_capacity(GROUP);
            timed(&mut spent[0], || {
                principals.extend(group.iter().map(|key| self.verify(*key)));
            });
            let mut ready = Vec::with_capacity(GROUP);
            timed(&mut spent[1], || {
                ready.extend(principals.iter().map(|principal| {
                    self.engine
                        .begin(*principal, PermissionBits::bit(0), self.now)
                        .and_then(|context| context.admit(&[(Query, 1)], Discarded, self.now))
                        .expect("nobody reaches a limit")
                        .acquire_capacity(&NoGate)
                        .map_err(|(reason, _)| reason)
                        .expect("no limit on capacity")
                }));
            });
            timed(&mut spent[2], || {
                for ready in ready {
                    let committed = ready.commit(RequestId(1), self.now);
                    drop(committed.map_err(|(error, _)| error).expect("inside the lease"));
                }
            });
        }
    }
}

fn update(principal: Principal, account: AccountId) -> PublishableSnapshotUpdate {
    let never = Timestamp::from_second(4_102_444_800).expect("in range");
    let most = u64::from(u32::MAX);
    let costs = CostTable::builder(CostUnits(1), CostUnits(1)).weight(&Query, CostUnits(0));
    let snapshot = AccountSnapshot::builder(
        account,
        Generation(1),
        AccountStatus::Active,
        never,
        PermissionBits::bit(0),
        ResolvedLimits::new(4_096).with_weighted_rate(most, most),
        Arc::new(costs.build()),
    );
    let lease = LeaseSlot::for_account(account);
    let grant = LeaseGrant {
        lease_id: LeaseId(account.0),
        account_id: account,
        fencing_token: FencingToken(1),
        units: CostUnits(u64::MAX / 2),
        expires_at: never,
    };
    drop(lease.replace(Arc::new(LocalLease::new(grant, CostUnits::ZERO))));
    PublishableSnapshotUpdate::Present {
        principal,
        snapshot: PublishableSnapshot::try_new(Arc::new(snapshot.build())).expect("a sound snapshot"),
        lease,
    }
}
