//! A test's own meter does what the tests of a service rely on, and its assertions fail when they should.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use hm_metering::layer::MeteredBody;
use hm_metering::plan::{Quota, RateLimit};
use hm_metering::testing::{TestMeter, day};
use hm_metering::usage::Outcome;
use hm_metering::{Charge, Clock, Meter, StoreErrorKind};
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};

/// Charges three tokens, and something that can't be a meter.
async fn chat(request: Request<()>) -> Result<Response<String>, Infallible> {
    let charge = request.extensions().get::<Charge>().unwrap();
    charge.add("tokens", 1);
    charge.add("tokens", 2_usize);
    charge.add("To kens", 5);
    charge.set("Requests", 5);
    Ok(Response::new("honey".to_owned()))
}

async fn ask(meter: &TestMeter, request: Request<()>) -> Response<MeteredBody<String>> {
    let service = meter.layer("chat").layer(service_fn(chat));
    service.oneshot(request).await.unwrap()
}

/// What `assertion` says when it fails.
async fn complaint(assertion: impl Future) -> String {
    let Err(panic) = AssertUnwindSafe(assertion).catch_unwind().await else {
        panic!("the assertion holds");
    };
    *panic.downcast::<String>().unwrap()
}

#[tokio::test]
async fn each_plan_has_a_key_and_its_limits() {
    let meter = Meter::test()
        .plan("free", Quota::per_day(2))
        .plan("free", RateLimit::per_second(1))
        .plan("pro", Quota::per_day(1_000))
        .start()
        .await;
    let status = async |plan: &str| {
        let mut request = meter.request("/chat");
        *request.headers_mut() = meter.key(plan).headers();
        ask(&meter, request).await.status().as_u16()
    };
    assert_eq!([status("free").await, status("free").await], [200, 429]);
    assert_eq!([status("pro").await, status("pro").await], [200, 200]);
    meter.clock().advance(day());
    assert_eq!(status("free").await, 200);
    let free = meter.key("free").account;
    let events = meter.events().await;
    assert_eq!(events.iter().filter(|event| event.account == free).count(), 3);
    meter.shutdown().await;
}

#[tokio::test]
async fn a_meter_without_plans_limits_nothing() {
    let meter = Meter::test().start().await;
    for _ in 0..100 {
        assert_eq!(ask(&meter, meter.request("/chat")).await.status(), 200);
    }
    meter.assert_charged("requests", 100).await;
}

#[tokio::test]
async fn events_are_found_by_what_they_are() {
    let meter =
        TestMeter::start("[free]\nquotas = [{ meter = 'requests', limit = 2, period = 'day' }]").await;
    for path in ["/a", "/b", "/b"] {
        let _ = ask(&meter, meter.request(path)).await;
        meter.clock().advance(std::time::Duration::from_secs(1));
    }
    let events = meter.events().await;
    assert_eq!(events.len(), 3);
    assert_eq!(events[0].at, TestMeter::START);
    assert_eq!(events.at_endpoint("/b").len(), 2);
    assert_eq!(
        events.at_endpoint("/b").with_status(429).one().outcome,
        Outcome::Refused
    );
    assert_eq!(events.with_outcome(Outcome::Refused).one(), events[2]);
    assert_eq!(events.of_operation("chat").units_of("tokens"), 6);
    assert!(events.of_operation("other").is_empty());
    assert!(meter.clock().now() > TestMeter::START);
}

#[tokio::test]
async fn what_a_handler_charges_by_text_counts_and_what_is_no_meter_does_not() {
    let meter = Meter::test().start().await;
    let _ = ask(&meter, meter.request("/chat")).await;
    let event = meter.event().await;
    let charged: Vec<_> = event
        .units
        .iter()
        .map(|(meter, units)| (meter.as_str(), units.get()))
        .collect();
    assert_eq!(charged, [("requests", 1), ("tokens", 3)]);
}

#[tokio::test]
async fn an_assertion_that_fails_lists_what_there_is_and_says_where() {
    let meter = Meter::test().plan("free", Quota::per_day(1)).start().await;
    assert!(complaint(meter.event()).await.contains("no events"));
    for _ in 0..2 {
        let _ = ask(&meter, meter.request("/chat")).await;
    }
    for said in [
        complaint(meter.event()).await,
        complaint(meter.assert_charged("tokens", 7)).await,
    ] {
        for part in [
            file!(),
            "/chat as chat: 200",
            "charged 1 requests 3 tokens",
            "429 refused, charged nothing (quota_exceeded)",
        ] {
            assert!(said.contains(part), "{part:?} is missing in {said}");
        }
    }
}

#[tokio::test]
async fn a_response_that_is_held_is_found_at_shutdown() {
    let meter = Meter::test().plan("free", Quota::per_day(5)).start().await;
    let held = ask(&meter, meter.request("/chat")).await;
    let said = complaint(meter.shutdown()).await;
    assert!(
        said.contains("left") || said.contains("leased") || said.contains("given back"),
        "{said}"
    );
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_still_fails_is_found_at_the_end() {
    let meter = Meter::test().plan("free", Quota::per_day(5)).start().await;
    let _ = ask(&meter, meter.request("/chat")).await;
    meter.store().fail_all(StoreErrorKind::Unavailable);
    assert!(complaint(meter.events()).await.contains("told to fail"));
    assert!(complaint(meter.shutdown()).await.contains("told to fail"));
}
