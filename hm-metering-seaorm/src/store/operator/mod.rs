//! What operators do with the ledger as a whole, over all accounts.
//!
//! Everything else in this crate that reads a customer's rows is told the account, or the digest of a key, which only its
//! owner can have. What replicas do for themselves (the feed of changes, their own leases and batches) tells nothing of what
//! customers did. `UsageStore::active_accounts`, which is about all accounts too, is answered here.

mod accounts;
pub(super) mod activity;
mod bookkeeping;
mod check;
mod compare;
mod leases;
pub(super) mod marks;
mod partitions;
mod periods;
mod prune;
mod rebuild;

pub use self::bookkeeping::{PrunedBookkeeping, prune_bookkeeping};
pub use self::check::{Checked, check};
pub use self::compare::{Counted, Difference, Witness};
pub use self::leases::{Forfeited, LeaseHolder, forfeit, lease_holder, lost_holders};
pub(crate) use self::partitions::{Month, rights_like};
pub use self::partitions::{PrunedEvents, make_months, make_partitions, prune_events};
pub use self::periods::{CLOSING_GRACE, Correction, PeriodSummary, close_periods, correct, summaries};
pub use self::prune::prune_minutes;
pub(crate) use self::rebuild::rebuild_everything;
pub use self::rebuild::rebuild_rollups;
pub use crate::store::usage::would_record;
