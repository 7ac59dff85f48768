//! A real broker that stops, and is started again.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::future_not_send,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use example_cloudevents_nats::{JetStream, stream_of};
use futures_util::StreamExt;
use hm_metering::testing::TestMeter;
use hm_metering::usage::{Batch, BatchId, CloudEventsSink, Event};
use hm_metering::{Meter, MeterBuilder, Plan, Plans, UsageSink};
use http::{Request, Response};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tower::{Layer, ServiceExt, service_fn};

const SUBJECT: &str = "usage.events";
const PATIENCE: Duration = Duration::from_secs(60);

/// A broker of this test's own, with its data in a folder that outlives it.
struct Nats {
    process: Child,
    port: u16,
    folder: TempDir,
}

impl Nats {
    /// None, with a line that says so, where there is no `nats-server`.
    async fn start() -> Option<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        match run(port, folder.path()) {
            Ok(process) => {
                let nats = Self {
                    process,
                    port,
                    folder,
                };
                nats.must_answer().await;
                Some(nats)
            }
            Err(error) => {
                assert!(!is_required(), "nats-server can't be run: {error}");
                eprintln!(
                    "SKIPPED: nats-server can't be run: {error}. HM_REQUIRE_SERVICES=1 makes this a failure"
                );
                None
            }
        }
    }

    /// As `kill -9` stops it.
    async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn start_again(&mut self) {
        self.process = run(self.port, self.folder.path()).unwrap();
        self.must_answer().await;
    }

    async fn must_answer(&self) {
        until("the broker answers", async || {
            TcpStream::connect(("127.0.0.1", self.port)).await.is_ok()
        })
        .await;
    }

    async fn publisher(&self) -> JetStream {
        let client = ConnectOptions::new()
            .reconnect_delay_callback(|_| Duration::from_millis(50))
            .connect(format!("nats://127.0.0.1:{}", self.port))
            .await
            .unwrap();
        let publisher = JetStream::new(client, SUBJECT);
        let stream = stream_of("usage", SUBJECT);
        publisher.context().get_or_create_stream(stream).await.unwrap();
        publisher
    }

    /// The ids of all messages in the stream, in the order in which they are kept.
    async fn ids(&self) -> Vec<String> {
        self.messages().await.into_iter().map(|(id, _)| id).collect()
    }

    /// Each message of the stream: the id in its header, and its text.
    async fn messages(&self) -> Vec<(String, serde_json::Value)> {
        let publisher = self.publisher().await;
        let mut stream = publisher.context().get_stream("usage").await.unwrap();
        let count = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
        let reader = stream
            .create_consumer(pull::Config {
                ack_policy: AckPolicy::None,
                ..pull::Config::default()
            })
            .await
            .unwrap();
        let messages = reader.messages().await.unwrap().take(count);
        messages
            .map(|message| {
                let message = message.unwrap();
                let headers = message.headers.as_ref().unwrap();
                assert_eq!(
                    headers.get("Content-Type").unwrap().as_str(),
                    "application/cloudevents+json"
                );
                let id = headers.get("Nats-Msg-Id").unwrap().to_string();
                (id, serde_json::from_slice(&message.payload).unwrap())
            })
            .collect()
            .await
    }

    async fn count(&self) -> u64 {
        let publisher = self.publisher().await;
        let mut stream = publisher.context().get_stream("usage").await.unwrap();
        stream.info().await.unwrap().state.messages
    }
}

/// Whether a missing service is a failure.
#[expect(
    clippy::disallowed_methods,
    reason = "tests are told by the environment what they must have"
)]
fn is_required() -> bool {
    std::env::var("HM_REQUIRE_SERVICES").is_ok_and(|value| value == "1")
}

