//! What a caller is told about its limits: the state of limits at a decision, and the headers it becomes.

pub(crate) mod standing;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chrono::Datelike;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::plan::Plan;
use crate::time::Timestamp;
use crate::units::Units;

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const USED: HeaderName = HeaderName::from_static("x-ratelimit-used");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// The state of a quota when a request was decided, the request itself included if it was let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaReport {
    /// The limit's name: that of its period, such as `month`, after the meter's unless it counts requests.
    pub name: Cow<'static, str>,
    /// What the period allows; none for unlimited.
    pub limit: Option<Units>,
    /// What was used, as far as this process knows.
    pub used: Units,
    /// When the period began.
    pub start: Timestamp,
    /// When the next period begins.
    pub reset: Timestamp,
}

impl QuotaReport {
    /// What is left; none for unlimited.
    #[must_use]
    pub fn remaining(&self) -> Option<Units> {
        self.limit.map(|limit| limit.minus(self.used))
    }
}

/// The state of a rate limit when a request was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateReport {
    /// Its position among the plan's rate limits.
    pub position: usize,
    /// What could be taken at once.
    pub remaining: u32,
    /// How long until the refused request would fit; none when it was let through.
    pub wait: Option<Duration>,
}

/// The state of the limits that a request was decided by.
#[derive(Clone, Debug)]
pub struct LimitReport {
    pub(crate) plan: Arc<Plan>,
    pub(crate) now: Timestamp,
    pub(crate) quota: Option<QuotaReport>,
    pub(crate) rate: Option<RateReport>,
}

impl LimitReport {
    /// The plan that held.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The quota that `X-RateLimit-*` headers describe: the one that the request was refused for, else the plan's first.
    #[must_use]
    pub const fn quota(&self) -> Option<&QuotaReport> {
        self.quota.as_ref()
    }

    /// The rate limit nearest to its end, where that matters: the request was refused for it, or there is no limited
    /// quota.
    #[must_use]
    pub const fn rate(&self) -> Option<&RateReport> {
        self.rate.as_ref()
    }

    /// Writes `X-RateLimit-*`, `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-08 to -11)
    /// into `headers`.
    pub fn write(&self, headers: &mut HeaderMap) {
        let mut text = Text::default();
        if let Some(quota) = &self.quota {
            text.header(LIMIT, |out| match quota.limit {
                Some(limit) => write!(out, "{limit}"),
                None => out.write_str("unlimited"),
            });
            text.header(USED, |out| write!(out, "{}", quota.used));
            text.header(REMAINING, |out| match quota.remaining() {
                Some(remaining) => write!(out, "{remaining}"),
                None => out.write_str("unlimited"),
            });
            text.header(RESET, |out| {
                let day = quota.reset.to_datetime();
                write!(out, "{:04}-{:02}-{:02}", day.year(), day.month(), day.day())
            });
        }
        text.header(POLICY, |out| self.write_policy(out));
        text.header(RATE_LIMIT, |out| self.write_state(out));
        text.insert_into(headers);
    }

    fn write_policy(&self, out: &mut BytesMut) -> std::fmt::Result {
        let mut comma = "";
        if let Some(QuotaReport {
            name,
            limit: Some(limit),
            start,
            reset,
            ..
        }) = &self.quota
        {
            write!(
                out,
                "\"{name}\";q={limit};w={}",
                reset.since(*start).as_secs().max(1)
            )?;
            comma = ", ";
        }
        for rate in &self.plan.rates {
            write!(
                out,
                "{comma}\"{}\";q={};w={}",
                rate.name,
                rate.limit,
                rate.per.as_secs().max(1)
            )?;
            comma = ", ";
        }
        Ok(())
    }

    /// Only the limit that matters most: a violated rate, else the quota, else the nearest rate.
    fn write_state(&self, out: &mut BytesMut) -> std::fmt::Result {
        if let Some(rate) = &self.rate {
            let Some(limit) = self.plan.rates.get(rate.position) else {
                return Ok(());
            };
            let wait = seconds_up(rate.wait.unwrap_or(limit.per));
            return write!(out, "\"{}\";r={};t={wait}", limit.name, rate.remaining);
        }
        match &self.quota {
            Some(quota) => match quota.remaining() {
                Some(left) => {
                    write!(
                        out,
                        "\"{}\";r={left};t={}",
                        quota.name,
                        seconds_up(quota.reset.since(self.now))
                    )
                }
                None => Ok(()),
            },
            None => Ok(()),
        }
    }
}

