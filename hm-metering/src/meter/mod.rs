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
mod hooks;
#[cfg(test)]
mod races;
mod rejection;
mod report;
mod reserve;
mod said;
mod slots;
mod start;
mod tally;
mod terms;
#[cfg(test)]
mod tests;
mod trace;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub use admission::Admission;
pub use builder::{ConfigError, MeterBuilder};
pub use call::{Call, RequestId};
pub use charge::Charge;
pub use hooks::{Finished, Hooks};
pub use rejection::Rejection;
#[cfg(feature = "axum")]
pub(crate) use rejection::is_grpc;
pub use report::{HeaderDraft, HeaderStyle, LimitReport, QuotaReport, RateReport, ResetFormat};
pub use trace::{DecisionTrace, KeyState, LimitTrace};

pub(crate) use rejection::{Asked, Form};

use admitted::{Admitted, METHOD_MAX, micros};
use call::Texts;
use decide::{Decision, Now, Store, decide};
use directory::{Caller, Directory, Fingerprint, Fingerprints, Known};
use fill::{Filled, Filler};
use flusher::Request;
use hooks::Hooked;
use tally::cut;

use crate::client_address::TrustedProxies;
use crate::id::{AccountId, EventId, IdSource, KeyId};
use crate::key::PresentedKey;
use crate::keys::{ChangeSubject, Credential, InvalidKey, KeyVerifier, find_credential};
use crate::measures::Measures;
use crate::on_unavailable::OnUnavailable;
use crate::operation::Operation;
use crate::principal::{Identity, Principal};
use crate::quota::{Answer, Lease, LeaseBook};
use crate::refusal::{Refusal, RefusalKind};
use crate::time::Clock;
use crate::units::Units;
use crate::usage::Outcome;
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
/// A hook's code is cut to this.
const CODE_MAX: usize = 64;
/// The part of the room for events that refused requests leave alone, in hundredths.
const HALF: i64 = 50;
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

pub(crate) struct Tasks {
    flushers: Vec<JoinHandle<()>>,
    feed: JoinHandle<()>,
    book: Option<JoinHandle<()>>,
    keeper: JoinHandle<()>,
    /// Whether the flushers have ended with everything recorded.
    recorded: bool,
}

