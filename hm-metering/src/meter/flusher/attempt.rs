//! Having a batch recorded and settled, however often it takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Flusher;
use crate::error::{StoreError, StoreErrorKind, StoreResult};
use crate::usage::Batch;

/// The longest pause between two attempts to record a batch.
const PAUSE_MAX: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    Recorded,
    /// The sink says that it will never take it; whether it is because it has another batch of that name.
    Refused {
        is_conflict: bool,
    },
    /// Not now, and nobody waits any longer: a later run will send it.
    Left,
}

impl Sending {
    /// The word for it in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Refused { .. } => "refused",
            Self::Left => "left",
        }
    }
}

impl Flusher {
    pub(super) async fn record(&self, batch: &Arc<Batch>) -> Sending {
        let sink = Arc::clone(&self.sink);
        let recorded = self.repeat(batch, ("record", "a batch can't be recorded"), move |batch| {
            let sink = Arc::clone(&sink);
            async move { sink.record(&batch).await.map(drop) }
        });
        let recorded = recorded.await;
        let settle = self
            .settling
            .as_ref()
            .and_then(|settling| settling.settle.clone());
        let Some(quota) = settle.filter(|_| recorded == Sending::Recorded) else {
            return recorded;
        };
        let holder = batch.id.holder();
        // The events are in the ledger; whatever becomes of this, they must not be sent again under another name.
        let settled = self.repeat(
            batch,
            ("settle", "a batch that is recorded can't be settled"),
            move |batch| {
                let quota = Arc::clone(&quota);
                async move {
                    quota
                        .settle(holder, batch.id, &batch.settlements, batch.created_at)
                        .await
                }
            },
        );
        match settled.await {
            Sending::Left => Sending::Left,
            Sending::Recorded | Sending::Refused { .. } => Sending::Recorded,
        }
    }

    /// Tries until it is done, or until the store says that it never will be: what it says of the content is final, every
    /// other failure may pass. Each attempt runs in a task of its own, so that a store that panics ends that attempt only.
    async fn repeat<F>(
        &self,
        batch: &Arc<Batch>,
        (call, what): (&'static str, &'static str),
        attempt: impl Fn(Arc<Batch>) -> F + Send,
    ) -> Sending
    where
        F: Future<Output = StoreResult<()>> + Send + 'static,
    {
        let mut pause = PAUSE_MIN;
        let thousands = u32::try_from(batch.events.len().div_ceil(1_000)).unwrap_or(u32::MAX);
        let deadline = self.pace.store_timeout.saturating_mul(thousands.max(1));
        loop {
            let mut task = tokio::spawn(attempt(Arc::clone(batch)));
            let error = match timeout(deadline, &mut task).await {
                Ok(Ok(Ok(()))) => return Sending::Recorded,
                Ok(Ok(Err(error))) => error,
                Ok(Err(panicked)) => {
                    StoreError::new(StoreErrorKind::Unexpected, "run a store").with_source(panicked)
                }
                Err(elapsed) => {
                    task.abort();
                    StoreError::new(StoreErrorKind::Timeout, "wait for a store").with_source(elapsed)
                }
            };
            self.measures.store_failed(call);
            let kind = error.kind();
            let (number, events) = (batch.id.number, batch.events.len());
            let error = &error as &(dyn std::error::Error + Send + Sync);
            if matches!(kind, StoreErrorKind::Conflict | StoreErrorKind::Invalid) {
                tracing::error!(
                    error = error as &dyn std::error::Error,
                    sink = self.name,
                    batch.number = number,
                    batch.events = events,
                    "{what}"
                );
                return Sending::Refused {
                    is_conflict: kind == StoreErrorKind::Conflict,
                };
            }
            tracing::warn!(
                error = error as &dyn std::error::Error,
                sink = self.name,
                batch.number = number,
                "{what} for now"
            );
            if self.is_left() {
                return Sending::Left;
            }
            self.counts.retried();
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}
