//! Starting a meter: its parts are put together and its tasks are set going.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::builder::{ConfigError, MeterBuilder};
use super::directory::{Bounds, Directory, Fingerprints};
use super::feed::Feed;
use super::fill::{Budget, Filler};
use super::flusher::{Flusher, Pace, Request, Settling, Uses};
use super::report::Shapes;
use super::shutdown::Tasks;
use super::{Engine, Meter};
use crate::id::{IdSource, ReplicaId};
use crate::measures::{Measures, SinkMeasures};
use crate::quota::{Holder, LeaseBook, QuotaStore};
use crate::usage::journal::record::Decoder;
use crate::usage::journal::{Journal, Log, Opening};
use crate::usage::{Durability, JournalError, UsageSink};

/// What the ledger's sink is called in the journal.
pub(super) const LEDGER: &str = "ledger";

impl MeterBuilder {
    /// Opens the journal, asks the verifier where its feed of changes stands, and starts the meter's tasks. A store that does
    /// not answer delays the start by [`MeterBuilder::store_timeout`] and does not prevent it.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is missing or makes no sense, or a journal that can't be used.
    pub async fn start(mut self) -> Result<Meter, ConfigError> {
        let plans = self.plans.take().ok_or(ConfigError::NoPlans)?;
        let sink = self.usage.take().ok_or(ConfigError::NoUsage)?;
        self.check()?;
        let runtime = Handle::try_current().map_err(|_| ConfigError::NoRuntime)?;
        let ids = IdSource::from_os().map_err(ConfigError::NoRandomness)?;
        let (replica, log) = self.open_log(&ids).await?;
        let log = Arc::new(log);
        let measures = Measures::new();
        let holder = Holder {
            replica,
            epoch: log.epoch(),
        };
        let book = self.quota.clone().map(|store| {
            LeaseBook::new(
                store,
                holder,
                Arc::clone(&self.clock),
                runtime.clone(),
                self.store_timeout,
                measures.clone(),
            )
        });
        let settling = self.quota.clone().zip(book.clone());
        let settling = settling.map(|(quota, book)| Settling {
            settle: Some(Arc::clone(&quota)).filter(|quota| !settles(sink.as_ref(), quota.as_ref())),
            book,
            earlier: log.is_kept().then_some(quota),
        });
        let mut sinks = vec![(LEDGER.to_owned(), sink, settling)];
        sinks.extend(
            self.others
                .iter()
                .map(|(name, sink)| (name.clone(), Arc::clone(sink), None)),
        );
        let (mut flushers, mut requests) = (Vec::new(), Vec::new());
        for (name, sink, settling) in sinks {
            let (flusher, request) = self.flusher((replica, &measures), &log, name, sink, settling)?;
            flushers.push(flusher);
            requests.push(request);
        }
        let bounds = Bounds {
            callers: self.callers,
            callers_bytes: self.callers_bytes(),
            invalid: self.callers,
            staleness: self.staleness,
        };
        let directory = Arc::new(Directory::new(bounds, Shapes::new(self.headers)));
        if let Some(book) = &book {
            let users = Arc::downgrade(&directory);
            book.set_users(users);
        }
        let feed = Feed {
            verifier: Arc::clone(&self.verifier),
            directory: Arc::clone(&directory),
            clock: Arc::clone(&self.clock),
            interval: self.feed_interval,
            measures: measures.clone(),
            store_timeout: self.store_timeout,
        };
        let filler = Filler {
            verifier: Arc::clone(&self.verifier),
            plans,
            directory: Arc::clone(&directory),
            book: book.clone(),
            clock: Arc::clone(&self.clock),
            runtime: runtime.clone(),
            store_timeout: self.store_timeout,
            invalid_for: self.invalid_for,
            under_way: std::sync::Mutex::new(HashMap::new()),
            unknown: Budget::new(self.unknown_keys),
            turned_away: AtomicU64::new(0),
            measures: measures.clone(),
        };
        let begun_at = feed.begin().await;
        let tasks = Tasks {
            flushers: flushers
                .into_iter()
                .map(|flusher| runtime.spawn(flusher.run()))
                .collect(),
            feed: runtime.spawn(feed.run(begun_at)),
            book: book
                .clone()
                .map(|book| runtime.spawn(book.run(self.flush_interval))),
            keeper: log.keep(self.journal.as_ref(), measures.clone(), &runtime),
            recorded: false,
            forces: self.has_to_force(),
        };
        Ok(Meter(Arc::new(Engine {
            verifier: self.verifier,
            directory,
            filler: Arc::new(filler),
            book,
            fingerprints: Fingerprints::from_os().map_err(ConfigError::NoRandomness)?,
            ids,
            clock: self.clock,
            proxies: self.proxies,
            hooks: self.hooks,
            measures,
            log,
            sheds: self.journal.as_ref().is_some_and(Journal::sheds),
            requests,
            wait_at_most: self.store_timeout,
            refusals_missed: AtomicU64::new(0),
            tasks: Mutex::new(tasks),
        })))
    }

