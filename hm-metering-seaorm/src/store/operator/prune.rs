//! Removing sums by minute that are older than anybody asks about.

use async_trait::async_trait;
use hm_metering::usage::Grain;
use hm_metering::{StoreResult, Timestamp};
use sea_orm::prelude::Uuid;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{accounts, marks};
use crate::SeaOrmStore;
use crate::entity::{usage_rollup_endpoint as endpoint, usage_rollup_sum as sum, usage_rollup_unit as unit};
use crate::error::Failure;
use crate::store::run::Work;
use crate::store::usage::rollup;

const DAY: i64 = Grain::Day.micros();

/// Removes sums by minute of the days before the one that `before` lies in, and answers how many rows that were. Sums by
/// hour and by day stay, so answers about that time are exact to the hour from then on.
///
/// It works in steps, a day of one account at a time, so nobody waits for it for long. Dropping the future ends it after a
/// step; the call can be repeated.
///
/// # Errors
///
/// When the database doesn't answer.
pub async fn prune_minutes(store: &SeaOrmStore, before: Timestamp) -> StoreResult<u64> {
    let before = Grain::Day.start_of(before).as_micros();
    store
        .transact_patiently("prune sums by minute", Mark(before))
        .await?;
    let (mut removed, mut last) = (0, None);
    loop {
        let next = store
            .read("look for an account", last, |db, last| async move {
                Ok(accounts::next(&db, last).await?)
            })
            .await?;
        let Some(account) = next else {
            return Ok(removed);
        };
        while let Some(rows) = store
            .transact_patiently("prune sums by minute", OneDay { account, before })
            .await?
        {
            removed += rows;
        }
        last = Some(account);
    }
}

struct Mark(i64);

#[async_trait]
impl Work for Mark {
    type Answer = ();

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<(), Failure> {
        marks::reach(transaction, marks::MINUTES, self.0).await
    }
}

/// The oldest day that an account has sums by minute of. It answers none when there is no such day before the moment.
struct OneDay {
    account: Uuid,
    before: i64,
}

macro_rules! oldest {
    ($table:ident, $transaction:expr, $account:expr) => {
        $table::Entity::find()
            .select_only()
            .column($table::Column::BucketStart)
            .filter($table::Column::AccountId.eq($account))
            .filter($table::Column::Grain.eq(rollup::number(Grain::Minute)))
            .order_by_asc($table::Column::BucketStart)
            .limit(1)
            .into_tuple::<i64>()
            .one($transaction)
            .await?
    };
}

macro_rules! remove {
    ($table:ident, $transaction:expr, $account:expr, $from:expr, $to:expr) => {
        $table::Entity::delete_many()
            .filter($table::Column::AccountId.eq($account))
            .filter($table::Column::Grain.eq(rollup::number(Grain::Minute)))
            .filter($table::Column::BucketStart.gte($from))
            .filter($table::Column::BucketStart.lt($to))
            .exec($transaction)
            .await?
            .rows_affected
    };
}

#[async_trait]
impl Work for OneDay {
    type Answer = Option<u64>;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Option<u64>, Failure> {
        let Some(from) = self.oldest(transaction).await? else {
            return Ok(None);
        };
        let to = (from - from.rem_euclid(DAY) + DAY).min(self.before);
        let rows = remove!(sum, transaction, self.account, from, to)
            + remove!(unit, transaction, self.account, from, to)
            + remove!(endpoint, transaction, self.account, from, to);
        Ok(Some(rows))
    }
}

impl OneDay {
    async fn oldest(&self, transaction: &DatabaseTransaction) -> Result<Option<i64>, DbErr> {
        let found = [
            oldest!(sum, transaction, self.account),
            oldest!(unit, transaction, self.account),
            oldest!(endpoint, transaction, self.account),
        ];
        Ok(found
            .into_iter()
            .flatten()
            .min()
            .filter(|oldest| *oldest < self.before))
    }
}
