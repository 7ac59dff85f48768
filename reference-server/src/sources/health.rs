//! How a source is doing.

use std::sync::{Mutex, PoisonError};

use hm_metering::Timestamp;
use serde::Serialize;

use super::Reach;
use super::error::SourceError;

/// How a source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Its last answer was good.
    Ok,
    /// Its last answer was a failure.
    Degraded,
    /// It has not been asked yet.
    Unknown,
}

/// How one source is doing, as it is shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// The name of the source.
    pub source: &'static str,
    /// Whether it asks another service; `false` for what is built in.
    pub live: bool,
    /// How it is doing.
    pub state: Health,
    /// When it last answered well; `null` when it never did, and for what is built in.
    pub last_success_at: Option<Timestamp>,
    /// When it last failed.
    pub last_failure_at: Option<Timestamp>,
    /// The [code](SourceError::code) of its last failure.
    pub last_failure: Option<&'static str>,
    /// How many questions have failed since the last good answer.
    pub failures_in_row: u32,
}

/// What is remembered about one source: a fixed few numbers, however often it is asked.
#[derive(Debug, Default)]
pub(super) struct Record(Mutex<Past>);

#[derive(Clone, Copy, Debug, Default)]
struct Past {
    success: Option<Timestamp>,
    failure: Option<(Timestamp, &'static str)>,
    failures_in_row: u32,
}

impl Record {
    /// Notes a good answer.
    pub(super) fn succeeded(&self, now: Timestamp) {
        self.change(|past| {
            past.success = Some(now);
            past.failures_in_row = 0;
        });
    }

    /// Notes a failure; an error that says nothing about the source changes nothing.
    pub(super) fn failed(&self, error: &SourceError, now: Timestamp) {
        if error.is_failure() {
            self.change(|past| {
                past.failure = Some((now, error.code()));
                past.failures_in_row = past.failures_in_row.saturating_add(1);
            });
        }
    }

    /// What there is to show.
    pub(super) fn status(&self, source: &'static str, reach: Reach) -> SourceStatus {
        let past = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let live = reach != Reach::BuiltIn;
        let state = if !live || (past.success.is_some() && past.failures_in_row == 0) {
            Health::Ok
        } else if past.failures_in_row > 0 {
            Health::Degraded
        } else {
            Health::Unknown
        };
        SourceStatus {
            source,
            live,
            state,
            last_success_at: past.success,
            last_failure_at: past.failure.map(|(at, _)| at),
            last_failure: past.failure.map(|(_, code)| code),
            failures_in_row: past.failures_in_row,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Past)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
