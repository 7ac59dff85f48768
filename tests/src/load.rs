//! Many calls from many connections at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use crate::http::{Answer, Call, Connection};
use crate::wait::until;

/// How many connections a load has.
pub const CONNECTIONS: usize = 64;

/// A load that is under way.
#[derive(Debug)]
pub struct Load {
    tasks: JoinSet<Vec<Shot>>,
    answered: Arc<AtomicUsize>,
    admitted: Arc<AtomicUsize>,
    stop: Arc<AtomicUsize>,
}

/// One request of a load.
#[derive(Clone, Debug)]
pub struct Shot {
    /// The name it was sent under.
    pub request_id: String,
    /// Its connection's number.
    pub connection: usize,
    /// The answer; none when the connection ended before it was whole.
    pub answer: Option<Answer>,
}

impl Load {
    /// Begins to make `calls` calls with a key, from [`CONNECTIONS`] connections that share them. A connection that is
    /// cut off makes no more. The names of all requests begin with `name`.
    #[must_use]
    pub fn begin(address: SocketAddr, key: &str, calls: usize, name: &str) -> Self {
        let answered = Arc::new(AtomicUsize::new(0));
        let admitted = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicUsize::new(calls));
        let taken = Arc::new(AtomicUsize::new(0));
        let mut tasks = JoinSet::new();
        for connection in 0..CONNECTIONS {
            let (answered, admitted) = (Arc::clone(&answered), Arc::clone(&admitted));
            let (stop, taken) = (Arc::clone(&stop), Arc::clone(&taken));
            let (call, name) = (Call::curiosity(key), name.to_owned());
            tasks.spawn(async move {
                let mut shots = Vec::new();
                let Ok(mut open) = Connection::open(address).await else {
                    return shots;
                };
                loop {
                    let number = taken.fetch_add(1, Ordering::Relaxed);
                    if number >= stop.load(Ordering::Relaxed) {
                        return shots;
                    }
                    let request_id = format!("{name}-{number}");
                    let answer = open.send(call.clone().named(&request_id)).await.ok();
                    let is_open = answer.is_some();
                    let is_admitted = answer.as_ref().is_some_and(|answer| answer.status == 200);
                    shots.push(Shot {
                        request_id,
                        connection,
                        answer,
                    });
                    answered.fetch_add(usize::from(is_open), Ordering::Relaxed);
                    admitted.fetch_add(usize::from(is_admitted), Ordering::Relaxed);
                    if !is_open {
                        return shots;
                    }
                }
            });
        }
        Self {
            tasks,
            answered,
            admitted,
            stop,
        }
    }

    /// How many requests were answered so far.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// How many of them with 200.
    #[must_use]
    pub fn admitted(&self) -> usize {
        self.admitted.load(Ordering::Relaxed)
    }

    /// Waits until so many requests were answered.
    ///
    /// # Panics
    ///
    /// After a minute.
    pub async fn reach(&self, answered: usize) {
        let patience = Duration::from_secs(60);
        until("the load gets going", patience, async || {
            (self.answered() >= answered).then_some(())
        })
        .await;
    }

    /// Sends nothing new from now on.
    pub fn stop(&self) {
        self.stop.store(0, Ordering::Relaxed);
    }

    /// Waits for the end, and gives every request that was sent.
    ///
    /// # Panics
    ///
    /// When a connection saw the count of used units go backwards.
    pub async fn end(mut self) -> Shots {
        let mut shots = Vec::new();
        while let Some(connection) = self.tasks.join_next().await {
            let connection = connection.expect("a connection of the load");
            used_never_goes_backwards(&connection);
            shots.extend(connection);
        }
        Shots(shots)
    }
}

fn used_never_goes_backwards(connection: &[Shot]) {
    // A server that can't ask its database does not know what is used.
    let known = |shot: &&Shot| shot.answer.as_ref().is_some_and(|answer| answer.status != 503);
    let connection = connection.iter().filter(known);
    let used = |shot: &Shot| Some(shot.answer.as_ref()?.number("x-ratelimit-used"));
    let used: Vec<u64> = connection.filter_map(used).collect();
    let back = used.windows(2).find(|pair| pair[0] > pair[1]);
    assert_eq!(back, None, "X-RateLimit-Used went backwards on one connection");
}

/// Makes `calls` calls and waits for all of them; none may be cut off.
///
/// # Panics
///
/// When one was.
pub async fn fire(address: SocketAddr, key: &str, calls: usize, name: &str) -> Shots {
    let shots = Load::begin(address, key, calls, name).end().await;
    assert_eq!(shots.0.len(), calls, "connections were cut off");
    assert_eq!(shots.cut_off().count(), 0, "requests were cut off");
    shots
}

/// All requests of a load.
#[derive(Debug)]
pub struct Shots(pub Vec<Shot>);

impl Shots {
    /// Those that were answered.
    pub fn answers(&self) -> impl Iterator<Item = &Answer> {
        self.0.iter().filter_map(|shot| shot.answer.as_ref())
    }

    /// Those that were not.
    pub fn cut_off(&self) -> impl Iterator<Item = &Shot> {
        self.0.iter().filter(|shot| shot.answer.is_none())
    }

    /// Adds a request that was sent besides the load.
    pub fn add(&mut self, request_id: String, answer: Answer) {
        self.0.push(Shot {
            request_id,
            connection: CONNECTIONS,
            answer: Some(answer),
        });
    }

    /// The names of those that were sent.
    #[must_use]
    pub fn sent(&self) -> BTreeSet<String> {
        self.0.iter().map(|shot| shot.request_id.clone()).collect()
    }

    /// The names of those that were answered with 200.
    #[must_use]
    pub fn admitted(&self) -> BTreeSet<String> {
        self.named(|answer| answer.status == 200)
    }

    /// The names of those that were refused with this code.
    #[must_use]
    pub fn refused(&self, code: &str) -> BTreeSet<String> {
        self.named(|answer| answer.status == 429 && answer.code() == code)
    }

    fn named(&self, which: impl Fn(&Answer) -> bool) -> BTreeSet<String> {
        let is_meant = |shot: &&Shot| shot.answer.as_ref().is_some_and(&which);
        self.0
            .iter()
            .filter(is_meant)
            .map(|shot| shot.request_id.clone())
            .collect()
    }
}
