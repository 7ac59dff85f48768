//! What becomes of a request that says what it takes faster than units can be leased.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use hm_metering::usage::{Event, Outcome};
use hm_metering::{Charge, Meter, Overrun, Units};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt};

use crate::stage::{Stage, TOKENS, charged, handler, over, tokens, until};

/// The answer of a handler that says `head` units before it answers, and then one unit for each of `frames` frames, all of
/// which are there at once.
async fn burst(meter: &Meter, stage: &Stage, overrun: Overrun, head: u64, frames: usize) -> Response<Got> {
    let layer = meter
        .layer("chat")
        .cost_of("tokens", Units::ZERO)
        .unwrap()
        .overrun(overrun);
    let service = layer.layer(handler(move |request: Request<Full<Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap().clone();
        charge.set(&TOKENS, head);
        let frames = stream::iter(0..frames).map(move |_| {
            charge.add(&TOKENS, 1_u64);
            Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")))
        });
        Ok(Response::new(StreamBody::new(frames)))
    }));
    let (parts, mut body) = service.oneshot(stage.request()).await.unwrap().into_parts();
    let mut got = Got::default();
    loop {
        match body.frame().await {
            None => got.whole = true,
            Some(Err(_)) => {}
            Some(Ok(frame)) => {
                got.bytes += frame.data_ref().map_or(0, Bytes::len);
                continue;
            }
        }
        return Response::from_parts(parts, got);
    }
}

#[derive(Debug, Default)]
struct Got {
    bytes: usize,
    whole: bool,
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_much_at_once_is_charged_in_full() {
    for overrun in [Overrun::Cap, Overrun::Reject, Overrun::Overflow] {
        let stage = Stage::new(&tokens(1_000_000)).await;
        let response = burst(&stage.meter, &stage, overrun, 50_000, 1).await;
        assert_eq!((response.status().as_u16(), response.body().bytes), (200, 1));
        assert_eq!(charged(&over(&stage, None).await), 50_001, "{overrun:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_there_at_once_is_charged_in_full() {
    for overrun in [Overrun::Cap, Overrun::Reject, Overrun::Overflow] {
        let stage = Stage::new(&tokens(1_000_000)).await;
        let response = burst(&stage.meter, &stage, overrun, 0, 5_000).await;
        assert!(response.body().whole, "{overrun:?}");
        assert_eq!(response.body().bytes, 5_000);
        let events = over(&stage, None).await;
        assert_eq!(charged(&events), 5_000, "{overrun:?}");
        assert!(!events[0].over);
    }
}

#[tokio::test(start_paused = true)]
async fn a_capped_burst_is_charged_up_to_the_limit_exactly() {
    for (head, frames) in [(0, 300), (300, 1), (90, 210)] {
        let stage = Stage::new(&tokens(100)).await;
        let response = burst(&stage.meter, &stage, Overrun::Cap, head, frames).await;
        assert_eq!((response.body().bytes, response.body().whole), (frames, true));
        let events = over(&stage, None).await;
        assert_eq!(
            (charged(&events), events[0].over),
            (100, false),
            "{head} {frames}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_stopped_at_the_limit_exactly() {
    let stage = Stage::new(&tokens(100)).await;
    let response = burst(&stage.meter, &stage, Overrun::Reject, 0, 300).await;
    assert_eq!((response.body().bytes, response.body().whole), (100, false));
    let events = over(&stage, None).await;
    assert_eq!((charged(&events), events[0].outcome), (100, Outcome::Stopped));
    assert_eq!(events[0].bytes_out, 100);
}

#[tokio::test(start_paused = true)]
async fn bursts_on_two_replicas_are_charged_for_what_they_handed_over() {
    for overrun in [Overrun::Cap, Overrun::Reject] {
        let stage = Stage::new(&tokens(10_000)).await;
        let other = stage.second_meter(&tokens(10_000)).await;
        let bursts = (0..20).map(|number| {
            let meter = if number % 2 == 0 { &stage.meter } else { &other };
            burst(meter, &stage, overrun, 0, 10 + number * 7)
        });
        let got = futures_util::future::join_all(bursts).await;
        let bytes: usize = got.iter().map(|response| response.body().bytes).sum();
        assert!(got.iter().all(|response| response.body().whole));
        assert_eq!(
            charged(&over(&stage, Some(&other)).await),
            bytes as u64,
            "{overrun:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_does_not_wait_for_ever_for_a_store_that_hangs() {
    for (overrun, status, least) in [
        (Overrun::Cap, 200, 0),
        (Overrun::Reject, 429, 0),
        (Overrun::Overflow, 200, 50_001),
    ] {
        let stage = Stage::new(&tokens(1_000_000)).await;
        // The door is open: the balance is known, and the first lease is there.
        burst(&stage.meter, &stage, overrun, 1, 0).await;
        stage.flaky.hang();
        let began = tokio::time::Instant::now();
        let response = burst(&stage.meter, &stage, overrun, 50_000, 1).await;
        assert!(began.elapsed() <= Duration::from_secs(3), "{:?}", began.elapsed());
        assert_eq!(response.status().as_u16(), status, "{overrun:?}");
        stage.flaky.recover();
        assert!(charged(&over(&stage, None).await) >= least);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_while_its_answer_waits_is_one_event() {
    let stage = Stage::new(&tokens(1_000_000)).await;
    burst(&stage.meter, &stage, Overrun::Cap, 1, 0).await;
    stage.flaky.hang();
    for (head, frames) in [(50_000, 1), (0, 50_000)] {
        let mut waiting = Box::pin(burst(&stage.meter, &stage, Overrun::Cap, head, frames));
        assert!((&mut waiting).now_or_never().is_none());
        until(|| stage.flaky.hanging() > 0).await;
    }
    stage.flaky.recover();
    let events = over(&stage, None).await;
    let left = |event: &&Event| event.outcome == Outcome::ClientGone;
    assert_eq!((events.len(), events.iter().filter(left).count()), (3, 2));
}
