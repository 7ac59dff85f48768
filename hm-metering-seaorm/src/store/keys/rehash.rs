//! Keeping a key under another hash.

use async_trait::async_trait;
use hm_metering::KeyId;
use hm_metering::key::{KeyDigest, KeyHash};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};

use super::row;
use crate::entity::api_key;
use crate::error::Failure;
use crate::store::run::Work;

/// Replaces what is kept of a key, if it is still kept under `from`.
pub(super) struct Rehash {
    pub(super) key: KeyId,
    pub(super) from: KeyDigest,
    pub(super) to: KeyHash,
}

#[async_trait]
impl Work for Rehash {
    type Answer = bool;

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<bool, Failure> {
        let slow = self.to.slow.as_ref().map(row::slow_hash);
        let changed = api_key::Entity::update_many()
            .col_expr(api_key::Column::KeyHash, Expr::value(row::hash(&self.to.digest)))
            .col_expr(api_key::Column::PepperId, Expr::value(i32::from(self.to.pepper)))
            .col_expr(api_key::Column::SlowHash, Expr::value(slow))
            .filter(api_key::Column::Id.eq(self.key.as_uuid()))
            .filter(api_key::Column::KeyHash.eq(row::hash(&self.from)))
            .exec(transaction)
            .await?;
        Ok(changed.rows_affected > 0)
    }
}
