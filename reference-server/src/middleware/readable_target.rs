//! Paths and queries that can be read.

use percent_encoding::percent_decode_str;
use salvo::http::StatusCode;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

use crate::error::AppError;
use crate::middleware::request_id::request_id;

/// Refuses requests whose path or query is not UTF-8 when its `%` escapes are taken back: what a handler would see of them
/// is not what was sent.
#[derive(Clone, Copy, Debug)]
pub struct RefuseUnreadableTargets;

#[async_trait]
impl Handler for RefuseUnreadableTargets {
    async fn handle(&self, req: &mut Request, _depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let uri = req.uri();
        if !is_readable(uri.path()) || !is_readable(uri.query().unwrap_or_default()) {
            ctrl.skip_rest();
            AppError::new(
                StatusCode::BAD_REQUEST,
                "unreadable_target",
                "The path or the query is not UTF-8.",
            )
            .render(request_id(req), res);
        }
    }
}

fn is_readable(text: &str) -> bool {
    percent_decode_str(text).decode_utf8().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_have_to_make_utf_8() {
        assert!(is_readable("/a%20b?q=%C3%A4&x=%"));
        assert!(!is_readable("q=%ff%fe"));
    }
}
