//! A limit on how long a request may take.

use std::time::Duration;

use salvo::http::StatusCode;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::error::AppError;
use crate::middleware::request_id::request_id;

/// Answers 503 when nothing has answered in time.
///
/// The request's future is dropped then, so work that must not stop half-way runs in a task of its own.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit(pub Duration);

#[async_trait]
impl Handler for TimeLimit {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        if tokio::time::timeout(self.0, ctrl.call_next(req, depot, res))
            .await
            .is_err()
        {
            ctrl.skip_rest();
            AppError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "timeout",
                "The request took too long.",
            )
            .render(request_id(req), res);
        }
    }
}
