//! One quota counter and its leases: the rules of `QuotaStore`, without a database.

use std::collections::BTreeMap;

use hm_metering::quota::{Balance, FencingToken, Holder, LeaseAsk, LeaseGrant, Release, Settlement};
use hm_metering::{StoreErrorKind, Units};
use serde::{Deserialize, Serialize};

/// A counter as it is kept.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Counter {
    used: u64,
    leased: u64,
    /// The last fencing token given out.
    token: u64,
    /// By holder. Closed leases stay, for their operation numbers.
    leases: BTreeMap<String, Lease>,
}

#[derive(Default, Serialize, Deserialize)]
struct Lease {
    token: u64,
    open: bool,
    /// Granted, neither given back nor settled.
    left: u64,
    /// The number of the last operation.
    operation: u64,
    /// What the last operation granted; none when it gave back.
    granted: Option<u64>,
}

impl Counter {
    pub(crate) fn balance(&self) -> Balance {
        Balance {
            used: Units::new(self.used),
            leased: Units::new(self.leased),
        }
    }

    /// `others` is what counts against the limit besides this counter: the rest of a window that moves with time.
    pub(crate) fn lease(&mut self, ask: &LeaseAsk, others: Units) -> Result<LeaseGrant, StoreErrorKind> {
        if ask.operation == 0 {
            return Err(StoreErrorKind::Invalid);
        }
        let lease = self.leases.entry(name(ask.holder)).or_default();
        if ask.operation < lease.operation {
            return Err(StoreErrorKind::Conflict);
        }
        if ask.operation > lease.operation {
            if !lease.open {
                self.token += 1;
                lease.token = self.token;
                lease.open = true;
            }
            let taken = others.get().saturating_add(self.used).saturating_add(self.leased);
            let free = ask.limit.get().saturating_sub(taken);
            let granted = ask.want.get().min(free);
            self.leased += granted;
            lease.left += granted;
            lease.operation = ask.operation;
            lease.granted = Some(granted);
        }
        // A repeated operation gets the answer that it got before.
        let granted = lease.granted.ok_or(StoreErrorKind::Conflict)?;
        let token = FencingToken(lease.token);
        Ok(LeaseGrant {
            granted: Units::new(granted),
            token,
            balance: self.balance(),
            oldest: None,
        })
    }

    pub(crate) fn release(&mut self, release: &Release) -> Result<Balance, StoreErrorKind> {
        let Some(lease) = self.leases.get_mut(&name(release.holder)) else {
            return Ok(self.balance());
        };
        if release.operation < lease.operation {
            return Err(StoreErrorKind::Conflict);
        }
        let is_new = release.operation > lease.operation;
        if is_new && lease.open && lease.token == release.token.0 {
            let units = release.units.get();
            lease.left = lease.left.checked_sub(units).ok_or(StoreErrorKind::Invalid)?;
            lease.operation = release.operation;
            lease.granted = None;
            self.leased -= units;
        }
        Ok(self.balance())
    }

    pub(crate) fn settle(&mut self, holder: Holder, settlement: &Settlement) {
        let units = settlement.units;
        self.used = Units::new(self.used).plus(units).get();
        let lease = self.leases.get_mut(&name(holder));
        if let Some(lease) =
            lease.filter(|lease| lease.open && settlement.lease == Some(FencingToken(lease.token)))
        {
            let from_lease = units.get().min(lease.left);
            lease.left -= from_lease;
            self.leased -= from_lease;
        }
    }

    /// Closes the leases of the replica's other runs, and answers what they had left.
    pub(crate) fn close_earlier(&mut self, holder: Holder) -> u64 {
        let (replica, this_run) = (format!("{}/", holder.replica), name(holder));
        let mut given_back = 0;
        for (of, lease) in &mut self.leases {
            if of.starts_with(&replica) && *of != this_run {
                lease.open = false;
                given_back += std::mem::take(&mut lease.left);
            }
        }
        self.leased -= given_back;
        given_back
    }
}

fn name(holder: Holder) -> String {
    format!("{}/{}", holder.replica, holder.epoch)
}
