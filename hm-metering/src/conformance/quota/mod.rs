//! The cases of [`QuotaStore`].

mod close;
mod lease;
mod race;
mod release;
mod settle;
mod window;

pub use close::*;
pub use lease::*;
pub use race::*;
pub use release::*;
pub use settle::*;
pub use window::*;

use super::Fixture;
use super::fixture::Case;
use super::sample::{ask, at};
use crate::quota::{Balance, Holder, LeaseGrant, QuotaKey, QuotaStore, Settlement};
use crate::units::Units;
use crate::usage::BatchId;

/// What a case of this suite gets.
pub type QuotaFixture = Fixture<dyn QuotaStore>;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn QuotaStore>> {
    crate::__quota_store_cases!([crate::__conformance_list])
}

const fn balance(used: u64, leased: u64) -> Balance {
    Balance {
        used: Units::new(used),
        leased: Units::new(leased),
    }
}

async fn state(fixture: &QuotaFixture, key: &QuotaKey) -> Balance {
    let answer = fixture.store.balances(std::slice::from_ref(key)).await.unwrap();
    assert_eq!(answer.len(), 1, "one balance for one counter");
    answer[0]
}

/// Leases `want` of 100 units.
async fn lease(
    fixture: &QuotaFixture,
    holder: Holder,
    operation: u64,
    key: &QuotaKey,
    want: u64,
) -> LeaseGrant {
    let ask = ask(holder, operation, key, 100, want);
    fixture.store.lease(&ask).await.unwrap()
}

async fn settle(fixture: &QuotaFixture, holder: Holder, number: u64, settlements: &[Settlement]) {
    let batch = BatchId {
        replica: holder.replica,
        epoch: holder.epoch,
        number,
    };
    fixture
        .store
        .settle(holder, batch, settlements, at(3))
        .await
        .unwrap();
}
