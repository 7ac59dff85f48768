//! A name for each request, in its answer and in the log.

use std::fmt;
use std::sync::Arc;

use hm_metering::id::IdSource;
use hm_metering::{Clock, RequestId};
use salvo::http::header::{HeaderName, HeaderValue};
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};
use uuid::Uuid;

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST: usize = 128;

/// The name of a request: the sender's, if it is sensible, otherwise a new UUIDv7.
fn name(given: Option<&HeaderValue>, new: impl FnOnce() -> Uuid) -> RequestId {
    let given = given
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_sensible(id));
    RequestId(given.map_or_else(|| new().to_string(), str::to_owned))
}

/// The name that a request was given, or nothing before it got one.
#[must_use]
pub fn request_id(req: &Request) -> &str {
    req.extensions().get::<RequestId>().map_or("", |RequestId(id)| id)
}

fn is_sensible(id: &str) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Names each request and sends the name back.
pub struct NameRequests {
    ids: IdSource,
    clock: Arc<dyn Clock>,
}

impl NameRequests {
    /// Takes new names from `ids`.
    #[must_use]
    pub fn new(ids: IdSource, clock: Arc<dyn Clock>) -> Self {
        Self { ids, clock }
    }
}

impl fmt::Debug for NameRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NameRequests").finish_non_exhaustive()
    }
}

#[async_trait]
impl Handler for NameRequests {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let id = name(req.headers().get(HEADER), || self.ids.next(self.clock.now()));
        req.extensions_mut().insert(id.clone());
        ctrl.call_next(req, depot, res).await;
        if let Ok(value) = HeaderValue::from_str(&id.0) {
            res.headers_mut().insert(HEADER, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensible_name_is_kept_and_others_are_replaced() {
        let kept = name(Some(&HeaderValue::from_static("abc-123")), Uuid::nil);
        assert_eq!(kept.0, "abc-123");
        let long = HeaderValue::from_str(&"x".repeat(129)).unwrap();
        for wrong in [
            None,
            Some(&HeaderValue::from_static("")),
            Some(&HeaderValue::from_static("a b")),
            Some(&long),
        ] {
            assert_eq!(name(wrong, Uuid::nil).0, Uuid::nil().to_string());
        }
    }
}
