//! The audit log: who changed what. Rows are written before the change that they tell of, or together with it.

use hm_metering::Timestamp;
use hm_metering_seaorm::entity::audit_entry;
use sea_orm::{ActiveModelTrait, ConnectionTrait, DbErr, Set};
use serde_json::Value;
use uuid::Uuid;

/// What is known of the request behind a change.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The name of the request.
    pub request_id: String,
    /// When it came.
    pub at: Timestamp,
}

/// A change to be remembered.
#[derive(Clone, Debug)]
pub struct Change {
    /// The account concerned, if any.
    pub account_id: Option<Uuid>,
    /// The person who did it, if it was one.
    pub user_id: Option<Uuid>,
    /// Whether it was done from the command line.
    pub by_operator: bool,
    /// Such as `key.revoke`.
    pub action: &'static str,
    /// Such as `key`.
    pub subject_kind: &'static str,
    /// The id of that.
    pub subject_id: Uuid,
    /// The state before, without secrets.
    pub before: Option<Value>,
    /// The state after, without secrets.
    pub after: Option<Value>,
}

impl Change {
    /// A change without states.
    #[must_use]
    pub fn new(action: &'static str, subject_kind: &'static str, subject_id: Uuid) -> Self {
        Self {
            account_id: None,
            user_id: None,
            by_operator: false,
            action,
            subject_kind,
            subject_id,
            before: None,
            after: None,
        }
    }

    /// By whom.
    #[must_use]
    pub fn by(mut self, user_id: Uuid) -> Self {
        self.user_id = Some(user_id);
        self
    }

    /// From the command line.
    #[must_use]
    pub fn by_operator(mut self) -> Self {
        self.by_operator = true;
        self
    }

    /// For which account.
    #[must_use]
    pub fn of(mut self, account_id: Uuid) -> Self {
        self.account_id = Some(account_id);
        self
    }

    /// What it was.
    #[must_use]
    pub fn before(mut self, state: Value) -> Self {
        self.before = Some(state);
        self
    }

    /// What it has become.
    #[must_use]
    pub fn after(mut self, state: Value) -> Self {
        self.after = Some(state);
        self
    }
}

/// Writes the change down.
///
/// # Errors
///
/// The database fails; then the transaction of the change must fail as well.
pub async fn record(tx: &impl ConnectionTrait, change: Change, origin: &Origin) -> Result<(), DbErr> {
    let entry = audit_entry::ActiveModel {
        id: Set(Uuid::now_v7()),
        account_id: Set(change.account_id),
        actor_id: Set(change.user_id),
        actor_kind: Set(match (change.user_id, change.by_operator) {
            (Some(_), _) => "user",
            (None, true) => "operator",
            (None, false) => "system",
        }
        .to_owned()),
        action: Set(change.action.to_owned()),
        subject_kind: Set(change.subject_kind.to_owned()),
        subject_id: Set(change.subject_id.to_string()),
        before: Set(change.before),
        after: Set(change.after),
        request_id: Set(Some(origin.request_id.clone()).filter(|id| !id.is_empty())),
        created_at: Set(origin.at.as_micros()),
    };
    entry.insert(tx).await.map(|_| ())
}
