//! A sink that hands events to a message broker, or to anything else that takes CloudEvents.

mod message;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

pub use message::CloudEvent;

use super::{Batch, Recorded, UsageSink};
use crate::error::{StoreError, StoreErrorKind, StoreResult};

/// What events are called that are sent on, unless another name is given.
const TYPE: &str = "hm-metering.request.v1";
/// How many events are handed over at a time, unless another number is given.
const AT_ONCE: usize = 256;
/// How many bytes of JSON are handed over at a time. One event is always handed over.
const BYTES_AT_ONCE: usize = 512 * 1024;

/// Where CloudEvents go: a broker's client, or one of HTTP.
///
/// Implement it for yours; `examples/cloudevents-nats` does for NATS JetStream.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Publishes `events`, in this order, and answers when all of them are safe there. They are never more than
    /// [`CloudEventsSink::at_once`] says, and at most 512 KiB of JSON unless one alone is longer.
    ///
    /// The same events come again after an error, after a time-out, and when the process died before it noted the answer:
    /// some may be there already. Whoever must not have them twice tells them apart by [`CloudEvent::id`]: a broker that
    /// drops what it has, or a receiver.
    ///
    /// The meter gives up waiting after [`MeterBuilder::record_timeout`](crate::MeterBuilder::record_timeout) for a whole
    /// batch and asks again later; the future may be dropped at any point.
    ///
    /// # Errors
    /// [`Unavailable`](StoreErrorKind::Unavailable) or any other kind to be asked again, as often as it takes.
    /// [`Invalid`](StoreErrorKind::Invalid) and [`Conflict`](StoreErrorKind::Conflict) say that the broker will never take
    /// one of them: the batch is then halved until that one stands alone, and it is lost with an error in the log.
    async fn publish(&self, events: &[CloudEvent]) -> StoreResult<()>;
}

#[async_trait]
impl<P: Publisher + ?Sized> Publisher for Arc<P> {
    async fn publish(&self, events: &[CloudEvent]) -> StoreResult<()> {
        (**self).publish(events).await
    }
}

/// Turns each finished request into a [`CloudEvent`] and hands it to a [`Publisher`]: give it to
/// [`MeterBuilder::also`](crate::MeterBuilder::also), so that it goes on at its own pace beside the ledger.
///
/// Every event is handed over at least once, and with a broker that drops repeated ids exactly once there. Which it has is noted
/// in the meter's journal, so a process that dies goes on where it was. A broker that is down stops nobody: see
/// [`MeterBuilder::also`](crate::MeterBuilder::also) for how far behind it may fall. Settlements of quotas are no events and
/// are not sent.
///
/// ```
/// # use hm_metering::{MeterBuilder, usage::{CloudEventsSink, Publisher}};
/// # fn add(builder: MeterBuilder, broker: impl Publisher) -> MeterBuilder {
/// builder.also("broker", CloudEventsSink::new("/facts", broker))
/// # }
/// ```
pub struct CloudEventsSink {
    source: String,
    kind: String,
    at_once: usize,
    publisher: Arc<dyn Publisher>,
}

impl CloudEventsSink {
    /// A sink for `publisher`. `source` says where the events come from: a URI reference that stays the same for ever and is
    /// not empty, such as `/facts` or `https://facts.example.com`.
    pub fn new(source: impl Into<String>, publisher: impl Publisher) -> Self {
        Self {
            source: source.into(),
            kind: TYPE.to_owned(),
            at_once: AT_ONCE,
            publisher: Arc::new(publisher),
        }
    }

    /// What the events are called: `hm-metering.request.v1` by default. A name of your own begins with your domain in
    /// reverse, as in `com.example.request.v1`.
    #[must_use]
    pub fn event_type(mut self, name: impl Into<String>) -> Self {
        self.kind = name.into();
        self
    }

    /// How many events are handed over at a time at most: 256 by default, at least one.
    #[must_use]
    pub fn at_once(mut self, events: usize) -> Self {
        self.at_once = events.max(1);
        self
    }
}

impl fmt::Debug for CloudEventsSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudEventsSink")
            .field("source", &self.source)
            .field("type", &self.kind)
            .field("at_once", &self.at_once)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl UsageSink for CloudEventsSink {
    async fn record(&self, batch: &Batch) -> StoreResult<Recorded> {
        let mut part = Vec::new();
        let mut bytes = 0;
        for event in &batch.events {
            let event = CloudEvent::new(event, &self.source, &self.kind).map_err(|error| {
                StoreError::new(StoreErrorKind::Invalid, "write an event as JSON").with_source(error)
            })?;
            let is_full = part.len() >= self.at_once || bytes + event.json().len() > BYTES_AT_ONCE;
            if is_full && !part.is_empty() {
                self.publisher.publish(&part).await?;
                part.clear();
                bytes = 0;
            }
            bytes += event.json().len();
            part.push(event);
        }
        if !part.is_empty() {
            self.publisher.publish(&part).await?;
        }
        // Only the broker knows whether it had them.
        Ok(Recorded::New)
    }
}
