//! A panic in a handler costs one answer, not the connection.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::error::AppError;
use crate::middleware::request_id::request_id;

/// Answers 500 when a handler panics.
#[derive(Clone, Copy, Debug)]
pub struct CatchPanics;

#[async_trait]
impl Handler for CatchPanics {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        // The request is over after a panic: nothing that was left half done is looked at again.
        let handled = AssertUnwindSafe(ctrl.call_next(req, depot, res))
            .catch_unwind()
            .await;
        if let Err(panic) = handled {
            ctrl.skip_rest();
            AppError::internal(message(panic.as_ref())).render(request_id(req), res);
        }
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use salvo::test::{ResponseExt, TestClient};
    use salvo::{Router, Service};

    use super::*;

    struct Panics;

    #[async_trait]
    impl Handler for Panics {
        async fn handle(&self, _: &mut Request, _: &mut Depot, _: &mut Response, _: &mut FlowCtrl) {
            panic!("password=hunter2");
        }
    }

    #[tokio::test]
    async fn a_panic_becomes_a_problem_document_that_tells_nothing() {
        let service = Service::new(Router::new().get(Panics)).hoop(CatchPanics);
        let mut response = TestClient::get("http://localhost/").send(&service).await;
        assert_eq!(response.status_code.unwrap(), 500);
        let text = response.take_string().await.unwrap();
        assert!(text.contains("internal_error") && !text.contains("hunter2"), "{text}");
    }
}
