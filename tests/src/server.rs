//! One running `hm-server`.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::binary::hm_server;
use crate::footprint::Footprint;
use crate::http::{Answer, Call, Connection, once};
use crate::log::Log;
use crate::place::Place;
use crate::wait::until;

/// A debug build on a busy machine needs a while to migrate its database.
const START: Duration = Duration::from_secs(60);
/// Longer than the server's own grace for requests in flight, which is 10 seconds.
const STOP: Duration = Duration::from_secs(30);

const JWT_SECRET: &str = "jwt-9Qm3Zr7Vx2Lp8Tn5Kc1Hd6Ws4Bf0Ya";
const KEY_PEPPER: &str = "pepper-4Gt8Jk2Nb6Vc0Xz5Qw9Er3Ty7Ui1Op";

/// How a server is started: with an otherwise empty environment.
#[derive(Clone, Debug)]
pub struct Settings {
    file: String,
    variables: Vec<(String, String)>,
}

impl Default for Settings {
    /// As shipped, on a free port, with given secrets, so that several servers share them.
    fn default() -> Self {
        let bare = Self {
            file: String::new(),
            variables: Vec::new(),
        };
        bare.variable("HM_LISTEN", "127.0.0.1:0")
            .variable("JWT_SECRET", JWT_SECRET)
            .variable("KEY_PEPPER", KEY_PEPPER)
    }
}

impl Settings {
    /// With a settings file of this TOML text.
    #[must_use]
    pub fn file(self, text: &str) -> Self {
        Self {
            file: text.to_owned(),
            ..self
        }
    }

    /// With a variable, in place of one of the same name.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    /// The free plan with these limits; the rate is per second.
    #[must_use]
    pub fn free_plan(requests_per_month: u64, requests_per_second: u64) -> Self {
        Self::default().file(&format!(
            "[plans.free]\nrequests_per_month = {requests_per_month}\nrequests_per_second = {requests_per_second}\n"
        ))
    }

    /// With a journal of its own in the place's folder, for another server beside one that has the usual one.
    #[must_use]
    pub fn journal(self, name: &str) -> Self {
        self.variable("HM_JOURNAL", name)
    }

    /// The command that runs the server with arguments at a place.
    ///
    /// # Panics
    ///
    /// When the settings file can't be written.
    #[must_use]
    pub fn command(&self, place: &Place, arguments: &[&str]) -> Command {
        let file = tempfile::Builder::new()
            .prefix("settings-")
            .suffix(".toml")
            .tempfile_in(place.folder());
        let (_, path) = file.unwrap().keep().unwrap();
        std::fs::write(&path, &self.file).unwrap();
        let mut command = Command::new(hm_server());
        command
            .args(arguments)
            .current_dir(place.folder())
            .env_clear()
            .env("RUST_BACKTRACE", "1")
            .env("HM_CONFIG", &path)
            .env("DATABASE_URL", place.url())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// A server that is ready. It is killed when this value goes away.
///
/// Whatever ends it, its log is then looked through: no secret that a test told it may be in there, and no panic.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    process: Process,
}

#[derive(Debug)]
struct Process {
    child: Child,
    log: Log,
    readers: Vec<JoinHandle<()>>,
    secrets: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Starts a server and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not become ready, with its log.
    pub async fn start(place: &Place, settings: &Settings) -> Self {
        let mut process = Process::spawn(settings.command(place, &[]), settings);
        let address = process.address().await;
        Self::ready(address, process).await
    }

    /// Starts a server again and again until one gets ready, as whoever looks after it does while its database is away.
    ///
    /// # Panics
    ///
    /// When none gets ready within a minute, with the last one's log.
    pub async fn start_at_last(place: &Place, settings: &Settings) -> Self {
        until("a server gets ready", START, async || {
            let mut process = Process::spawn(settings.command(place, &[]), settings);
            let address = until("it listens or ends", START, async || {
                match process.child.try_wait().unwrap() {
                    Some(_) => Some(None),
                    None => process.log.address().map(Some),
                }
            })
            .await?;
            Some(Self::ready(address, process).await)
        })
        .await
    }

    async fn ready(address: SocketAddr, process: Process) -> Self {
        let server = Self { address, process };
        until("the server is ready", START, async || {
            let mut connection = Connection::open(address).await.ok()?;
            let answer = connection.send(Call::get("/readyz")).await.ok()?;
            (answer.status == 200).then_some(())
        })
        .await;
        server
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.process.log
    }

