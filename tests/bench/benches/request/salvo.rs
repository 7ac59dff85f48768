//! `salvo-rate-limiter` in a Salvo service, and the service without it.

use std::time::Duration;

use hm_bench::cost::timed;
use hm_bench::rounds::{Contestant, GROUP};
use hm_bench::service::{ANSWER, drive};
use http::uri::Scheme;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use salvo_core::http::ReqBody;
use salvo_core::{Depot, FlowCtrl, Handler, Request, Response, Router, Service, async_trait};
use salvo_rate_limiter::{BasicQuota, FixedGuard, MokaStore, RateLimiter};
use tokio::runtime::Runtime;

/// Room for every key, and some.
const KEYS_MAX: u64 = 1_000_000;

struct Answer;

#[async_trait]
impl Handler for Answer {
    async fn handle(&self, _: &mut Request, _: &mut Depot, response: &mut Response, _: &mut FlowCtrl) {
        response.body(ANSWER);
    }
}

pub(crate) struct InSalvo<'a> {
    name: &'static str,
    runtime: &'a Runtime,
    keys: &'a [String],
    service: Service,
}

impl<'a> InSalvo<'a> {
    pub(crate) fn bare(runtime: &'a Runtime, keys: &'a [String]) -> Self {
        let router = Router::with_path("api/v1/data").post(Answer);
        Self {
            name: "bare Salvo",
            runtime,
            keys,
            service: Service::new(router),
        }
    }

    /// A limit for each key, kept and shown as its documentation does.
    pub(crate) fn limited(runtime: &'a Runtime, keys: &'a [String]) -> Self {
        let by_key = |request: &mut Request, _: &Depot| request.header::<String>("x-api-key");
        let limiter = RateLimiter::new(
            FixedGuard::new(),
            MokaStore::with_max_capacity(KEYS_MAX),
            by_key,
            BasicQuota::per_second(1_000_000_000),
        );
        let router = Router::with_path("api/v1/data")
            .hoop(limiter.add_headers(true))
            .post(Answer);
        Self {
            name: "salvo-rate-limiter",
            runtime,
            keys,
            service: Service::new(router),
        }
    }
}

impl Contestant for InSalvo<'_> {
    fn stages(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }

    fn run(&mut self, keys: &[u32], spent: &mut [Duration]) {
        let _inside = self.runtime.enter();
        for group in keys.chunks(GROUP) {
            let requests: Vec<_> = group
                .iter()
                .map(|key| request(&self.keys[*key as usize]))
                .collect();
            timed(&mut spent[0], || {
                for request in requests {
                    drive(self.runtime, async {
                        let mut response = self.service.handle(request).await;
                        assert!(matches!(response.status_code, None | Some(StatusCode::OK)));
                        response.take_body().collect().await.expect("a whole body");
                    });
                }
            });
        }
    }
}

fn request(key: &str) -> Request {
    let request = http::Request::builder()
        .method(Method::POST)
        .uri("/api/v1/data")
        .header("x-api-key", key)
        .body(ReqBody::None)
        .expect("all parts are valid");
    Request::from_hyper(request, Scheme::HTTP)
}
