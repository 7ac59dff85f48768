//! The journal: what is finished and not yet recorded, in files that outlive the process or in memory.
//!
//! A finished request is encoded once, copied into the active [segment](segment), and is safe from then on. Each sink reads
//! the log at its own pace and keeps a [mark](mark) of how far it is. What is read is read the same way whether this run
//! wrote it or an earlier one, so there is no other code for starting after a crash.

mod config;
mod directory;
mod disk;
mod force;
mod keeper;
mod log;
mod map;
mod mark;
mod reader;
pub(crate) mod record;
mod segment;
mod shelf;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

pub use config::{Durability, Journal, WhenFull};
pub use directory::JournalError;
pub(crate) use log::Log;
pub(crate) use mark::{Position, Progress, Sent};
pub(crate) use reader::{Next, Reader};

use directory::Directory;
use force::{Forced, force};
use keeper::Keeper;
use mark::Mark;

use crate::id::ReplicaId;
use crate::measures::Measures;

/// What a log is opened with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) replica: Option<ReplicaId>,
    pub(crate) epoch: u64,
    /// How many records are a full batch.
    pub(crate) batch: usize,
}

impl Log {
    /// Takes a journal's directory for this process: which replica it belongs to, and a log behind what earlier runs left.
    /// Blocks on the disk.
    pub(crate) fn open(
        journal: &Journal,
        opening: &Opening,
        make_replica: impl FnOnce() -> ReplicaId,
    ) -> Result<(ReplicaId, Self), JournalError> {
        let directory = Directory::open(journal.directory(), journal.disk_of().clone())?;
        let replica = directory.replica(opening.replica, make_replica)?;
        let mut earlier = directory.segments()?;
        // What was made ready and never used is made anew, with a number of this run.
        let blank = earlier.extract_if(.., |segment| segment.is_blank());
        for path in blank.filter_map(|segment| segment.path().cloned()) {
            std::fs::remove_file(&path).map_err(JournalError::io(&path))?;
        }
        let log = Self::in_files(journal.shape(), directory, earlier, opening.epoch, opening.batch);
        // Nothing is removed yet: no sink has said how far it is.
        keeper::prepare(&log);
        Ok((replica, log))
    }

    /// Starts the task that looks after the log.
    pub(crate) fn keep(
        self: &Arc<Self>,
        journal: Option<&Journal>,
        measures: Measures,
        runtime: &Handle,
    ) -> JoinHandle<()> {
        let keeper = Keeper {
            log: Arc::clone(self),
            sync_interval: journal.and_then(Journal::sync_interval),
            measures,
        };
        self.tend.notify_one();
        runtime.spawn(keeper.run())
    }

    /// Forces everything to the disk, in a thread where waiting is allowed. Answers whether it is there.
    pub(crate) async fn force_all(self: &Arc<Self>) -> bool {
        let log = Arc::clone(self);
        match spawn_blocking(move || force(&log, &mut Forced::default())).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the journal can't be forced to the disk"
                );
                false
            }
            Err(_) => false,
        }
    }

    /// How many records the first of its sinks has not taken, as far as is known. They are read, in a thread where waiting is
    /// allowed.
    pub(crate) async fn count_left(self: &Arc<Self>) -> u64 {
        let log = Arc::clone(self);
        let count = move || {
            let done = log.shelf().sinks.first().map(|sink| sink.done);
            let mut reader = Reader::new(Arc::clone(&log), done.unwrap_or_default());
            let (mut payload, mut count) = (Vec::new(), 0);
            while matches!(reader.next(None, &mut payload), Next::Record { .. }) {
                count += 1;
            }
            count
        };
        spawn_blocking(count).await.unwrap_or_default()
    }

    /// Where a sink stands, and what moves it on.
    pub(crate) fn trail(self: &Arc<Self>, sink: &str, holds: bool) -> Result<Trail, JournalError> {
        let (mark, progress) = match &self.directory {
            Some(directory) => {
                let (path, words) = directory.mark(sink)?;
                let (mark, progress) = Mark::open(path, Arc::new(words));
                (Some(mark), self.resume(progress.unwrap_or_default()))
            }
            None => (None, Progress::default()),
        };
        let sink = self.follow(progress.done, holds);
        Ok(Trail {
            reader: Reader::new(Arc::clone(self), progress.done),
            log: Arc::clone(self),
            sink,
            mark,
            progress,
        })
    }
}

/// A sink's way along the log.
#[derive(Debug)]
pub(crate) struct Trail {
    pub(crate) log: Arc<Log>,
    pub(crate) reader: Reader,
    sink: usize,
    mark: Option<Mark>,
    progress: Progress,
}

impl Trail {
    /// How far the sink is.
    pub(crate) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Notes that a batch is about to be sent, so that it can be repeated as it is after a crash.
    pub(crate) fn note_sent(&mut self, epoch: u64, sent: Sent) {
        self.progress.epoch = epoch;
        self.progress.next_batch = sent.number + 1;
        self.progress.sent = Some(sent);
        self.keep();
    }

    /// Notes that everything up to `done` is recorded or given up, `records` of this run's.
    pub(crate) fn note_done(&mut self, done: Position, records: u64) {
        self.progress.done = done;
        self.progress.sent = None;
        self.keep();
        self.log.note_done(self.sink, done, records);
    }

    /// How many records this sink will never see.
    pub(crate) fn lost(&self) -> u64 {
        self.log.lost_to(self.sink)
    }

    fn keep(&mut self) {
        if let Some(mark) = &mut self.mark {
            mark.keep(self.progress);
        }
    }

    /// Forces the mark to the disk, in a thread where waiting is allowed. Answers whether it is there.
    pub(crate) async fn sync(&self) -> bool {
        let Some(mark) = &self.mark else { return true };
        let (log, path, words) = (
            Arc::clone(&self.log),
            mark.path().clone(),
            Arc::clone(mark.words()),
        );
        match spawn_blocking(move || log.force(&path, &words)).await {
            Ok(Err(error)) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a sink's progress can't be forced to the disk"
                );
                false
            }
            // Where the runtime ends, nobody waits for it.
            Ok(Ok(())) | Err(_) => true,
        }
    }
}
