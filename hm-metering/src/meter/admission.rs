//! A request that was let through, from its admission to its one event.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{HeaderMap, HeaderName};
use http::{Method, StatusCode};

use super::admitted::{Admitted, Answered};
use super::call::RequestId;
use super::charge::Charge;
use super::rejection::Rejection;
use super::report::LimitReport;
use super::trace::DecisionTrace;
use crate::principal::Principal;
use crate::refusal::Refusal;
use crate::usage::Outcome;

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const RESOURCE_EXHAUSTED: u8 = 8;

/// A request that was let through. It owns what was taken for it, and turns into exactly one event, whatever happens:
/// when it is [finished](Admission::finish), or else when it is dropped.
///
/// The one who serves the request tells it how far it got: [`handler_called`](Admission::handler_called) before the
/// handler is called, [`answered`](Admission::answered) when there is a status, [`sent`](Admission::sent) for each part of
/// the body, `finish` when the response is over. Dropping it earlier records what is known by then: the handler was never
/// reached, or panicked, or the client left.
pub struct Admission {
    open: Option<Open>,
}

struct Open {
    admitted: Arc<Admitted>,
    answered: Answered,
    reached: bool,
    running: bool,
    /// Waits for what the handler said to be reserved.
    reserving: Option<Reserving>,
}

/// It belongs to bodies that are shared between threads.
type Reserving = Pin<Box<dyn Future<Output = ()> + Send + Sync>>;

impl Admission {
    pub(super) const fn new(admitted: Arc<Admitted>) -> Self {
        Self {
            open: Some(Open {
                admitted,
                answered: Answered::NOTHING,
                reached: false,
                running: false,
                reserving: None,
            }),
        }
    }

