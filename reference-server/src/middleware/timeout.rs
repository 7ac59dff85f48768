//! A limit on how long a request may take.

use std::time::Duration;

use hm_metering::Charge;
use salvo::http::StatusCode;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::error::AppError;
use crate::middleware::request_id::request_id;

/// Answers 503 when nothing has answered in time.
///
/// A metered request is recorded as timed out, and not charged.
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
            if let Some(charge) = req.extensions().get::<Charge>() {
                charge.note_timeout();
            }
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

#[cfg(test)]
mod tests {
    use salvo::test::{ResponseExt, TestClient};
    use salvo::{Router, Service};

    use super::*;

    struct Waits;

    #[async_trait]
    impl Handler for Waits {
        async fn handle(&self, _: &mut Request, _: &mut Depot, _: &mut Response, _: &mut FlowCtrl) {
            std::future::pending::<()>().await;
        }
    }

    #[tokio::test]
    async fn a_handler_that_never_answers_is_given_up() {
        let service = Service::new(Router::new().get(Waits)).hoop(TimeLimit(Duration::from_millis(1)));
        let mut response = TestClient::get("http://localhost/").send(&service).await;
        assert_eq!(response.status_code.unwrap(), 503);
        assert!(
            response
                .take_string()
                .await
                .unwrap()
                .contains("\"code\":\"timeout\"")
        );
    }
}