/// Whole seconds, rounded up: an earlier retry would be refused again.
pub(crate) fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}

/// Writes `Retry-After` in seconds, at least one.
pub(crate) fn write_retry_after(wait: Duration, headers: &mut HeaderMap) {
    headers.insert(RETRY_AFTER, HeaderValue::from(seconds_up(wait).max(1)));
}

/// Several header values in one buffer, so that they take one allocation together.
#[derive(Default)]
struct Text {
    buffer: BytesMut,
    ends: smallvec::SmallVec<[(HeaderName, usize); 6]>,
}

impl Text {
    /// Writes one value; an empty one becomes no header.
    fn header(&mut self, name: HeaderName, value: impl FnOnce(&mut BytesMut) -> std::fmt::Result) {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve(192);
        }
        // Writing into a growing buffer does not fail.
        if value(&mut self.buffer).is_ok() {
            self.ends.push((name, self.buffer.len()));
        }
    }

    fn insert_into(self, headers: &mut HeaderMap) {
        let whole: Bytes = self.buffer.freeze();
        let mut start = 0;
        for (name, end) in self.ends {
            if end > start
                && let Ok(value) = HeaderValue::from_maybe_shared(whole.slice(start..end))
            {
                headers.insert(name, value);
            }
            start = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::PlanId;
    use crate::plan::RateLimit;

    fn report(limit: Option<Units>, rate: Option<RateReport>) -> LimitReport {
        let second = RateLimit {
            name: "second".to_owned(),
            limit: 500,
            per: Duration::from_secs(1),
            burst: 500,
        };
        LimitReport {
            plan: Arc::new(Plan {
                id: PlanId::from_static("pro"),
                rates: vec![second],
                concurrency: Vec::new(),
                quotas: Vec::new(),
            }),
            now: Timestamp::from_micros(1_797_033_600_500_000),
            quota: Some(QuotaReport {
                name: Cow::Borrowed("month"),
                limit,
                used: Units::new(1_523),
                start: Timestamp::from_micros(1_795_564_800_000_000),
                reset: Timestamp::from_micros(1_798_156_800_000_000),
            }),
            rate,
        }
    }

    fn written(report: &LimitReport) -> Vec<String> {
        let mut headers = HeaderMap::new();
        report.write(&mut headers);
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    #[test]
    fn an_allowed_request_shows_its_quota() {
        assert_eq!(
            written(&report(Some(Units::new(10_000)), None)),
            [
                "x-ratelimit-limit: 10000",
                "x-ratelimit-used: 1523",
                "x-ratelimit-remaining: 8477",
                "x-ratelimit-reset: 2026-12-25",
                "ratelimit-policy: \"month\";q=10000;w=2592000, \"second\";q=500;w=1",
                "ratelimit: \"month\";r=8477;t=1123200",
            ]
        );
    }

    #[test]
    fn an_unlimited_plan_says_so_and_shows_its_rate() {
        let rate = RateReport {
            position: 0,
            remaining: 499,
            wait: None,
        };
        assert_eq!(
            written(&report(None, Some(rate))),
            [
                "x-ratelimit-limit: unlimited",
                "x-ratelimit-used: 1523",
                "x-ratelimit-remaining: unlimited",
                "x-ratelimit-reset: 2026-12-25",
                "ratelimit-policy: \"second\";q=500;w=1",
                "ratelimit: \"second\";r=499;t=1",
            ]
        );
    }

    #[test]
    fn a_violated_rate_is_the_one_that_is_shown() {
        let rate = RateReport {
            position: 0,
            remaining: 0,
            wait: Some(Duration::from_millis(1_200)),
        };
        let headers = written(&report(Some(Units::new(10_000)), Some(rate)));
        assert_eq!(headers.last().unwrap(), "ratelimit: \"second\";r=0;t=2");
    }

    #[test]
    fn waits_are_rounded_up() {
        let mut headers = HeaderMap::new();
        for (millis, seconds) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            write_retry_after(Duration::from_millis(millis), &mut headers);
            assert_eq!(headers[RETRY_AFTER], seconds);
        }
    }
}
