//! Keys as the API shows them.

use std::collections::BTreeMap;

use hm_metering::keys::KeyRecord;
use hm_metering::page::Page;
use hm_metering::{IssuedKey, Timestamp};
use salvo::oapi::ToSchema;
use serde::Serialize;
use uuid::Uuid;

use super::body::{QuotaBody, RateLimitBody};
use crate::secret::Secret;

/// What may be seen of a key.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "Key"))]
pub struct KeyView {
    /// The key's id, which is no secret.
    pub id: Uuid,
    /// What its owner calls it.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// Its last four characters.
    pub last4: String,
    /// `live` or `test`.
    pub env: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The networks it may be used from; none for anywhere.
    pub ip_allow: Vec<String>,
    /// The rate of its own, beside its account's.
    pub rate_limit: Option<RateLimitBody>,
    /// How many requests it may use of its account's.
    pub quota: Option<QuotaBody>,
    /// False while it is switched off, and after it was revoked.
    pub is_active: bool,
    /// When it was made.
    #[salvo(schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it last got a request through, as far as that has been written.
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    pub last_used: Option<Timestamp>,
    /// When it stops working by itself.
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[salvo(schema(value_type = Option<String>, format = DateTime))]
    pub revoked_at: Option<Timestamp>,
    /// How many requests it got through, as far as that has been written.
    pub usage_count: u64,
    /// Facts of its owner.
    pub metadata: BTreeMap<String, String>,
}

/// A new key. The text in `key` is shown this once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "IssuedKey"))]
pub struct IssuedKeyView {
    /// The key itself, for `X-API-Key`.
    #[serde(serialize_with = "Secret::hand_over")]
    #[salvo(schema(value_type = String))]
    key: Secret,
    /// What will be seen of it later.
    #[serde(flatten)]
    seen: KeyView,
}

/// A page of keys.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyList {
    data: Vec<KeyView>,
    /// For the next page; null when this is the last.
    next_cursor: Option<String>,
}

impl IssuedKeyView {
    pub(super) fn new(key: &IssuedKey, record: KeyRecord) -> Self {
        Self {
            key: Secret::new(key.expose()),
            seen: record.into(),
        }
    }
}

impl From<KeyRecord> for KeyView {
    fn from(key: KeyRecord) -> Self {
        Self {
            id: key.id.as_uuid(),
            name: key.name,
            prefix: key.prefix,
            last4: key.last4,
            env: key.env.as_str().to_owned(),
            scopes: key.scopes,
            ip_allow: key.ip_allow.networks().iter().map(ToString::to_string).collect(),
            rate_limit: RateLimitBody::of(&key.limits),
            quota: QuotaBody::of(&key.quotas),
            is_active: key.is_active,
            created_at: key.created_at,
            last_used: key.last_used_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            usage_count: key.usage_count,
            metadata: key.metadata,
        }
    }
}

impl From<Page<KeyRecord>> for KeyList {
    fn from(page: Page<KeyRecord>) -> Self {
        Self {
            data: page.items.into_iter().map(KeyView::from).collect(),
            next_cursor: page.next,
        }
    }
}
