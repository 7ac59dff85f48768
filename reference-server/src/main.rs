//! `hm-server`.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;

use hm_metering::SystemClock;
use hm_server::app::App;
use hm_server::cli::{self, Command, USAGE};
use hm_server::config::{Config, process_environment};
use hm_server::metrics::Metrics;
use hm_server::operator::{self, Verdict};
use hm_server::secrets::Secrets;
use hm_server::{serve, telemetry};

/// The arguments are wrong.
const MISUSE: u8 = 2;
/// The schema is newer or older than this program.
const OTHER_SCHEMA: u8 = 3;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let command = match cli::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(mistake) => {
            say(&mut io::stderr(), &format!("hm-server: {mistake}\n\n{USAGE}"));
            return ExitCode::from(MISUSE);
        }
    };
    match run(&command) {
        Ok(Verdict::Well) => ExitCode::SUCCESS,
        Ok(Verdict::Differs) => ExitCode::FAILURE,
        Err(error) => {
            say(
                &mut io::stderr(),
                &format!("hm-server: {}\n", telemetry::chain(error.as_ref())),
            );
            if operator::is_of_other_schema(error.as_ref()) {
                ExitCode::from(OTHER_SCHEMA)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(command: &Command) -> Result<Verdict, Failure> {
    match command {
        Command::Help => {
            say(&mut io::stdout(), USAGE);
            return Ok(Verdict::Well);
        }
        Command::Version => {
            say(
                &mut io::stdout(),
                concat!("hm-server ", env!("CARGO_PKG_VERSION"), "\n"),
            );
            return Ok(Verdict::Well);
        }
        _ => {}
    }
    let config = Config::load(process_environment())?;
    telemetry::install(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let clock = Arc::new(SystemClock::new());
        if *command == Command::Serve {
            let metrics = Metrics::install()?;
            let secrets = Secrets::resolve(&config)?;
            let app = App::start(config, &secrets, clock, metrics).await?;
            serve::serve(app).await?;
            return Ok(Verdict::Well);
        }
        let mut print = |line: &str| say(&mut io::stdout(), &format!("{line}\n"));
        Ok(operator::run(command, &config, clock, &mut print).await?)
    })
}

/// Prints; a reader that has gone away is no reason to fail.
fn say(to: &mut impl Write, text: &str) {
    let _ = to.write_all(text.as_bytes()).and_then(|()| to.flush());
}
