//! The calls of a history. Numbers stand for ids and are small, so that calls meet.

use proptest::prelude::*;

/// Texts that a database may be tempted to take for each other, or to change.
pub const TEXTS: [&str; 8] = ["a", "A", "a ", "ä", "a\u{308}", "😀", "", "it's \\ \" %_"];

#[derive(Clone, Debug)]
pub enum Step {
    Insert {
        account: u8,
        key: u8,
        digest: u8,
        name: u8,
    },
    Find {
        digests: Vec<u8>,
    },
    Get {
        account: u8,
        key: u8,
    },
    List {
        account: u8,
        limit: usize,
    },
    Rename {
        account: u8,
        key: u8,
        name: u8,
    },
    Switch {
        account: u8,
        key: u8,
        on: bool,
    },
    Revoke {
        account: u8,
        key: u8,
        at: u8,
    },
    Rotate {
        account: u8,
        key: u8,
        new: u8,
        digest: u8,
        end: u8,
    },
    Rehash {
        key: u8,
        from: u8,
        to: u8,
    },
    MarkUsed {
        uses: Vec<(u8, u8, u8)>,
    },
    Changes {
        limit: usize,
    },
    SetPlan {
        account: u8,
        pro: bool,
    },
    Lease {
        place: Place,
        operation: u8,
        window: Option<u8>,
        limit: u8,
        want: u8,
    },
    Release {
        place: Place,
        operation: u8,
        units: u8,
        first_token: bool,
    },
    Settle {
        replica: u8,
        batch: u8,
        settlements: Vec<Settling>,
    },
    Balances {
        counters: Vec<(u8, u8)>,
    },
    Windows {
        windows: Vec<(u8, u8)>,
    },
    CloseEarlier {
        replica: u8,
        epoch: u8,
    },
    Record {
        replica: u8,
        batch: u8,
        events: Vec<Happening>,
        settlements: Vec<Settling>,
    },
    Totals {
        account: u8,
        key: Option<u8>,
        from: u8,
        to: u8,
    },
    Series {
        account: u8,
        from: u8,
        to: u8,
    },
    Recent {
        account: u8,
        limit: usize,
    },
    Times {
        account: u8,
        quantiles: Vec<u8>,
    },
    Prune {
        before: u8,
        limit: usize,
    },
}

impl Step {
    /// Whether it asks for sums over events.
    pub const fn asks_for_sums(&self) -> bool {
        matches!(
            self,
            Self::Totals { .. } | Self::Series { .. } | Self::Times { .. }
        )
    }
}

/// A holder's place at a counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub replica: u8,
    pub epoch: u8,
    pub account: u8,
    pub period: u8,
}

#[derive(Clone, Debug)]
pub struct Settling {
    pub account: u8,
    pub period: u8,
    pub leased: bool,
    pub units: u8,
}

#[derive(Clone, Debug)]
pub struct Happening {
    pub id: u8,
    pub account: u8,
    pub key: Option<u8>,
    pub at: u8,
    pub outcome: u8,
    pub status: u16,
    pub source: u8,
    pub units: u8,
    pub tokens: u8,
    pub micros: u16,
}

const ACCOUNTS: u8 = 3;
const KEYS: u8 = 5;

fn place() -> impl Strategy<Value = Place> {
    (0..2_u8, 0..2_u8, 0..2_u8, 0..3_u8).prop_map(|(replica, epoch, account, period)| Place {
        replica,
        epoch,
        account,
        period,
    })
}

fn settlings() -> impl Strategy<Value = Vec<Settling>> {
    let one = (0..2_u8, 0..3_u8, prop::bool::ANY, 0..6_u8);
    let one = one.prop_map(|(account, period, leased, units)| Settling {
        account,
        period,
        leased,
        units,
    });
    prop::collection::vec(one, 0..3)
}

fn happenings() -> impl Strategy<Value = Vec<Happening>> {
    let who = (0..24_u8, 0..2_u8, prop::option::of(0..KEYS), 0..8_u8);
    let what = (0..9_u8, prop_oneof![Just(200), Just(404), Just(503)], 0..8_u8);
    // Times that sketches tell apart: what they do with longer ones is up to each store.
    let how_much = (0..3_u8, 0..3_u8, 0..256_u16);
    let one = (who, what, how_much).prop_map(
        |((id, account, key, at), (outcome, status, source), (units, tokens, micros))| Happening {
            id,
            account,
            key,
            at,
            outcome,
            status,
            source,
            units,
            tokens,
            micros,
        },
    );
    prop::collection::vec(one, 0..6)
}

