//! Clients that are gone before their answers are whole.

mod http_1;
mod http_2;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::http::Call;
use crate::random::Random;

/// How many clients leave at a time.
const CLIENTS: usize = 64;
/// How long those wait who leave in mid-answer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// The names of requests that nobody has an answer to.
#[derive(Debug, Default)]
pub struct Left {
    /// The server may have seen enough of them to serve them.
    pub begun: BTreeSet<String>,
    /// It can't: their heads were never whole.
    pub headless: BTreeSet<String>,
}

impl Left {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.begun.len() + self.headless.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Makes at least `requests` of the calls, and drops every one of them: before its head is whole, in its body, while the
/// answer is awaited, in mid-answer, and among others on its connection; over HTTP/1, by closing or by resetting the
/// connection, and over HTTP/2, by resetting its stream or by closing the connection. Their names begin with `name`.
///
/// # Panics
///
/// When the server accepts no connection, or does not begin to answer for a minute.
pub async fn leave(
    address: SocketAddr,
    calls: &[Call],
    requests: usize,
    name: &str,
    random: &mut Random,
) -> Left {
    let calls: Arc<[Call]> = calls.into();
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let mut client = Client {
            address,
            calls: Arc::clone(&calls),
            random: random.split(),
            name: format!("{name}-{client}"),
            made: 0,
            left: Left::default(),
        };
        let dropped = Arc::clone(&dropped);
        clients.spawn(async move {
            while dropped.load(Ordering::Relaxed) < requests {
                let before = client.left.len();
                // A connection of HTTP/2 has many more requests.
                match client.below(4) {
                    0 => http_2::leave(&mut client).await,
                    _ => http_1::leave(&mut client).await,
                }
                dropped.fetch_add(client.left.len() - before, Ordering::Relaxed);
            }
            client.left
        });
    }
    let mut all = Left::default();
    for mut left in clients.join_all().await {
        all.begun.append(&mut left.begun);
        all.headless.append(&mut left.headless);
    }
    all
}

struct Client {
    address: SocketAddr,
    calls: Arc<[Call]>,
    random: Random,
    name: String,
    made: usize,
    left: Left,
}

impl Client {
    /// One of the calls, under a name that no other one has.
    fn next(&mut self) -> (String, Call) {
        let name = format!("{}-{}", self.name, self.made);
        self.made += 1;
        let which = self.below(self.calls.len());
        (name.clone(), self.calls[which].clone().named(&name))
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random.within(0..end as u64)).unwrap()
    }
}
