//! What few windows have: a key whose own quota it is, debts, a store that has nothing left or fails, a window that moves.

use std::sync::atomic::AtomicI64;

use once_cell::race::OnceBox;

use super::Window;
use crate::id::KeyId;
use crate::quota::Owner;
use crate::sync::AtomicU64;

/// Stands for no moment; all moments are later.
pub(super) const UNKNOWN: i64 = i64::MIN;

/// The part of a window that is made when it is first needed. Times are nanoseconds of the monotonic clock unless said
/// otherwise.
#[derive(Debug)]
pub(super) struct Rare {
    /// The key whose own quota it is; none for the account's.
    pub(super) key: Option<KeyId>,
    /// Where the limit holds for a window that moves with time: since when units count, in microseconds; [`UNKNOWN`] for a
    /// period that stands alone.
    pub(super) since: AtomicI64,
    /// When the oldest units that count were taken, in microseconds; [`UNKNOWN`] unless the store said so.
    pub(super) oldest: AtomicI64,
    /// Charged beyond the lease, and not settled yet: the store does not know that they are used.
    pub(super) debt: AtomicU64,
    /// Leased and kept back, so that the debt and what is taken do not go over the limit together.
    pub(super) withheld: AtomicU64,
    /// Until when the store need not be asked again, as it had nothing left for what it was asked; zero when it may have.
    pub(super) exhausted_until: AtomicU64,
    pub(super) exhausted_limit: AtomicU64,
    pub(super) exhausted_need: AtomicU64,
    /// Until when nothing is leased in the background, as the store failed; zero when it answered since.
    pub(super) rests_until: AtomicU64,
    /// Taken out of the allowance for times when the store can't answer.
    pub(super) allowance_taken: AtomicU64,
}

impl Rare {
    /// That of a new window: made at once for a key's.
    pub(super) fn of(key: Option<KeyId>) -> OnceBox<Self> {
        match key {
            None => OnceBox::new(),
            Some(_) => OnceBox::with_value(Box::new(Self {
                key,
                ..Self::default()
            })),
        }
    }
}

impl Window {
    /// The key whose own quota it is; none for the account's.
    pub(crate) fn key_id(&self) -> Option<KeyId> {
        self.rare()?.key
    }

    /// Whose counter it is.
    pub(crate) fn owner(&self) -> Owner {
        Owner {
            account: self.account,
            key: self.key_id(),
        }
    }
}

impl Default for Rare {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            key: None,
            since: AtomicI64::new(UNKNOWN),
            oldest: AtomicI64::new(UNKNOWN),
            debt: zero(),
            withheld: zero(),
            exhausted_until: zero(),
            exhausted_limit: zero(),
            exhausted_need: zero(),
            rests_until: zero(),
            allowance_taken: zero(),
        }
    }
}
