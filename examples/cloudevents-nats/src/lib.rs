//! Usage events on NATS JetStream, each exactly once: a [`Publisher`] for the sink of CloudEvents.

#![forbid(unsafe_code)]

use std::time::Duration;

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::context::{ContextBuilder, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{Context, stream};
use async_trait::async_trait;
use hm_metering::usage::{CloudEvent, Publisher};
use hm_metering::{StoreError, StoreErrorKind, StoreResult};

/// How long the broker may take to say that it has a message.
const ACK_WITHIN: Duration = Duration::from_secs(5);

/// For how long the broker remembers the ids of messages. An event can only come twice if its answer got lost and the broker
/// could not be reached for longer than this afterwards.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// A subject of a stream that keeps usage events.
#[derive(Clone, Debug)]
pub struct JetStream {
    client: Client,
    context: Context,
    subject: String,
}

impl JetStream {
    /// Publishes to `subject`, which a stream has to keep; [`stream_of`] describes one.
    pub fn new(client: Client, subject: impl Into<String>) -> Self {
        let context = ContextBuilder::new().timeout(ACK_WITHIN).build(client.clone());
        Self {
            client,
            context,
            subject: subject.into(),
        }
    }

    /// The context, to make the stream with.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }
}

/// A stream that keeps what is published to `subject` on disk, and each id once.
#[must_use]
pub fn stream_of(name: &str, subject: &str) -> stream::Config {
    stream::Config {
        name: name.to_owned(),
        subjects: vec![subject.to_owned()],
        storage: stream::StorageType::File,
        duplicate_window: REMEMBERED_FOR,
        ..stream::Config::default()
    }
}

#[async_trait]
impl Publisher for JetStream {
    /// All messages are sent before the first answer is waited for, so that a part costs one way to the broker and back.
    async fn publish(&self, events: &[CloudEvent]) -> StoreResult<()> {
        // The client would keep what is published now for later. The meter keeps it already.
        if self.client.connection_state() != State::Connected {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "reach the broker"));
        }
        let mut answers = Vec::with_capacity(events.len());
        for event in events {
            let message = PublishMessage::build()
                .message_id(event.id().to_string())
                .header("Content-Type", CloudEvent::MEDIA_TYPE)
                .payload(event.json().clone());
            answers.push(
                self.context
                    .send_publish(self.subject.clone(), message)
                    .await
                    .map_err(failed)?,
            );
        }
        for answer in answers {
            answer.await.map_err(failed)?;
        }
        Ok(())
    }
}

fn failed(error: async_nats::jetstream::context::PublishError) -> StoreError {
    let kind = match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => StoreErrorKind::Invalid,
        PublishErrorKind::TimedOut => StoreErrorKind::Timeout,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, "publish an event").with_source(error)
}