    /// How many events a batch has at most. A batch of a small queue is sent long before there is no room.
    fn batch_len(&self) -> usize {
        match self.journal {
            Some(_) => self.batch_len_max,
            None => self.batch_len_max.min((self.queue / 4).max(1)),
        }
    }

    /// Whether what is in the journal has to survive a loss of power.
    fn has_to_force(&self) -> bool {
        let durability = self.journal.as_ref().map(Journal::durability_of);
        matches!(durability, Some(Durability::Power(_)))
    }

    /// The log that events wait in, and whose it is.
    async fn open_log(&self, ids: &IdSource) -> Result<(ReplicaId, Log), ConfigError> {
        let now = self.clock.now();
        // Random bits rather than the time: a clock that was set back must not bring an epoch a second time. One bit
        // less, for databases whose integers have a sign.
        let epoch = Uuid::as_u64_pair(&ids.next(now)).1 >> 1;
        let made = ReplicaId::from_uuid(ids.next(now));
        let Some(journal) = self.journal.clone() else {
            let log = Log::in_memory(self.queue, epoch, self.batch_len());
            return Ok((self.replica.unwrap_or(made), log));
        };
        let opening = Opening {
            replica: self.replica,
            epoch,
            batch: self.batch_len(),
        };
        let path = journal.directory().to_owned();
        let opened = spawn_blocking(move || Log::open(&journal, &opening, || made)).await;
        let opened = opened.unwrap_or_else(|ended| {
            Err(JournalError::Io {
                path,
                source: std::io::Error::other(ended),
            })
        });
        opened.map_err(ConfigError::Journal)
    }

    fn flusher(
        &self,
        (replica, measures): (ReplicaId, &Measures),
        log: &Arc<Log>,
        name: String,
        sink: Arc<dyn UsageSink>,
        settling: Option<Settling>,
    ) -> Result<(Flusher, mpsc::Sender<Request>), ConfigError> {
        let (sender, requests) = mpsc::channel(64);
        let is_ledger = name == LEDGER;
        let has_uses = is_ledger && self.verifier.wants_uses(sink.identity());
        let uses = || Uses::new(Arc::clone(&self.verifier), self.record_timeout, measures.clone());
        let flusher = Flusher {
            trail: log.trail(&name, is_ledger)?,
            measures: measures.clone(),
            counts: SinkMeasures::new(&name),
            lost_told: 0,
            name,
            sink,
            settling,
            uses: has_uses.then(uses),
            replica,
            decoder: Decoder::new(replica),
            clock: Arc::clone(&self.clock),
            pace: Pace {
                interval: self.flush_interval,
                batch_len_max: self.batch_len(),
                store_timeout: self.record_timeout,
                syncs: self.has_to_force(),
            },
            requests,
            read: 0,
            damaged: 0,
            missed: 0,
            payload: Vec::new(),
        };
        Ok((flusher, sender))
    }
}

/// Whether `sink` applies settlements to `quota` in its own transaction.
fn settles(sink: &dyn UsageSink, quota: &dyn QuotaStore) -> bool {
    quota
        .settled_by()
        .is_some_and(|store| sink.identity() == Some(store))
}