    /// The caller.
    ///
    /// # Panics
    /// Never: an admission is open until it is finished, which consumes it.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.open().admitted.principal()
    }

    /// The handle that goes into the request's extensions.
    #[must_use]
    pub fn charge(&self) -> Charge {
        Charge::new(Arc::clone(&self.open().admitted))
    }

    /// The state of the limits: what others were charged so far, and what this request is charged if its response ends well.
    #[must_use]
    pub fn report(&self) -> LimitReport {
        let open = self.open();
        open.admitted.report(&open.answered)
    }

    /// How it came to be let through, for operators. It is made by this call and costs nothing otherwise.
    #[must_use]
    pub fn trace(&self) -> DecisionTrace {
        let admitted = &self.open().admitted;
        DecisionTrace::new(
            None,
            Some(self.report()),
            Some(admitted.principal().clone()),
            Some(Arc::clone(&admitted.request.operation)),
            self.request_id().0,
        )
    }

    /// The request's id.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.open().admitted.request_id()
    }

    /// Writes the limits' headers and the request's id into the head of the answer.
    pub fn write_headers(&self, headers: &mut HeaderMap) {
        let open = self.open();
        open.admitted.write_headers(&open.answered, headers);
    }

    /// Whether the response to this request has no body, whatever its headers say.
    pub(crate) fn is_bodiless(&self) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let of_status = |status: StatusCode| matches!(status.as_u16(), 100..=199 | 204 | 304);
            open.admitted.request.method == Method::HEAD || open.answered.status.is_some_and(of_status)
        })
    }

    /// Whether the handler took more than it may and its response has to be stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.admitted.said.is_stopped())
    }

    /// Whether the handler said more than is leased, so that more of its answer has to [wait](Admission::poll_reserved).
    #[must_use]
    pub fn is_lacking(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.admitted.said.is_lacking())
    }

    /// Ready when what the handler said so far is reserved, or can't be, which [`is_stopped`](Admission::is_stopped) tells
    /// where that stops the response. It is ready at once unless [more is being leased](Admission::is_lacking), and waits for
    /// a store no longer than a request does at the door. Ask it before anything of the answer is handed over and before the
    /// admission is finished; what was not reserved by then is free under [`Overrun::Cap`](crate::Overrun::Cap) and
    /// [`Overrun::Reject`](crate::Overrun::Reject).
    pub fn poll_reserved(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(open) = &mut self.open else {
            return Poll::Ready(());
        };
        if open.reserving.is_none() && !open.admitted.said.is_lacking() {
            return Poll::Ready(());
        }
        let admitted = &open.admitted;
        let reserving = open
            .reserving
            .get_or_insert_with(|| Box::pin(Arc::clone(admitted).reserve_all()));
        ready!(reserving.as_mut().poll(cx));
        open.reserving = None;
        Poll::Ready(())
    }

    /// The same as a future. Dropping it gives up waiting and nothing else.
    pub async fn reserved(&mut self) {
        poll_fn(|cx| self.poll_reserved(cx)).await;
    }

    /// Whether it is a gRPC call.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.open
            .as_ref()
            .is_some_and(|open| open.admitted.request.form.is_grpc())
    }

    /// Ends a request that [has to be stopped](Admission::is_stopped) before anything of its answer was sent, and makes the
    /// answer to be sent in place of the handler's.
    #[must_use]
    pub fn reject(mut self) -> Option<Box<Rejection>> {
        let open = self.open.take()?;
        let rejection = open.admitted.reject();
        let is_grpc = open.admitted.request.form.is_grpc();
        let answered = Answered {
            status: Some(rejection.refusal().status()),
            grpc_status: is_grpc.then_some(RESOURCE_EXHAUSTED),
            bytes: rejection.body().len() as u64,
            ..open.answered
        };
        open.admitted.finish(Outcome::Stopped, &answered);
        Some(rejection)
    }

    /// The handler is about to be called.
    pub fn handler_called(&mut self) {
        if let Some(open) = &mut self.open {
            open.reached = true;
        }
    }

    /// The handler's code runs from now on, or no longer. When the admission is dropped in between, it panicked.
    pub fn set_running(&mut self, running: bool) {
        if let Some(open) = &mut self.open {
            open.running = running;
        }
    }

    /// The handler answered with this status; its body may still be on the way.
    pub fn answered(&mut self, status: StatusCode) {
        if let Some(open) = &mut self.open {
            open.answered.status = Some(status);
        }
    }

    /// Where the status of a gRPC call may stand: in the answer's head if that is all there is, or in its trailers. A call
    /// that is complete without one has the status 2 (unknown), and is no success.
    pub fn note_trailers(&mut self, headers: &HeaderMap) {
        if let Some(open) = self
            .open
            .as_mut()
            .filter(|open| open.admitted.request.form.is_grpc())
        {
            let status = headers.get(GRPC_STATUS).and_then(|value| value.to_str().ok());
            if let Some(status) = status.and_then(|status| status.parse().ok()) {
                open.answered.grpc_status = Some(status);
            }
        }
    }

    /// So many bytes of the body are about to be handed over.
    pub fn sent(&mut self, bytes: u64) {
        self.note_sent(bytes, false);
    }

    /// The same for the last part of the body: [`finish`](Admission::finish) follows at once.
    pub(crate) fn sent_last(&mut self, bytes: u64) {
        self.note_sent(bytes, true);
    }

    fn note_sent(&mut self, bytes: u64, is_last: bool) {
        if let Some(open) = &mut self.open {
            open.answered.bytes = open.answered.bytes.saturating_add(bytes);
            // What is first and last was sent when the response ended.
            if bytes > 0 && open.answered.first_byte.is_none() && !is_last {
                open.answered.first_byte = Some(open.admitted.engine.clock.monotonic());
            }
        }
    }

    /// The request was refused behind us, such as by another layer, and its answer is that refusal. It is recorded as
    /// [`Outcome::Refused`] with the refusal's status and code, and charged nothing, whatever its operation's rule and its
    /// handler say; what it took of rate limits stays taken. Writes the limits' headers and the request's id into the head of
    /// the answer.
    pub fn refused(mut self, refusal: &Refusal, headers: &mut HeaderMap) {
        if let Some(mut open) = self.open.take() {
            open.answered.status = Some(refusal.status());
            open.answered.refused = Some(refusal.code());
            open.admitted.write_headers(&open.answered, headers);
            open.admitted.finish(Outcome::Refused, &open.answered);
        }
    }

    /// The request is over. Settles the charge and sends the event on its way; never waits.
    pub fn finish(mut self, outcome: Outcome) {
        if let Some(open) = self.open.take() {
            open.admitted.finish(outcome, &open.answered);
        }
    }

    #[expect(
        clippy::expect_used,
        reason = "only `finish` and `drop` take it out, and both end the admission"
    )]
    const fn open(&self) -> &Open {
        self.open
            .as_ref()
            .expect("an admission is open until it is finished")
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        let outcome = if !open.reached {
            Outcome::NotReached
        } else if open.running || std::thread::panicking() {
            Outcome::Panicked
        } else {
            Outcome::ClientGone
        };
        open.admitted.finish(outcome, &open.answered);
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission")
            .field(
                "principal",
                &self.open.as_ref().map(|open| open.admitted.principal()),
            )
            .finish()
    }
}
