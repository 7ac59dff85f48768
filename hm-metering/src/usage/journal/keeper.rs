//! The task that has segments ready before they are needed, removes those that every sink has, and has bytes forced to the
//! disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::force::{Forced, force};
use super::log::Log;
use super::segment::Segment;
use crate::measures::Measures;

/// How soon a disk that is full or fails is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A sink that does not hold segments loses them beyond this part of what there may be, in quarters.
const LAG: u64 = 3;
/// The same in memory, in segments.
const LAG_IN_MEMORY: u64 = 32;
/// The words of a page.
pub(super) const PAGE_WORDS: usize = 512;

#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) log: Arc<Log>,
    /// How often everything is forced to the disk, if at all.
    pub(super) sync_interval: Option<Duration>,
    pub(super) measures: Measures,
}

impl Keeper {
    /// Works until it is dropped.
    pub(super) async fn run(self) {
        let mut forced = Forced::default();
        let mut next_sync = self.next_sync(Duration::MAX);
        let mut again = None;
        loop {
            tokio::select! {
                () = self.log.tend.notified() => {}
                () = until(again) => {}
                () = until(next_sync) => {
                    let wait = self.force(&mut forced).await;
                    next_sync = self.next_sync(wait);
                    continue;
                }
            }
            let log = Arc::clone(&self.log);
            let is_ready = spawn_blocking(move || tend(&log)).await.unwrap_or(false);
            again = (!is_ready).then(|| Instant::now() + AGAIN);
        }
    }

    /// Forces to the disk what was written, and says so in the log when that begins or ceases to fail. Answers how long it may
    /// wait until the next time.
    async fn force(&self, forced: &mut Forced) -> Duration {
        let (log, mut moving) = (Arc::clone(&self.log), *forced);
        let done = spawn_blocking(move || {
            let result = force(&log, &mut moving);
            (result, moving)
        });
        let Ok((result, moved)) = done.await else {
            // Nobody knows how far it came.
            self.log.set_forced(false);
            return AGAIN;
        };
        *forced = moved;
        match result {
            Ok(()) => {
                if !self.log.is_forced() {
                    tracing::warn!("the journal is forced to the disk again");
                }
                self.log.set_forced(true);
                forced.failures = 0;
                Duration::MAX
            }
            Err(error) => {
                self.log.set_forced(false);
                self.measures.sync_failed("events");
                forced.failures += 1;
                // Once for each doubling: it is tried each second at least.
                if forced.failures.is_power_of_two() {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        failures = forced.failures,
                        "the journal can't be forced to the disk; what is finished may not survive a loss of power"
                    );
                }
                AGAIN
            }
        }
    }

    /// When everything is forced to the disk next, `wait` from now at the latest; none if that never comes.
    fn next_sync(&self, wait: Duration) -> Option<Instant> {
        Instant::now().checked_add(self.sync_interval?.min(wait))
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Removes what is done and makes what is missing. Answers whether everything is as it should be.
fn tend(log: &Log) -> bool {
    let most = match log.is_kept() {
        true => log.shape.segments_max / 4 * LAG,
        false => LAG_IN_MEMORY,
    };
    let active = log.active_number();
    let done = log.shelf().take_done(active, most);
    for segment in done {
        if let Some(path) = segment.path()
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "a part of the journal that is done can't be removed"
            );
        }
    }
    prepare(log)
}

/// Makes segments until enough are ready, for what is written and for what is promised to requests in flight. One at a time,
/// so that the lock is not held for long.
pub(super) fn prepare(log: &Log) -> bool {
    let ready = log.shape.segments_ready.saturating_sub(1).max(1);
    loop {
        if log.is_closed() {
            return true;
        }
        let made = {
            let mut shelf = log.shelf();
            let is_enough = shelf.spares.len() as u64 >= ready && !log.is_short();
            if is_enough || shelf.len() >= log.shape.segments_max {
                return true;
            }
            let made = log.make(&mut shelf);
            made.map(|segment| {
                touch(&segment);
                shelf.spares.push_back(segment);
            })
        };
        if let Err(error) = made.and_then(|()| sync_names(log)) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the journal can't be extended; requests are refused when its rest is used up"
            );
            return false;
        }
    }
}

/// Gives each page to this process now, so that no request has to wait for that.
fn touch(segment: &Segment) {
    for word in segment
        .words()
        .as_slice()
        .iter()
        .skip(PAGE_WORDS)
        .step_by(PAGE_WORDS)
    {
        word.store(0, Ordering::Relaxed);
    }
}

fn sync_names(log: &Log) -> io::Result<()> {
    log.directory
        .as_ref()
        .map_or(Ok(()), |directory| directory.sync())
}
