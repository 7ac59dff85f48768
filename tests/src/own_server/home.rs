//! The folder and the port of a server of a test's own.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;
use tokio::task::spawn_blocking;

/// Where a server keeps its data, and whose it is. The folder goes away with this value.
#[derive(Debug)]
pub(super) struct Home {
    folder: TempDir,
    port: u16,
    user: &'static str,
}

impl Home {
    /// A new one. Where the test is root's, whom database servers refuse, it is `user`'s.
    pub(super) fn of(user: &'static str) -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
            port: free_port(),
            user,
        };
        if is_root() {
            let owned = Command::new("chown").arg(user).arg(home.path()).status();
            assert!(owned.expect("chown").success(), "there is no user {user}");
        }
        home
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Whom a server has to become that is started as root.
    pub(super) fn user(&self) -> Option<&'static str> {
        is_root().then_some(self.user)
    }

    /// A program that works in the folder, as the user whose it is.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.user() {
            Some(user) => {
                let mut command = Command::new("runuser");
                command.args(["-u", user, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.current_dir(self.path());
        command
    }
}

/// Runs a program to its end.
pub(super) async fn must_succeed(mut command: Command) {
    let output = spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("a program of the database");
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{}", text.join("\n"));
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A port that nobody has now. It is below those that the system gives to clients: while the server is away, none of the
/// connections that are made in the meantime, not even one to this very port, may take it.
fn free_port() -> u16 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    let ports = (0..1_000).map(|_| {
        let number = begin.wrapping_add(TAKEN.fetch_add(1, Ordering::Relaxed));
        u16::try_from(12_000 + number % 20_000).unwrap()
    });
    let mut free = ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a free port")
}
