//! Where a program takes part in the life of requests.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use super::SOON;
use super::call::Call;
use super::trace::DecisionTrace;
use crate::id::EventId;
use crate::measures::Measures;
use crate::name::MeterName;
use crate::operation::Operation;
use crate::principal::Principal;
use crate::refusal::{Refusal, RefusalKind};
use crate::units::Units;
use crate::usage::Outcome;

/// Takes part in the life of requests; given to a meter by [`MeterBuilder::hooks`](super::MeterBuilder::hooks).
///
/// Each method does nothing unless it is written. They run on the way of a request, on its thread, so they must be quick and
/// must not block. One that panics is caught, counted and logged; the request's limits, charge and event are not touched by
/// it.
///
/// ```
/// # use hm_metering::{Call, Hooks, Operation, Principal, Refusal};
/// struct Maintenance;
///
/// impl Hooks for Maintenance {
///     fn decide(&self, caller: &Principal, operation: &Operation, _: &Call<'_>) -> Result<(), Refusal> {
///         if operation.name().as_str() == "data.write" && !caller.has_scope("maintainer") {
///             return Err(Refusal::custom("read_only", "Nothing can be written until noon."));
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait Hooks: Send + Sync + 'static {
    /// Whether `caller` may do this at all, beyond scopes and networks. It is asked after the key was verified and before any
    /// limit is looked at, so a request that is refused here takes nothing. It may be asked more than once for a request
    /// that has to wait for a store. If it panics, the request is refused with 503.
    ///
    /// # Errors
    /// What the request is refused with, usually [`Refusal::custom`]. It becomes an event like other refusals of known
    /// callers.
    fn decide(&self, caller: &Principal, operation: &Operation, call: &Call<'_>) -> Result<(), Refusal> {
        let _ = (caller, operation, call);
        Ok(())
    }

    /// A request was refused, by whatever. Requests without a key are among them.
    fn refused(&self, trace: &DecisionTrace) {
        let _ = trace;
    }

    /// A request that was let through is over, and its event is written down.
    fn finished(&self, finished: &Finished<'_>) {
        let _ = finished;
    }
}

/// A request that was let through and is over.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Finished<'a> {
    /// The id of its event.
    pub event: EventId,
    /// Who called.
    pub principal: &'a Principal,
    /// What was asked for.
    pub operation: &'a Operation,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status; 499 when the client went away before there was one.
    pub status: u16,
    /// The status of a gRPC call, if it ended with one.
    pub grpc_status: Option<u8>,
    /// What it is charged, by meter; meters with nothing charged are left out.
    pub units: &'a [(MeterName, Units)],
    /// Whether units went over a limit, see [`Event::over`](crate::usage::Event::over).
    pub over: bool,
    /// From its arrival to the end of its response.
    pub response_time: Duration,
    /// How many bytes of the response's body were handed over.
    pub bytes_out: u64,
}

/// The hooks of a meter, if it has any.
#[derive(Clone, Default)]
pub(crate) struct Hooked(pub(crate) Option<Arc<dyn Hooks>>);

impl Hooked {
    pub(crate) const fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn decide(
        &self,
        caller: impl FnOnce() -> Principal,
        operation: &Operation,
        call: Option<&Call<'_>>,
        measures: &Measures,
    ) -> Result<(), Refusal> {
        let (Some(hooks), Some(call)) = (&self.0, call) else {
            return Ok(());
        };
        let decide = AssertUnwindSafe(|| hooks.decide(&caller(), operation, call));
        catch_unwind(decide).unwrap_or_else(|_| {
            note_panic("decide", measures);
            Err(Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON))
        })
    }

    pub(crate) fn refused(&self, trace: &DecisionTrace, measures: &Measures) {
        if let Some(hooks) = &self.0 {
            let refused = AssertUnwindSafe(|| hooks.refused(trace));
            catch_unwind(refused).unwrap_or_else(|_| note_panic("refused", measures));
        }
    }

    pub(crate) fn finished<'a>(&self, finished: impl FnOnce() -> Finished<'a>, measures: &Measures) {
        if let Some(hooks) = &self.0 {
            let told = AssertUnwindSafe(|| hooks.finished(&finished()));
            catch_unwind(told).unwrap_or_else(|_| note_panic("finished", measures));
        }
    }
}

fn note_panic(hook: &'static str, measures: &Measures) {
    tracing::error!(hook.name = hook, "a hook panicked");
    measures.hook_panicked(hook);
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hooked").field(&self.is_some()).finish()
    }
}
