//! Requests that have to wait for a store: for the verdict on their key, or for units.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::admission::Admission;
use super::decide::{Now, Store};
use super::directory::{Caller, Fingerprint};
use super::fill::Filled;
use super::rejection::Rejection;
use super::report;
use super::undecided::{Decided, Question, Undecided};
use super::{ATTEMPTS, Engine, SOON};
use crate::key::PresentedKey;
use crate::on_unavailable::OnUnavailable;
use crate::quota::Answer;
use crate::refusal::{Refusal, RefusalKind};

impl Engine {
    pub(super) async fn admit_unknown(
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
    pub(super) async fn admit_after(
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
                Decided::Ready(decision) => {
                    // They have the key in them, and only a decision needs them.
                    request.headers = None;
                    return self.conclude(|| request, caller, decision, now);
                }
                Decided::Ask(next) => question = Some(next),
            }
        }
        let refusal = Refusal::new(RefusalKind::Unavailable).with_retry_after(SOON);
        let now = self.now();
        let report = report::standing::stand(&caller.account, self.book.is_some(), now).ok();
        Err(self.refuse(&request, &caller, refusal, report, now))
    }

    pub(super) async fn ask(&self, question: &Question, at_most: Duration) -> Answer {
        match &self.book {
            Some(book) => {
                book.wait(&question.lease, question.limit, question.need, at_most)
                    .await
            }
            None => Answer::Failed,
        }
    }
}
