//! Where a program takes part in the life of requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hm_metering::usage::Outcome;
use hm_metering::{
    Call, DecisionTrace, Finished, Hooks, MeterName, Operation, Principal, Refusal, RefusalKind, Units,
};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

/// Refuses requests with a header, and keeps what it hears.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

impl Listener {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl Hooks for Listener {
    fn decide(&self, caller: &Principal, operation: &Operation, call: &Call<'_>) -> Result<(), Refusal> {
        assert_eq!((call.method().as_str(), call.endpoint()), ("POST", "/facts"));
        assert_eq!(
            (caller.plan().as_str(), operation.name().as_str()),
            ("free", "facts")
        );
        if call.headers().contains_key("x-no") {
            return Err(Refusal::custom("not_today", "Come back tomorrow."));
        }
        Ok(())
    }

    fn refused(&self, trace: &DecisionTrace) {
        let code = trace.refusal().map_or("", Refusal::code);
        self.note(format!("refused {code} {}", trace.account().is_some()));
    }

    fn finished(&self, finished: &Finished<'_>) {
        let units: Vec<_> = finished
            .units
            .iter()
            .map(|(meter, units)| format!("{meter}={units}"))
            .collect();
        let (outcome, status) = (finished.outcome.as_str(), finished.status);
        self.note(format!("finished {outcome} {status} {}", units.join(" ")));
    }
}

/// Panics wherever it is asked.
struct Panics;

impl Hooks for Panics {
    fn decide(&self, _: &Principal, _: &Operation, call: &Call<'_>) -> Result<(), Refusal> {
        assert!(!call.headers().contains_key("x-no"), "a mistake in deciding");
        Ok(())
    }

    fn refused(&self, _: &DecisionTrace) {
        panic!("a mistake in refusing");
    }

    fn finished(&self, _: &Finished<'_>) {
        panic!("a mistake in finishing");
    }
}

async fn stage(hooks: impl Hooks) -> Stage {
    Stage::with(FIVE, Vec::new(), |builder| builder.hooks(hooks)).await
}

async fn send(stage: &Stage, is_refused: bool) -> (u16, String) {
    let mut request = stage.request();
    if is_refused {
        request.headers_mut().insert("x-no", "1".parse().unwrap());
    }
    let service = stage.meter.layer("facts").layer(handler(facts));
    let response = service.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_hook_refuses_before_anything_is_taken_and_hears_of_every_end() {
    let listener = Listener::default();
    let stage = stage(listener.clone()).await;
    // The first waits for its key to be looked up, the second is decided from memory.
    for _ in 0..2 {
        let (status, body) = send(&stage, true).await;
        assert_eq!(status, 403);
        assert!(
            body.contains("\"not_today\"") && body.contains("Come back tomorrow."),
            "{body}"
        );
    }
    for _ in 0..5 {
        assert_eq!(send(&stage, false).await.0, 200);
    }
    assert_eq!(send(&stage, false).await.0, 429);
    let unknown = stage.meter.layer("facts").layer(handler(facts));
    let response = unknown.oneshot(crate::stage::with_key("nonsense")).await.unwrap();
    assert_eq!(response.status(), 401);
    let mut expected = vec!["refused not_today true".to_owned(); 2];
    expected.extend(vec!["finished completed 200 requests=1".to_owned(); 5]);
    expected.push("refused quota_exceeded true".to_owned());
    expected.push("refused invalid_api_key false".to_owned());
    assert_eq!(listener.take(), expected);
    let events = stage.events().await;
    let codes: Vec<_> = events
        .iter()
        .filter_map(|event| event.refusal.as_deref())
        .collect();
    assert_eq!(codes, ["not_today", "not_today", "quota_exceeded"]);
    assert_eq!(stage.balance().await.used, Units::new(5));
}

#[tokio::test]
async fn hooks_that_panic_change_no_account() {
    let stage = stage(Panics).await;
    assert_eq!(send(&stage, false).await.0, 200);
    assert_eq!(send(&stage, true).await.0, 503, "nobody could tell");
    let failing = handler(|_| async {
        let panics = true;
        assert!(!panics, "the handler panics too");
        facts(http::Request::default()).await
    });
    let service = stage.meter.layer("facts").layer(failing);
    let panicked = tokio::spawn(service.oneshot(stage.request())).await;
    assert!(panicked.is_err_and(|error| error.is_panic()));
    let events = stage.events().await;
    let outcomes: Vec<_> = events.iter().map(|event| event.outcome).collect();
    assert_eq!(
        outcomes,
        [Outcome::Completed, Outcome::Refused, Outcome::Panicked]
    );
    let charged = events
        .iter()
        .map(|event| event.units_of(&MeterName::REQUESTS).get());
    assert_eq!(charged.sum::<u64>(), 1);
    assert_eq!(stage.balance().await.used, Units::ONE);
    assert!(stage.meter.shutdown(Duration::from_secs(5)).await.released);
}

#[test]
fn a_refusal_of_ones_own_is_forbidden_with_its_code() {
    let refusal = Refusal::custom("not_today", "Come back tomorrow.");
    assert_eq!(refusal.kind(), RefusalKind::Custom("not_today"));
    assert_eq!((refusal.status().as_u16(), refusal.grpc_status()), (403, 7));
    assert_eq!(refusal.to_string(), "Come back tomorrow.");
}
