//! Where commands are run: a folder and a database of its own for each test.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hm_metering::{AccountId, Clock, Timestamp};
use hm_metering_seaorm::SeaOrmStore;
use hm_metering_seaorm::testing::TestDatabase;
use hm_server::app::App;
use hm_server::cli::Command;
use hm_server::config::Config;
use hm_server::metrics::Metrics;
use hm_server::operator::{self, OperatorError, Verdict};
use hm_server::secrets::Secrets;
use tempfile::TempDir;
use uuid::Uuid;

/// A folder with a database in it, and the settings for it.
pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) config: Config,
    pub(super) server: Option<TestDatabase>,
}

pub(super) struct FixedClock(pub(super) Timestamp);

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        self.0
    }

    fn monotonic(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

/// 22 November 2026, noon.
pub(super) const NOON: Timestamp = Timestamp::from_micros(1_795_348_800_000_000);

pub(super) fn config_at(url: &str, folder: &Path) -> Config {
    let journal = folder.join("journal");
    let variables = [
        ("DATABASE_URL", url.to_owned()),
        ("HM_JOURNAL", journal.display().to_string()),
        ("JWT_SECRET", "jwt-9Qm3Zr7Vx2Lp8Tn5Kc1Hd6Ws4Bf0Ya".to_owned()),
        ("KEY_PEPPER", "pepper-4Gt8Jk2Nb6Vc0Xz5Qw9Er3Ty7Ui1Op".to_owned()),
    ];
    let variables = variables.map(|(name, value)| (name.into(), value.into()));
    Config::parse("", variables).unwrap()
}

impl Place {
    pub(super) async fn all() -> Vec<Self> {
        let mut places = vec![Self::on_sqlite().await];
        let servers = [
            TestDatabase::empty_postgres().await,
            TestDatabase::empty_mysql().await,
        ];
        for server in servers.into_iter().filter_map(Result::unwrap) {
            let folder = tempfile::tempdir().unwrap();
            let config = config_at(server.url(), folder.path());
            let place = Self {
                folder,
                config,
                server: Some(server),
            };
            place.run(Command::MigrateUp).await.unwrap();
            places.push(place);
        }
        places
    }

    pub(super) async fn on_sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hm.sqlite");
        let config = config_at(&format!("sqlite://{}", file.display()), folder.path());
        let place = Self {
            folder,
            config,
            server: None,
        };
        place.run(Command::MigrateUp).await.unwrap();
        place
    }

    pub(super) async fn run(&self, command: Command) -> Result<(Verdict, String), OperatorError> {
        let mut said = String::new();
        let mut print = |line: &str| {
            said.push_str(line);
            said.push('\n');
        };
        let verdict = operator::run(&command, &self.config, Arc::new(FixedClock(NOON)), &mut print).await?;
        Ok((verdict, said))
    }

    pub(super) async fn refused(&self, command: Command) -> String {
        let error = self.run(command).await.unwrap_err();
        hm_server::telemetry::chain(&error)
    }

    pub(super) async fn store(&self) -> SeaOrmStore {
        SeaOrmStore::connect(&self.config.database.url).await.unwrap()
    }

    pub(super) fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    /// An account with somebody in it, opened ten days before noon.
    pub(super) async fn account(&self) -> AccountId {
        let config = self.config.clone();
        let secrets = Secrets::resolve(&config).unwrap();
        let at = Timestamp::from_micros(NOON.as_micros() - 10 * 86_400_000_000);
        let (_, metrics) = Metrics::new().unwrap();
        let app = App::start(config, &secrets, Arc::new(FixedClock(at)), metrics)
            .await
            .unwrap();
        let email = format!("{}@example.org", Uuid::new_v4().simple());
        let new = hm_server::domain::accounts::NewAccount {
            email: hm_server::domain::Email::parse(&email).unwrap(),
            name: Some("Ada".to_owned()),
            password_hash: hm_metering_seaorm::entity::PasswordHash("$none$".to_owned()),
            tier: "free".to_owned(),
        };
        let member = hm_server::domain::accounts::open(app.database().writer(), new, at)
            .await
            .unwrap();
        app.shutdown().await.unwrap();
        member.account.id.into()
    }

    pub(super) async fn finish(self) {
        if let Some(server) = self.server {
            server.close().await.unwrap();
        }
    }
}
