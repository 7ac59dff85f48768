//! Giving units back.

use async_trait::async_trait;
use hm_metering::quota::{Balance, Release};
use sea_orm::DatabaseTransaction;

use super::{counter, lease};
use crate::error::Failure;
use crate::store::run::Work;

pub(super) struct GiveBack(pub(super) Release);

#[async_trait]
impl Work for GiveBack {
    type Answer = Balance;

    fn waits_again(&self) -> bool {
        false
    }

    async fn run(&self, transaction: &DatabaseTransaction) -> Result<Balance, Failure> {
        let release = &self.0;
        let operation = lease::number(release.operation)?;
        let fresh = counter::fresh(&release.key, None, None, release.now);
        let mut counter = counter::lock_one(transaction, fresh).await?;
        let Some(mut held) = lease::find(transaction, release.holder, &release.key).await? else {
            // Never leased, so there is nothing to give back, and nothing where the number could be kept.
            return Ok(counter::balance(&counter));
        };
        let is_current = held.state == lease::OPEN && held.token.cast_unsigned() == release.token.0;
        if lease::is_repeated(&held, operation)? || !is_current {
            return Ok(counter::balance(&counter));
        }
        let units = release.units.as_i64();
        if units > lease::outstanding(&held) {
            return Err(Failure::INVALID);
        }
        counter.leased -= units;
        counter.updated_at = release.now.as_micros();
        held.settled += units;
        held.last_op = operation;
        held.last_grant = None;
        held.updated_at = release.now.as_micros();
        let balance = counter::balance(&counter);
        counter::save(transaction, [counter]).await?;
        lease::save(transaction, [held]).await?;
        Ok(balance)
    }
}
