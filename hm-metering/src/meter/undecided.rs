//! A request that is being decided.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use super::Engine;
use super::call::{Call, Texts};
use super::decide::Now;
use super::directory::Caller;
use super::heads::Heads;
use super::hold::Holds;
use super::rejection::{Asked, Form, Rejection};
use super::report::LimitReport;
use crate::id::EventId;
use crate::operation::Operation;
use crate::quota::Lease;
use crate::refusal::Refusal;
use crate::units::Units;
use crate::usage::Outcome;

/// A request that is being decided.
pub(super) struct Undecided {
    pub(super) id: EventId,
    pub(super) operation: Arc<Operation>,
    pub(super) method: Method,
    pub(super) texts: Texts,
    pub(super) bytes_in: u64,
    pub(super) form: Form,
    pub(super) client: Option<IpAddr>,
    /// Of a request that waits, for hooks.
    pub(super) headers: Option<Box<HeaderMap>>,
    pub(super) arrived: Now,
    /// Whether the caller is believed although nobody could be asked.
    pub(super) is_fallback: bool,
}

impl Undecided {
    #[inline]
    pub(super) fn new<'a>(
        id: EventId,
        operation: &Arc<Operation>,
        (call, heads): (Call<'a>, &Heads<'a>),
        now: Now,
    ) -> Self {
        Self {
            id,
            operation: Arc::clone(operation),
            method: call.method.clone(),
            texts: call.texts(heads),
            bytes_in: heads.bytes_in(),
            form: call.form(heads),
            client: None,
            headers: None,
            arrived: now,
            is_fallback: false,
        }
    }

    /// The request for hooks, after it has waited.
    pub(super) fn call(&self) -> Option<Call<'_>> {
        let endpoint = std::str::from_utf8(self.texts.endpoint()).unwrap_or_default();
        let call = Call::new(&self.method, self.headers.as_deref()?, endpoint);
        Some(match self.texts.request_id() {
            Some(id) => call.with_request_id(id),
            None => call,
        })
    }

    /// Refuses the request of `caller`, as far as it is known.
    pub(super) fn rejected(
        &self,
        engine: &Engine,
        caller: Option<&Arc<Caller>>,
        refusal: Refusal,
        report: Option<LimitReport>,
    ) -> Box<Rejection> {
        let given = self.texts.request_id();
        let asked = Asked {
            request_id: given.map_or_else(|| self.id.to_string(), str::to_owned),
            form: self.form,
            operation: Some(Arc::clone(&self.operation)),
            principal: caller.map(Caller::principal),
            is_head: self.method == Method::HEAD,
        };
        // How long a refusal took is no response time.
        self.operation.note_finished(Outcome::Refused, Duration::ZERO);
        engine.reject(refusal, report, asked)
    }
}

/// A counter that the store must be asked about.
pub(super) struct Question {
    pub(super) lease: Arc<Lease>,
    pub(super) limit: Option<Units>,
    pub(super) need: Units,
}

/// Why a request is refused, and how its limits stand.
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) report: Option<LimitReport>,
}

/// What was decided. A refusal is in a box, so that the usual answer is small.
pub(super) enum Decided {
    Ready(Result<Holds, Box<Refused>>),
    Ask(Question),
}

impl Decided {
    pub(super) fn refused(refusal: Refusal, report: Option<LimitReport>) -> Self {
        Self::Ready(Err(Box::new(Refused { refusal, report })))
    }
}
