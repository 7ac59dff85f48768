//! A whole request through a Tower service, to the end of its body.

use std::fmt;
use std::time::Duration;

use axum::body::Body;
use hm_bench::cost::timed;
use hm_bench::rounds::{Contestant, GROUP};
use hm_bench::service::{drive, request, serve};
use hm_metering::Meter;
use http::{Request, Response};
use tokio::runtime::Runtime;
use tower::Service;

/// A service that gets requests.
pub(crate) struct Whole<'a, S> {
    name: &'static str,
    runtime: &'a Runtime,
    keys: &'a [String],
    service: S,
    meter: Option<Meter>,
    waited: usize,
}

impl<'a, S> Whole<'a, S> {
    pub(crate) const fn new(
        name: &'static str,
        runtime: &'a Runtime,
        keys: &'a [String],
        service: S,
    ) -> Self {
        Self {
            name,
            runtime,
            keys,
            service,
            meter: None,
            waited: 0,
        }
    }

    /// Lets the meter record what was finished after each run, so that its queue never fills.
    pub(crate) fn resting(mut self, meter: &Meter) -> Self {
        self.meter = Some(meter.clone());
        self
    }
}

impl<S, B> Contestant for Whole<'_, S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: fmt::Debug,
    B: http_body::Body,
    B::Error: fmt::Debug,
{
    fn stages(&self) -> Vec<String> {
        vec![self.name.to_owned()]
    }

    fn run(&mut self, keys: &[u32], spent: &mut [Duration]) {
        let _inside = self.runtime.enter();
        for group in keys.chunks(GROUP) {
            let requests: Vec<_> = group
                .iter()
                .map(|key| request(&self.keys[*key as usize], *key))
                .collect();
            timed(&mut spent[0], || {
                for request in requests {
                    let ((), at_once) = drive(self.runtime, serve(&mut self.service, request));
                    self.waited += usize::from(!at_once);
                }
            });
        }
    }

    fn rest(&mut self) {
        if let Some(meter) = &self.meter {
            assert!(self.runtime.block_on(meter.flush(Duration::from_secs(60))));
        }
    }

    fn waited(&self) -> usize {
        self.waited
    }
}
