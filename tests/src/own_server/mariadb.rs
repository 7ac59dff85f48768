//! MariaDB's programs.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::home::{Home, must_succeed};
use crate::log::Log;
use crate::wait::until;

pub(super) const USER: &str = "mysql";

/// It has to undo and redo what was under way at a crash, on a busy machine.
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(10);

/// The server's program, and the server while there is one.
#[derive(Debug)]
pub(super) struct MariaDb {
    program: &'static str,
    running: Option<Child>,
}

impl MariaDb {
    /// The one on the path, or where Debian keeps servers.
    pub(super) fn installed() -> Option<Self> {
        let is_there = |program: &str| {
            let asked = Command::new(program).arg("--version").output();
            asked.is_ok_and(|asked| asked.status.success())
        };
        let mut places = ["mariadbd", "/usr/sbin/mariadbd"].into_iter();
        let program = places.find(|program| is_there(program))?;
        Some(Self {
            program,
            running: None,
        })
    }

    pub(super) async fn make_data(&self, home: &Home) {
        let mut install = Command::new("mariadb-install-db");
        install.arg("--no-defaults");
        // Anybody on this machine may come in as root, without a password.
        install.arg("--auth-root-authentication-method=normal");
        of(home, &mut install);
        must_succeed(install).await;
    }

    pub(super) async fn start(&mut self, home: &Home) {
        let mut start = Command::new(self.program);
        start.arg("--no-defaults");
        of(home, &mut start);
        start
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--port={}", home.port()))
            .arg(socket(home))
            .arg("--innodb-flush-log-at-trx-commit=1")
            .arg("--innodb-buffer-pool-size=64M");
        let log = Log::default();
        let server = self
            .running
            .insert(start.stderr(Stdio::piped()).spawn().expect("mariadbd"));
        // The thread ends with the server.
        drop(log.follow(server.stderr.take().expect("its log")));
        until("MariaDB is ready", START, async || {
            let ended = server.try_wait().expect("whether it runs");
            assert_eq!(ended, None, "MariaDB did not start: {}", log.text());
            log.text().contains("ready for connections").then_some(())
        })
        .await;
    }

    pub(super) async fn crash(&mut self) {
        let Some(mut server) = self.running.take() else {
            return;
        };
        // SIGKILL, to the server itself: it has no other process.
        server.kill().expect("the end of MariaDB");
        until("MariaDB ends", END, async || {
            server.try_wait().expect("whether it runs")
        })
        .await;
    }

    /// Ends it, if it runs.
    pub(super) fn end(&mut self) {
        if let Some(mut server) = self.running.take() {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// What each of its programs has to know.
fn of(home: &Home, command: &mut Command) {
    command
        .arg(format!("--datadir={}", home.data().display()))
        .args(["--skip-name-resolve", "--skip-log-bin"])
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    // It gives up root's rights by itself, so that it needs no process between.
    command.args(home.user().map(|user| format!("--user={user}")));
}

fn socket(home: &Home) -> String {
    // Their length is limited to about a hundred bytes.
    format!("--socket={}", home.path().join("sock").display())
}
