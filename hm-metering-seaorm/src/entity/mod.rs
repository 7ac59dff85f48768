//! The tables, one file each.
//!
//! One representation on every database:
//!
//! * ids are UUIDs: `uuid` on PostgreSQL, a blob of 16 bytes on SQLite, `binary(16)` on MariaDB;
//! * times are signed 64-bit microseconds since 1970-01-01T00:00:00Z in columns that end in `_at`, `_start` or
//!   `_end`: quick to compare, the same everywhere, untouched by any time zone, and what
//!   [`Timestamp::from_micros`](hm_metering::Timestamp::from_micros) and
//!   [`Timestamp::as_micros`](hm_metering::Timestamp::as_micros) take and give;
//! * enumerations are short texts, JSON is `jsonb` on PostgreSQL, `json` on MariaDB and text on SQLite;
//! * units and counts are signed 64-bit integers that are never negative.
//!
//! [`crate::SeaOrmStore`] owns keys, quotas and usage; write those tables only through it. Reading them, and both
//! on the others, is free.

pub mod account;
pub mod api_key;
pub mod audit_entry;
pub mod key_change;
pub mod membership;
pub mod quota_counter;
pub mod quota_lease;
pub mod subscription;
pub mod usage_active_day;
pub mod usage_batch;
pub mod usage_correction;
pub mod usage_event;
pub mod usage_mark;
pub mod usage_rollup_endpoint;
pub mod usage_rollup_sum;
pub mod usage_rollup_unit;
pub mod usage_summary;
pub mod user;

mod value;

pub use value::{KeyHash, MemberRole, PasswordHash, SlowKeyHash, UserRole};
