//! Our request in stages, by the engine's own methods.

use std::sync::Arc;
use std::time::Duration;

use hm_bench::cost::timed;
use hm_bench::fixture::OPERATION;
use hm_bench::rounds::{Contestant, GROUP};
use hm_bench::service::{drive, request};
use hm_metering::usage::Outcome;
use hm_metering::{
    Admission, Admit, Call, KeyVerifier, Meter, Operation, OperationName, Rejection, StoredKeyVerifier,
};
use http::{HeaderMap, StatusCode};
use tokio::runtime::Runtime;

/// Only the shape and checksum of a key.
pub(crate) struct Shape<'a> {
    verifier: StoredKeyVerifier,
    keys: &'a [String],
}

impl<'a> Shape<'a> {
    pub(crate) const fn new(verifier: StoredKeyVerifier, keys: &'a [String]) -> Self {
        Self { verifier, keys }
    }
}

impl Contestant for Shape<'_> {
    fn stages(&self) -> Vec<String> {
        vec!["shape and checksum".to_owned()]
    }

    fn run(&mut self, keys: &[u32], spent: &mut [Duration]) {
        for group in keys.chunks(GROUP) {
            timed(&mut spent[0], || {
                for key in group {
                    assert!(self.verifier.is_well_formed(&self.keys[*key as usize]));
                }
            });
        }
    }
}

/// Admission, headers and end of a request; a group is admitted, then gets its headers, then ends.
pub(crate) struct Stages<'a> {
    limits: &'static str,
    runtime: &'a Runtime,
    meter: &'a Meter,
    operation: Arc<Operation>,
    keys: &'a [String],
    waited: usize,
}

impl<'a> Stages<'a> {
    pub(crate) fn new(
        limits: &'static str,
        runtime: &'a Runtime,
        meter: &'a Meter,
        keys: &'a [String],
    ) -> Self {
        Self {
            limits,
            runtime,
            meter,
            operation: Arc::new(Operation::new(OperationName::from_static(OPERATION))),
            keys,
            waited: 0,
        }
    }

    fn admit(&mut self, call: Call<'_>) -> Admission {
        let decision: Result<_, Box<Rejection>> = match self.meter.admit(&self.operation, call) {
            Admit::Ready(decision) => decision,
            Admit::Pending(decision) => {
                self.waited += 1;
                drive(self.runtime, decision).0
            }
        };
        decision.expect("nobody reaches a limit")
    }
}

impl Contestant for Stages<'_> {
    fn stages(&self) -> Vec<String> {
        ["admit", "headers", "end"]
            .map(|stage| format!("{stage}: {}", self.limits))
            .to_vec()
    }

    fn run(&mut self, keys: &[u32], spent: &mut [Duration]) {
        let _inside = self.runtime.enter();
        for group in keys.chunks(GROUP) {
            let requests: Vec<_> = group
                .iter()
                .map(|key| request(&self.keys[*key as usize], *key))
                .collect();
            let mut admissions = Vec::with_capacity(GROUP);
            timed(&mut spent[0], || {
                for request in &requests {
                    let call = Call::new(request.method(), request.headers(), request.uri().path());
                    admissions.push(self.admit(call));
                }
            });
            let mut answers: Vec<HeaderMap> = group.iter().map(|_| HeaderMap::new()).collect();
            timed(&mut spent[1], || {
                for (admission, headers) in admissions.iter_mut().zip(&mut answers) {
                    admission.handler_called();
                    admission.answered(StatusCode::OK);
                    admission.write_headers(headers);
                }
            });
            timed(&mut spent[2], || {
                for admission in admissions {
                    admission.finish(Outcome::Completed);
                }
            });
        }
    }

    fn rest(&mut self) {
        assert!(self.runtime.block_on(self.meter.flush(Duration::from_secs(60))));
    }

    fn waited(&self) -> usize {
        self.waited
    }
}
