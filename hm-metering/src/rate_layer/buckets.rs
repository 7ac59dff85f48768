//! One bucket for each address, within a bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::rate::gcra::{Check, Rate};

/// How often, in inserts, full buckets are cleared out when there is no room. A sweep looks at every bucket, so it must
/// not happen for every new address.
const SWEEP_EVERY: usize = 1_024;

/// Whose bucket a request was counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bucket {
    /// Its client's.
    Own,
    /// That of all clients that have none.
    Shared,
}

impl Bucket {
    /// The word for it in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
        }
    }
}

pub(super) struct Buckets {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    full_at: HashMap<IpAddr, u64>,
    /// For those who find no room, and for requests without an address.
    shared: u64,
    without_room: usize,
}

impl Buckets {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            state: Mutex::default(),
        }
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    /// Takes one unit from the bucket of `client`. Answers whose bucket that is as well.
    pub(super) fn take(&self, client: Option<IpAddr>, rate: &Rate, now: u64) -> (Check, Bucket) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(client) = client.filter(|client| state.has_room(client, self.most, now)) else {
            let check = rate.check(state.shared, now, 1);
            if let Check::Fits(next) = check {
                state.shared = next;
            }
            return (check, Bucket::Shared);
        };
        let before = state.full_at.get(&client).copied().unwrap_or(0);
        let check = rate.check(before, now, 1);
        if let Check::Fits(next) = check {
            state.full_at.insert(client, next);
        }
        (check, Bucket::Own)
    }
}

impl State {
    fn has_room(&mut self, client: &IpAddr, most: usize, now: u64) -> bool {
        if self.full_at.len() < most || self.full_at.contains_key(client) {
            return true;
        }
        if self.without_room.is_multiple_of(SWEEP_EVERY) {
            // A full bucket says the same as none.
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let room = self.full_at.len() < most;
        self.without_room = if room { 0 } else { self.without_room + 1 };
        room
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn address(number: u32) -> Option<IpAddr> {
        Some(IpAddr::V4(Ipv4Addr::from(number)))
    }

    fn fits(buckets: &Buckets, client: Option<IpAddr>, now: u64) -> bool {
        let rate = Rate::new(2, Duration::from_secs(1), 2);
        matches!(buckets.take(client, &rate, now), (Check::Fits(_), _))
    }

    #[test]
    fn addresses_do_not_touch_each_other() {
        let buckets = Buckets::new(10);
        assert_eq!(
            [1, 1, 1, 2].map(|number| fits(&buckets, address(number), 0)),
            [true, true, false, true]
        );
        assert_eq!(
            [None, None, None].map(|nobody| fits(&buckets, nobody, 0)),
            [true, true, false]
        );
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_memory_and_shares_one_bucket() {
        let buckets = Buckets::new(4);
        let let_through = (0..10_000)
            .filter(|number| fits(&buckets, address(*number), 0))
            .count();
        assert_eq!(let_through, 4 + 2);
        assert_eq!(buckets.state.lock().unwrap().full_at.len(), 4);
        assert!(
            !fits(&buckets, address(3), 0) || !fits(&buckets, address(3), 0),
            "known addresses keep their bucket"
        );
    }

    #[test]
    fn room_is_made_when_buckets_are_full_again() {
        let buckets = Buckets::new(4);
        for number in 0..100 {
            fits(&buckets, address(number), 0);
        }
        for number in 1_000..1_000 + 2 * SWEEP_EVERY as u32 {
            fits(&buckets, address(number), 10 * SECOND);
        }
        assert!(
            !buckets
                .state
                .lock()
                .unwrap()
                .full_at
                .contains_key(&address(0).unwrap())
        );
    }
}
