//! The OpenAPI document and a page to try it. Everything comes from this server.

use salvo::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use salvo::http::{ResBody, StatusCode};
use salvo::oapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme};
use salvo::oapi::swagger_ui::{self, Config};
use salvo::oapi::{Info, OpenApi, SecurityScheme};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, Router, async_trait};

const PAGE: &str = include_str!("../../static/docs.html");
const SCRIPT: &str = include_str!("../../static/docs.js");

/// Swagger UI styles elements by attributes and has images in its style sheet; scripts come from files only.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The document that describes the routes below `router`.
///
/// # Errors
///
/// It can't be written as JSON.
pub fn document(router: &Router) -> Result<Document, serde_json::Error> {
    let api_key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        "X-API-Key",
        "An API key. `Authorization: Bearer hm_…` works as well.",
    )));
    let admin_key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description(
        "X-Admin-Key",
        "The operators' key, as `ADMIN_KEY` has it.",
    )));
    let access_token = SecurityScheme::Http(
        Http::new(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description("The access token of somebody who is signed in."),
    );
    let api = OpenApi::with_info(Info::new("hm-server", env!("CARGO_PKG_VERSION")).description(
        "Accounts, API keys, exact quotas and a usage ledger. Errors are problem documents (RFC 9457).",
    ))
    .add_security_scheme("accessToken", access_token)
    .add_security_scheme("apiKey", api_key)
    .add_security_scheme("adminKey", admin_key)
    .merge_router(router);
    api.to_json().map(|json| Document {
        json: json.into_bytes().into(),
    })
}

/// The OpenAPI document, ready to be sent.
#[derive(Clone, Debug)]
pub struct Document {
    json: bytes::Bytes,
}

#[async_trait]
impl Handler for Document {
    async fn handle(&self, _req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        send(res, "application/json", ResBody::Once(self.json.clone()));
    }
}

/// The page, its script, and the files of Swagger UI.
#[derive(Clone, Copy, Debug)]
pub struct Page;

#[async_trait]
impl Handler for Page {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, _ctrl: &mut FlowCtrl) {
        res.headers_mut().insert(CONTENT_SECURITY_POLICY, POLICY);
        res.headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        match req.params().tail().unwrap_or_default() {
            "" => send(res, "text/html; charset=utf-8", ResBody::Once(PAGE.into())),
            "docs.js" => send(
                res,
                "text/javascript; charset=utf-8",
                ResBody::Once(SCRIPT.into()),
            ),
            file @ ("swagger-ui.css" | "swagger-ui-bundle.js") => {
                match swagger_ui::serve(file, "", "", "", &Config::default()) {
                    Ok(Some(found)) => send(
                        res,
                        &found.content_type,
                        ResBody::Once(found.bytes.into_owned().into()),
                    ),
                    Ok(None) | Err(_) => {
                        res.status_code(StatusCode::NOT_FOUND);
                    }
                }
            }
            _ => {
                res.status_code(StatusCode::NOT_FOUND);
            }
        }
    }
}

fn send(res: &mut Response, content_type: &str, body: ResBody) {
    if let Ok(value) = HeaderValue::from_str(content_type) {
        res.headers_mut().insert(CONTENT_TYPE, value);
    }
    res.status_code(StatusCode::OK);
    res.replace_body(body);
}
