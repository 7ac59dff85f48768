//! Accounts in whose place there are others, for as long as requests are under way in them.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use smallvec::SmallVec;

use crate::id::AccountId;
use crate::meter::account::Account;

/// From this many on, those that nobody has any more are looked for.
const SWEEP_FROM: usize = 64;

/// Accounts that were replaced when their plan changed. Requests that began in them occupy slots of the concurrency limits
/// that their successors have too, so a successor must not be forgotten before them: the next one would begin at zero.
///
/// It has at most twice as many entries as there ever were such accounts at the same time that somebody had.
#[derive(Default)]
pub(super) struct Replaced {
    accounts: HashMap<AccountId, SmallVec<[Weak<Account>; 1]>>,
    sweep_at: usize,
}

impl Replaced {
    /// Notes that another account took the place of `before`.
    pub(super) fn note(&mut self, before: &Arc<Account>) {
        if before.plan().concurrency.is_empty() {
            return;
        }
        if self.accounts.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.accounts
                .retain(|_, accounts| accounts.iter().any(|account| account.strong_count() > 0));
            self.sweep_at = self.accounts.len() * 2;
        }
        let accounts = self.accounts.entry(before.id).or_default();
        accounts.retain(|account| account.strong_count() > 0);
        accounts.push(Arc::downgrade(before));
    }

    /// Whether somebody has an account that `account` took the place of, such as a request that is under way. That can't begin
    /// anew: what was replaced is not found any more.
    pub(super) fn is_in_use(&mut self, account: &Account) -> bool {
        let Some(accounts) = self.accounts.get_mut(&account.id) else {
            return false;
        };
        // An account keeps the one whose rates it goes on with, and that is nobody's use.
        accounts.retain(|before| {
            let own = usize::from(account.has_rates_of(before.as_ptr()));
            before.strong_count() > own
        });
        let is_in_use = !accounts.is_empty();
        if !is_in_use {
            self.accounts.remove(&account.id);
        }
        is_in_use
    }

    /// How many accounts there are of which something is noted.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }
}
