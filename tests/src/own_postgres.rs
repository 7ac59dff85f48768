//! A PostgreSQL server that a test may stop and start as it likes.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The user that the server runs as where the test is root's, whom PostgreSQL refuses.
const USER: &str = "postgres";

/// A server with an empty cluster of its own, on a free port. It ends with this value.
#[derive(Debug)]
pub struct OwnPostgres {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
}

impl OwnPostgres {
    /// Makes and starts one; `None` where PostgreSQL's programs are not installed, which is said on standard error.
    ///
    /// # Panics
    ///
    /// When it does not start, or when it is not installed and `HM_REQUIRE_SERVICES=1`.
    #[must_use]
    pub fn start_new() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(!is_required(), "PostgreSQL's programs are not installed");
            eprintln!(
                "SKIPPED: PostgreSQL's programs are not installed; HM_REQUIRE_SERVICES=1 makes this a failure"
            );
            return None;
        };
        let own = Self {
            folder: tempfile::tempdir().unwrap(),
            programs,
            port: free_port(),
        };
        if is_root() {
            let folder = own.folder.path().as_os_str();
            must_succeed(&Command::new("chown").arg(USER).arg(folder).output().unwrap());
        }
        own.run(
            "initdb",
            &["-A", "trust", "-U", "postgres", "--no-sync", "--no-instructions"],
        );
        own.start();
        Some(own)
    }

    /// Ends all connections and the server, without a word to anybody, as a crash does.
    ///
    /// # Panics
    ///
    /// When it does not end.
    pub fn stop_immediately(&self) {
        self.run("pg_ctl", &["stop", "-m", "immediate"]);
    }

    /// Starts it again, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not get ready.
    pub fn start(&self) {
        let options = format!(
            "-p {} -k {} -c listen_addresses=127.0.0.1",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("log");
        let log = log.to_str().expect("a path of characters");
        self.run("pg_ctl", &["start", "-w", "-o", &options, "-l", log]);
    }

    /// The address of the database that is there from the start.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        must_succeed(
            &self
                .command(program, arguments)
                .output()
                .expect("PostgreSQL's program"),
        );
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", USER, "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command
            .args(arguments)
            .arg("-D")
            .arg(self.folder.path().join("data"))
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for OwnPostgres {
    fn drop(&mut self) {
        // It may be stopped already.
        let _ = self.command("pg_ctl", &["stop", "-m", "immediate"]).output();
    }
}

/// The newest version's folder of programs, or that of the one on the path.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let installed = versions.filter_map(|version| {
        let version = version.ok()?;
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        Some((number, version.path().join("bin")))
    });
    let has_server = |(_, folder): &(u32, PathBuf)| folder.join("initdb").exists();
    let newest = installed.filter(has_server).max().map(|(_, folder)| folder);
    newest.or_else(|| {
        let asked = Command::new("pg_config").arg("--bindir").output().ok()?;
        let folder = PathBuf::from(String::from_utf8(asked.stdout).ok()?.trim());
        folder.join("initdb").exists().then_some(folder)
    })
}

/// Nobody has it now; that somebody takes it in the next moment is unlikely, and the server then says so.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn must_succeed(output: &Output) {
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}", text.join("\n"));
}

#[expect(clippy::disallowed_methods, reason = "the tests' own setting")]
fn is_required() -> bool {
    std::env::var("HM_REQUIRE_SERVICES").is_ok_and(|value| value == "1")
}
