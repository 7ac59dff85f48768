//! The sinks beside the ledger: what is counted and what is sent on, each at its own pace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cloudevents::event::Data;
use cloudevents::{AttributesReader, Event as Parsed};
use hm_metering::usage::{
    Batch, BatchId, CloudEvent, CloudEventsSink, CountersSink, Event, Outcome, Publisher, Recorded,
};
use hm_metering::{MeterName, OperationName, StoreError, StoreErrorKind, StoreResult, Units, UsageSink};
use http_body_util::BodyExt;
use metrics_util::debugging::DebuggingRecorder;
use tower::{Layer, ServiceExt};

use crate::measures::values;
use crate::stage::{FIVE, Stage, facts, handler};

async fn send(stage: &Stage) -> u16 {
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

/// A request that fails in the handler, so that it is not charged.
async fn fail(stage: &Stage) {
    let failing = handler(|_| async {
        Err::<http::Response<http_body_util::Full<bytes::Bytes>>, _>(std::io::Error::other("no facts"))
    });
    let service = stage.meter.layer("facts").layer(failing);
    service.oneshot(stage.request()).await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn the_counters_agree_with_the_ledger() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::with(FIVE, Vec::new(), |builder| {
        builder.also("counters", CountersSink::new())
    })
    .await;
    fail(&stage).await;
    for expected in [200, 200, 200, 200, 200, 429, 429] {
        assert_eq!(send(&stage).await, expected);
    }
    let ledger = stage.events().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let values = values(&snapshotter);
    let mut counted: BTreeMap<String, f64> = BTreeMap::new();
    for event in &ledger {
        let class = match event.outcome {
            Outcome::Completed => "completed",
            Outcome::Refused => "refused",
            _ => "failed",
        };
        let of = format!("operation=facts,outcome={class}");
        *counted
            .entry(format!("hm_metering_usage_events_total{{{of}}}"))
            .or_default() += 1.0;
        for (meter, units) in &event.units {
            let name = format!("hm_metering_usage_units_total{{meter={meter},{of}}}");
            *counted.entry(name).or_default() += units.get() as f64;
        }
    }
    assert_eq!(counted.len(), 4, "{counted:?}");
    for (name, count) in counted {
        assert_eq!(values.get(&name), Some(&count), "{name} {values:#?}");
    }
    let extra = values
        .keys()
        .filter(|name| name.starts_with("hm_metering_usage"))
        .count();
    assert_eq!(extra, 4, "nothing else is counted");
}

#[tokio::test(start_paused = true)]
async fn there_are_never_more_counters_than_promised_and_no_event_is_left_out() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let stage = Stage::new(FIVE).await;
    assert_eq!(send(&stage).await, 200);
    let event = stage.events().await.remove(0);
    let many = (0..2_000).map(|number| Event {
        operation: OperationName::parse(&format!("made.up.{number}")).unwrap(),
        units: vec![(
            MeterName::parse(&format!("meter.{number}")).unwrap(),
            Units::new(3),
        )],
        ..event.clone()
    });
    let batch = Batch {
        id: BatchId {
            replica: event.replica,
            epoch: 1,
            number: 1,
        },
        created_at: stage.now(),
        events: many.collect(),
        settlements: Vec::new(),
    };
    let sink = CountersSink::new();
    assert_eq!(sink.record(&batch).await.unwrap(), Recorded::New);
    assert_eq!(sink.record(&batch).await.unwrap(), Recorded::Repeated);
    let values = values(&snapshotter);
    for (prefix, sum) in [
        ("hm_metering_usage_events_total", 2_000.0),
        ("hm_metering_usage_units_total", 6_000.0),
    ] {
        let named = values.iter().filter(|(name, _)| name.starts_with(prefix));
        let counts: Vec<_> = named.map(|(_, count)| *count).collect();
        assert_eq!(counts.len(), 513, "{prefix}: one more for all others");
        assert_eq!(counts.iter().sum::<f64>(), sum, "{prefix}");
    }
}

/// A broker that can be told to fail, and keeps what it is given.
#[derive(Clone, Default)]
struct Broker(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    parts: Vec<Vec<CloudEvent>>,
    is_down: bool,
    /// How many more parts are kept although the answer gets lost.
    answers_lost: u32,
}

impl Broker {
    fn set_down(&self, is_down: bool) {
        self.0.lock().unwrap().is_down = is_down;
    }

    fn events(&self) -> Vec<CloudEvent> {
        self.0.lock().unwrap().parts.concat()
    }

    fn ids(&self) -> BTreeSet<String> {
        self.events().iter().map(|event| event.id().to_string()).collect()
    }

    fn lengths(&self) -> Vec<usize> {
        self.0.lock().unwrap().parts.iter().map(Vec::len).collect()
    }
}

#[async_trait]
impl Publisher for Broker {
    async fn publish(&self, events: &[CloudEvent]) -> StoreResult<()> {
        let mut kept = self.0.lock().unwrap();
        let unavailable = || StoreError::new(StoreErrorKind::Unavailable, "reach the broker");
        if kept.is_down {
            return Err(unavailable());
        }
        kept.parts.push(events.to_vec());
        if kept.answers_lost > 0 {
            kept.answers_lost -= 1;
            return Err(unavailable());
        }
        Ok(())
    }
}

