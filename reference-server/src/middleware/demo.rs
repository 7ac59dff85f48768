//! Metering, and the demo for those who have no key.

use std::time::Duration;

use hm_metering::salvo::{MeteringHoop, RateLimitHoop};
use hm_metering::{MeteringLayer, RateLimitLayer};
use salvo::http::header::AUTHORIZATION;
use salvo::{Depot, FlowCtrl, Handler, Request, Response, async_trait};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Meters requests with a key. Those without one are let through within the demo's limit, if there is a demo.
#[derive(Clone, Debug)]
pub struct Metered {
    metering: MeteringHoop,
    demo: Option<RateLimitHoop>,
}

impl Metered {
    /// Without a demo.
    #[must_use]
    pub fn new(metering: MeteringLayer) -> Self {
        Self {
            metering: metering.hoop(),
            demo: None,
        }
    }

    /// With a demo of this many requests a day for each client address; `prepare` gives the limit its clock and proxies.
    #[must_use]
    pub fn with_demo(
        self,
        daily: Option<u64>,
        prepare: impl FnOnce(RateLimitLayer) -> RateLimitLayer,
    ) -> Self {
        let limit = daily.map(|daily| u32::try_from(daily).unwrap_or(u32::MAX));
        Self {
            demo: limit.map(|limit| prepare(RateLimitLayer::new(limit, DAY)).hoop()),
            ..self
        }
    }
}

#[async_trait]
impl Handler for Metered {
    async fn handle(&self, req: &mut Request, depot: &mut Depot, res: &mut Response, ctrl: &mut FlowCtrl) {
        let has_credential =
            req.headers().contains_key("x-api-key") || req.headers().contains_key(AUTHORIZATION);
        match &self.demo {
            Some(demo) if !has_credential => demo.handle(req, depot, res, ctrl).await,
            _ => self.metering.handle(req, depot, res, ctrl).await,
        }
    }
}
