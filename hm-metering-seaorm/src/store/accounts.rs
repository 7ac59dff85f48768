//! What changes an account in a way that replicas must hear of.

use async_trait::async_trait;
use hm_metering::{AccountId, PlanId, StoreErrorKind, StoreResult, Timestamp};
use sea_orm::{ActiveModelTrait, DatabaseTransaction, EntityTrait, IntoActiveModel, QuerySelect, Set};

use super::SeaOrmStore;
use super::keys::feed;
use super::run::Work;
use super::text::{NAME_MAX, must_fit};
use crate::entity::account;
use crate::error::Failure;

impl SeaOrmStore {
    /// Opens an account. Its anchored periods count from `now`.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreErrorKind::Conflict) when it is there already, [`Invalid`](StoreErrorKind::Invalid) when the name has
    /// more than 255 characters or a NUL.
    pub async fn open_account(
        &self,
        account: AccountId,
        name: &str,
        plan: &PlanId,
        now: Timestamp,
    ) -> StoreResult<()> {
        const CONTEXT: &str = "open an account";
        must_fit(name, NAME_MAX).map_err(|failure| failure.into_error(CONTEXT))?;
        let new = account::ActiveModel {
            id: Set(account.as_uuid()),
            name: Set(name.to_owned()),
            tier: Set(plan.to_string()),
            tier_version: Set(1),
            created_at: Set(now.as_micros()),
            updated_at: Set(now.as_micros()),
            closed_at: Set(None),
            next_tier: Set(None),
            next_tier_at: Set(None),
        };
        self.transact(CONTEXT, OpenAccount(new)).await
    }

    /// Puts an account on another plan at once, takes back a move that was scheduled, and puts that into the change feed,
    /// from which replicas learn it. Nothing is changed or said when the account is on that plan with no move to come.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreErrorKind::NotFound) when there is no such account.
    pub async fn set_tier(&self, account: AccountId, plan: &PlanId, now: Timestamp) -> StoreResult<()> {
        let change = Change::Tier(plan.clone());
        self.transact("set an account's tier", ChangeAccount { account, change, now })
            .await
    }

    /// Puts an account on another plan at `at`, in place of a move that was scheduled and has not taken effect by `now`,
    /// and puts that into the change feed. The move holds from its moment on without anybody doing anything more.
    /// [`PlanChange`](hm_metering::plan_change::PlanChange) says which moment a move takes effect by rule.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreErrorKind::NotFound) when there is no such account.
    pub async fn schedule_tier(
        &self,
        account: AccountId,
        plan: &PlanId,
        at: Timestamp,
        now: Timestamp,
    ) -> StoreResult<()> {
        let change = Change::Schedule(plan.clone(), at);
        self.transact(
            "schedule an account's tier",
            ChangeAccount { account, change, now },
        )
        .await
    }

    /// Closes an account: its keys are no longer valid. Its ledger stays. Closing it again changes nothing.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreErrorKind::NotFound) when there is no such account.
    pub async fn close_account(&self, account: AccountId, now: Timestamp) -> StoreResult<()> {
        let change = Change::Close;
        self.transact("close an account", ChangeAccount { account, change, now })
            .await
    }

    /// Opens a closed account again. Opening an open one changes nothing.
    ///
    /// # Errors
    ///
    /// [`NotFound`](StoreErrorKind::NotFound) when there is no such account.
    pub async fn reopen_account(&self, account: AccountId, now: Timestamp) -> StoreResult<()> {
        let change = Change::Reopen;
        self.transact("reopen an account", ChangeAccount { account, change, now })
            .await
    }
}

/// Does what [`SeaOrmStore::set_tier`] does within a transaction of the caller's, such as one that changes a
/// subscription. On PostgreSQL no other change of keys or tiers is committed until it ends, so keep it short.
///
/// # Errors
///
/// [`NotFound`](StoreErrorKind::NotFound) when there is no such account.
pub async fn set_tier_in(
    transaction: &DatabaseTransaction,
    account: AccountId,
    plan: &PlanId,
    now: Timestamp,
) -> StoreResult<()> {
    let change = Change::Tier(plan.clone());
    ChangeAccount { account, change, now }
        .run(transaction)
        .await
        .map_err(|failure| failure.into_error("set an account's tier"))
}

/// Does what [`SeaOrmStore::schedule_tier`] does within a transaction of the caller's, as [`set_tier_in`] does.
///
/// # Errors
///
/// [`NotFound`](StoreErrorKind::NotFound) when there is no such account.
pub async fn schedule_tier_in(
    transaction: &DatabaseTransaction,
    account: AccountId,
    plan: &PlanId,
    at: Timestamp,
    now: Timestamp,
) -> StoreResult<()> {
    let change = Change::Schedule(plan.clone(), at);
    ChangeAccount { account, change, now }
        .run(transaction)
        .await
        .map_err(|failure| failure.into_error("schedule an account's tier"))
}

struct OpenAccount(account::ActiveModel);

#[async_trait]
impl Work for OpenAccount {
    type Answer = ();

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        account::Entity::insert(self.0.clone())
            .exec_without_returning(transaction)
            .await?;
        Ok(())
    }
}

enum Change {
    Tier(PlanId),
    Schedule(PlanId, Timestamp),
    Close,
    Reopen,
}

struct ChangeAccount {
    account: AccountId,
    change: Change,
    now: Timestamp,
}

#[async_trait]
impl Work for ChangeAccount {
    type Answer = ();

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        crate::sql::lock_feed(transaction).await?;
        let found = account::Entity::find_by_id(self.account.as_uuid())
            .lock_exclusive()
            .one(transaction)
            .await?
            .ok_or(Failure::Refused(StoreErrorKind::NotFound))?;
        let now = self.now.as_micros();
        let mut version = found.tier_version;
        let mut changed = found.clone().into_active_model();
        let kind = match &self.change {
            Change::Tier(plan) if found.tier != plan.as_str() || found.next_tier.is_some() => {
                version += 1;
                changed.tier = Set(plan.as_str().to_owned());
                changed.tier_version = Set(version);
                changed.next_tier = Set(None);
                changed.next_tier_at = Set(None);
                "tier"
            }
            Change::Schedule(plan, at)
                if found.next_tier.as_deref() != Some(plan.as_str())
                    || found.next_tier_at != Some(at.as_micros()) =>
            {
                version += 1;
                // A move that has taken effect is written down before another takes its place.
                changed.tier = Set(found.tier_at(self.now).to_owned());
                changed.tier_version = Set(version);
                changed.next_tier = Set(Some(plan.as_str().to_owned()));
                changed.next_tier_at = Set(Some(at.as_micros()));
                "tier"
            }
            Change::Close if found.closed_at.is_none() => {
                changed.closed_at = Set(Some(now));
                "close"
            }
            Change::Reopen if found.closed_at.is_some() => {
                changed.closed_at = Set(None);
                "reopen"
            }
            Change::Tier(_) | Change::Schedule(..) | Change::Close | Change::Reopen => return Ok(()),
        };
        changed.updated_at = Set(now);
        changed.update(transaction).await?;
        feed::account_changed(transaction, self.account, version, kind, self.now).await?;
        Ok(())
    }
}
