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
