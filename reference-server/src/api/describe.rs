//! `OPTIONS`: what can be done with a resource, for programs.

use salvo::http::StatusCode;
use salvo::http::header::{ALLOW, HeaderValue};
use salvo::writing::Json;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use serde_json::json;

/// Describes one resource.
#[derive(Clone, Copy, Debug)]
pub struct Describe {
    /// What the resource is.
    pub summary: &'static str,
    /// The methods, as in `Allow`.
    pub methods: &'static str,
    /// How a caller can identify: `accessToken`, `apiKey`.
    pub authentication: &'static [&'static str],
}

#[async_trait]
impl Handler for Describe {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        res.status_code(StatusCode::OK);
        res.headers_mut()
            .insert(ALLOW, HeaderValue::from_static(self.methods));
        res.render(Json(json!({
            "path": req.uri().path(),
            "summary": self.summary,
            "methods": self.methods.split(", ").collect::<Vec<_>>(),
            "authentication": self.authentication,
            "contentType": "application/json",
            "documentation": "/openapi.json",
        })));
    }
}
