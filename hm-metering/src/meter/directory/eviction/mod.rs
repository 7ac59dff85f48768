//! Who makes way when there is no room for one more caller, and what goes with it.
//!
//! A caller's rates go with it, and its account's with the last caller: whoever comes back begins with a whole burst. So those
//! go first whose rates nobody would miss.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Caller, Cold, Directory};
use crate::index::Hand;
use crate::meter::account::Account;
use crate::principal::Identity;
use crate::quota::nanos;

/// How many callers that were not used lately are looked at for one whose rates nobody would miss.
const RESTED_AMONG: usize = 16;
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
        let (most, now) = (self.callers.len(), nanos(caller.asked_at()));
        let (mut first, mut unrested) = (None, 0);
        while unrested < RESTED_AMONG {
            let candidate = self.callers.next(hand)?;
            *looks += 1;
            // After a whole round one has to go, though all were used again meanwhile.
            let is_late = *looks > most;
            if candidate.fingerprint() == caller.fingerprint() {
                if is_late && first.is_some() {
                    break;
                }
                continue;
            }
            if candidate.used.swap(false, Ordering::Relaxed) && !is_late {
                continue;
            }
            if is_late {
                return first.or(Some(candidate));
            }
            if candidate.is_rested(now) && !is_in_use(&candidate) {
                return Some(candidate);
            }
            unrested += 1;
            first.get_or_insert(candidate);
        }
        first
    }

    /// `caller` takes the place of `before`, which had the same text.
    pub(super) fn take_over(&self, cold: &mut Cold, before: &Arc<Caller>, caller: &Caller) {
        cold.bytes -= before.bytes();
        close_counters(before);
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
        close_counters(&caller);
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

/// Puts the leases of a key's own quotas out of use, so that those who keep the caller, such as a handler, do not keep them.
fn close_counters(caller: &Caller) {
    if let Some(own) = caller.own_quotas() {
        own.close();
    }
}

/// Whether requests are under way that it was looked up for.
fn is_in_use(caller: &Arc<Caller>) -> bool {
    // The handles of the indexes, and the one that is shown.
    let kept = 2 + usize::from(caller.key().is_some());
    Arc::strong_count(caller) > kept
}

/// Whether an account of the index has no caller and no request under way, neither of its own nor of one whose place it took.
fn is_unused(account: &Arc<Account>, cold: &mut Cold) -> bool {
    // Two handles are the index's own and the one that it shows.
    Arc::strong_count(account) <= 2 && !cold.replaced.is_in_use(account)
}

#[cfg(test)]
mod tests;
