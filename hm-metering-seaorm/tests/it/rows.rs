//! A full and a sparse row of each table, to put data in place and to compare entities with migrations.

use hm_metering_seaorm::entity::{
    KeyHash, MemberRole, PasswordHash, SlowKeyHash, UserRole, account, api_key, audit_entry, key_change,
    membership, quota_counter, quota_lease, subscription, usage_active_day, usage_batch, usage_correction,
    usage_event, usage_mark, usage_rollup_endpoint, usage_rollup_sum, usage_rollup_unit, usage_summary, user,
};
use hm_metering_seaorm::sea_orm::{ActiveModelTrait, DatabaseConnection, EntityTrait, IntoActiveModel};
use serde_json::json;
use uuid::Uuid;

/// 2026-11-22T06:40:00.123456Z
const AT: i64 = 1_795_329_600_123_456;

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_0000_0000 | number)
}

macro_rules! every_table {
    ($($module:ident: $rows:expr;)*) => {
        /// Inserts the rows into each table, parents first.
        pub async fn insert(db: &DatabaseConnection) {
            $(for row in $rows {
                row.into_active_model().reset_all().insert(db).await.unwrap();
            })*
        }

        /// Reads each table back and compares every column.
        pub async fn assert_present(db: &DatabaseConnection) {
            $({
                let found = $module::Entity::find().all(db).await.unwrap();
                let expected: Vec<$module::Model> = $rows.into();
                assert_eq!(found.len(), expected.len(), stringify!($module));
                for row in expected {
                    assert!(found.contains(&row), "{}: {row:?} not in {found:?}", stringify!($module));
                }
            })*
        }

        /// Each table answers and holds nothing.
        pub async fn assert_empty(db: &DatabaseConnection) {
            $(assert_eq!($module::Entity::find().all(db).await.unwrap(), [], stringify!($module));)*
        }
    };
}

