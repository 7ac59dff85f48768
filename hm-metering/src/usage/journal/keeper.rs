//! The task that has segments ready before they are needed, removes those that every sink has, and forces bytes to the disk.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use super::log::Log;
use super::segment::Segment;

/// How soon a full disk is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// A sink that does not hold segments loses them beyond this part of what there may be, in quarters.
const LAG: u64 = 3;
/// The same in memory, in segments.
const LAG_IN_MEMORY: u64 = 32;
const PAGE_WORDS: usize = 512;

#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) log: Arc<Log>,
    /// How often everything is forced to the disk, if at all.
    pub(super) sync_interval: Option<Duration>,
}

impl Keeper {
    /// Works until it is dropped.
    pub(super) async fn run(self) {
        let mut synced_to = 0;
        let mut next_sync = self.next_sync();
        let mut again = None;
        loop {
            tokio::select! {
                () = self.log.tend.notified() => {}
                () = until(again) => {}
                () = until(next_sync) => {
                    next_sync = self.next_sync();
                    let log = Arc::clone(&self.log);
                    synced_to = spawn_blocking(move || sync(&log, synced_to)).await.unwrap_or(synced_to);
                    continue;
                }
            }
            let log = Arc::clone(&self.log);
            let is_ready = spawn_blocking(move || tend(&log)).await.unwrap_or(false);
            again = (!is_ready).then(|| Instant::now() + AGAIN);
        }
    }
}

impl Keeper {
    /// When everything is forced to the disk next; none if that never comes.
    fn next_sync(&self) -> Option<Instant> {
        Instant::now().checked_add(self.sync_interval?)
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

/// Makes segments until enough are ready. One at a time, so that the lock is not held for long.
pub(super) fn prepare(log: &Log) -> bool {
    let ready = log.shape.segments_ready.saturating_sub(1).max(1);
    loop {
        if log.is_closed() {
            return true;
        }
        let made = {
            let mut shelf = log.shelf();
            let is_enough = shelf.spares.len() as u64 >= ready;
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

/// Forces everything that was written since the last time to the disk: from the segment `from` on. Answers from which
/// one on the next time has to.
fn sync(log: &Log, from: u64) -> u64 {
    let mut synced_to = from;
    while let Some(segment) = log.segment_from(synced_to) {
        if let Err(error) = segment.words().sync() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the journal can't be forced to the disk"
            );
            return synced_to;
        }
        // The last one is written to again.
        let number = segment.id().number;
        synced_to = number;
        if log.segment_from(number + 1).is_none() {
            break;
        }
        synced_to += 1;
    }
    synced_to
}
