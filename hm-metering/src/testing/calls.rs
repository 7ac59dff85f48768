//! Which calls a store got.

macro_rules! store_calls {
    ($($(#[$doc:meta])* $call:ident),* $(,)?) => {
        /// A call that a store can get, named after the trait's method.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum StoreCall {
            $($(#[$doc])* $call,)*
        }

        impl StoreCall {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$call),*];
        }
    };
}

store_calls! {
    /// [`KeyStore::insert`](crate::KeyStore::insert)
    Insert,
    /// [`KeyStore::find_by_digest`](crate::KeyStore::find_by_digest)
    FindByDigest,
    /// [`KeyStore::get`](crate::KeyStore::get)
    Get,
    /// [`KeyStore::list`](crate::KeyStore::list)
    List,
    /// [`KeyStore::update`](crate::KeyStore::update)
    Update,
    /// [`KeyStore::revoke`](crate::KeyStore::revoke)
    Revoke,
    /// [`KeyStore::rotate`](crate::KeyStore::rotate)
    Rotate,
    /// [`KeyStore::rehash`](crate::KeyStore::rehash)
    Rehash,
    /// [`KeyStore::mark_used`](crate::KeyStore::mark_used)
    MarkUsed,
    /// [`KeyStore::changes_since`](crate::KeyStore::changes_since)
    ChangesSince,
    /// [`QuotaStore::lease`](crate::QuotaStore::lease)
    Lease,
    /// [`QuotaStore::release`](crate::QuotaStore::release)
    Release,
    /// [`QuotaStore::settle`](crate::QuotaStore::settle)
    Settle,
    /// [`QuotaStore::balances`](crate::QuotaStore::balances)
    Balances,
    /// [`QuotaStore::windows`](crate::QuotaStore::windows)
    Windows,
    /// [`QuotaStore::close_earlier`](crate::QuotaStore::close_earlier)
    CloseEarlier,
    /// [`UsageSink::record`](crate::UsageSink::record)
    Record,
    /// [`UsageStore::totals`](crate::UsageStore::totals)
    Totals,
    /// [`UsageStore::series`](crate::UsageStore::series)
    Series,
    /// [`UsageStore::recent`](crate::UsageStore::recent)
    Recent,
    /// [`UsageStore::response_times`](crate::UsageStore::response_times)
    ResponseTimes,
    /// [`UsageStore::top`](crate::UsageStore::top)
    Top,
    /// [`UsageStore::active_accounts`](crate::UsageStore::active_accounts)
    ActiveAccounts,
    /// [`UsageStore::prune`](crate::UsageStore::prune)
    Prune,
    /// [`RateLimiter::check`](crate::RateLimiter::check)
    Check,
}

/// How many calls a store got, by method. Two of them can be compared and subtracted, to see what a piece of work
/// cost.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls(Vec<(StoreCall, u64)>);

impl Calls {
    /// How many of one method.
    #[must_use]
    pub fn of(&self, call: StoreCall) -> u64 {
        self.0
            .iter()
            .find(|(has, _)| *has == call)
            .map_or(0, |(_, count)| *count)
    }

    /// How many of all methods.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// What came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let new = |(call, count): &(StoreCall, u64)| (*call, count.saturating_sub(earlier.of(*call)));
        Self(self.0.iter().map(new).filter(|(_, count)| *count > 0).collect())
    }

    pub(super) fn add(&mut self, call: StoreCall) {
        match self.0.iter_mut().find(|(has, _)| *has == call) {
            Some((_, count)) => *count += 1,
            None => self.0.push((call, 1)),
        }
    }
}
