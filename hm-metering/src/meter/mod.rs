//! The engine: decides about requests, and turns each into one event. It knows no framework.
//!
//! A [`Meter`] is made by its [builder](Meter::builder) and put around services by [`Meter::layer`], or used by hand:
//! [`Meter::admit`] decides, the [`Admission`] it answers is told how the request goes on, and turns into an event at
//! its end.
//!
//! The usual request is decided without I/O, without a lock and without waiting: its key's verdict is in memory, its
//! units are leased already. What has to be asked is asked by tasks that belong to the meter, never by the request's
//! own future, so that a client that goes away can't leave anything half done.

mod account;
mod admission;
mod admitted;
mod bucket;
mod builder;
mod call;
mod charge;
mod decide;
mod directory;
mod feed;
mod fill;
mod flusher;
mod heads;
mod hold;
mod hooks;
mod identify;
mod judge;
mod look;
mod own;
#[cfg(test)]
mod races;
mod refuse;
mod rejection;
mod report;
mod reserve;
mod said;
mod settle;
mod shutdown;
mod slots;
mod start;
mod tally;
mod terms;
#[cfg(test)]
mod tests;
mod trace;
mod undecided;
mod wait;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::sync::{Mutex, mpsc};

pub use admission::Admission;
pub use builder::{ConfigError, MeterBuilder};
pub use call::{Call, RequestId};
pub use charge::Charge;
pub use hooks::{Finished, Hooks};
pub use rejection::Rejection;
#[cfg(feature = "axum")]
pub(crate) use rejection::is_grpc;
pub use report::{HeaderDraft, HeaderStyle, LimitReport, QuotaReport, RateReport, ResetFormat};
pub use shutdown::ShutdownReport;
pub use trace::{DecisionTrace, KeyState, LimitTrace};

pub(crate) use rejection::{Asked, Form};

use decide::{Now, Store};
use directory::{Directory, Fingerprints, Known};
use fill::Filler;
use flusher::Request;
use heads::Heads;
use hooks::Hooked;
use shutdown::Tasks;
use undecided::{Decided, Undecided};

use crate::client_address::TrustedProxies;
use crate::id::{AccountId, EventId, IdSource, KeyId};
use crate::key::PresentedKey;
use crate::keys::{ChangeSubject, Credential, InvalidKey, KeyVerifier, find_credential};
use crate::measures::Measures;
use crate::operation::Operation;
use crate::quota::LeaseBook;
use crate::refusal::RefusalKind;
use crate::time::Clock;
use crate::usage::journal::Log;
use crate::usage::journal::record::Draft;

/// How long what becomes part of an event can be, for the tests of the journal, which has to have room for it.
#[cfg(test)]
pub(crate) mod bounds {
    pub(crate) use super::admitted::METHOD_MAX;
    pub(crate) use super::call::{ENDPOINT_MAX, REQUEST_ID_MAX};
    pub(crate) use super::tally::METERS_MAX;
}

/// How often a request asks for units before it gives up; others may be faster each time.
const ATTEMPTS: usize = 64;
/// When a refused caller should come back if nobody can tell.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// The engine. Cheap to clone; clones are the same meter.
#[derive(Clone)]
pub struct Meter(Arc<Engine>);

pub(crate) struct Engine {
    verifier: Arc<dyn KeyVerifier>,
    directory: Arc<Directory>,
    filler: Arc<Filler>,
    book: Option<Arc<LeaseBook>>,
    fingerprints: Fingerprints,
    ids: IdSource,
    clock: Arc<dyn Clock>,
    proxies: TrustedProxies,
    hooks: Hooked,
    measures: Measures,
    log: Arc<Log>,
    /// Whether requests are served although their events find no place.
    sheds: bool,
    /// What the flushers are asked for; the first is that of the ledger.
    requests: Vec<mpsc::Sender<Request>>,
    wait_at_most: Duration,
    refusals_missed: AtomicU64,
    tasks: Mutex<Tasks>,
}

/// What became of a request at the door: known at once, or after waiting.
#[must_use]
pub enum Admit {
    /// Decided.
    Ready(Result<Admission, Box<Rejection>>),
    /// Something has to be asked first. Dropping the future gives up the request and nothing else.
    Pending(AdmitFuture),
}

/// The future of an [`Admit`] that has to wait.
pub type AdmitFuture = Pin<Box<dyn Future<Output = Result<Admission, Box<Rejection>>> + Send>>;

impl fmt::Debug for Admit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(decision) => f.debug_tuple("Ready").field(decision).finish(),
            Self::Pending(_) => f.write_str("Pending(…)"),
        }
    }
}

impl Meter {
    /// Starts to put a meter together. `verifier` says whom keys speak for; everything else has a method of the builder.
    pub fn builder(verifier: impl KeyVerifier) -> MeterBuilder {
        MeterBuilder::new(Arc::new(verifier))
    }

