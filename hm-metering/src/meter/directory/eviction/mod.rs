//! Who makes way when there is no room for one more caller, and what goes with it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Caller, Cold, Directory};
use crate::index::Hand;
use crate::meter::account::Account;
use crate::principal::Identity;

/// How many accounts are looked at with each caller that goes, whether anybody has them: more than can lose their last caller
/// meanwhile.
const ACCOUNTS_AT_A_TIME: usize = 4;

impl Directory {
    /// Makes room for `caller`, within the bounds in number and in bytes. It takes the place of `before`, which stays until
    /// then. One that is greater than all of the room is kept alone.
    pub(super) fn make_room(&self, cold: &mut Cold, caller: &Caller, before: Option<&Arc<Caller>>) {
        let most = self.bounds.callers.max(1);
        let (left, freed) = before.map_or((0, 0), |before| (1, before.bytes()));
        let mut looks = 0;
        loop {
            let len = self.callers.len() + 1 - left;
            let bytes = (cold.bytes - freed).saturating_add(caller.bytes());
            if len <= 1 || (len <= most && bytes <= self.bounds.callers_bytes) {
                return;
            }
            let Some(victim) = self.victim(&mut cold.hand, caller, &mut looks) else {
                return;
            };
            self.forget(cold, victim);
        }
    }

    /// Who goes next, but for the one that `caller` takes the place of. Second chance: those used since the last look stay for
    /// another round. `looks` counts on from victim to victim.
    fn victim(&self, hand: &mut Hand, caller: &Caller, looks: &mut usize) -> Option<Arc<Caller>> {
        let most = self.callers.len();
        loop {
            let candidate = self.callers.next(hand)?;
            *looks += 1;
            if candidate.fingerprint() == caller.fingerprint() {
                continue;
            }
            // After a whole round one has to go, though all were used again meanwhile.
            if !candidate.used.swap(false, Ordering::Relaxed) || *looks > most {
                return Some(candidate);
            }
        }
    }

    /// `caller` takes the place of `before`, which had the same text.
    pub(super) fn take_over(&self, cold: &mut Cold, before: &Arc<Caller>, caller: &Caller) {
        cold.bytes -= before.bytes();
        if let Some(key) = before.key().filter(|key| caller.key() != Some(*key)) {
            self.by_key.remove_if(&key, |has| Arc::ptr_eq(has, before));
        }
    }

    /// Forgets a caller, and its account with the last one.
    fn forget(&self, cold: &mut Cold, caller: Arc<Caller>) {
        let is_it = |has: &Arc<Caller>| Arc::ptr_eq(has, &caller);
        if self.callers.remove_if(&caller.fingerprint(), is_it).is_some() {
            cold.bytes -= caller.bytes();
        }
        if let Some(key) = caller.key() {
            self.by_key.remove_if(&key, is_it);
        }
        let id = caller.account.id;
        drop(caller);
        self.accounts.remove_if(&id, |account| is_unused(account, cold));
        // Accounts whose last caller had a request under way at that moment are left, for now.
        for _ in 0..ACCOUNTS_AT_A_TIME {
            let Some(account) = self.accounts.next(&mut cold.account_hand) else {
                return;
            };
            let id = account.id;
            drop(account);
            self.accounts.remove_if(&id, |account| is_unused(account, cold));
        }
    }
}

/// Whether an account of the index has no caller and no request under way, neither of its own nor of one whose place it took.
fn is_unused(account: &Arc<Account>, cold: &mut Cold) -> bool {
    // Two handles are the index's own and the one that it shows.
    Arc::strong_count(account) <= 2 && !cold.replaced.is_in_use(account)
}

#[cfg(test)]
mod tests;
