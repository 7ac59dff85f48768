//! Extractors for axum: [`Principal`] and [`Charge`] as arguments of handlers behind the layer.
//!
//! With the feature `axum`, [`MeteringLayer`](crate::MeteringLayer) names endpoints by route templates. Put it on routers
//! by `Router::layer` or `route_layer`; around a finished router the template is not known and the path is used.

use ::axum::extract::FromRequestParts;
use ::axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use crate::meter::Charge;
use crate::principal::Principal;

/// A handler asked for something that a metering layer puts into requests, but none is around it. It is a mistake of the
/// program, so the caller is told nothing but 500.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this route is not behind a metering layer")]
pub struct NotMetered;

impl IntoResponse for NotMetered {
    fn into_response(self) -> Response {
        tracing::error!(
            error = &self as &dyn std::error::Error,
            "a request can't be served"
        );
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

impl<S: Sync> FromRequestParts<S> for Principal {
    type Rejection = NotMetered;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotMetered> {
        let charge = parts.extensions.get::<Charge>();
        charge.map(|charge| charge.principal().clone()).ok_or(NotMetered)
    }
}

impl<S: Sync> FromRequestParts<S> for Charge {
    type Rejection = NotMetered;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NotMetered> {
        parts.extensions.get::<Self>().cloned().ok_or(NotMetered)
    }
}
