//! Everything a handler needs, built in one place.

use std::fmt;
use std::sync::Arc;

use hm_metering::key::PepperError;
use hm_metering::keys::KeyIssuer;
use hm_metering::{Clock, ConfigError as MeterConfigError, Meter, Peppers, PlansError, StoredKeyVerifier};
use hm_metering_seaorm::SeaOrmStore;
use sea_orm::DbErr;

use crate::auth::password::PasswordError;
use crate::auth::{AccessTokens, Attempts, Passwords};
use crate::config::Config;
use crate::database::Database;
use crate::domain::keys::{self, Keys};
use crate::domain::usage::Usage;
use crate::migration::Migrator;
use crate::secrets::Secrets;
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
    sources: Sources,
}

/// Why the application can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database does not answer, or its schema can't be brought up to date.
    #[error("the database can't be opened")]
    Database(#[from] DbErr),
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
    /// The meter can't start.
    #[error("the meter can't start")]
    Meter(#[from] MeterConfigError),
    /// The data sources can't be set up.
    #[error("the data sources can't be set up")]
    Sources(#[from] SourceSetupError),
}

/// What was not finished when the application ended.
#[derive(Debug, thiserror::Error)]
pub enum ShutdownError {
    /// Finished requests are missing in the ledger.
    #[error("finished requests could not be written to the ledger in time")]
    Unrecorded,
    /// The database can't be closed.
    #[error("the database can't be closed")]
    Database(#[from] DbErr),
}

impl App {
    /// Connects, brings the schema up to date, and builds the parts.
    ///
    /// # Errors
    ///
    /// The database does not answer, or a part can't be built.
    pub async fn start(config: Config, secrets: &Secrets, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let plans = config.plans.to_plans()?;
        let pepper = keys::pepper(&secrets.key_pepper)?;
        let sources = Sources::new(&config.sources, Arc::clone(&clock))?;
        let passwords = Passwords::new(&config.auth.password)?;
        let database = Database::connect(&config.database).await?;
        hm_metering_seaorm::migration::up::<Migrator>(database.writer()).await?;
        let store = SeaOrmStore::new(database.writer().clone()).with_reader(database.reader().clone());
        let (format, peppers) = (config.keys.format.clone(), Peppers::new(pepper));
        let issuer = KeyIssuer::new(peppers.clone())
            .map_err(StartError::Random)?
            .with_format(format.clone());
        let verifier = StoredKeyVerifier::new(store.clone(), peppers).with_format(format);
        let meter = Meter::builder(verifier.clone())
            .plans(plans.clone())
            .quota(store.clone())
            .usage(store.clone())
            .clock(Arc::clone(&clock))
            .trusted_proxies(config.http.trusted_proxies.clone())
            .flush_interval(config.usage.flush_interval)
            .start()
            .await?;
        let most = config.keys.max_per_account;
        Ok(Self(Arc::new(Inner {
            passwords,
            tokens: AccessTokens::new(&config.auth, &secrets.jwt_secret),
            attempts: Attempts::new(&config.auth.login),
            keys: Keys::new(store.clone(), database.clone(), meter.clone(), issuer, most),
            usage: Usage::new(store, meter.clone(), plans),
            verifier,
            meter,
            sources,
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
    /// Finished requests could not be written in time, or the database can't be closed.
    pub async fn shutdown(&self) -> Result<(), ShutdownError> {
        let report = self.0.meter.shutdown(self.0.config.usage.shutdown).await;
        if !report.released {
            tracing::warn!("leased units were not given back; they count as used until the period ends");
        }
        self.0.database.close().await?;
        if report.recorded {
            Ok(())
        } else {
            Err(ShutdownError::Unrecorded)
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

    /// Data sources.
    #[must_use]
    pub fn sources(&self) -> &Sources {
        &self.0.sources
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
