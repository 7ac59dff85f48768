//! The cases of [`KeyStore`].

mod change;
mod feed;
mod find;
mod insert;
mod list;
mod race;
mod rehash;
mod rotate;
mod tenancy;
mod used;

pub use change::*;
pub use feed::*;
pub use find::*;
pub use insert::*;
pub use list::*;
pub use race::*;
pub use rehash::*;
pub use rotate::*;
pub use tenancy::*;
pub use used::*;

use super::Fixture;
use super::fixture::{Case, Owner};
use super::sample::new_key;
use crate::id::KeyId;
use crate::keys::{KeyRecord, KeyStore, NewKey};

/// What a case of this suite gets.
pub type KeyFixture = Fixture<dyn KeyStore>;

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case<dyn KeyStore>> {
    crate::__key_store_cases!([crate::__conformance_list])
}

/// An owner with one key.
async fn with_key(fixture: &KeyFixture) -> (Owner, NewKey, KeyRecord) {
    let owner = fixture.owner().await;
    let key = new_key(owner);
    let record = fixture.store.insert(&key).await.unwrap();
    (owner, key, record)
}

async fn get(fixture: &KeyFixture, owner: Owner, key: KeyId) -> KeyRecord {
    let found = fixture.store.get(owner.account, key).await.unwrap();
    found.expect("the key should be there")
}