    /// Decides about a request. The answer to one that is let through must live as long as the request.
    pub fn admit(&self, operation: &Arc<Operation>, call: Call<'_>) -> Admit {
        let engine = &self.0;
        let now = engine.now();
        let named = operation.endpoint_of(call.endpoint);
        let call = match &named {
            Some(endpoint) => call.with_endpoint(endpoint),
            None => call,
        };
        let heads = Heads::of(call.headers);
        let turn_away = |kind| engine.turn_away(kind, operation, (call, &heads), now);
        let presented = match find_credential(heads.keys, call.headers, &*engine.verifier) {
            Credential::One(presented) => presented,
            Credential::None => return turn_away(RefusalKind::MissingKey),
            Credential::Unreadable => return turn_away(RefusalKind::UnreadableKey),
        };
        let fingerprint = engine.fingerprints.of(presented);
        let id = EventId::from_uuid(engine.ids.next(now.wall));
        let request = || Undecided::new(id, operation, (call, &heads), now);
        // One that waits may be judged by another record of its key than the one that is known now.
        let waiting = || Undecided {
            client: call.client(&engine.proxies),
            headers: engine.hooks.is_some().then(|| Box::new(call.headers.clone())),
            ..request()
        };
        match engine.directory.look_up(fingerprint, now.monotonic) {
            Known::Caller(caller) if !caller.has_moved(now.wall) => {
                match engine.decide(
                    &caller,
                    operation,
                    (|| call.client(&engine.proxies), Some(&call)),
                    Store::Answers,
                    now,
                ) {
                    Decided::Ready(decision) => Admit::Ready(engine.conclude(request, caller, decision, now)),
                    Decided::Ask(question) => {
                        let Ok(presented) = str::from_utf8(presented) else {
                            return turn_away(RefusalKind::UnreadableKey);
                        };
                        let key = (fingerprint, PresentedKey::new(presented));
                        let (engine, request) = (Arc::clone(engine), waiting());
                        Admit::Pending(Box::pin(engine.admit_after(request, key, caller, Some(question))))
                    }
                }
            }
            Known::Invalid(reason) => turn_away(RefusalKind::InvalidKey(reason)),
            Known::Caller(_) | Known::Nothing => {
                // What is in memory was checked before. Nothing else is looked up without it.
                let Ok(presented) = str::from_utf8(presented) else {
                    return turn_away(RefusalKind::UnreadableKey);
                };
                if !engine.verifier.is_well_formed(presented) {
                    return turn_away(RefusalKind::InvalidKey(InvalidKey::Malformed));
                }
                let key = PresentedKey::new(presented);
                let (engine, request) = (Arc::clone(engine), waiting());
                Admit::Pending(Box::pin(engine.admit_unknown(request, (fingerprint, key))))
            }
        }
    }

    /// Whether a request that was let through already may also do `operation`. It is not decided or charged a second time;
    /// only its scopes and its environment are looked at.
    pub(crate) fn check_again(
        &self,
        operation: &Arc<Operation>,
        charge: &Charge,
        (method, headers): (&Method, &HeaderMap),
    ) -> Result<(), Box<Rejection>> {
        let caller = charge.principal();
        operation.permit(Some(caller.identity())).map_err(|refusal| {
            let asked = Asked {
                request_id: charge.request_id().0,
                form: Form::of(headers),
                operation: Some(Arc::clone(operation)),
                principal: Some(caller.clone()),
                is_head: *method == Method::HEAD,
            };
            self.0.reject(refusal, None, asked)
        })
    }

    /// Forgets what is kept of a key, so that its next request is judged anew. Call it after changing or revoking the key
    /// on this replica; others learn it from the feed.
    pub fn forget_key(&self, key: KeyId) {
        self.0.directory.apply(ChangeSubject::Key { key, version: 0 });
    }

    /// Forgets what is kept of an account, for example after its plan changed.
    pub fn forget_account(&self, account: AccountId) {
        self.0.directory.apply(ChangeSubject::Account(account));
    }

    /// How many events were lost since the start, each with an error in the log: the sink will never take them, they found no
    /// place in a full journal that [sheds](crate::usage::WhenFull::Shed), or their part of the journal is damaged. It stays
    /// zero unless something is wrong.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.0.log.lost()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}

impl Engine {
    fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    /// Writes an event down. `is_reserved` says whether room was reserved for it.
    #[inline]
    fn append(&self, draft: &Draft<'_>, is_reserved: bool) -> bool {
        let has_room = is_reserved || self.log.reserve(0);
        if has_room && draft.encode(|bytes| self.log.append(bytes)) {
            return true;
        }
        if !has_room {
            self.log.note_lost(1);
        }
        if let Some(book) = &self.book {
            // Nobody will ever settle these.
            draft
                .settlements()
                .iter()
                .for_each(|charge| book.note_recorded(charge));
        }
        false
    }
}
