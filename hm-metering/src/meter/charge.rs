//! What a handler says about what its request really takes: the handle.

use std::fmt;
use std::sync::Arc;

use super::Meter;
use super::admitted::Admitted;
use super::call::RequestId;
use crate::name::AsMeter;
use crate::principal::Principal;
use crate::units::{AsUnits, Units};

/// A handle on the charge of the request in hand, in its extensions. Clones are the same charge.
///
/// What a handler says counts until the response ends; what it says later is lost. A response that becomes another
/// protocol (101, such as a WebSocket) ends with its head. A request that is not charged, such as one that ended with
/// status 500, is not charged whatever was said.
///
/// What goes beyond what the operation declared is taken from the lease in memory as it is said, without I/O, and more is
/// leased in the background; the handler never waits, though its answer may be held back until units are there. What
/// happens when the quota is used up meanwhile is the operation's [`Overrun`](crate::Overrun). Saying less than before
/// gives back what was taken for it.
#[derive(Clone)]
pub struct Charge(Arc<Admitted>);

impl Charge {
    pub(super) const fn new(admitted: Arc<Admitted>) -> Self {
        Self(admitted)
    }

    /// The request takes `units` of `meter`, whatever the operation declared.
    ///
    /// A text that is no name of a meter is a mistake: nothing is charged for it, with an error in the log.
    #[expect(clippy::needless_pass_by_value, reason = "a text needs no `&`")]
    pub fn set(&self, meter: impl AsMeter, units: impl AsUnits) {
        let units = units.as_units();
        self.change(&meter, |_| units);
    }

    /// The request takes `units` of `meter` more than was said before. Starts from nothing, not from what the operation
    /// declared: a stream that counts its tokens says all of them.
    ///
    /// ```
    /// # use hm_metering::Charge;
    /// # struct Token { count: usize }
    /// fn count(charge: &Charge, token: &Token) {
    ///     charge.add("tokens", token.count);
    /// }
    /// ```
    ///
    /// A text that is no name of a meter is a mistake: nothing is charged for it, with an error in the log.
    #[expect(clippy::needless_pass_by_value, reason = "a text needs no `&`")]
    pub fn add(&self, meter: impl AsMeter, units: impl AsUnits) {
        let units = units.as_units();
        self.change(&meter, |before| before.plus(units));
    }

    fn change(&self, meter: &impl AsMeter, change: impl FnOnce(Units) -> Units) {
        match meter.as_meter() {
            Ok(meter) => self.0.charge(&meter, change),
            Err(error) => tracing::error!(
                error = &error as &dyn std::error::Error,
                "a handler charged a meter that can't be one; nothing is charged for it"
            ),
        }
    }

    /// Whether the request is being stopped, because it took more than could be reserved and its operation says
    /// [`Overrun::Reject`](crate::Overrun::Reject). A handler need not ask, but may save itself the rest of the work.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.said.is_stopped()
    }

    /// Where the answer came from, for the ledger and reports; cut to 64 bytes.
    pub fn set_source(&self, source: &str) {
        self.0.say(|tally| tally.set_source(source));
    }

    /// Notes something about the request for the ledger, such as the model that answered. The last value of a name
    /// counts; it is cut to [`Event::TAG_VALUE_MAX`](crate::usage::Event::TAG_VALUE_MAX) bytes. A name that is empty or
    /// longer than [`Event::TAG_NAME_MAX`](crate::usage::Event::TAG_NAME_MAX) bytes, and more names than
    /// [`Event::TAGS_MAX`](crate::usage::Event::TAGS_MAX), are mistakes: they are left out, with a warning in the log.
    pub fn tag(&self, name: &str, value: &str) {
        self.0.say(|tally| tally.tag(name, value));
    }

    /// Our own time limit ends the request: it is recorded as [`TimedOut`](crate::usage::Outcome::TimedOut), however it
    /// looks from the outside. For whoever enforces a time limit, between the layer and the handler or around both.
    pub fn note_timeout(&self) {
        self.0.said.note_timeout();
    }

    /// Whether `meter` let the request through.
    pub(crate) fn is_of(&self, meter: &Meter) -> bool {
        Arc::ptr_eq(&self.0.engine, &meter.0)
    }

    /// The caller.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        self.0.principal()
    }

    /// The request's id, as its answer and its event name it.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        self.0.request_id()
    }
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").finish_non_exhaustive()
    }
}
