//! Limit headers.

use std::time::Duration;

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};

use super::LimitReport;
use super::shape::{QuotaShape, Shown};
use super::style::{HeaderDraft, ResetFormat};
use super::text::{Moving, Values, retry_seconds, seconds_up};
use crate::units::Units;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_USED: HeaderName = HeaderName::from_static("x-ratelimit-used");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");
/// Both families, and room for the few headers that follow, so that the map grows once.
const HEADERS_MAX: usize = 10;

/// The limit that the draft's headers tell the state of.
struct State<'a> {
    shown: &'a Shown,
    remaining: u64,
    /// Seconds until there is more.
    reset: Option<u64>,
}

/// How many bytes of the buffer belong to which value; zero for none.
#[derive(Default)]
struct Lengths {
    used: usize,
    remaining: usize,
    reset: usize,
    state: usize,
    state_reset: usize,
}

impl LimitReport {
    /// Writes the headers of the meter's [`HeaderStyle`](super::HeaderStyle) into `headers`, over those that are there.
    ///
    /// They belong into a response's head. The draft forbids them in trailers.
    pub fn write(&self, headers: &mut HeaderMap) {
        self.render(None, None, headers);
    }

    /// The same with the request's id, the bytes of a text, unless `headers` have one.
    pub(crate) fn write_with_id(&self, id: &[u8], headers: &mut HeaderMap) {
        self.render(None, Some(id), headers);
    }

    /// The same beside a `Retry-After`. A client has to be told one time: where a later one than that of `Retry-After`
    /// would stand in the draft's headers, as they speak of another limit than what the refusal is about, it is left out.
    pub(crate) fn write_beside(&self, retry_after: Duration, headers: &mut HeaderMap) {
        self.render(Some(retry_seconds(retry_after)), None, headers);
    }

    fn render(&self, retry_after: Option<u64>, id: Option<&[u8]>, headers: &mut HeaderMap) {
        let shape = &*self.shape;
        let classic = shape.style.classic().zip(shape.quota.as_ref());
        let draft = shape.style.draft();
        let state = draft.and_then(|_| self.state(retry_after));
        let mut moving = Moving::default();
        let mut lengths = Lengths::default();
        if let Some((format, quota)) = classic {
            self.move_classic(format, quota, &mut moving, &mut lengths);
        }
        if let (Some(draft), Some(state)) = (draft, &state) {
            move_state(draft, state, &mut moving, &mut lengths);
        }
        moving.bytes(id.unwrap_or_default());
        let mut values = moving.values();
        headers.reserve(HEADERS_MAX);
        if let Some((_, quota)) = classic {
            insert_classic(quota, &lengths, &mut values, headers);
        }
        if let Some(policy) = &shape.policy {
            headers.insert(POLICY, policy.clone());
        }
        match (draft, state) {
            (Some(HeaderDraft::V6), Some(state)) => {
                headers.insert(LIMIT, state.shown.limit.clone());
                insert(REMAINING, lengths.state, &mut values, headers);
                insert(RESET, lengths.state_reset, &mut values, headers);
            }
            (Some(HeaderDraft::V7 | HeaderDraft::V8), Some(_)) => {
                insert(RATE_LIMIT, lengths.state, &mut values, headers);
            }
            (None, _) | (_, None) => {}
        }
        if let (Some(id), Entry::Vacant(place)) = (id, headers.entry(X_REQUEST_ID))
            && let Some(value) = values.next(id.len())
        {
            place.insert(value);
        }
    }

    fn move_classic(
        &self,
        format: ResetFormat,
        quota: &QuotaShape,
        moving: &mut Moving,
        lengths: &mut Lengths,
    ) {
        lengths.used = moving.written(|moving| moving.number(self.used.get()));
        lengths.remaining = quota.limit.map_or(0, |limit| {
            moving.written(|moving| moving.number(self.left_of(limit)))
        });
        if format == ResetFormat::DeltaSeconds {
            let seconds = seconds_up(quota.period.end.since(self.now));
            lengths.reset = moving.written(|moving| moving.number(seconds));
        }
    }

    /// What can be had of the quota that is shown.
    fn left_of(&self, limit: Units) -> u64 {
        limit.minus(self.used).minus(self.in_flight).get()
    }

    /// Only the limit that matters most: a violated rate, else the quota, else the nearest rate.
    fn state(&self, retry_after: Option<u64>) -> Option<State<'_>> {
        let shape = &*self.shape;
        let (shown, remaining, reset) = if let Some(rate) = &self.rate {
            let limit = shape.plan.rates.get(rate.position)?;
            let reset = rate.wait.unwrap_or(limit.per);
            (shape.rates.get(rate.position)?, u64::from(rate.remaining), reset)
        } else {
            let quota = shape.quota.as_ref()?;
            let remaining = self.left_of(quota.limit?);
            let until_reset = quota.period.end.since(self.now);
            (&quota.shown, remaining, self.quota_wait.unwrap_or(until_reset))
        };
        let reset = seconds_up(reset);
        Some(State {
            shown,
            remaining,
            reset: retry_after.is_none_or(|retry| reset <= retry).then_some(reset),
        })
    }
}

fn move_state(draft: HeaderDraft, state: &State<'_>, moving: &mut Moving, lengths: &mut Lengths) {
    let before_reset = match draft {
        HeaderDraft::V6 => {
            lengths.state = moving.written(|moving| moving.number(state.remaining));
            if let Some(reset) = state.reset {
                lengths.state_reset = moving.written(|moving| moving.number(reset));
            }
            return;
        }
        HeaderDraft::V7 => ", reset=",
        HeaderDraft::V8 => ";t=",
    };
    lengths.state = moving.written(|moving| {
        moving.text(&state.shown.state);
        moving.number(state.remaining);
        if let Some(reset) = state.reset {
            moving.text(before_reset);
            moving.number(reset);
        }
    });
}

fn insert_classic(quota: &QuotaShape, lengths: &Lengths, values: &mut Values, headers: &mut HeaderMap) {
    headers.insert(X_LIMIT, quota.shown.limit.clone());
    insert(X_USED, lengths.used, values, headers);
    if quota.limit.is_none() {
        headers.insert(X_REMAINING, HeaderValue::from_static("unlimited"));
    }
    insert(X_REMAINING, lengths.remaining, values, headers);
    if let Some(reset) = &quota.reset {
        headers.insert(X_RESET, reset.clone());
    }
    insert(X_RESET, lengths.reset, values, headers);
}

/// Takes the next value, if there is one, under `name`.
fn insert(name: HeaderName, len: usize, values: &mut Values, headers: &mut HeaderMap) {
    if len > 0
        && let Some(value) = values.next(len)
    {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests;
