//! PostgreSQL's programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::home::{Home, must_succeed};

pub(super) const USER: &str = "postgres";

/// Where they are.
#[derive(Debug)]
pub(super) struct Postgres(PathBuf);

impl Postgres {
    /// The newest version's folder of programs, or that of the one on the path.
    pub(super) fn installed() -> Option<Self> {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
        let installed = versions.filter_map(|version| {
            let version = version.ok()?;
            let number: u32 = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        });
        let has_server = |(_, folder): &(u32, PathBuf)| folder.join("initdb").exists();
        let newest = installed.filter(has_server).max().map(|(_, folder)| folder);
        newest.or_else(on_the_path).map(Self)
    }

    pub(super) async fn make_data(&self, home: &Home) {
        let mut initdb = self.command(home, "initdb");
        initdb.args(["-A", "trust", "-U", "postgres", "--no-sync", "--no-instructions"]);
        must_succeed(initdb).await;
    }

    pub(super) async fn start(&self, home: &Home) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1",
            home.port(),
            home.path().display()
        );
        let mut start = self.command(home, "pg_ctl");
        start.args(["start", "-w", "-o", &options, "-l"]);
        start.arg(home.path().join("log"));
        must_succeed(start).await;
    }

    pub(super) async fn crash(&self, home: &Home) {
        must_succeed(self.stop(home)).await;
    }

    /// Ends it, if it runs.
    pub(super) fn end(&self, home: &Home) {
        // It may have crashed already.
        let _ = self.stop(home).output();
    }

    fn stop(&self, home: &Home) -> Command {
        let mut stop = self.command(home, "pg_ctl");
        stop.args(["stop", "-m", "immediate"]);
        stop
    }

    fn command(&self, home: &Home, program: &str) -> Command {
        let mut command = home.command(self.0.join(program));
        command.arg("-D").arg(home.data()).stdin(Stdio::null());
        command
    }
}

fn on_the_path() -> Option<PathBuf> {
    let asked = Command::new("pg_config").arg("--bindir").output().ok()?;
    let folder = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim());
    folder.join("initdb").exists().then_some(folder)
}
