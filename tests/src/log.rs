//! What a server wrote to its standard output and error.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// How a check fails that h2 makes of its own counters when a connection ends whose streams nobody has any more: now and
/// then when clients break off, and never in a release, which leaves it out.
const COUNTS_OF_H2: &str = "assertion failed: !self.has_streams()";

/// Everything that was written so far.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    /// Follows a stream in a thread of its own, until the stream ends.
    pub fn follow(&self, stream: impl Read + Send + 'static) -> JoinHandle<()> {
        let log = self.clone();
        std::thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                log.0.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
                line.clear();
            }
        })
    }

    /// The text so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }

    /// The address that the server says it listens on.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        let text = self.text();
        let (_, rest) = text.split_once("ready at http://")?;
        let end = rest.find(|each: char| !each.is_ascii_digit() && each != '.' && each != ':')?;
        rest[..end].parse().ok()
    }

    /// Fails when a secret was written, or when the server panicked somewhere.
    ///
    /// # Panics
    ///
    /// Without repeating the secret.
    pub fn must_be_clean(&self, secrets: &[String]) {
        let text = self.text();
        for secret in secrets {
            let place = text.lines().find(|line| line.contains(secret.as_str()));
            let place = place.map(|line| line.replace(secret.as_str(), "<SECRET>"));
            assert_eq!(place, None, "a secret is in the log");
        }
        let lines: Vec<_> = text.lines().collect();
        let mut pairs = lines.iter().zip(lines.iter().skip(1).chain([&""]));
        let is_panic = |line: &str, next: &str| {
            line.contains("a handler panicked") || line.contains("panicked at") && next != COUNTS_OF_H2
        };
        let panic = pairs.find(|(line, next)| is_panic(line, next));
        assert_eq!(panic, None, "the server panicked");
    }
}
