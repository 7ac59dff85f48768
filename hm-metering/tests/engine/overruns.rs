//! What becomes of a request that takes more than was reserved for it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hm_metering::testing::StoreCall;
use hm_metering::usage::Outcome;
use hm_metering::{Charge, Meter, Overrun, StoreErrorKind, Units};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{Stage, TOKENS, charged, facts, handler, over, tokens};

/// Hands over this many tokens, and charges for each.
struct TokenStream {
    charge: Charge,
    left: u64,
}

impl Body for TokenStream {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        self.charge.add(&TOKENS, Units::ONE);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"token")))))
    }
}

/// What a client got of a stream: how many tokens, and whether it was whole.
async fn stream(meter: &Meter, stage: &Stage, overrun: Overrun, asked: u64) -> (u16, u64, bool) {
    let layer = meter
        .layer("chat")
        .cost_of("tokens", Units::ZERO)
        .unwrap()
        .overrun(overrun);
    let service = layer.layer(handler(move |request: Request<Full<Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap().clone();
        charge.set(&TOKENS, Units::ZERO);
        Ok(Response::new(TokenStream { charge, left: asked }))
    }));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    let (mut body, mut got) = (response.into_body(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return (status, got, false);
        };
        got += u64::from(status == 200 && frame.is_data());
        // What takes time in earnest: others get their turn, and what is leased in the background arrives.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    (status, got, true)
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_too_much_is_stopped_at_the_limit_and_charged_for_what_came() {
    let stage = Stage::new(&tokens(30)).await;
    let (status, got, whole) = stream(&stage.meter, &stage, Overrun::Reject, 100).await;
    assert_eq!((status, whole), (200, false));
    assert_eq!(stream(&stage.meter, &stage, Overrun::Reject, 1).await.0, 429);
    let events = over(&stage, None).await;
    assert_eq!(events[0].outcome, Outcome::Stopped);
    assert_eq!((charged(&events), got), (30, 30));
    assert!(!events[0].over, "nothing went over the limit");
}

#[tokio::test(start_paused = true)]
async fn a_capped_stream_goes_on_and_is_charged_up_to_the_limit() {
    let stage = Stage::new(&tokens(30)).await;
    assert_eq!(
        stream(&stage.meter, &stage, Overrun::Cap, 100).await,
        (200, 100, true)
    );
    let events = over(&stage, None).await;
    assert_eq!((events[0].outcome, charged(&events)), (Outcome::Completed, 30));
    assert!(!events[0].over);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_overflows_is_charged_in_full_and_marked() {
    let stage = Stage::new(&tokens(30)).await;
    assert_eq!(
        stream(&stage.meter, &stage, Overrun::Overflow, 20).await,
        (200, 20, true)
    );
    assert_eq!(
        stream(&stage.meter, &stage, Overrun::Overflow, 20).await,
        (200, 20, true)
    );
    assert_eq!(stream(&stage.meter, &stage, Overrun::Overflow, 1).await.0, 429);
    let events = over(&stage, None).await;
    let seen: Vec<_> = events
        .iter()
        .map(|event| (event.units_of(&TOKENS).get(), event.over))
        .collect();
    assert_eq!(seen, [(20, false), (20, true), (0, false)]);
}

#[tokio::test(start_paused = true)]
async fn streams_on_two_replicas_never_take_more_than_the_limit_together() {
    for overrun in [Overrun::Reject, Overrun::Cap] {
        let stage = Stage::new(&tokens(500)).await;
        let other = stage.second_meter(&tokens(500)).await;
        let streams = (0..20).map(|number| {
            let meter = if number % 2 == 0 { &stage.meter } else { &other };
            stream(meter, &stage, overrun, 10 + number * 7)
        });
        let got = futures_util::future::join_all(streams).await;
        assert!(got.iter().map(|(_, got, _)| got).sum::<u64>() > 400, "{got:?}");
        let events = over(&stage, Some(&other)).await;
        assert!(
            charged(&events) <= 500 && charged(&events) > 400,
            "{overrun:?}: {}",
            charged(&events)
        );
        assert!(events.iter().all(|event| !event.over));
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_overflow_on_two_replicas_are_marked() {
    let stage = Stage::new(&tokens(100)).await;
    let other = stage.second_meter(&tokens(100)).await;
    let streams = [&stage.meter, &other].map(|meter| stream(meter, &stage, Overrun::Overflow, 80));
    futures_util::future::join_all(streams).await;
    let events = over(&stage, Some(&other)).await;
    assert_eq!(charged(&events), 160);
    assert!(events.iter().any(|event| event.over));
}

#[tokio::test(start_paused = true)]
async fn the_units_of_a_long_stream_are_leased_in_the_background_and_few_times() {
    let stage = Stage::new(&tokens(1_000_000)).await;
    let before = stage.flaky.calls();
    assert_eq!(
        stream(&stage.meter, &stage, Overrun::Reject, 20_000).await,
        (200, 20_000, true)
    );
    let leases = stage.flaky.calls().since(&before).of(StoreCall::Lease);
    assert!(leases < 40, "{leases} leases for 20,000 tokens");
    assert_eq!(charged(&over(&stage, None).await), 20_000);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_store_fails_is_stopped_when_its_lease_is_spent() {
    let stage = Stage::new(&tokens(1_000)).await;
    assert_eq!(
        stream(&stage.meter, &stage, Overrun::Reject, 1).await,
        (200, 1, true)
    );
    stage
        .flaky
        .fail_every(StoreCall::Lease, StoreErrorKind::Unavailable);
    let (_, got, whole) = stream(&stage.meter, &stage, Overrun::Reject, 1_000).await;
    assert!(!whole && got < 1_000, "{got}");
    stage.flaky.recover();
    assert!(charged(&over(&stage, None).await) <= got + 1);
}

/// Asks for `units` of tokens in a handler that answers at once.
async fn ask(stage: &Stage, overrun: Overrun, words: &'static [u64]) -> Response<Bytes> {
    let layer = stage
        .meter
        .layer("chat")
        .cost_of("tokens", Units::new(10))
        .unwrap()
        .overrun(overrun);
    let service = layer.layer(handler(move |request: Request<Full<Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap();
        for units in words {
            charge.set(&TOKENS, Units::new(*units));
        }
        facts(request).await
    }));
    let (parts, body) = service.oneshot(stage.request()).await.unwrap().into_parts();
    Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_has_not_begun_becomes_a_refusal() {
    for (words, code) in [(&[5, 20][..], "quota_exceeded"), (&[1_000], "cost_exceeds_limit")] {
        let stage = Stage::new(&tokens(25)).await;
        assert_eq!(ask(&stage, Overrun::Reject, &[10]).await.status(), 200);
        let response = ask(&stage, Overrun::Reject, words).await;
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(problem["code"], code);
        let event = over(&stage, None).await.pop().unwrap();
        assert_eq!((event.outcome, event.status), (Outcome::Stopped, 429));
        assert_eq!(event.bytes_out, response.body().len() as u64);
        assert_eq!(
            event.units_of(&TOKENS),
            Units::new(10),
            "what was reserved at the door"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn saying_less_gives_back_at_once() {
    let stage = Stage::new(&tokens(40)).await;
    let layer = stage
        .meter
        .layer("chat")
        .cost_of("tokens", Units::new(10))
        .unwrap();
    let service = layer.layer(handler(|request: Request<Full<Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap();
        for _ in 0..10 {
            charge.set(&TOKENS, Units::new(40));
            tokio::task::yield_now().await;
        }
        charge.set(&TOKENS, Units::new(3));
        std::future::pending::<Result<Response<Full<Bytes>>, _>>().await
    }));
    let mut held = Box::pin(service.oneshot(stage.request()));
    for _ in 0..50 {
        assert!((&mut held).now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    // The one under way holds the ten it took at the door, and no more.
    for _ in 0..3 {
        assert_eq!(ask(&stage, Overrun::Overflow, &[]).await.status(), 200);
    }
    assert_eq!(ask(&stage, Overrun::Overflow, &[]).await.status(), 429);
    drop(held);
    assert_eq!(charged(&over(&stage, None).await), 33);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_after_the_end_takes_nothing() {
    let stage = Stage::new(&tokens(40)).await;
    let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
    let layer = stage.meter.layer("chat").cost_of("tokens", Units::ONE).unwrap();
    let service = layer.layer(handler({
        let kept = std::sync::Arc::clone(&kept);
        move |request: Request<Full<Bytes>>| {
            *kept.lock().unwrap() = request.extensions().get::<Charge>().cloned();
            facts(request)
        }
    }));
    let response = service.oneshot(stage.request()).await.unwrap();
    response.into_body().collect().await.unwrap();
    let charge = kept.lock().unwrap().take().unwrap();
    charge.add(&TOKENS, Units::new(5));
    charge.tag("late", "word");
    let events = over(&stage, None).await;
    assert_eq!((events.len(), charged(&events)), (1, 1));
    assert!(events[0].tags.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_used_units_that_callers_are_shown_never_sink() {
    let stage = Stage::new(&tokens(1_000)).await;
    let mut shown = 0;
    for words in [&[][..], &[100], &[2], &[0], &[40, 1], &[3]] {
        // A response whose charge is lowered after its head, and one that fails.
        for fails in [false, true] {
            let layer = stage
                .meter
                .layer("chat")
                .cost_of("tokens", Units::new(50))
                .unwrap();
            let service = layer.layer(handler(move |request: Request<Full<Bytes>>| async move {
                let charge = request.extensions().get::<Charge>().unwrap().clone();
                let frames = words.iter().map(move |units| {
                    charge.set(&TOKENS, Units::new(*units));
                    if fails {
                        Err(std::io::Error::other("no"))
                    } else {
                        Ok(Frame::data(Bytes::from_static(b"x")))
                    }
                });
                Ok(Response::new(http_body_util::StreamBody::new(
                    futures_util::stream::iter(frames),
                )))
            }));
            let response = service.oneshot(stage.request()).await.unwrap();
            let used: u64 = response.headers()["x-ratelimit-used"]
                .to_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!(used >= shown, "{used} after {shown}");
            shown = used;
            let _ = response.into_body().collect().await;
        }
    }
    over(&stage, None).await;
}

/// Charges, failures and idle times in any order, on two replicas.
#[tokio::test(start_paused = true)]
async fn nothing_that_is_leased_stays_away_for_ever() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    for _ in 0..12 {
        let limit = 50 + random(400);
        let stage = Stage::new(&tokens(limit)).await;
        let other = stage.second_meter(&tokens(limit)).await;
        for _ in 0..60 {
            let meter = if random(2) == 0 { &stage.meter } else { &other };
            let overrun = [Overrun::Overflow, Overrun::Cap, Overrun::Reject][random(3) as usize];
            match random(10) {
                0 => stage
                    .flaky
                    .fail_every(StoreCall::Lease, StoreErrorKind::Unavailable),
                1 => stage
                    .flaky
                    .fail_every(StoreCall::Release, StoreErrorKind::Unexpected),
                2 | 3 => stage.flaky.recover(),
                4 => pass(&stage, random(8)).await,
                _ => drop(stream(meter, &stage, overrun, random(limit / 3)).await),
            }
            let balance = stage.day_of(&TOKENS).await;
            assert!(
                balance.leased.is_zero() || balance.leased.get() <= limit,
                "{balance:?}"
            );
        }
        stage.flaky.recover();
        // Long enough for every lease to be idle, twice.
        pass(&stage, 30).await;
        assert!(other.flush(Duration::from_secs(5)).await);
        let events = stage.events().await;
        let balance = stage.day_of(&TOKENS).await;
        assert_eq!(
            (balance.used.get(), balance.leased),
            (charged(&events), Units::ZERO)
        );
    }
}

/// Lets time pass on both clocks, so that what is done in the background gets done.
async fn pass(stage: &Stage, seconds: u64) {
    for _ in 0..seconds {
        stage.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