    /// What it holds of the system now; `None` where the system does not say.
    #[must_use]
    pub fn footprint(&self) -> Option<Footprint> {
        Footprint::of(self.process.child.id())
    }

    /// Remembers what must never be in the log.
    ///
    /// # Panics
    ///
    /// When it is so short that it may be there by chance.
    pub fn keep_secret(&self, secret: &str) {
        assert!(secret.len() >= 8, "too short to be looked for");
        self.process.secrets.lock().unwrap().push(secret.to_owned());
    }

    /// Sends one request on a connection of its own.
    ///
    /// # Panics
    ///
    /// When it is not answered.
    pub async fn call(&self, call: Call) -> Answer {
        once(self.address, call).await
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.process.signal(Signal::TERM);
    }

    /// Sends SIGSTOP: it stays where it is, with all that it holds, until [`Server::resume`].
    pub fn pause(&self) {
        self.process.signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.process.signal(Signal::CONT);
    }

    /// Waits for the end after a signal, and gives the exit code.
    ///
    /// # Panics
    ///
    /// When it does not end, or was ended by a signal.
    pub async fn exit_code(mut self) -> i32 {
        self.process.ended(STOP).await.code().expect("an exit code")
    }

    /// Stops the server the way an operator does.
    ///
    /// # Panics
    ///
    /// When its exit code is not 0.
    pub async fn stop(self) {
        self.terminate();
        assert_eq!(self.exit_code().await, 0, "the exit code");
    }

    /// Ends the server at once, as `kill -9` does.
    pub async fn kill(mut self) {
        self.process.signal(Signal::KILL);
        let status = self.process.ended(STOP).await;
        assert_eq!(status.code(), None, "it was killed");
    }
}

impl Process {
    fn spawn(mut command: Command, settings: &Settings) -> Self {
        let mut child = command.spawn().expect("hm-server can't be started");
        let log = Log::default();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers = vec![log.follow(out), log.follow(err)];
        let is_secret = |name: &str| ["JWT_SECRET", "KEY_PEPPER", "ADMIN_KEY"].contains(&name);
        let secrets = settings.variables.iter().filter(|(name, _)| is_secret(name));
        let secrets = secrets.map(|(_, value)| value.clone()).collect();
        Self {
            child,
            log,
            readers,
            secrets: Arc::new(Mutex::new(secrets)),
        }
    }

    async fn address(&mut self) -> SocketAddr {
        until("the server says where it listens", START, async || {
            let ended = self.child.try_wait().unwrap();
            assert_eq!(ended, None, "the server did not start");
            self.log.address()
        })
        .await
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("a signal to the server");
    }

    async fn ended(&mut self, patience: Duration) -> ExitStatus {
        let child = &mut self.child;
        let status = until("the server ends", patience, async || child.try_wait().unwrap()).await;
        self.read_to_the_end();
        status
    }

    fn read_to_the_end(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("the server's output");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.read_to_the_end();
        if std::thread::panicking() {
            eprintln!("----- log of the server -----\n{}-----", tail(&self.log.text()));
            return;
        }
        self.log.must_be_clean(&self.secrets.lock().unwrap());
    }
}

/// The last lines: under load there are thousands.
fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    let cut = lines.len().saturating_sub(60);
    let mut tail: String = lines[cut..].iter().flat_map(|line| [line, "\n"]).collect();
    if cut > 0 {
        tail.insert_str(0, &format!("({cut} lines before)\n"));
    }
    tail
}

/// What a run that is meant to end by itself left behind.
#[derive(Debug)]
pub struct Ended {
    /// The exit code.
    pub code: i32,
    /// What it wrote.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// Runs `hm-server` with arguments until it ends by itself.
///
/// # Panics
///
/// When it does not end within half a minute.
pub async fn run(place: &Place, settings: &Settings, arguments: &[&str]) -> Ended {
    let begun = tokio::time::Instant::now();
    let mut process = Process::spawn(settings.command(place, arguments), settings);
    let status = process.ended(STOP).await;
    Ended {
        code: status.code().expect("an exit code"),
        text: process.log.text(),
        took: begun.elapsed(),
    }
}