impl Tasks {
    fn abort_followers(&self) {
        self.feed.abort();
        self.keeper.abort();
        if let Some(book) = &self.book {
            book.abort();
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        // The flushers end by themselves when everything that was finished is recorded.
        self.abort_followers();
    }
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

/// What is left when a meter has shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Whether every finished request is in the ledger, and known to every other sink. What is not waits in the journal for
    /// the next start; without a journal it is lost.
    pub recorded: bool,
    /// Whether every unspent unit was given back. What was not is given back at the next start with the same journal; without
    /// one it stays taken until the period ends.
    pub released: bool,
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
        let presented = match find_credential(call.headers, &*engine.verifier) {
            Credential::One(presented) => presented,
            Credential::None => return engine.turn_away(RefusalKind::MissingKey, operation, call, now),
            Credential::Unreadable => {
                return engine.turn_away(RefusalKind::UnreadableKey, operation, call, now);
            }
        };
        let fingerprint = engine.fingerprints.of(presented);
        let id = EventId::from_uuid(engine.ids.next(now.wall));
        let request = || Undecided::new(id, operation, call, now);
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
                    Decided::Ready(decision) => {
                        Admit::Ready(engine.conclude(request(), caller, decision, now))
                    }
                    Decided::Ask(question) => {
                        let key = PresentedKey::new(presented);
                        let (engine, request) = (Arc::clone(engine), waiting());
                        Admit::Pending(Box::pin(engine.admit_after(
                            request,
                            (fingerprint, key),
                            caller,
                            Some(question),
                        )))
                    }
                }
            }
            Known::Invalid(reason) => engine.turn_away(RefusalKind::InvalidKey(reason), operation, call, now),
            Known::Caller(_) | Known::Nothing => {
                // What is in memory was checked before. Nothing else is looked up without it.
                if !engine.verifier.is_well_formed(presented) {
                    let malformed = RefusalKind::InvalidKey(InvalidKey::Malformed);
                    return engine.turn_away(malformed, operation, call, now);
                }
                let key = PresentedKey::new(presented);
                let (engine, request) = (Arc::clone(engine), waiting());
                Admit::Pending(Box::pin(engine.admit_unknown(request, (fingerprint, key))))
            }
        }
    }

    /// Whether a caller that another layer let through already may also do `operation`. It is not decided or charged a
    /// second time; only its scopes and its environment are looked at.
    pub(crate) fn check_again(
        &self,
        operation: &Arc<Operation>,
        caller: Option<&Principal>,
        headers: &HeaderMap,
        request_id: &str,
    ) -> Result<(), Box<Rejection>> {
        operation
            .permit(caller.map(Principal::identity))
            .map_err(|refusal| {
                let asked = Asked {
                    request_id: request_id.to_owned(),
                    form: Form::of(headers),
                    operation: Some(Arc::clone(operation)),
                    principal: caller.cloned(),
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

    /// Waits until everything that was finished before the call is in the ledger, at most for `at_most`. Answers whether
    /// it is: false when the time was over, or when an event was lost meanwhile because the sink will never take it.
    pub async fn flush(&self, at_most: Duration) -> bool {
        let lost = self.events_lost();
        let flush = self.0.ask_flusher(0, Request::Flush);
        timeout(at_most, flush).await.unwrap_or(false) && self.events_lost() == lost
    }

    /// How many events were lost since the start, each with an error in the log: the sink will never take them, they found no
    /// place in a full journal that [sheds](crate::usage::WhenFull::Shed), or their part of the journal is damaged. It stays
    /// zero unless something is wrong.
    #[must_use]
    pub fn events_lost(&self) -> u64 {
        self.0.log.lost()
    }

    /// Ends the meter: records what was finished, gives leases back. Requests that come later are refused, so drain the server
    /// first; what is finished later stays in the journal or is lost. Takes `at_most` for both together.
    ///
    /// Dropping the future leaves the meter unusable and part of the work undone.
    ///
    /// A second call answers what is still left, which is nothing if the first one got everything done.
    pub async fn shutdown(&self, at_most: Duration) -> ShutdownReport {
        let engine = &self.0;
        let began = engine.clock.monotonic();
        engine.log.close();
        let lost = self.events_lost();
        let mut tasks = engine.tasks.lock().await;
        // A quarter of the time is kept for the leases.
        let ended = tasks.recorded
            || timeout(at_most * 3 / 4, engine.stop_flushers())
                .await
                .unwrap_or(false);
        let recorded = ended && self.events_lost() == lost;
        let rest = at_most.saturating_sub(engine.clock.monotonic().saturating_sub(began));
        let released = match &engine.book {
            Some(book) => timeout(rest, book.give_all_back())
                .await
                .is_ok_and(|left| left == 0),
            None => true,
        };
        tasks.recorded = ended;
        tasks.abort_followers();
        for flusher in tasks.flushers.drain(..) {
            if !ended {
                flusher.abort();
            }
        }
        engine.log.set_over();
        ShutdownReport { recorded, released }
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter")
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}

/// A request that is being decided.
struct Undecided {
    id: EventId,
    operation: Arc<Operation>,
    method: Method,
    texts: Texts,
    bytes_in: u64,
    form: Form,
    client: Option<IpAddr>,
    /// Of a request that waits, for hooks.
    headers: Option<Box<HeaderMap>>,
    arrived: Now,
    /// Whether the caller is believed although nobody could be asked.
    is_fallback: bool,
}

impl Undecided {
    fn new(id: EventId, operation: &Arc<Operation>, call: Call<'_>, now: Now) -> Self {
        Self {
            id,
            operation: Arc::clone(operation),
            method: call.method.clone(),
            texts: call.texts(),
            bytes_in: call.bytes_in(),
            form: call.form(),
            client: None,
            headers: None,
            arrived: now,
            is_fallback: false,
        }
    }

    /// The request for hooks, after it has waited.
    fn call(&self) -> Option<Call<'_>> {
        let endpoint = std::str::from_utf8(self.texts.endpoint()).unwrap_or_default();
        let call = Call::new(&self.method, self.headers.as_deref()?, endpoint);
        Some(match self.texts.request_id() {
            Some(id) => call.with_request_id(id),
            None => call,
        })
    }

    /// Refuses the request of `caller`, as far as it is known.
    fn rejected(
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
        };
        // How long a refusal took is no response time.
        self.operation.note_finished(Outcome::Refused, Duration::ZERO);
        engine.reject(refusal, report, asked)
    }
}

/// A counter that the store must be asked about.
struct Question {
    lease: Arc<Lease>,
    limit: Option<Units>,
    need: Units,
}

enum Decided {
    Ready(Result<decide::Holds, (Refusal, Option<LimitReport>)>),
    Ask(Question),
}

impl Engine {
    fn now(&self) -> Now {
        Now {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    /// Asks a flusher for something, and waits until it is done. False when it has ended already.
    async fn ask_flusher(&self, at: usize, request: impl Fn(oneshot::Sender<()>) -> Request) -> bool {
        let (done, answer) = oneshot::channel();
        self.requests[at].send(request(done)).await.is_ok() && answer.await.is_ok()
    }

    async fn stop_flushers(&self) -> bool {
        let mut ended = true;
        for at in 0..self.requests.len() {
            ended &= self.ask_flusher(at, Request::Stop).await;
        }
        ended
    }

    /// Writes an event down. `is_reserved` says whether room was reserved for it.
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

    /// Refuses a request, and says so to those who listen.
    fn reject(&self, refusal: Refusal, report: Option<LimitReport>, asked: Asked) -> Box<Rejection> {
        if let Some(operation) = &asked.operation {
            operation.note_refused(refusal.code());
        }
        let rejection = Rejection::new(refusal, report, asked);
        self.hooks.refused(rejection.trace(), &self.measures);
        Box::new(rejection)
    }

    /// Refuses a request of nobody we know. It is in no account's ledger.
    fn turn_away(&self, kind: RefusalKind, operation: &Arc<Operation>, call: Call<'_>, now: Now) -> Admit {
        let id = call
            .request_id()
            .map_or_else(|| self.ids.next(now.wall).to_string(), str::to_owned);
        let asked = Asked {
            request_id: id,
            form: call.form(),
            operation: Some(Arc::clone(operation)),
            principal: None,
        };
        operation.note_finished(Outcome::Refused, Duration::ZERO);
        Admit::Ready(Err(self.reject(Refusal::new(kind), None, asked)))
    }

    /// Everything that can be decided from memory, in the order that a caller should meet it.
    fn decide(
        &self,
        caller: &Arc<Caller>,
        operation: &Operation,
        (client, call): (impl FnOnce() -> Option<IpAddr>, Option<&Call<'_>>),
        store: Store,
        now: Now,
    ) -> Decided {
        if let Err(reason) = caller.check_dates(now.wall) {
            return Decided::Ready(Err((Refusal::new(RefusalKind::InvalidKey(reason)), None)));
        }
        // Whoever has a key in the wrong place is told nothing of the account, and makes no store call.
        if let Err(refusal) = caller.check_address(client) {
            return Decided::Ready(Err((refusal, None)));
        }
        if let Err(refusal) = operation.permit(Some(&**caller)) {
            return match report::standing::stand(&caller.account, self.book.is_some(), now) {
                Ok(report) => Decided::Ready(Err((refusal, Some(report)))),
                Err(lease) => Decided::Ask(Question {
                    lease,
                    limit: None,
                    need: Units::ZERO,
                }),
            };
        }
        if let Err(refusal) = self
            .hooks
            .decide(|| caller.principal(), operation, call, &self.measures)
        {
            let report = report::standing::stand(&caller.account, self.book.is_some(), now).ok();
            return Decided::Ready(Err((refusal, report)));
        }
        match decide(
            &caller.account,
            caller.buckets(),
            operation,
            self.book.as_ref(),
            store,
            now,
        ) {
            Decision::Allowed(holds) => Decided::Ready(Ok(holds)),
            Decision::Refused(refusal, report) => Decided::Ready(Err((refusal, Some(report)))),
            Decision::Ask { lease, limit, need } => Decided::Ask(Question { lease, limit, need }),
        }
    }

    /// Turns a decision into an admission or a recorded refusal.
    fn conclude(
        self: &Arc<Self>,
        request: Undecided,
        caller: Arc<Caller>,
        decision: Result<decide::Holds, (Refusal, Option<LimitReport>)>,
        now: Now,
    ) -> Result<Admission, Box<Rejection>> {
        let holds = match decision {
            Ok(allowed) => allowed,
            Err((refusal, report)) => return Err(self.refuse(&request, &caller, refusal, report, now)),
        };
        // The event's place is taken before the request is served, so that none is ever lost there.
        let is_reserved = self.log.reserve(0);
        if !is_reserved && (!self.sheds || self.log.is_closed()) {
            decide::undo(&caller.account, caller.buckets(), &holds);
            let why = if self.log.is_closed() {
                "the meter has been shut down"
            } else {
                "there is no room for its event"
            };
            tracing::warn!(reason = why, "a request is refused");
            let refusal = Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON);
            let report = report::standing::stand(&caller.account, self.book.is_some(), now).ok();
            return Err(request.rejected(self, Some(&caller), refusal, report));
        }
        if !is_reserved {
            self.measures.shed();
        }
        let is_fallback = request.is_fallback || holds.is_fallback();
        let admitted = Admitted {
            engine: Arc::clone(self),
            principal: caller.principal(),
            caller,
            id: request.id,
            operation: request.operation,
            arrived: request.arrived,
            method: request.method,
            texts: request.texts,
            bytes_in: request.bytes_in,
            form: request.form,
            holds,
            is_reserved,
            said: said::Said::default(),
        };
        if is_fallback {
            admitted.note_fallback();
        }
        Ok(Admission::new(admitted))
    }

    fn refuse(
        &self,
        request: &Undecided,
        caller: &Arc<Caller>,
        refusal: Refusal,
        report: Option<LimitReport>,
        now: Now,
    ) -> Box<Rejection> {
        // A key that is not accepted speaks for nobody, whether or not its record is in memory.
        if !matches!(refusal.kind(), RefusalKind::InvalidKey(_)) {
            self.record_refusal(request, caller, &refusal, now);
        }
        request.rejected(self, Some(caller), refusal, report)
    }

    fn record_refusal(&self, request: &Undecided, caller: &Caller, refusal: &Refusal, now: Now) {
        let draft = Draft {
            id: request.id,
            at: request.arrived.wall,
            account: caller.account.id,
            user: caller.user(),
            key: caller.key(),
            status: refusal.status().as_u16(),
            outcome: Outcome::Refused,
            grpc_status: None,
            over: false,
            response_time_us: micros(now.monotonic.saturating_sub(request.arrived.monotonic)),
            first_byte_us: None,
            bytes_in: request.bytes_in,
            bytes_out: 0,
            operation: request.operation.name().as_str(),
            endpoint: request.texts.endpoint(),
            method: cut(request.method.as_str(), METHOD_MAX),
            request_id: request.texts.request_id_bytes(),
            source: None,
            refusal: Some(cut(refusal.code(), CODE_MAX)),
            would_refuse: None,
            tags: &[],
            units: &[],
            plan: caller.account.plan().id.as_str(),
            charges: &[],
        };
        // Half of the room is for requests that were let through: one who is refused often must not get others refused.
        if !(self.log.reserve(HALF) && self.append(&draft, true)) {
            self.measures.refusal_missed();
            let missed = self.refusals_missed.fetch_add(1, Ordering::Relaxed) + 1;
            // Once for each doubling, so that a flood of refusals is not a flood in the log.
            if missed.is_power_of_two() {
                tracing::warn!(
                    refusals.missed = missed,
                    "refused requests are not recorded: half of the room for events is taken"
                );
            }
        }
    }

    async fn admit_unknown(
        self: Arc<Self>,
        mut request: Undecided,
        key: (Fingerprint, PresentedKey),
    ) -> Result<Admission, Box<Rejection>> {
        match self.fill(&mut request, &key).await {
            Ok(caller) => self.admit_after(request, key, caller, None).await,
            Err(refusal) => Err(request.rejected(&self, None, refusal, None)),
        }
    }

    /// Gets the verdict on a key, within the time that a request may wait. Where nobody can tell, an operation that fails open
    /// believes an older one, and waits for nothing while that is so.
    async fn fill(
        &self,
        request: &mut Undecided,
        (fingerprint, key): &(Fingerprint, PresentedKey),
    ) -> Result<Arc<Caller>, Refusal> {
        let now = self.now();
        if let Some(older) = self.older(request, *fingerprint, now)
            && older.is_unanswered(now.monotonic)
        {
            self.filler.retry(&older, *fingerprint, key);
            request.is_fallback = true;
            return Ok(older);
        }
        request.is_fallback = false;
        let fill = Arc::clone(&self.filler).fill(*fingerprint, key.clone());
        match timeout(self.time_left(request), fill).await {
            Ok(Filled::Caller(caller)) => Ok(caller),
            Ok(Filled::Invalid(reason)) => Err(Refusal::new(RefusalKind::InvalidKey(reason))),
            Ok(Filled::Unavailable) | Err(_) => {
                let older = self.older(request, *fingerprint, self.now());
                request.is_fallback = older.is_some();
                older.ok_or_else(|| Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON))
            }
        }
    }

    /// What was known of a key, as far as the operation may go on with it while nobody can tell.
    fn older(&self, request: &Undecided, fingerprint: Fingerprint, now: Now) -> Option<Arc<Caller>> {
        let OnUnavailable::Open { at_most } = request.operation.when_unavailable() else {
            return None;
        };
        let older = self
            .directory
            .look_up_older(fingerprint, now.monotonic, at_most)?;
        // A move to another plan is a change that is known.
        (!older.has_moved(now.wall)).then_some(older)
    }

    fn time_left(&self, request: &Undecided) -> Duration {
        let waited = self.clock.monotonic().saturating_sub(request.arrived.monotonic);
        self.wait_at_most.saturating_sub(waited)
    }

    /// Decides, and asks for units as often as it takes, within the time that a request may wait. A key that changed
    /// while its request waited is judged anew.
    async fn admit_after(
        self: Arc<Self>,
        mut request: Undecided,
        key: (Fingerprint, PresentedKey),
        caller: Arc<Caller>,
        question: Option<Question>,
    ) -> Result<Admission, Box<Rejection>> {
        let (mut caller, mut question) = (caller, question);
        let mut store = Store::Answers;
        for _ in 0..ATTEMPTS {
            if let Some(asked) = question.take()
                && self.ask(&asked, self.time_left(&request)).await == Answer::Failed
            {
                if store == Store::Silent || request.operation.when_unavailable() == OnUnavailable::Closed {
                    break;
                }
                store = Store::Silent;
            }
            if caller.is_stale() {
                caller = match self.fill(&mut request, &key).await {
                    Ok(caller) => caller,
                    Err(refusal) => {
                        return Err(request.rejected(&self, Some(&caller), refusal, None));
                    }
                };
            }
            let now = self.now();
            match self.decide(
                &caller,
                &request.operation,
                (|| request.client, request.call().as_ref()),
                store,
                now,
            ) {
                Decided::Ready(decision) => return self.conclude(request, caller, decision, now),
                Decided::Ask(next) => question = Some(next),
            }
        }
        let refusal = Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON);
        let now = self.now();
        let report = report::standing::stand(&caller.account, self.book.is_some(), now).ok();
        Err(self.refuse(&request, &caller, refusal, report, now))
    }

    async fn ask(&self, question: &Question, at_most: Duration) -> Answer {
        match &self.book {
            Some(book) => {
                book.wait(&question.lease, question.limit, question.need, at_most)
                    .await
            }
            None => Answer::Failed,
        }
    }
}
