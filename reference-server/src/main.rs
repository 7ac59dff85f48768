//! `hm-server`.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use hm_metering::SystemClock;
use hm_server::app::App;
use hm_server::cli::{self, Command, USAGE};
use hm_server::config::{Config, process_environment};
use hm_server::database::Database;
use hm_server::metrics::Metrics;
use hm_server::migration::Migrator;
use hm_server::secrets::Secrets;
use hm_server::{serve, telemetry};
use sea_orm_migration::MigratorTrait;

/// The arguments are wrong.
const MISUSE: u8 = 2;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(mistake) => {
            say(&mut io::stderr(), &format!("hm-server: {mistake}\n\n{USAGE}"));
            return ExitCode::from(MISUSE);
        }
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(
                &mut io::stderr(),
                &format!("hm-server: {}\n", telemetry::chain(error.as_ref())),
            );
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Help => {
            say(&mut io::stdout(), USAGE);
            return Ok(());
        }
        Command::Version => {
            say(
                &mut io::stdout(),
                concat!("hm-server ", env!("CARGO_PKG_VERSION"), "\n"),
            );
            return Ok(());
        }
        Command::Serve | Command::MigrateUp | Command::MigrateDown(_) | Command::MigrateStatus => {}
    }
    let config = Config::load(process_environment())?;
    telemetry::install(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if command == Command::Serve {
            let metrics = Metrics::install()?;
            let secrets = Secrets::resolve(&config)?;
            let app = App::start(config, &secrets, Arc::new(SystemClock::new()), metrics).await?;
            return serve::serve(app).await.map_err(Failure::from);
        }
        migrate(command, &config).await
    })
}

async fn migrate(command: Command, config: &Config) -> Result<(), Failure> {
    let database = Database::connect(&config.database).await?;
    let db = database.writer();
    match command {
        Command::MigrateUp => hm_metering_seaorm::migration::up::<Migrator>(db).await?,
        Command::MigrateDown(steps) => Migrator::down(db, Some(steps)).await?,
        _ => {}
    }
    Migrator::install(db).await?;
    let pending = Migrator::get_pending_migrations(db).await?;
    for migration in Migrator::migrations() {
        let waits = pending.iter().any(|pending| pending.name() == migration.name());
        let state = if waits { "pending" } else { "applied" };
        say(&mut io::stdout(), &format!("{state} {}\n", migration.name()));
    }
    database.close().await?;
    Ok(())
}

/// Prints; a reader that has gone away is no reason to fail.
fn say(to: &mut impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