pub fn any() -> impl Strategy<Value = Step> {
    let (account, key, digest, text) = (0..ACCOUNTS, 0..KEYS, 0..KEYS, 0..8_u8);
    let keys = prop_oneof![
        4 => (account.clone(), key.clone(), digest.clone(), text.clone())
            .prop_map(|(account, key, digest, name)| Step::Insert { account, key, digest, name }),
        1 => prop::collection::vec(digest.clone(), 0..4).prop_map(|digests| Step::Find { digests }),
        1 => (account.clone(), key.clone()).prop_map(|(account, key)| Step::Get { account, key }),
        1 => (account.clone(), 0..4_usize).prop_map(|(account, limit)| Step::List { account, limit }),
        1 => (account.clone(), key.clone(), text)
            .prop_map(|(account, key, name)| Step::Rename { account, key, name }),
        1 => (account.clone(), key.clone(), prop::bool::ANY)
            .prop_map(|(account, key, on)| Step::Switch { account, key, on }),
        1 => (account.clone(), key.clone(), 0..8_u8)
            .prop_map(|(account, key, at)| Step::Revoke { account, key, at }),
        1 => (account.clone(), key.clone(), key.clone(), digest.clone(), 0..8_u8)
            .prop_map(|(account, key, new, digest, end)| Step::Rotate { account, key, new, digest, end }),
        1 => (key.clone(), digest.clone(), digest)
            .prop_map(|(key, from, to)| Step::Rehash { key, from, to }),
        1 => prop::collection::vec((key, 0..5_u8, 0..8_u8), 0..4).prop_map(|uses| Step::MarkUsed { uses }),
        1 => (1..5_usize).prop_map(|limit| Step::Changes { limit }),
        1 => (account, prop::bool::ANY).prop_map(|(account, pro)| Step::SetPlan { account, pro }),
    ];
    let quota = prop_oneof![
        4 => (place(), 1..6_u8, prop::option::of(0..3_u8), 0..20_u8, 0..8_u8)
            .prop_map(|(place, operation, window, limit, want)| Step::Lease { place, operation, window, limit, want }),
        2 => (place(), 1..6_u8, 0..5_u8, prop::bool::ANY)
            .prop_map(|(place, operation, units, first_token)| Step::Release { place, operation, units, first_token }),
        2 => (0..2_u8, 0..4_u8, settlings())
            .prop_map(|(replica, batch, settlements)| Step::Settle { replica, batch, settlements }),
        1 => prop::collection::vec((0..2_u8, 0..3_u8), 0..4).prop_map(|counters| Step::Balances { counters }),
        1 => prop::collection::vec((0..2_u8, 0..3_u8), 0..4).prop_map(|windows| Step::Windows { windows }),
        1 => (0..2_u8, 0..2_u8).prop_map(|(replica, epoch)| Step::CloseEarlier { replica, epoch }),
    ];
    let usage = prop_oneof![
        4 => (0..2_u8, 0..6_u8, happenings(), settlings())
            .prop_map(|(replica, batch, events, settlements)| Step::Record { replica, batch, events, settlements }),
        1 => (0..2_u8, prop::option::of(0..KEYS), 0..8_u8, 0..9_u8)
            .prop_map(|(account, key, from, to)| Step::Totals { account, key, from, to }),
        1 => (0..2_u8, 0..8_u8, 0..9_u8).prop_map(|(account, from, to)| Step::Series { account, from, to }),
        1 => (0..2_u8, 0..4_usize).prop_map(|(account, limit)| Step::Recent { account, limit }),
        1 => (0..2_u8, prop::collection::vec(0..=11_u8, 0..4))
            .prop_map(|(account, quantiles)| Step::Times { account, quantiles }),
        1 => (0..8_u8, 0..5_usize).prop_map(|(before, limit)| Step::Prune { before, limit }),
    ];
    prop_oneof![keys, quota, usage]
}
