//! What an account has used.

use hm_metering::usage::Event;
use hm_metering::{MeterName, Timestamp};
use salvo::Writer;
use salvo::oapi::{ToSchema, endpoint};
use salvo::writing::Json;
use serde::Serialize;
use uuid::Uuid;

use super::paging::Paging;
use crate::app::App;
use crate::database::in_task;
use crate::domain::usage::UsageReport;
use crate::error::AppError;
use crate::extract::UsageReader;

/// The quota of the current period and the requests made in it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "Usage"))]
pub struct UsageView {
    /// Who asks, or who made the key that asks.
    user_id: Option<Uuid>,
    account_id: Uuid,
    /// The account's plan.
    tier: String,
    /// What the plan allows in the period; null when unlimited.
    quota: Option<u64>,
    /// What was charged in the period.
    used: u64,
    /// What is left; null when unlimited.
    remaining: Option<u64>,
    /// When the next period begins.
    #[salvo(schema(value_type = String, format = DateTime))]
    reset_date: Timestamp,
    /// When the period began.
    #[salvo(schema(value_type = String, format = DateTime))]
    period_start: Timestamp,
    /// The period's requests, newest first.
    requests: Vec<RequestView>,
    /// For older requests; null when these are all.
    next_cursor: Option<String>,
}

/// One finished request.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[salvo(schema(name = "UsedRequest"))]
pub struct RequestView {
    /// When it came.
    #[salvo(schema(value_type = String, format = DateTime))]
    timestamp: Timestamp,
    /// The route.
    endpoint: String,
    /// The HTTP method.
    method: String,
    /// Where the answer came from, if the handler said so.
    source: Option<String>,
    /// From its arrival to the end of its answer, in milliseconds.
    response_time: f64,
    /// The HTTP status.
    status: u16,
    /// The key that was used.
    key_id: Option<Uuid>,
    /// What was charged for it.
    units: u64,
}

/// The quota, what is left of it, and the latest requests. A request that this server has answered is counted already.
#[endpoint(tags("usage"), operation_id = "getUsage")]
pub async fn show(app: App, reader: UsageReader, page: Paging) -> Result<Json<UsageView>, AppError> {
    let now = app.clock().now();
    in_task(async move {
        let report = app.usage().report(&reader.account, &page.0, now).await?;
        Ok::<_, AppError>(Json(UsageView::new(&reader, report, now)))
    })
    .await
}

impl UsageView {
    fn new(reader: &UsageReader, report: UsageReport, now: Timestamp) -> Self {
        Self {
            user_id: reader.user_id,
            account_id: reader.account.id,
            tier: reader.account.tier_at(now).to_owned(),
            quota: report.quota.map(|quota| quota.get()),
            used: report.used.get(),
            remaining: report.quota.map(|quota| quota.minus(report.used).get()),
            reset_date: report.period.end,
            period_start: report.period.start,
            requests: report.requests.items.into_iter().map(RequestView::from).collect(),
            next_cursor: report.requests.next,
        }
    }
}

impl From<Event> for RequestView {
    fn from(event: Event) -> Self {
        let units = event.units_of(&MeterName::REQUESTS).get();
        Self {
            timestamp: event.at,
            endpoint: event.endpoint.into(),
            method: event.method.into(),
            source: event.source.map(Into::into),
            response_time: millis(event.response_time_us),
            status: event.status,
            key_id: event.key.map(|key| key.as_uuid()),
            units,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a response time of 285 years would lose a microsecond"
)]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}
