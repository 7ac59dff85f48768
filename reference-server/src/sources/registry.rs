//! All sources behind one door.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hm_metering::Clock;
use tokio::sync::Semaphore;

use super::answer::{Answer, Item};
use super::arxiv::Arxiv;
use super::ask::Ask;
use super::cache::{Cache, Question};
use super::config::{SourceSetupError, SourcesConfig};
use super::curiosity::Curiosity;
use super::error::{QueryFault, SourceError};
use super::health::{Record, SourceStatus};
use super::news::News;
use super::upstream::{self, Upstream};
use super::weather::Weather;
use super::wiki::Wiki;
use super::{Reach, Source};

/// Every source of the server, with what is kept about them: earlier answers, questions under way, health.
///
/// Meant to be made once and shared by reference or [`Arc`].
pub struct Sources {
    entries: Vec<Entry>,
    cache: Cache,
    max_in_flight: usize,
    clock: Arc<dyn Clock>,
}

struct Entry {
    source: Box<dyn Source>,
    slots: Semaphore,
    record: Record,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sources")
            .field("names", &self.names().collect::<Vec<_>>())
            .field("cached", &self.cache.len())
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// `wiki`, `arxiv`, `news`, `weather` and `curiosity` as `config` says. Nothing is connected to yet.
    ///
    /// # Errors
    ///
    /// All mistakes in the settings, or that the HTTP client cannot be made.
    pub fn new(config: &SourcesConfig, clock: Arc<dyn Clock>) -> Result<Self, SourceSetupError> {
        let settings = config.settings()?;
        let client = upstream::client(settings.connect_timeout).map_err(|error| {
            SourceSetupError::one(format!("the HTTP client of the sources cannot be made: {error}"))
        })?;
        let upstream = |base| Upstream::new(client.clone(), base, config.body_limit);
        let (wiki, wiki_limit) = settings.wiki;
        let (arxiv, arxiv_limit) = settings.arxiv;
        let (news, news_limit) = settings.news;
        let (forecast, places, weather_limit) = settings.weather;
        Self {
            entries: Vec::new(),
            cache: Cache::new(config.cache_entries, settings.cache_ttl),
            max_in_flight: config.max_in_flight,
            clock,
        }
        .with(Wiki::new(upstream(wiki), wiki_limit))?
        .with(Arxiv::new(upstream(arxiv), arxiv_limit))?
        .with(News::new(upstream(news), news_limit))?
        .with(Weather::new(upstream(places), upstream(forecast), weather_limit))?
        .with(Curiosity::new())
    }

    /// With one more source.
    ///
    /// # Errors
    ///
    /// There is a source of this name already.
    pub fn with(mut self, source: impl Source) -> Result<Self, SourceSetupError> {
        if self.names().any(|name| name == source.name()) {
            return Err(SourceSetupError::one(format!(
                "there are two sources named {}",
                source.name()
            )));
        }
        self.entries.push(Entry {
            source: Box::new(source),
            slots: Semaphore::new(self.max_in_flight),
            record: Record::default(),
        });
        Ok(self)
    }

    /// The names of all sources, in the order in which they were added.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.entries.iter().map(|entry| entry.source.name())
    }

    /// How each source is doing, as far as its last answers tell; asks nobody.
    #[must_use]
    pub fn status(&self) -> Vec<SourceStatus> {
        self.entries
            .iter()
            .map(|entry| entry.record.status(entry.source.name(), entry.source.reach()))
            .collect()
    }

    /// Asks the source of this name.
    ///
    /// `query` is what to look for, as the caller wrote it; only `curiosity` can do without. `limit` is how many items
    /// to give at most, 1 to [`LIMIT_MAX`](super::LIMIT_MAX), by default [`LIMIT_DEFAULT`](super::LIMIT_DEFAULT).
    ///
    /// # Errors
    ///
    /// See [`SourceError`]; [`SourceError::status`] and [`SourceError::code`] say how to tell the caller. Failures of
    /// a source are logged here.
    ///
    /// # Cancellation
    ///
    /// The future may be dropped at any time: the question is given up, its slot is free again, and neither cache nor
    /// health change.
    pub async fn answer(
        &self,
        source: &str,
        query: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Answer, SourceError> {
        let started = self.clock.monotonic();
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.source.name() == source)
            .ok_or(SourceError::UnknownSource)?;
        let ask = Ask::parse(query, limit, self.clock.now().to_datetime().date_naive())?;
        if ask.query().is_none() && !entry.source.answers_without_query() {
            return Err(QueryFault::Missing.into());
        }
        let (results, cached) = match entry.source.reach() {
            Reach::BuiltIn => (within_limit(entry.source.search(&ask).await?, &ask), false),
            Reach::Live { time_limit } => self.ask_live(entry, &ask, time_limit).await?,
        };
        let took = self.clock.monotonic().saturating_sub(started);
        Ok(Answer {
            source: entry.source.name(),
            query: ask.query().map(|query| query.as_str().to_owned()),
            results,
            cached,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        })
    }

    async fn ask_live(
        &self,
        entry: &Entry,
        ask: &Ask,
        time_limit: Duration,
    ) -> Result<(Arc<[Item]>, bool), SourceError> {
        let question = Question::new(entry.source.name(), ask);
        if let Some(items) = self.cache.get(&question, self.clock.monotonic()) {
            return Ok((items, true));
        }
        let _slot = entry.slots.try_acquire().map_err(|_| SourceError::Overloaded)?;
        let found = match tokio::time::timeout(time_limit, entry.source.search(ask)).await {
            Ok(found) => found,
            Err(_) => Err(SourceError::Timeout),
        };
        match found {
            Ok(items) => {
                let items = within_limit(items, ask);
                entry.record.succeeded(self.clock.now());
                self.cache
                    .put(question, Arc::clone(&items), self.clock.monotonic());
                Ok((items, false))
            }
            Err(error) => {
                entry.record.failed(&error, self.clock.now());
                log_failure(entry.source.name(), &error);
                Err(error)
            }
        }
    }
}

fn within_limit(mut items: Vec<Item>, ask: &Ask) -> Arc<[Item]> {
    items.truncate(ask.limit_len());
    items.into()
}

fn log_failure(name: &'static str, error: &SourceError) {
    if error.is_failure() {
        let upstream_status = match error {
            SourceError::Upstream { status, .. } => *status,
            _ => None,
        };
        tracing::warn!(
            source.name = name,
            source.failure = error.code(),
            upstream.status = upstream_status,
            error = error as &dyn std::error::Error,
            "a source failed"
        );
    }
}
