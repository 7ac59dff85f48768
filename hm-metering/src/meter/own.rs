//! What a key has of its own beside its account: rates, and quotas with their counters.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::account::Account;
use super::bucket::Buckets;
use crate::heap;
use crate::id::KeyId;
use crate::keys::KeyQuotas;
use crate::name::MeterName;
use crate::plan::Quota;
use crate::quota::{Counter, Lease, Leases, Owner};
use crate::time::Timestamp;

/// The limits of a key that hold beside its account's. Most keys have none.
#[derive(Clone, Copy, Default)]
pub(crate) struct Own<'a> {
    pub(crate) rates: Buckets<'a>,
    pub(crate) quotas: Option<&'a OwnQuotas>,
}

/// The quotas of a key, each with its counter. The windows are found again by whoever has the same quotas next, so what is
/// taken counts on when a key is looked up anew.
pub(crate) struct OwnQuotas {
    key: KeyId,
    leases: Arc<Leases>,
    places: Box<[Place]>,
    /// Whether there is another in place of this.
    is_closed: AtomicBool,
}

struct Place {
    quota: Quota,
    meter: Arc<MeterName>,
    counter: Counter,
}

/// The counter of one of a key's quotas.
#[derive(Clone, Copy)]
pub(crate) struct OwnCounter<'a> {
    of: &'a OwnQuotas,
    place: &'a Place,
}

impl OwnCounter<'_> {
    /// The window that `now` lies in. The account is the key's.
    pub(crate) fn open(self, account: &Account, now: Timestamp) -> Arc<Lease> {
        let Place {
            quota,
            meter,
            counter,
        } = self.place;
        if let Some(lease) = counter.at(now) {
            return lease;
        }
        let owner = Owner {
            account: account.id,
            key: Some(self.of.key),
        };
        let is_stale = self.of.is_closed.load(Ordering::Acquire);
        let of = (owner, meter);
        counter.open(&self.of.leases, of, now, quota.period, account.anchor, is_stale)
    }
}

impl OwnQuotas {
    /// None where there is nothing to count.
    pub(crate) fn new(key: Option<KeyId>, quotas: &KeyQuotas, leases: Option<&Arc<Leases>>) -> Option<Self> {
        if quotas.is_empty() {
            return None;
        }
        let place = |quota: &Quota| Place {
            quota: quota.clone(),
            meter: Arc::new(quota.meter.clone()),
            counter: Counter::default(),
        };
        Some(Self {
            key: key?,
            leases: Arc::clone(leases?),
            places: quotas.as_slice().iter().map(place).collect(),
            is_closed: AtomicBool::new(false),
        })
    }

    /// The quotas, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Quota, OwnCounter<'_>)> {
        let of = self;
        self.places
            .iter()
            .map(move |place| (&place.quota, OwnCounter { of, place }))
    }

    /// The one that counts `meter`.
    pub(crate) fn of_meter(&self, meter: &MeterName) -> Option<(&Quota, OwnCounter<'_>)> {
        self.iter().find(|(quota, _)| quota.meter == *meter)
    }

    /// Puts a lease out of use. Requests that come later ask for it anew.
    pub(crate) fn let_go(&self, lease: &Arc<Lease>) {
        for place in &self.places {
            place.counter.let_go(lease);
        }
    }

    /// Puts all leases out of use, as there is another in place of this.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.places.iter().for_each(|place| place.counter.close());
    }

    /// What they take of memory with their leases, about.
    pub(crate) fn bytes(&self) -> usize {
        let of = |place: &Place| {
            heap::shared(size_of::<MeterName>()) + Lease::BYTES + place.quota.meter.as_str().len()
        };
        heap::list(&self.places) + self.places.iter().map(of).sum::<usize>()
    }
}

impl fmt::Debug for OwnQuotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnQuotas")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
