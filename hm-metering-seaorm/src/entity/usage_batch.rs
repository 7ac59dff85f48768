//! Usage batches: which flushes have been applied.
use sea_orm::entity::prelude::*;

/// One row of `usage_batches`.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "usage_batches")]
pub struct Model {
    /// The replica that made the batch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub replica: Uuid,
    /// Which start of the replica.
    #[sea_orm(primary_key, auto_increment = false)]
    pub epoch: i64,
    /// The number of the batch.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// How many events it carried.
    pub events: i32,
    /// SHA-256 of its events, so that others under the same id are noticed; empty when so far only settlements
    /// came under this id.
    pub digest: Vec<u8>,
    /// When it was made.
    pub created_at: i64,
}

/// Joins are written where they are needed; the foreign keys are in the migrations.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
