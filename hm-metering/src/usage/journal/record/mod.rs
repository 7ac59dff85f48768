//! A finished request as bytes.
//!
//! First what all records have in common, as little-endian words, then texts behind their length, then tags, units and
//! charges; flags say which of the optional fields are there. The first byte is the version of this layout. Journals outlive the program that wrote them, so a
//! layout never changes its meaning: another one gets another number. In the second one a charge may be on the counter of the
//! event's key, which a bit beside its meter says; all else is as in the first. It is written where that is so, and the first
//! one elsewhere.

mod decode;
mod encode;
mod memo;

use std::ops::BitOr;

use smallvec::SmallVec;

pub(crate) use decode::Decoder;

use crate::id::{AccountId, EventId, KeyId, UserId};
use crate::name::{MeterName, PlanId};
use crate::period::Period;
use crate::quota::{FencingToken, QuotaKey, Settlement};
use crate::time::Timestamp;
use crate::units::Units;
use crate::usage::{Event, Outcome};

/// Every charge is on a counter of the account.
const ACCOUNTS_ONLY: u8 = 1;
/// Charges may be on counters of the key.
const WITH_KEYS: u8 = 2;
/// Beside a charge's meter: whether it is on a counter of the key.
const OF_KEY: u64 = 1 << 8;
/// How many words all records have in common, and how many a charge takes.
const FIXED: usize = 15;
const CHARGE: usize = 6;

/// A finished request as it is written down: what its [`Event`] will be, without the texts of its own.
#[derive(Clone, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) id: EventId,
    pub(crate) at: Timestamp,
    pub(crate) account: AccountId,
    pub(crate) user: Option<UserId>,
    pub(crate) key: Option<KeyId>,
    pub(crate) status: u16,
    pub(crate) outcome: Outcome,
    pub(crate) grpc_status: Option<u8>,
    pub(crate) over: bool,
    pub(crate) response_time_us: u64,
    pub(crate) first_byte_us: Option<u64>,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) operation: &'a str,
    /// The bytes of a text.
    pub(crate) endpoint: &'a [u8],
    pub(crate) method: &'a str,
    /// The bytes of a text; none where it is the event's own id.
    pub(crate) request_id: Option<&'a [u8]>,
    pub(crate) source: Option<&'a str>,
    pub(crate) refusal: Option<&'a str>,
    pub(crate) would_refuse: Option<&'a str>,
    pub(crate) tags: &'a [(String, String)],
    /// By meter, sorted, none twice.
    pub(crate) units: &'a [(MeterName, Units)],
    /// The plan that held; matters where something was charged.
    pub(crate) plan: &'a str,
    pub(crate) charges: &'a [Charge],
}

/// Units charged on a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The meter's place among the event's units.
    pub(crate) meter: u8,
    /// Whether it is on the counter of the event's key, and not on the account's.
    pub(crate) of_key: bool,
    pub(crate) period: Period,
    pub(crate) limit: Option<Units>,
    /// The lease they came out of.
    pub(crate) lease: Option<FencingToken>,
    pub(crate) units: Units,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) event: Event,
    /// The plan that held; none where nothing was charged.
    pub(crate) plan: Option<PlanId>,
    pub(crate) charges: Charges,
}

/// What one request was charged.
pub(crate) type Charges = SmallVec<[Charge; 1]>;

/// Which of the optional fields are there.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags(u16);

impl Flags {
    const USER: Self = Self(1);
    const KEY: Self = Self(1 << 1);
    const GRPC: Self = Self(1 << 2);
    const FIRST_BYTE: Self = Self(1 << 3);
    const REQUEST_ID: Self = Self(1 << 4);
    const SOURCE: Self = Self(1 << 5);
    const REFUSAL: Self = Self(1 << 6);
    const WOULD_REFUSE: Self = Self(1 << 7);
    const OVER: Self = Self(1 << 8);

    const fn when(self, is_there: bool) -> Self {
        if is_there { self } else { Self(0) }
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

const OUTCOMES: [Outcome; 9] = [
    Outcome::Completed,
    Outcome::Refused,
    Outcome::ClientGone,
    Outcome::BodyError,
    Outcome::ServiceError,
    Outcome::Panicked,
    Outcome::NotReached,
    Outcome::TimedOut,
    Outcome::Stopped,
];

const fn code_of(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Completed => 0,
        Outcome::Refused => 1,
        Outcome::ClientGone => 2,
        Outcome::BodyError => 3,
        Outcome::ServiceError => 4,
        Outcome::Panicked => 5,
        Outcome::NotReached => 6,
        Outcome::TimedOut => 7,
        Outcome::Stopped => 8,
    }
}

impl Draft<'_> {
    /// What it charges.
    pub(crate) fn settlements(&self) -> SmallVec<[Settlement; 1]> {
        let settlement = |charge: &Charge| {
            Some(Settlement {
                key: QuotaKey {
                    account: self.account,
                    key: self.key.filter(|_| charge.of_key),
                    meter: self.units.get(usize::from(charge.meter))?.0.clone(),
                    period: charge.period,
                },
                plan: PlanId::parse(self.plan).ok()?,
                limit: charge.limit,
                lease: charge.lease,
                units: charge.units,
            })
        };
        self.charges.iter().filter_map(settlement).collect()
    }
}
