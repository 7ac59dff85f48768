//! Accounts and keys ready made.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::id::{AccountId, IdSource, KeyId, UserId};
use crate::key::{IssuedKey, KeyEnv, Pepper, Peppers, PresentedKey};
use crate::keys::{KeyIssuer, KeyStore, NewKey, StoredKeyVerifier};
use crate::memory::MemoryStore;
use crate::name::PlanId;
use crate::time::Timestamp;

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Makes accounts and keys in a [`MemoryStore`], under a pepper that everybody knows.
///
/// For tests only: its methods panic when something fails.
#[derive(Debug)]
pub struct TestKeys {
    store: MemoryStore,
    peppers: Peppers,
    ids: IdSource,
    issuer: KeyIssuer,
}

/// An account with one person and one key.
#[derive(Debug)]
pub struct TestKey {
    /// The account.
    pub account: AccountId,
    /// The person.
    pub user: UserId,
    /// The key's id.
    pub key: KeyId,
    /// The key itself.
    pub issued: IssuedKey,
}

impl TestKey {
    /// The key's text, for a request's header.
    #[must_use]
    pub fn text(&self) -> &str {
        self.issued.expose()
    }

    /// The key as a caller presents it.
    #[must_use]
    pub fn presented(&self) -> PresentedKey {
        self.issued.to_presented()
    }

    /// The headers of a request with this key.
    ///
    /// # Panics
    /// Never: a key is text for a header.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a key has nothing but letters, digits and '_'")]
    pub fn headers(&self) -> HeaderMap {
        let mut value = HeaderValue::from_str(self.text()).expect("a key is text for a header");
        value.set_sensitive(true);
        HeaderMap::from_iter([(X_API_KEY, value)])
    }
}

#[expect(clippy::expect_used, reason = "a test whose fixtures fail has to stop")]
impl TestKeys {
    /// Keys in `store`.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    #[must_use]
    pub fn new(store: MemoryStore) -> Self {
        let pepper = Pepper::new(1, &[0x42; 32]).expect("the pepper is long enough");
        let peppers = Peppers::new(pepper);
        Self {
            store,
            ids: IdSource::from_os().expect("randomness for ids"),
            issuer: KeyIssuer::new(peppers.clone()).expect("randomness for ids"),
            peppers,
        }
    }

    /// The pepper that the keys are kept under.
    #[must_use]
    pub fn peppers(&self) -> Peppers {
        self.peppers.clone()
    }

    /// A verifier that accepts the keys.
    #[must_use]
    pub fn verifier(&self) -> StoredKeyVerifier {
        self.verifier_over(self.store.clone())
    }

    /// The same, asking `store`.
    pub(super) fn verifier_over(&self, store: impl KeyStore) -> StoredKeyVerifier {
        StoredKeyVerifier::new(store, self.peppers())
    }

    /// A new account on `plan` that began at `now`, with a live key that has no scopes and no end.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub async fn issue(&self, plan: PlanId, now: Timestamp) -> TestKey {
        self.issue_with(plan, now, |_| ()).await
    }

    /// The same, with the key's record changed by `change` before it is kept.
    ///
    /// # Panics
    /// When the operating system has no randomness to give, or the store refuses what `change` made of the record.
    pub async fn issue_with(
        &self,
        plan: PlanId,
        now: Timestamp,
        change: impl FnOnce(&mut NewKey) + Send,
    ) -> TestKey {
        let account = AccountId::from(self.ids.next(now));
        self.store.add_account(account, plan, now);
        self.issue_for(account, self.ids.next(now).into(), now, change)
            .await
    }

    /// Another key for an account that is there.
    ///
    /// # Panics
    /// When the operating system has no randomness to give, or the store refuses the key.
    pub async fn issue_for(
        &self,
        account: AccountId,
        user: UserId,
        now: Timestamp,
        change: impl FnOnce(&mut NewKey) + Send,
    ) -> TestKey {
        let made = self.issuer.issue(account, user, "test key", KeyEnv::Live, now);
        let (issued, mut key) = made.expect("randomness for a key");
        change(&mut key);
        self.store.insert(&key).await.expect("the key should be kept");
        TestKey {
            account,
            user,
            key: key.id,
            issued,
        }
    }
}