async fn stage_with(
    broker: &Broker,
    change: impl FnOnce(CloudEventsSink) -> CloudEventsSink + Send,
) -> Stage {
    let sink = change(CloudEventsSink::new("/facts", broker.clone()));
    Stage::with(FIVE, Vec::new(), |builder| builder.also("broker", sink)).await
}

async fn wait() {
    tokio::time::sleep(Duration::from_secs(20)).await;
}

fn ids(events: &[Event]) -> BTreeSet<String> {
    events.iter().map(|event| event.id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_event_of_the_ledger_is_sent_on_as_a_cloud_event() {
    let broker = Broker::default();
    let stage = stage_with(&broker, |sink| sink.event_type("com.example.request.v1")).await;
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(send(&stage).await, expected);
    }
    let ledger = stage.events().await;
    wait().await;
    let sent = broker.events();
    assert_eq!(sent.len(), ledger.len());
    // All of them as one batch, read by somebody else's parser.
    let batch: Vec<Parsed> = serde_json::from_slice(&CloudEvent::batch(&sent)).unwrap();
    for ((parsed, event), single) in batch.iter().zip(&ledger).zip(&sent) {
        assert_eq!(&serde_json::from_slice::<Parsed>(single.json()).unwrap(), parsed);
        assert_eq!(parsed.specversion().as_str(), "1.0");
        assert_eq!(parsed.id(), event.id.to_string());
        assert_eq!(parsed.source().as_str(), "/facts");
        assert_eq!(parsed.ty(), "com.example.request.v1");
        assert_eq!(parsed.subject(), Some(event.account.to_string().as_str()));
        assert_eq!(parsed.datacontenttype(), Some("application/json"));
        assert_eq!(parsed.time().unwrap().timestamp_micros(), event.at.as_micros());
        assert_eq!(parsed.iter_extensions().count(), 0);
        let Some(Data::Json(data)) = parsed.data() else {
            panic!("{parsed:?}")
        };
        let units: serde_json::Map<_, _> = event
            .units
            .iter()
            .map(|(meter, units)| (meter.to_string(), units.get().into()))
            .collect();
        let expected = serde_json::json!({
            "accountId": event.account.to_string(),
            "userId": event.user.map(|user| user.to_string()),
            "keyId": event.key.map(|key| key.to_string()),
            "operation": "facts",
            "endpoint": "/facts",
            "method": "POST",
            "source": null,
            "status": event.status,
            "grpcStatus": null,
            "outcome": event.outcome.as_str(),
            "refusal": event.refusal,
            "wouldRefuse": null,
            "units": units,
            "over": false,
            "responseTimeUs": event.response_time_us,
            "firstByteUs": event.first_byte_us,
            "bytesIn": event.bytes_in,
            "bytesOut": event.bytes_out,
            "requestId": event.request_id,
            "replicaId": event.replica.to_string(),
            "tags": {},
        });
        assert_eq!(*data, expected);
    }
    let text = String::from_utf8(CloudEvent::batch(&sent).to_vec()).unwrap();
    assert!(!text.contains(stage.key.expose()), "a key is in {text}");
}

#[test]
fn no_event_is_an_empty_batch() {
    assert_eq!(&CloudEvent::batch(&[])[..], b"[]");
}

#[tokio::test(start_paused = true)]
async fn events_are_handed_over_in_parts_of_bounded_length_and_in_order() {
    let broker = Broker::default();
    let stage = stage_with(&broker, |sink| sink.at_once(3)).await;
    for _ in 0..10 {
        send(&stage).await;
    }
    let ledger = stage.events().await;
    wait().await;
    let lengths = broker.lengths();
    assert!(
        lengths.iter().all(|length| (1..=3).contains(length)),
        "{lengths:?}"
    );
    let sent: Vec<_> = broker.events().iter().map(CloudEvent::id).collect();
    let expected: Vec<_> = ledger.iter().map(|event| event.id).collect();
    assert_eq!(sent, expected);
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_is_down_holds_nobody_up_and_misses_nothing() {
    let broker = Broker::default();
    let stage = stage_with(&broker, |sink| sink.at_once(2)).await;
    broker.set_down(true);
    for _ in 0..7 {
        send(&stage).await;
    }
    let ledger = stage.events().await;
    assert_eq!(ledger.len(), 7, "the ledger does not wait for the broker");
    wait().await;
    assert_eq!(broker.events().len(), 0);
    broker.set_down(false);
    wait().await;
    assert_eq!(broker.ids(), ids(&ledger));
    assert_eq!(
        broker.events().len(),
        7,
        "what was answered for is not sent again"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_broker_may_have_already_comes_again_under_the_same_id() {
    let broker = Broker::default();
    broker.0.lock().unwrap().answers_lost = 2;
    let stage = stage_with(&broker, |sink| sink).await;
    for _ in 0..4 {
        send(&stage).await;
    }
    let ledger = stage.events().await;
    wait().await;
    assert!(broker.events().len() > 4, "{:?}", broker.lengths());
    assert_eq!(broker.ids(), ids(&ledger));
    let mut texts: Vec<_> = broker.events().iter().map(|event| event.json().clone()).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 4, "it is the same event to the last byte");
}
