//! The headers that answers of a plan and period have in common, as a map that is copied for each answer.
//!
//! Copying a map hashes no name and looks for no place, which is most of what inserting its headers would cost.

use std::mem;

use http::header::{Entry, HeaderMap, HeaderName, HeaderValue};

use super::super::shape::{QuotaShape, Shown};
use super::super::style::HeaderStyle;
use super::super::text::{Moving, Part};
use crate::meter::report::HeaderDraft;

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
/// Both families, the request's id, and room for the few headers of the answer itself.
const HEADERS_MAX: usize = 12;

/// Headers with everything in them that does not move.
#[derive(Debug)]
pub(in crate::meter::report) struct Template {
    headers: HeaderMap,
    /// Which part of what moves stands in each header, in their order; none where it is written already.
    parts: Box<[Option<Part>]>,
}

impl Template {
    pub(in crate::meter::report) fn new(
        style: HeaderStyle,
        quota: Option<&QuotaShape>,
        rates: &[Shown],
        policy: Option<HeaderValue>,
    ) -> Self {
        let mut template = Lines::default();
        if let Some(quota) = quota.filter(|_| style.classic().is_some()) {
            template.fix(X_LIMIT, quota.shown.limit.clone());
            template.leave(X_USED, Part::Used);
            match quota.limit {
                Some(_) => template.leave(X_REMAINING, Part::Remaining),
                None => template.fix(X_REMAINING, HeaderValue::from_static("unlimited")),
            }
            match &quota.reset {
                Some(reset) => template.fix(X_RESET, reset.clone()),
                None => template.leave(X_RESET, Part::Reset),
            }
        }
        if let Some(policy) = policy {
            template.fix(POLICY, policy);
        }
        let has_state = !rates.is_empty() || quota.is_some_and(|quota| quota.limit.is_some());
        match style.draft().filter(|_| has_state) {
            Some(HeaderDraft::V6) => {
                template.leave(LIMIT, Part::StateLimit);
                template.leave(REMAINING, Part::State);
                template.leave(RESET, Part::StateReset);
            }
            Some(HeaderDraft::V7 | HeaderDraft::V8) => template.leave(RATE_LIMIT, Part::State),
            None => {}
        }
        template.leave(X_REQUEST_ID, Part::Id);
        template.finish()
    }

    /// Writes the headers over those of an answer, with the parts of `moving` in their places. What has no such part is left
    /// out. A request's id that the answer has already stays.
    pub(super) fn write(&self, moving: Moving, headers: &mut HeaderMap) {
        let mut ours = self.headers.clone();
        let values = moving.values();
        let mut is_whole = true;
        for (header, part) in ours.values_mut().zip(&self.parts) {
            let Some(part) = part else { continue };
            match values.of(*part) {
                Some(value) => *header = value,
                None => is_whole = false,
            }
        }
        if !is_whole {
            let parts = self.headers.keys().zip(&self.parts);
            for (name, _) in parts.filter(|(_, part)| part.is_some_and(|part| values.of(part).is_none())) {
                ours.remove(name);
            }
        }
        put_over(ours, headers);
    }
}

/// Puts `ours` over `headers`, but for the request's id.
fn put_over(mut ours: HeaderMap, headers: &mut HeaderMap) {
    if headers.is_empty() {
        *headers = ours;
        return;
    }
    let has_more = headers.keys_len() > ours.keys_len();
    if has_more || headers.len() != headers.keys_len() {
        if headers.contains_key(X_REQUEST_ID) {
            ours.remove(X_REQUEST_ID);
        }
        headers.reserve(ours.keys_len());
        headers.extend(ours);
        return;
    }
    // Fewer, and each of them once: they go into ours.
    for (name, value) in mem::replace(headers, ours) {
        match name.map(|name| headers.entry(name)) {
            Some(Entry::Vacant(place)) => {
                place.insert(value);
            }
            Some(Entry::Occupied(mut id)) if *id.key() == X_REQUEST_ID => {
                id.insert(value);
            }
            Some(Entry::Occupied(_)) | None => {}
        }
    }
}

/// A template in the making.
#[derive(Default)]
struct Lines(Vec<(HeaderName, HeaderValue, Option<Part>)>);

impl Lines {
    fn fix(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push((name, value, None));
    }

    fn leave(&mut self, name: HeaderName, part: Part) {
        self.0.push((name, HeaderValue::from_static(""), Some(part)));
    }

    fn finish(self) -> Template {
        let mut headers = HeaderMap::with_capacity(HEADERS_MAX);
        for (name, value, _) in &self.0 {
            headers.insert(name, value.clone());
        }
        // The map says in which order it has them.
        let part_of = |name: &HeaderName| self.0.iter().find(|(has, ..)| has == name)?.2;
        Template {
            parts: headers.keys().map(part_of).collect(),
            headers,
        }
    }
}
