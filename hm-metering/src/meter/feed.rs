//! The task that follows a verifier's feed of changes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

use super::directory::Directory;
use crate::error::StoreErrorKind;
use crate::keys::{ChangeCursor, KeyVerifier};
use crate::measures::Measures;
use crate::time::Clock;

const PAGE: usize = 1_000;

pub(crate) struct Feed {
    pub(crate) verifier: Arc<dyn KeyVerifier>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) interval: Duration,
    pub(crate) store_timeout: Duration,
    pub(crate) measures: Measures,
}

impl Feed {
    /// Finds where the feed stands now, before anything is kept that could change. None when it can't be told yet.
    pub(crate) async fn begin(&self) -> Option<ChangeCursor> {
        match self.follow(None).await {
            Some(Step::At(cursor)) => Some(cursor),
            Some(Step::Lost | Step::NoFeed) | None => None,
        }
    }

    /// Works until it is dropped, or until the verifier says that it has no feed.
    pub(crate) async fn run(self, begun_at: Option<ChangeCursor>) {
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut cursor = begun_at;
        // Where the feed stood when a wake-up brought nothing. Until it gets further only time wakes, so that a verifier
        // which calls for nothing, or whose feed can't be read, is not asked without a pause.
        let mut in_vain = None;
        loop {
            let woken = tokio::select! {
                _ = ticks.tick() => false,
                () = self.woken(cursor.filter(|_| cursor != in_vain)) => true,
            };
            let before = cursor;
            match self.follow(cursor).await {
                Some(Step::At(next)) => cursor = Some(next),
                Some(Step::Lost) => {
                    self.directory.apply_unknown();
                    cursor = None;
                }
                Some(Step::NoFeed) => return,
                None => {}
            }
            in_vain = cursor.filter(|_| woken && cursor == before);
            if let Some(lag) = self.directory.lag(self.clock.monotonic()) {
                self.measures.feed_lags(lag);
            }
        }
    }

    /// Ends when the verifier says that there may be more after the cursor.
    async fn woken(&self, cursor: Option<ChangeCursor>) {
        match cursor {
            Some(cursor) => self.verifier.await_change(cursor).await,
            None => std::future::pending().await,
        }
    }

    /// Reads what is new. None when the feed can't be read for now.
    async fn follow(&self, mut cursor: Option<ChangeCursor>) -> Option<Step> {
        loop {
            let began = self.clock.monotonic();
            let page = match timeout(self.store_timeout, self.verifier.changes_since(cursor, PAGE)).await {
                Ok(Ok(Some(page))) => page,
                Ok(Ok(None)) => return Some(Step::NoFeed),
                Ok(Err(error)) if error.kind() == StoreErrorKind::Invalid => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the feed of changes was lost"
                    );
                    return Some(Step::Lost);
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the feed of changes can't be read"
                    );
                    self.measures.store_failed("changes");
                    return cursor.map(Step::At);
                }
                Err(_) => {
                    tracing::warn!("the feed of changes can't be read: no answer in time");
                    self.measures.store_failed("changes");
                    return cursor.map(Step::At);
                }
            };
            let first = cursor.is_none();
            cursor = Some(page.cursor);
            for change in page.changes {
                self.directory.apply(change);
            }
            if first {
                // What was filled before the feed began may have changed unseen.
                self.directory.apply_unknown();
            } else if !page.more {
                self.directory.set_synced(began);
            }
            if !page.more {
                return cursor.map(Step::At);
            }
        }
    }
}

enum Step {
    At(ChangeCursor),
    Lost,
    NoFeed,
}