fn run(port: u16, folder: &Path) -> std::io::Result<Child> {
    Command::new("nats-server")
        .args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"])
        .arg("--store_dir")
        .arg(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let waiting = async {
        while !done().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .unwrap_or_else(|_| panic!("it did not happen that {what}"));
}

/// Sends events soon, and keeps them in `journal`.
fn quick(builder: MeterBuilder, sink: CloudEventsSink, journal: &Path) -> MeterBuilder {
    builder
        .also("nats", sink)
        .journal(journal)
        .flush_interval(Duration::from_millis(20))
}

/// What a process leaves behind.
fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

async fn send(meter: &Meter, stage: &TestMeter, requests: usize) {
    let facts = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let service = meter.layer("facts").layer(facts);
    for _ in 0..requests {
        let answer = service.clone().oneshot(stage.request("/facts")).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

fn sorted(ids: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort();
    ids
}

fn ids_of(events: &[Event]) -> Vec<String> {
    sorted(events.iter().map(|event| event.id.to_string()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_sent_again_is_in_the_stream_once() {
    let Some(nats) = Nats::start().await else { return };
    let stage = Meter::test().start().await;
    send(&stage, &stage, 40).await;
    let events = stage.events().await;
    let sink = CloudEventsSink::new("/facts", nats.publisher().await).at_once(7);
    let batch = |events: &[Event], number| Batch {
        id: BatchId {
            replica: events[0].replica,
            epoch: 1,
            number,
        },
        created_at: TestMeter::START,
        events: events.to_vec(),
        settlements: Vec::new(),
    };
    sink.record(&batch(&events[..25], 1)).await.unwrap();
    assert_eq!(nats.count().await, 25);
    sink.record(&batch(&events[..25], 1)).await.unwrap();
    sink.record(&batch(&events, 2)).await.unwrap();
    let messages = nats.messages().await;
    let ids: Vec<_> = messages.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(sorted(ids), ids_of(&events));
    for (id, event) in &messages {
        assert_eq!(
            (&event["id"], &event["specversion"]),
            (&id.as_str().into(), &"1.0".into())
        );
        assert_eq!(event["data"]["units"]["requests"], 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_is_dead_the_ledger_goes_on_and_then_nothing_is_missing_or_doubled() {
    let Some(mut nats) = Nats::start().await else {
        return;
    };
    let journal = tempfile::tempdir().unwrap();
    let sink = CloudEventsSink::new("/facts", nats.publisher().await);
    let stage = Meter::test()
        .with(|builder| quick(builder, sink, journal.path()))
        .start()
        .await;
    send(&stage, &stage, 100).await;
    until("the first events are in the stream", async || {
        nats.count().await == 100
    })
    .await;

    nats.kill().await;
    send(&stage, &stage, 100).await;
    assert_eq!(
        stage.events().await.len(),
        200,
        "the ledger does not wait for the broker"
    );
    nats.start_again().await;
    until("all events are in the stream", async || nats.count().await >= 200).await;

    // It dies while events come in, again and again, at moments that nobody chose.
    for _ in 0..3 {
        let (before, is_dead) = (nats.count().await, AtomicBool::new(false));
        // Fewer altogether than a ledger in memory keeps.
        let load = async {
            for _ in 0..2_000 {
                if is_dead.load(Ordering::Relaxed) {
                    return;
                }
                send(&stage, &stage, 5).await;
                tokio::task::yield_now().await;
            }
        };
        let death = async {
            until("more events are in the stream", async || {
                nats.count().await > before
            })
            .await;
            nats.kill().await;
            is_dead.store(true, Ordering::Relaxed);
        };
        tokio::join!(load, death);
        nats.start_again().await;
    }
    let ledger = stage.events().await;
    let all = ledger.len() as u64;
    until("all events are in the stream", async || nats.count().await >= all).await;
    // An answer that got lost with the broker is waited for, and then the part is sent again after a pause.
    let report = Meter::shutdown(&stage, Duration::from_secs(60)).await;
    assert!(report.recorded, "{report:?}");
    let (kept, recorded) = (nats.ids().await, ids_of(&ledger));
    let ids: BTreeSet<_> = kept.iter().collect();
    let missing = recorded.iter().filter(|id| !ids.contains(id)).count();
    assert_eq!((missing, kept.len() - ids.len()), (0, 0), "missing and doubled");
    assert_eq!(kept.len(), recorded.len(), "nothing else is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_did_not_get_before_the_process_ended_is_sent_by_the_next_run() {
    let Some(mut nats) = Nats::start().await else {
        return;
    };
    let journal = tempfile::tempdir().unwrap();
    let sink = CloudEventsSink::new("/facts", nats.publisher().await);
    let stage = Meter::test()
        .with(|builder| quick(builder, sink, journal.path()))
        .start()
        .await;
    send(&stage, &stage, 50).await;
    until("the first events are in the stream", async || {
        nats.count().await == 50
    })
    .await;
    nats.kill().await;
    send(&stage, &stage, 50).await;
    let report = Meter::shutdown(&stage, Duration::from_secs(2)).await;
    assert!(!report.recorded, "the broker does not have everything");
    assert_eq!(stage.events_so_far().len(), 100, "the ledger has");

    nats.start_again().await;
    // The first run still holds its own folder.
    let left = copy_of(journal.path());
    let sink = CloudEventsSink::new("/facts", nats.publisher().await);
    let next = quick(stage.another(), sink, left.path())
        .plans(Plans::new(vec![Plan::new("free")]).unwrap())
        .start()
        .await
        .unwrap();
    send(&next, &stage, 1).await;
    until("all events are in the stream", async || nats.count().await >= 101).await;
    assert!(next.shutdown(Duration::from_secs(10)).await.recorded);
    let ids = nats.ids().await;
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(sorted(ids), ids_of(&stage.events_so_far()));
}
