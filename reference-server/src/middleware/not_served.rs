//! Answers that the framework makes itself become problem documents too.

use salvo::http::{Method, StatusCode};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::error::AppError;
use crate::middleware::request_id::request_id;

/// Renders a status without a body: unknown path, wrong method, and whatever else the framework refuses.
#[derive(Clone, Copy, Debug)]
pub struct RenderRefusals;

#[async_trait]
impl Handler for RenderRefusals {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        ctrl.skip_rest();
        let status = res.status_code.unwrap_or(StatusCode::NOT_FOUND);
        let error = problem(status, req.method());
        error.render(request_id(req), res);
    }
}

fn problem(status: StatusCode, method: &Method) -> AppError {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => ("not_found", "There is nothing at this address.".to_owned()),
        StatusCode::METHOD_NOT_ALLOWED => (
            "method_not_allowed",
            format!("{method} is not possible here."),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "The request body is too large.".to_owned()),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("unsupported_media_type", "Send JSON.".to_owned()),
        StatusCode::BAD_REQUEST => ("bad_request", "The request can't be understood.".to_owned()),
        status if status.is_server_error() => {
            return AppError::internal(format!("the framework answered {status} without a body"));
        }
        status => (
            "refused",
            status.canonical_reason().unwrap_or("Refused").to_owned(),
        ),
    };
    AppError::new(status, code, detail)
}
