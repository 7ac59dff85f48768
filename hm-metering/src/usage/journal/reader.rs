//! Reading the log, record by record, from where a sink stands.

use std::sync::Arc;

use super::log::{Log, start_of};
use super::mark::Position;
use super::segment::{Read, Segment};

/// What a reader finds next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// A record, which is in the buffer now, and the run that wrote it.
    Record { epoch: u64 },
    /// The next record is of another run than the one asked for.
    OtherRun,
    /// Nothing yet.
    Nothing,
    /// A record that is just being written; those behind it may be there already.
    Pending,
}

/// A place in the log that moves on.
#[derive(Debug)]
pub(crate) struct Reader {
    log: Arc<Log>,
    segment: Option<Arc<Segment>>,
    position: Position,
    damaged: u64,
}

impl Reader {
    pub(super) fn new(log: Arc<Log>, position: Position) -> Self {
        Self {
            log,
            segment: None,
            position,
            damaged: 0,
        }
    }

    /// Behind the last record that was read.
    pub(crate) const fn position(&self) -> Position {
        self.position
    }

    /// Goes back to a place it came by, of a segment that is still there.
    pub(crate) fn go_back(&mut self, position: Position) {
        if self.position.segment != position.segment {
            self.segment = None;
        }
        self.position = position;
    }

    /// How many stretches were passed over in which a finished record must have stood.
    pub(crate) const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Reads the next record into `payload`, if it is of the run `epoch`; without one, of any run.
    pub(crate) fn next(&mut self, epoch: Option<u64>, payload: &mut Vec<u8>) -> Next {
        loop {
            let segment = match &self.segment {
                Some(segment) => segment,
                None => match self.log.segment_from(self.position.segment) {
                    Some(segment) => {
                        if segment.id().number != self.position.segment {
                            self.position = start_of(segment.id().number);
                        }
                        self.segment.insert(segment)
                    }
                    None => return Next::Nothing,
                },
            };
            let id = segment.id();
            if epoch.is_some_and(|epoch| epoch != id.epoch) {
                return Next::OtherRun;
            }
            match segment.read(self.position.at, payload) {
                Read::Record { next } => {
                    self.position.at = next;
                    return Next::Record { epoch: id.epoch };
                }
                Read::Gap { next, is_damage } => {
                    if is_damage {
                        self.damaged += 1;
                        tracing::error!(
                            segment = id.number,
                            from = self.position.at,
                            to = next,
                            "a part of the journal is damaged; what stood there is lost"
                        );
                    }
                    self.position.at = next;
                }
                Read::Nothing => return Next::Nothing,
                Read::Pending => return Next::Pending,
                Read::End => match self.log.segment_from(id.number + 1) {
                    Some(next) => {
                        self.position = start_of(next.id().number);
                        self.segment = Some(next);
                    }
                    None => return Next::Nothing,
                },
            }
        }
    }
}
