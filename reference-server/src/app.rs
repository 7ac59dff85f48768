//! Everything a handler needs, built in one place.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use hm_metering::key::PepperError;
use hm_metering::keys::KeyIssuer;
use hm_metering::usage::{CountersSink, JournalError};
use hm_metering::{Clock, ConfigError as MeterConfigError, Meter, Peppers, PlansError, StoredKeyVerifier};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::migration::MigrateError;
use sea_orm::DbErr;

use crate::auth::password::PasswordError;
use crate::auth::{AccessTokens, Attempts, Passwords};
use crate::config::{Config, JournalConfig};
use crate::database::Database;
use crate::domain::keys::{self, Keys};
use crate::domain::usage::Usage;
use crate::metrics::{Metrics, Upkeep};
use crate::migration::Migrator;
use crate::secret::Secret;
use crate::secrets::{Secrets, create_private_folder};
use crate::sources::{SourceSetupError, Sources};

/// The application: settings, clock, database and what is built on them. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    config: Config,
    clock: Arc<dyn Clock>,
    database: Database,
    passwords: Passwords,
    tokens: AccessTokens,
    attempts: Attempts,
    verifier: StoredKeyVerifier,
    meter: Meter,
    keys: Keys,
    usage: Usage,
    store: SeaOrmStore,
    sources: Sources,
    admin_key: Option<Secret>,
    metrics: Metrics,
    _upkeep: Upkeep,
}

