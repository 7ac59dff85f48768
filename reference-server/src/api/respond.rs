//! Successful answers.

use salvo::http::StatusCode;
use salvo::oapi::{self, EndpointOutRegister, ToSchema};
use salvo::writing::Json;
use salvo::{Response, Scribe};
use serde::Serialize;

/// 201 with a JSON body.
#[derive(Debug)]
pub struct Created<T>(pub T);

impl<T: Serialize + Send> Scribe for Created<T> {
    fn render(self, res: &mut Response) {
        res.status_code(StatusCode::CREATED);
        res.render(Json(self.0));
    }
}

impl<T: ToSchema> EndpointOutRegister for Created<T> {
    fn register(components: &mut oapi::Components, operation: &mut oapi::Operation) {
        let created =
            oapi::Response::new("Created").add_content("application/json", T::to_schema(components));
        operation.responses.insert("201", created);
    }
}

/// 204.
#[derive(Clone, Copy, Debug)]
pub struct NoContent;

impl Scribe for NoContent {
    fn render(self, res: &mut Response) {
        res.status_code(StatusCode::NO_CONTENT);
    }
}

impl EndpointOutRegister for NoContent {
    fn register(_components: &mut oapi::Components, operation: &mut oapi::Operation) {
        operation.responses.insert("204", oapi::Response::new("Done"));
    }
}