every_table! {
    account: [account::Model { id: uuid(1), name: "name ü0".into(), tier: "tier ü0".into(), tier_version: i64::MAX, created_at: AT, updated_at: AT, closed_at: Some(AT), next_tier: Some("tier ü0".into()), next_tier_at: Some(AT) }, account::Model { id: uuid(2), name: "".into(), tier: "".into(), tier_version: 0, created_at: 0, updated_at: 0, closed_at: None, next_tier: None, next_tier_at: None }];
    user: [user::Model { id: uuid(3), email: "ada@example.org".into(), password_hash: PasswordHash("$argon2id$0".into()), name: "name ü0".into(), role: UserRole::Support, email_verified_at: Some(AT), tier: "tier ü0".into(), created_at: AT, updated_at: AT }, user::Model { id: uuid(4), email: "bo@example.org".into(), password_hash: PasswordHash("$argon2id$1".into()), name: "".into(), role: UserRole::User, email_verified_at: None, tier: "".into(), created_at: 0, updated_at: 0 }];
    membership: [membership::Model { account_id: uuid(1), user_id: uuid(3), role: MemberRole::Owner, created_at: AT }, membership::Model { account_id: uuid(2), user_id: uuid(4), role: MemberRole::Viewer, created_at: 0 }];
    api_key: [api_key::Model { id: uuid(5), user_id: uuid(3), account_id: uuid(1), key_hash: KeyHash(vec![0; 32]), pepper_id: i32::MAX, name: "name ü0".into(), prefix: "prefix ü0".into(), last4: "last4 ü0".into(), env: "env ü0".into(), scopes: json!({"ü": [1, null, "x"]}), tier: "tier ü0".into(), is_active: true, created_at: AT, updated_at: AT, last_used_at: Some(AT), expires_at: Some(AT), not_before: Some(i64::MAX), revoked_at: Some(AT), usage_count: i64::MAX, version: i64::MAX, ip_allow: json!({"ü": [1, null, "x"]}), metadata: json!({"ü": [1, null, "x"]}), rate_limit: Some(json!({"ü": [1, null, "x"]})), slow_hash: Some(SlowKeyHash("$argon2id$2".into())), quotas: Some(json!({"ü": [1, null, "x"]})), quotas_since: Some(AT) }, api_key::Model { id: uuid(6), user_id: uuid(4), account_id: uuid(2), key_hash: KeyHash(vec![1; 32]), pepper_id: 0, name: "".into(), prefix: "prefix1".into(), last4: "last41".into(), env: "env1".into(), scopes: json!([]), tier: "".into(), is_active: false, created_at: 0, updated_at: 0, last_used_at: None, expires_at: None, not_before: None, revoked_at: None, usage_count: 0, version: 0, ip_allow: json!([]), metadata: json!([]), rate_limit: None, slow_hash: None, quotas: None, quotas_since: None }];
    key_change: [key_change::Model { seq: 7, key_id: Some(uuid(5)), account_id: uuid(1), version: i64::MAX, kind: "kind ü0".into(), created_at: AT }, key_change::Model { seq: 8, key_id: None, account_id: uuid(2), version: 0, kind: "kind1".into(), created_at: 0 }];
    quota_counter: [quota_counter::Model { account_id: uuid(1), meter: "meter ü0".into(), period_start: AT, period_end: AT, used: i64::MAX, leased: i64::MAX, token: i64::MAX, quota: Some(i64::MAX), tier: "tier ü0".into(), updated_at: AT }, quota_counter::Model { account_id: uuid(2), meter: "meter1".into(), period_start: 0, period_end: 0, used: 0, leased: 0, token: 0, quota: None, tier: "".into(), updated_at: 0 }];
    quota_lease: [quota_lease::Model { account_id: uuid(1), meter: "meter ü0".into(), period_start: AT, replica: uuid(7), epoch: i64::MAX, token: i64::MAX, granted: i64::MAX, settled: i64::MAX, last_op: i64::MAX, last_grant: Some(i64::MAX), expires_at: AT, state: "state ü0".into(), updated_at: AT }, quota_lease::Model { account_id: uuid(2), meter: "meter1".into(), period_start: 0, replica: uuid(8), epoch: 0, token: 0, granted: 0, settled: 0, last_op: 0, last_grant: None, expires_at: 0, state: "state1".into(), updated_at: 0 }];
    usage_batch: [usage_batch::Model { replica: uuid(7), epoch: i64::MAX, number: i64::MAX, events: i32::MAX, digest: vec![0; 32], created_at: AT }, usage_batch::Model { replica: uuid(8), epoch: 0, number: 0, events: 0, digest: vec![], created_at: 0 }];
    usage_correction: [usage_correction::Model { id: uuid(20), account_id: uuid(1), meter: "meter ü0".into(), period_start: AT, kind: "kind ü0".into(), count: i64::MAX, units: i64::MIN, reason: "reason ü0".into(), created_at: AT }, usage_correction::Model { id: uuid(21), account_id: uuid(2), meter: "meter1".into(), period_start: 0, kind: "kind1".into(), count: 0, units: 0, reason: "".into(), created_at: 0 }];
    usage_event: [usage_event::Model { id: uuid(9), account_id: uuid(1), user_id: Some(uuid(3)), key_id: Some(uuid(5)), operation: "operation ü0".into(), endpoint: "endpoint ü0".into(), method: "method ü0".into(), source: Some("source ü0".into()), status: i32::MAX, grpc_status: Some(i16::MAX), outcome: "outcome ü0".into(), refusal: Some("refusal ü0".into()), would_refuse: Some("would_refuse ü0".into()), units: i64::MAX, meter_units: Some(json!({"ü": [1, null, "x"]})), over: true, response_time_ms: i64::MAX, response_time_us: i64::MAX, first_byte_us: Some(i64::MAX), bytes_in: i64::MAX, bytes_out: i64::MAX, request_id: "request_id ü0".into(), replica: Some(uuid(7)), tags: Some(json!({"ü": "x"})), created_at: AT }, usage_event::Model { id: uuid(10), account_id: uuid(2), user_id: None, key_id: None, operation: "operation1".into(), endpoint: "endpoint1".into(), method: "method1".into(), source: None, status: 0, grpc_status: None, outcome: "outcome1".into(), refusal: None, would_refuse: None, units: 0, meter_units: None, over: false, response_time_ms: 0, response_time_us: 0, first_byte_us: None, bytes_in: 0, bytes_out: 0, request_id: "".into(), replica: None, tags: None, created_at: 0 }];
    usage_active_day: [usage_active_day::Model { day_start: AT, account_id: uuid(1) }, usage_active_day::Model { day_start: i64::MIN, account_id: uuid(2) }];
    usage_mark: [usage_mark::Model { name: "name ü0".into(), reached_at: AT }, usage_mark::Model { name: "name1".into(), reached_at: i64::MIN }];
    usage_rollup_sum: [usage_rollup_sum::Model { account_id: uuid(1), grain: i16::MAX, bucket_start: AT, key_id: uuid(5), operation: "operation ü0".into(), source: "source ü0".into(), status_class: i16::MAX, requests: i64::MAX, refused: i64::MAX, failed: i64::MAX, units: i64::MAX, response_time_us_sum: i64::MAX, response_time_us_max: i64::MAX, sketch: vec![0, 255, 39, 92] }, usage_rollup_sum::Model { account_id: uuid(2), grain: 0, bucket_start: 0, key_id: uuid(6), operation: "operation1".into(), source: "".into(), status_class: 0, requests: 0, refused: 0, failed: 0, units: 0, response_time_us_sum: 0, response_time_us_max: 0, sketch: vec![] }];
    usage_rollup_unit: [usage_rollup_unit::Model { account_id: uuid(1), grain: i16::MAX, bucket_start: AT, key_id: uuid(5), operation: "operation ü0".into(), source: "source ü0".into(), status_class: i16::MAX, meter: "meter ü0".into(), units: i64::MAX }, usage_rollup_unit::Model { account_id: uuid(2), grain: 0, bucket_start: 0, key_id: uuid(6), operation: "operation1".into(), source: "".into(), status_class: 0, meter: "meter1".into(), units: 0 }];
    usage_rollup_endpoint: [usage_rollup_endpoint::Model { account_id: uuid(1), grain: i16::MAX, bucket_start: AT, key_id: uuid(5), endpoint: "endpoint ü0".into(), requests: i64::MAX, refused: i64::MAX, failed: i64::MAX, units: i64::MAX }, usage_rollup_endpoint::Model { account_id: uuid(2), grain: 0, bucket_start: 0, key_id: uuid(6), endpoint: "".into(), requests: 0, refused: 0, failed: 0, units: 0 }];
    usage_summary: [usage_summary::Model { account_id: uuid(1), meter: "meter ü0".into(), period_start: AT, period_end: AT, tier: "tier ü0".into(), count: i64::MAX, units: i64::MAX, quota_limit: Some(i64::MAX), updated_at: AT, closed_at: Some(AT) }, usage_summary::Model { account_id: uuid(2), meter: "meter1".into(), period_start: 0, period_end: 0, tier: "".into(), count: 0, units: 0, quota_limit: None, updated_at: 0, closed_at: None }];
    subscription: [subscription::Model { id: uuid(11), account_id: uuid(1), tier: "tier ü0".into(), provider: "provider ü0".into(), subscription_id: "subscription_id ü0".into(), status: "status ü0".into(), period_start: AT, period_end: AT, created_at: AT, updated_at: AT }, subscription::Model { id: uuid(12), account_id: uuid(2), tier: "".into(), provider: "provider1".into(), subscription_id: "subscripti1".into(), status: "status1".into(), period_start: 0, period_end: 0, created_at: 0, updated_at: 0 }];
    audit_entry: [audit_entry::Model { id: uuid(13), account_id: Some(uuid(1)), actor_id: Some(uuid(13)), actor_kind: "actor_kind ü0".into(), action: "action ü0".into(), subject_kind: "subject_kind ü0".into(), subject_id: "subject_id ü0".into(), before: Some(json!({"ü": [1, null, "x"]})), after: Some(json!({"ü": [1, null, "x"]})), request_id: Some("request_id ü0".into()), created_at: AT }, audit_entry::Model { id: uuid(14), account_id: None, actor_id: None, actor_kind: "actor_kind1".into(), action: "action1".into(), subject_kind: "subject_ki1".into(), subject_id: "subject_id1".into(), before: None, after: None, request_id: None, created_at: 0 }];
}
