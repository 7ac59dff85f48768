//! Giving everything back, when the process ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::LeaseBook;
use crate::quota::Lease;
use crate::quota::lease::Busy;
use crate::units::Units;

/// How many counters are emptied at a time when everything is given back.
const AT_A_TIME: usize = 16;

impl LeaseBook {
    /// Gives everything back, several counters at a time. Answers how many could not be emptied.
    pub(crate) async fn give_all_back(self: &Arc<Self>) -> usize {
        let mut left = 0;
        let mut tasks = JoinSet::new();
        for lease in self.leases.all() {
            if tasks.len() >= AT_A_TIME {
                left += count_left(tasks.join_next().await.as_ref());
            }
            let book = Arc::clone(self);
            tasks.spawn_on(async move { book.give_back_alone(&lease).await }, &self.runtime);
        }
        while let Some(ended) = tasks.join_next().await {
            left += count_left(Some(&ended));
        }
        left
    }

    /// How many units were leased, were not spent, and are not known to be back in the store.
    pub(crate) fn units_left(&self) -> Units {
        let leases = self.leases.all();
        let units = leases.iter().map(|lease| lease.units_left());
        units.fold(Units::ZERO, Units::plus)
    }

    /// Gives back once the operation that may be under way is over; what that one leased goes back too.
    async fn give_back_alone(&self, lease: &Arc<Lease>) -> bool {
        loop {
            // Asked for before the look whether one is under way, so that the end of that one is heard.
            let mut answer = lease.next_answer();
            if !lease.window.busy.swap(true, Ordering::AcqRel) {
                break;
            }
            if timeout(self.store_timeout.saturating_mul(2), answer.changed())
                .await
                .is_err()
            {
                return false;
            }
        }
        let _busy = Busy(Arc::clone(lease));
        self.give_back(lease, Units::ZERO).await
    }
}

fn count_left(ended: Option<&Result<bool, JoinError>>) -> usize {
    usize::from(!matches!(ended, Some(Ok(true)) | None))
}
