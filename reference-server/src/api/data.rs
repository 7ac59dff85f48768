//! The metered route: questions to the data sources.

use hm_metering::{Charge, MeterName, Units};
use salvo::http::header::CONTENT_TYPE;
use salvo::http::{ResBody, StatusCode};
use salvo::oapi::{self, BasicType, EndpointOutRegister, Object, ToSchema, endpoint};
use salvo::{Request, Response, Scribe, Writer};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::error::AppError;
use crate::extract::JsonBody;
use crate::sources::{Answer, SourceError, SourceStatus};

/// A question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Question {
    /// `wiki`, `arxiv`, `news`, `weather` or `curiosity`.
    source: String,
    /// What to look for; only `curiosity` can do without.
    #[serde(default)]
    query: Option<String>,
    /// How many results at most: 1 to 25, by default 10.
    #[serde(default)]
    limit: Option<u32>,
}

/// An answer, or how the sources are.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum DataAnswer {
    /// What a source says.
    Found(Answer),
    /// How the sources are.
    Status {
        /// All of them.
        sources: Vec<SourceStatus>,
    },
}

/// Asks a source. Costs one unit, unless the source fails.
#[endpoint(
    tags("data"),
    operation_id = "postData",
    security(["apiKey" = []])
)]
pub async fn ask(app: App, body: JsonBody<Question>, req: &mut Request) -> Result<DataAnswer, AppError> {
    answer(&app, req.extensions().get::<Charge>(), body.0).await
}

/// Asks a source, or how the sources are (`action=status`, which costs nothing). Costs one unit, unless the source fails.
#[endpoint(
    tags("data"),
    operation_id = "getData",
    security(["apiKey" = []]),
    parameters(
        ("source" = Option<String>, Query, description = "`wiki`, `arxiv`, `news`, `weather` or `curiosity`"),
        ("query" = Option<String>, Query, description = "What to look for; only `curiosity` can do without"),
        ("limit" = Option<u32>, Query, description = "How many results at most: 1 to 25, by default 10"),
        ("action" = Option<String>, Query, description = "`status` asks how the sources are")
    )
)]
pub async fn query(app: App, req: &mut Request) -> Result<DataAnswer, AppError> {
    let charge = req.extensions().get::<Charge>();
    let parameter = |name: &str| req.queries().get(name).cloned();
    match parameter("action").as_deref() {
        Some("status") => {
            if let Some(charge) = charge {
                charge.set(&MeterName::REQUESTS, Units::ZERO);
            }
            return Ok(DataAnswer::Status {
                sources: app.sources().status(),
            });
        }
        Some(_) => return Err(AppError::invalid_field("action", "must be `status`")),
        None => {}
    }
    let source = parameter("source").ok_or_else(|| AppError::invalid_field("source", "is required"))?;
    let limit = match parameter("limit").map(|limit| limit.parse()) {
        None => None,
        Some(Ok(limit)) => Some(limit),
        Some(Err(_)) => return Err(SourceError::InvalidLimit.into()),
    };
    answer(
        &app,
        charge,
        Question {
            source,
            query: parameter("query"),
            limit,
        },
    )
    .await
}

async fn answer(app: &App, charge: Option<&Charge>, question: Question) -> Result<DataAnswer, AppError> {
    let sources = app.sources();
    if let (Some(charge), Some(known)) = (charge, sources.names().find(|name| *name == question.source)) {
        charge.set_source(known);
    }
    let found = sources
        .answer(&question.source, question.query.as_deref(), question.limit)
        .await?;
    Ok(DataAnswer::Found(found))
}

impl From<SourceError> for AppError {
    fn from(error: SourceError) -> Self {
        let (status, code) = (error.status(), error.code());
        match error {
            SourceError::UnknownSource => Self::invalid_field("source", error.to_string()).with_code(code),
            SourceError::InvalidQuery(_) => Self::invalid_field("query", error.to_string()).with_code(code),
            SourceError::InvalidLimit => Self::invalid_field("limit", error.to_string()).with_code(code),
            SourceError::Overloaded => Self::overloaded().with_code(code),
            failed => Self::new(
                status,
                code,
                "The source does not answer as it should. Nothing was charged.",
            )
            .because(failed),
        }
    }
}

impl Scribe for DataAnswer {
    fn render(self, res: &mut Response) {
        match serde_json::to_vec(&self) {
            Ok(body) => {
                res.headers_mut().insert(
                    CONTENT_TYPE,
                    salvo::http::HeaderValue::from_static("application/json"),
                );
                res.replace_body(ResBody::Once(body.into()));
            }
            Err(error) => {
                tracing::error!(error = %error, "an answer can't be written as JSON");
                res.status_code(StatusCode::INTERNAL_SERVER_ERROR);
            }
        }
    }
}

impl EndpointOutRegister for DataAnswer {
    fn register(_components: &mut oapi::Components, operation: &mut oapi::Operation) {
        let text = || Object::with_type(BasicType::String);
        let found = Object::new()
            .property("source", text())
            .property(
                "query",
                Object::with_type(oapi::schema::SchemaType::from_iter([
                    BasicType::String,
                    BasicType::Null,
                ]))
                .description("null when there was none"),
            )
            .property(
                "results",
                oapi::Array::new().items(Object::new().description("What a source tells of one thing")),
            )
            .property("cached", Object::with_type(BasicType::Boolean))
            .property("tookMs", Object::with_type(BasicType::Integer));
        let response = oapi::Response::new("What the source says")
            .add_content("application/json", oapi::RefOr::from(oapi::Schema::from(found)));
        operation.responses.insert("200", response);
    }
}
