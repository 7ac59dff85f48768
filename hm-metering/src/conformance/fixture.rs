//! What a case gets: a fresh store and what goes with it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use super::sample;
use crate::id::{AccountId, UserId};
use crate::name::PlanId;
use crate::time::Timestamp;

/// The accounts of a store under test. The traits have no way to make them: they belong to the application.
///
/// Its methods panic when they can't do what they are asked for, which fails the test.
#[async_trait]
pub trait Accounts: Send + Sync + 'static {
    /// Makes an open account on `plan` that began at `anchor`, with one person in it.
    async fn add(&self, plan: &PlanId, anchor: Timestamp) -> (AccountId, UserId);

    /// Moves the account to another plan at once, as the application would: the change is in the feed, and a move that
    /// was scheduled is taken back.
    async fn set_plan(&self, account: AccountId, plan: &PlanId);

    /// Schedules a move to another plan for a later time, as the application would: that is in the feed at once.
    async fn schedule_plan(&self, account: AccountId, plan: &PlanId, at: Timestamp);

    /// Closes the account, as the application would: the change is in the feed.
    async fn close(&self, account: AccountId);

    /// Whether the store knows which accounts there are. Where it does not, the cases on plans, closed and unknown
    /// accounts are left out.
    fn are_kept(&self) -> bool {
        true
    }
}

/// Accounts of a store that takes any id for an account, such as one that keeps only quotas or events.
#[derive(Clone, Copy, Debug, Default)]
pub struct MadeUpAccounts;

#[async_trait]
impl Accounts for MadeUpAccounts {
    async fn add(&self, _plan: &PlanId, _anchor: Timestamp) -> (AccountId, UserId) {
        (sample::uuid().into(), sample::uuid().into())
    }

    async fn set_plan(&self, _account: AccountId, _plan: &PlanId) {}

    async fn schedule_plan(&self, _account: AccountId, _plan: &PlanId, _at: Timestamp) {}

    async fn close(&self, _account: AccountId) {}

    fn are_kept(&self) -> bool {
        false
    }
}

/// A fresh store, its accounts, and whatever has to live as long as they do.
pub struct Fixture<S: ?Sized> {
    pub(super) store: Arc<S>,
    pub(super) accounts: Arc<dyn Accounts>,
    /// Dropped after the store, because it is declared after it.
    guard: Option<Box<dyn Any + Send + Sync>>,
}

/// An account and a person in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) account: AccountId,
    pub(super) user: UserId,
}

impl<S: ?Sized> Fixture<S> {
    /// A store and its accounts.
    pub fn new(store: Arc<S>, accounts: impl Accounts) -> Self {
        Self {
            store,
            accounts: Arc::new(accounts),
            guard: None,
        }
    }

    /// Keeps `guard`, such as a temporary directory, until the case is over; it is dropped after the store.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Box::new(guard));
        self
    }
}

impl<S: ?Sized + Send + Sync> Fixture<S> {
    /// An account on the plan `free` that began at the sample time.
    pub(super) async fn owner(&self) -> Owner {
        self.owner_on(&sample::FREE, sample::at(0)).await
    }

    pub(super) async fn owner_on(&self, plan: &PlanId, anchor: Timestamp) -> Owner {
        let (account, user) = self.accounts.add(plan, anchor).await;
        Owner { account, user }
    }
}

impl<S: ?Sized> fmt::Debug for Fixture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture")
            .field("guarded", &self.guard.is_some())
            .finish_non_exhaustive()
    }
}

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A case of a suite, for runners other than the macros.
pub struct Case<S: ?Sized> {
    name: &'static str,
    run: fn(Fixture<S>) -> Running,
}

impl<S: ?Sized> Case<S> {
    pub(super) const fn new(name: &'static str, run: fn(Fixture<S>) -> Running) -> Self {
        Self { name, run }
    }

    /// Its name, which is the sentence it tests.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it on a fresh store.
    ///
    /// # Panics
    /// The future panics when the store breaks its contract. It must be polled inside a tokio runtime.
    pub fn run(&self, fixture: Fixture<S>) -> impl Future<Output = ()> + Send + use<S> {
        (self.run)(fixture)
    }
}

impl<S: ?Sized> fmt::Debug for Case<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
