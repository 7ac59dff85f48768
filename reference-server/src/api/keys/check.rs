//! Deciding for services that are not written in Rust, and telling operators why.

use std::net::IpAddr;
use std::sync::Arc;

use hm_metering::meter::KeyState;
use hm_metering::usage::Outcome;
use hm_metering::{
    Admit, Call, DecisionTrace, MeterName, Operation, OperationName, Principal, Refusal, RequestId, Units,
};
use salvo::http::{HeaderMap, HeaderValue, Method, StatusCode};
use salvo::oapi::{ToSchema, endpoint};
use salvo::writing::Json;
use salvo::{Request, Writer};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::body::scopes;
use crate::api::errors::Mistakes;
use crate::app::App;
use crate::error::AppError;
use crate::extract::{Asker, JsonBody};
use crate::middleware::request_id::request_id;
use crate::secret::Secret;

/// What such decisions are called in limits, usage and metrics. What a service calls its operation is in the ledger as the
/// endpoint: it may be any word, and words that anybody chooses can't be labels.
const OPERATION: OperationName = OperationName::from_static("keys.verify");
const MOST_UNITS: u64 = 1_000_000;

/// A request that somebody else serves.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[salvo(schema(name = "KeyCheck"))]
pub struct CheckBody {
    /// The key that came with it.
    #[salvo(schema(value_type = String))]
    key: Secret,
    /// What it does, such as `chat.send`; the endpoint in the ledger.
    #[serde(default)]
    operation: Option<String>,
    /// How many requests it counts as: 1, unless said, to 1000000. With 0 nothing is charged.
    #[serde(default)]
    cost: Option<u64>,
    /// Which scopes it needs, all of them: at most 32.
    #[serde(default)]
    scopes: Vec<String>,
    /// Where it came from. Without it, a key that is bound to networks is refused.
    #[serde(default)]
    #[salvo(schema(value_type = Option<String>))]
    client_address: Option<IpAddr>,
}

/// Whether the request may be served, and what is known of its caller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "KeyDecision"))]
pub struct DecisionView {
    /// `allowed` or `refused`.
    decision: &'static str,
    /// Why it is refused, for programs.
    code: Option<&'static str>,
    /// Why it is refused, for people.
    detail: Option<String>,
    /// With which status to refuse it.
    status: Option<u16>,
    /// After how many milliseconds it may be tried again.
    retry_after_ms: Option<u64>,
    /// Who called, if the key is accepted.
    principal: Option<PrincipalView>,
    /// How the limits stand that the decision was made by.
    #[salvo(schema(value_type = Vec<Object>))]
    limits: Value,
    /// How the decision came about, for operators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[salvo(schema(value_type = Option<Object>))]
    trace: Option<Value>,
}

/// A caller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "KeyPrincipal"))]
pub struct PrincipalView {
    account_id: Option<Uuid>,
    key_id: Option<Uuid>,
    tier: Option<String>,
    /// Only if the request is allowed.
    user_id: Option<Uuid>,
    /// Only if the request is allowed.
    scopes: Option<Vec<String>>,
}

/// Decides about a request that another service serves, and charges it. A refusal is an answer as well (200). An operator
/// is told how the decision came about.
#[endpoint(tags("keys"), operation_id = "verifyKey")]
pub async fn verify(
    app: App,
    asker: Asker,
    body: JsonBody<CheckBody>,
    req: &mut Request,
) -> Result<Json<DecisionView>, AppError> {
    let body = body.0;
    let (endpoint, operation) = body.operation()?;
    let mut headers = HeaderMap::new();
    // What can't stand in a header is no key either, and is refused as such.
    if let Ok(mut key) = HeaderValue::from_bytes(body.key.expose().as_bytes()) {
        key.set_sensitive(true);
        headers.insert("x-api-key", key);
    }
    let id = RequestId(request_id(req).to_owned());
    let mut call = Call::new(&Method::POST, &headers, &endpoint).with_request_id(&id.0);
    if let Some(client) = body.client_address {
        call = call.with_peer(client);
    }
    let decision = match app.meter().admit(&operation, call) {
        Admit::Ready(decision) => decision,
        Admit::Pending(decision) => decision.await,
    };
    let (trace, principal) = match decision {
        Ok(mut admission) => {
            let (trace, principal) = (admission.trace(), admission.principal().clone());
            admission.handler_called();
            admission.answered(StatusCode::OK);
            admission.finish(Outcome::Completed);
            (trace, Some(principal))
        }
        Err(rejection) => (rejection.trace().clone(), None),
    };
    DecisionView::new(&trace, principal.as_ref(), asker).map(Json)
}

impl CheckBody {
    /// What the request is called in the ledger, and what it needs.
    fn operation(&self) -> Result<(String, Arc<Operation>), AppError> {
        let mut mistakes = Mistakes::default();
        let name = self.operation.as_deref().map(OperationName::parse).transpose();
        let name = mistakes.check(
            "operation",
            name.map_err(|_| "must be a name such as `chat.send`"),
        );
        let units = self.cost.unwrap_or(1);
        let units = Some(units).filter(|units| *units <= MOST_UNITS);
        let units = mistakes.check("cost", units.ok_or("must be at most 1000000"));
        let scopes = mistakes.check("scopes", scopes(self.scopes.clone()));
        let (Some(name), Some(units), Some(scopes)) = (name, units, scopes) else {
            return Err(mistakes.into_error());
        };
        let operation = Operation::new(OPERATION).cost(MeterName::REQUESTS, Units::new(units));
        let operation = scopes.into_iter().fold(operation, Operation::require_scope);
        Ok((name.unwrap_or(OPERATION).to_string(), Arc::new(operation)))
    }
}

impl DecisionView {
    fn new(trace: &DecisionTrace, caller: Option<&Principal>, asker: Asker) -> Result<Self, AppError> {
        let refusal = trace.refusal();
        let retry_after = refusal.and_then(Refusal::retry_after);
        Ok(Self {
            decision: if refusal.is_some() { "refused" } else { "allowed" },
            code: refusal.map(Refusal::code),
            detail: refusal.map(Refusal::to_string),
            status: refusal.map(|refusal| refusal.status().as_u16()),
            retry_after_ms: retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            principal: PrincipalView::new(trace, caller),
            limits: serde_json::to_value(trace.limits()).map_err(AppError::internal)?,
            trace: (asker == Asker::Operator)
                .then(|| serde_json::to_value(trace))
                .transpose()
                .map_err(AppError::internal)?,
        })
    }
}

impl PrincipalView {
    /// None for a key that is not accepted: whose it was is nobody's business any more.
    fn new(trace: &DecisionTrace, caller: Option<&Principal>) -> Option<Self> {
        (trace.key_state() == KeyState::Accepted).then(|| Self {
            account_id: trace.account().map(|account| account.as_uuid()),
            key_id: trace.key().map(|key| key.as_uuid()),
            tier: trace.plan().map(ToString::to_string),
            user_id: caller.and_then(Principal::user).map(|user| user.as_uuid()),
            scopes: caller.map(|caller| caller.scopes().to_vec()),
        })
    }
}