/// Why the application can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not answer.
    #[error("the database can't be opened")]
    Database(#[from] DbErr),
    /// The schema can't be brought to this version.
    #[error(transparent)]
    Schema(#[from] MigrateError),
    /// Passwords can't be hashed.
    #[error("passwords can't be hashed")]
    Password(#[from] PasswordError),
    /// The pepper can't be used.
    #[error("KEY_PEPPER can't be used")]
    Pepper(#[from] PepperError),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// The plans make no sense.
    #[error("the plans can't be used")]
    Plans(#[from] PlansError),
    /// The journal can't be used: another server has it, or the disk can't be written to.
    #[error("usage.journal.directory (HM_JOURNAL) can't be used")]
    Journal(#[source] JournalError),
    /// The meter can't start.
    #[error("the meter can't start")]
    Meter(#[source] MeterConfigError),
    /// The data sources can't be set up.
    #[error("the data sources can't be set up")]
    Sources(#[from] SourceSetupError),
}

/// What was not finished when the application ended.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// Finished requests are missing in the ledger.
    #[error("finished requests could not be written to the ledger and are lost")]
    Lost,
    /// Finished requests are missing in the ledger until the server is started again.
    #[error(
        "finished requests could not be written to the ledger in time; they wait in the journal at {} for the next start",
        .0.display()
    )]
    Waiting(PathBuf),
    /// The database can't be closed.
    #[error("the database can't be closed")]
    Database(#[from] DbErr),
}

impl From<MeterConfigError> for StartError {
    fn from(error: MeterConfigError) -> Self {
        match error {
            MeterConfigError::Journal(journal) => Self::Journal(journal),
            other => Self::Meter(other),
        }
    }
}

impl App {
    /// Connects, brings the schema up to date, and builds the parts. `metrics` tells of the recorder that counts here.
    ///
    /// # Errors
    ///
    /// The database does not answer, or a part can't be built.
    pub async fn start(
        config: Config,
        secrets: &Secrets,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let plans = config.plans.to_plans()?;
        let pepper = keys::pepper(&secrets.key_pepper)?;
        let sources = Sources::new(&config.sources, Arc::clone(&clock))?;
        let passwords = Passwords::new(&config.auth.password)?;
        let database = Database::connect(&config.database).await?;
        hm_metering_seaorm::migration::up::<Migrator>(database.writer()).await?;
        let store = SeaOrmStore::new(database.writer().clone())
            .with_reader(database.reader().clone())
            .with_operation_timeout(config.database.operation_timeout);
        let (format, peppers) = (config.keys.format.clone(), Peppers::new(pepper));
        let issuer = KeyIssuer::new(peppers.clone())
            .map_err(StartError::Random)?
            .with_format(format);
        let verifier = keys::verifier(&store, peppers, &config.keys);
        let mut builder = Meter::builder(verifier.clone())
            .plans(plans.clone())
            .quota(store.clone())
            .usage(store.clone())
            .also("counters", CountersSink::new())
            .clock(Arc::clone(&clock))
            .trusted_proxies(config.http.trusted_proxies.clone())
            .flush_interval(config.usage.flush_interval);
        if let Some(journal) = &config.usage.journal {
            // For its owner only. If it can't be made, the journal says why.
            let _ = create_private_folder(&journal.directory);
            builder = builder.journal(journal.to_journal());
        }
        let meter = builder.start().await?;
        let most = config.keys.max_per_account;
        Ok(Self(Arc::new(Inner {
            passwords,
            tokens: AccessTokens::new(&config.auth, &secrets.jwt_secret),
            attempts: Attempts::new(&config.auth.login),
            keys: Keys::new(store.clone(), database.clone(), meter.clone(), issuer, most),
            usage: Usage::new(store.clone(), meter.clone(), plans),
            store,
            verifier,
            meter,
            sources,
            admin_key: secrets.admin_key.clone(),
            _upkeep: metrics.keep_tidy(),
            metrics,
            config,
            clock,
            database,
        })))
    }

    /// Ends what runs in the background: writes finished requests to the ledger, gives leased units back, closes the
    /// database. Nothing may be in flight any more.
    ///
    /// # Errors
    ///
    /// Finished requests could not be written in time, or the database can't be closed. With a journal nothing is lost by
    /// that: the next start writes what is left.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        let (usage, meter) = (&self.0.config.usage, &self.0.meter);
        let lost_before = meter.events_lost();
        let report = meter.shutdown(usage.shutdown).await;
        let journal = usage.journal.as_ref();
        if !report.released {
            let until = journal.map_or("the period ends", |_| "the next start");
            tracing::warn!("leased units were not given back; they count as used until {until}");
        }
        let lost = meter.events_lost();
        if lost > 0 {
            tracing::error!(
                events.lost = lost,
                "finished requests were lost while the server ran"
            );
        }
        self.0.database.close().await?;
        match journal {
            _ if report.recorded => Ok(()),
            Some(JournalConfig { directory, .. }) if lost == lost_before => {
                Err(ShutdownError::Waiting(directory.clone()))
            }
            _ => Err(ShutdownError::Lost),
        }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The time.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.0.database
    }

    /// Password hashing.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.0.passwords
    }

    /// Access tokens.
    #[must_use]
    pub fn tokens(&self) -> &AccessTokens {
        &self.0.tokens
    }

    /// Says whom API keys speak for.
    #[must_use]
    pub fn verifier(&self) -> &StoredKeyVerifier {
        &self.0.verifier
    }

    /// The metering engine.
    #[must_use]
    pub fn meter(&self) -> &Meter {
        &self.0.meter
    }

    /// API keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// Usage.
    #[must_use]
    pub fn usage(&self) -> &Usage {
        &self.0.usage
    }

    /// Keys, quotas and the ledger.
    #[must_use]
    pub fn store(&self) -> &SeaOrmStore {
        &self.0.store
    }

    /// Data sources.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.0.sources
    }

    /// Lets an operator in, if set.
    #[must_use]
    pub fn admin_key(&self) -> Option<&Secret> {
        self.0.admin_key.as_ref()
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Attempts to sign in.
    #[must_use]
    pub fn attempts(&self) -> &Attempts {
        &self.0.attempts
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App")
            .field("database", &self.0.config.database)
            .finish_non_exhaustive()
    }
}
