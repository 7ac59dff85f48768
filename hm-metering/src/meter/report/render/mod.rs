//! Limit headers.

mod template;

use std::time::Duration;

use http::header::HeaderMap;

use super::LimitReport;
use super::shape::Shown;
use super::style::{HeaderDraft, ResetFormat};
use super::text::{Moving, Part, retry_seconds, seconds_up};
use crate::units::Units;

pub(super) use template::Template;

/// The limit that the draft's headers tell the state of.
struct State<'a> {
    shown: &'a Shown,
    remaining: u64,
    /// Whether `X-RateLimit-Remaining` says the same number.
    is_of_quota: bool,
    /// Seconds until there is more.
    reset: Option<u64>,
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
    pub(crate) fn write_refused(&self, retry_after: Option<Duration>, id: &[u8], headers: &mut HeaderMap) {
        self.render(retry_after.map(retry_seconds), Some(id), headers);
    }

    fn render(&self, retry_after: Option<u64>, id: Option<&[u8]>, headers: &mut HeaderMap) {
        let mut moving = Moving::default();
        if let Some(draft) = self.shape.style.draft()
            && let Some(state) = self.state(retry_after)
        {
            state.say(draft, &mut moving);
        }
        self.say_classic(&mut moving);
        if let Some(id) = id {
            moving.say(Part::Id, |moving| moving.bytes(id));
        }
        self.shape.template.write(moving, headers);
    }

    fn say_classic(&self, moving: &mut Moving) {
        let (Some(format), Some(quota)) = (self.shape.style.classic(), &self.shape.quota) else {
            return;
        };
        moving.say(Part::Used, |moving| moving.number(self.used.get()));
        if let Some(limit) = quota.limit
            && !moving.has(Part::Remaining)
        {
            moving.say(Part::Remaining, |moving| moving.number(self.left_of(limit)));
        }
        if format == ResetFormat::DeltaSeconds {
            let seconds = seconds_up(quota.period.end.since(self.now));
            moving.say(Part::Reset, |moving| moving.number(seconds));
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
            is_of_quota: self.rate.is_none(),
            reset: retry_after.is_none_or(|retry| reset <= retry).then_some(reset),
        })
    }
}

impl State<'_> {
    fn say(&self, draft: HeaderDraft, moving: &mut Moving) {
        let before_reset = match draft {
            HeaderDraft::V6 => {
                moving.say(Part::StateLimit, |moving| {
                    moving.bytes(self.shown.limit.as_bytes())
                });
                moving.say(Part::State, |moving| self.say_remaining(moving));
                if let Some(reset) = self.reset {
                    moving.say(Part::StateReset, |moving| moving.number(reset));
                }
                return;
            }
            HeaderDraft::V7 => ", reset=",
            HeaderDraft::V8 => ";t=",
        };
        moving.say(Part::State, |moving| {
            moving.text(&self.shown.state);
            self.say_remaining(moving);
            if let Some(reset) = self.reset {
                moving.text(before_reset);
                moving.number(reset);
            }
        });
    }

    /// Writes what is left, for both families if both tell it.
    fn say_remaining(&self, moving: &mut Moving) {
        if self.is_of_quota {
            moving.say(Part::Remaining, |moving| moving.number(self.remaining));
        } else {
            moving.number(self.remaining);
        }
    }
}

#[cfg(test)]
mod answers;
#[cfg(test)]
mod tests;
