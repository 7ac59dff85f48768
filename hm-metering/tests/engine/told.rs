//! What a caller is told, read to its end.

use bytes::Bytes;
use hm_metering::{DecisionTrace, MeteringLayer};
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{facts, handler};

pub struct Told {
    pub status: u16,
    pub headers: HeaderMap,
    pub trace: Option<DecisionTrace>,
    /// Null where the body is no JSON.
    pub body: serde_json::Value,
}

/// Sends a request through a layer to the facts.
pub async fn send(layer: MeteringLayer, request: Request<Full<Bytes>>) -> Told {
    let response = layer.layer(handler(facts)).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Told {
        status: parts.status.as_u16(),
        trace: parts.extensions.get::<DecisionTrace>().cloned(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
    }
}
