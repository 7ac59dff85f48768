//! Which requests are charged: each rule for each way in which a request can end.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use hm_metering::usage::Outcome;
use hm_metering::{Charge, ChargeRule, Ending, MeterName, Overrun, Units};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, handler};

/// How the handler of a test ends its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answers(u16),
    /// A gRPC call, with this status in its trailers.
    Calls(u8),
    /// The same with this status in its head, and nothing else.
    CallsInHead(u8),
    /// A gRPC call that ends before its status.
    LosesStatus,
    /// A call of gRPC-Web, which has its status in the body.
    CallsFromWeb,
    FailsInBody,
    Fails,
    Panics,
    PanicsInBody,
    Leaves,
    LeavesInBody,
    TimesOut,
    TakesTooMuch,
    TakesTooMuchInBody,
}

/// Each way, what it looks like from outside, and whether it is charged unless said.
const ENDS: [(End, Outcome, u16, bool); 18] = [
    (End::Answers(200), Outcome::Completed, 200, true),
    (End::Answers(404), Outcome::Completed, 404, true),
    (End::Answers(500), Outcome::Completed, 500, false),
    (End::Calls(0), Outcome::Completed, 200, true),
    (End::Calls(3), Outcome::Completed, 200, true),
    (End::Calls(13), Outcome::Completed, 200, false),
    (End::CallsInHead(0), Outcome::Completed, 200, true),
    (End::CallsInHead(14), Outcome::Completed, 200, false),
    (End::LosesStatus, Outcome::Completed, 200, false),
    (End::CallsFromWeb, Outcome::Completed, 200, true),
    (End::FailsInBody, Outcome::BodyError, 200, false),
    (End::Fails, Outcome::ServiceError, 500, false),
    (End::Panics, Outcome::Panicked, 500, false),
    (End::PanicsInBody, Outcome::Panicked, 200, false),
    (End::Leaves, Outcome::ClientGone, 499, true),
    (End::LeavesInBody, Outcome::ClientGone, 200, true),
    (End::TakesTooMuch, Outcome::Stopped, 429, true),
    (End::TakesTooMuchInBody, Outcome::Stopped, 200, true),
];

type BoxBody = Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error> + Send>>;

/// A body made of a function that is asked for each frame.
struct Made<F>(F);

impl<F> Body for Made<F>
where
    F: FnMut() -> Option<Result<Frame<Bytes>, std::io::Error>> + Unpin,
{
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready((self.0)())
    }
}

fn data() -> Frame<Bytes> {
    Frame::data(Bytes::from_static(b"data"))
}

async fn answer(end: End, charge: Charge) -> Result<Response<BoxBody>, std::io::Error> {
    let mut frames = vec![Ok(data())];
    let mut response = Response::builder();
    match end {
        End::Answers(status) => response = response.status(status),
        End::Calls(status) => {
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", status.to_string().parse().unwrap());
            frames.push(Ok(Frame::trailers(trailers)));
        }
        End::CallsInHead(status) => {
            response = response.header("grpc-status", u16::from(status));
            frames.clear();
        }
        End::FailsInBody => frames.push(Err(std::io::Error::other("broken"))),
        End::Fails => return Err(std::io::Error::other("broken")),
        End::Panics => panic!("a handler's mistake"),
        End::Leaves => std::future::pending().await,
        End::LeavesInBody | End::LosesStatus | End::CallsFromWeb => {}
        End::TimesOut => {
            charge.note_timeout();
            response = response.status(503);
        }
        End::TakesTooMuch => charge.set(&MeterName::REQUESTS, Units::new(1_000)),
        End::PanicsInBody => {
            return Ok(Response::new(Box::pin(Made(|| panic!("a body's mistake")))));
        }
        End::TakesTooMuchInBody => {
            return Ok(Response::new(Box::pin(Made(move || {
                charge.set(&MeterName::REQUESTS, Units::new(1_000));
                Some(Ok(data()))
            }))));
        }
    }
    let body: BoxBody = Box::pin(StreamBody::new(futures_util::stream::iter(frames)));
    Ok(response.body(body).unwrap())
}

/// Lets a request of two units end that way, and checks that it left one event and one settlement.
async fn run(rule: ChargeRule, end: End, outcome: Outcome, status: u16, is_charged: bool) {
    let plans = FIVE.replace("limit = 1000,", "limit = 1000000,");
    let stage = Stage::new(&plans).await;
    exhaust(&stage).await;
    let layer = stage
        .meter
        .layer("facts")
        .cost(2)
        .charge(rule)
        .overrun(Overrun::Reject);
    let service = layer.layer(handler(move |request: Request<Full<Bytes>>| {
        let charge = request.extensions().get::<Charge>().unwrap().clone();
        answer(end, charge)
    }));
    let mut request = stage.request();
    let content_type = match end {
        End::Calls(_) | End::CallsInHead(_) | End::LosesStatus => Some("application/grpc"),
        End::CallsFromWeb => Some("application/grpc-web+proto"),
        _ => None,
    };
    if let Some(content_type) = content_type {
        request
            .headers_mut()
            .insert(CONTENT_TYPE, content_type.parse().unwrap());
    }
    let served = tokio::spawn(async move {
        let mut response = Box::pin(service.oneshot(request));
        if end == End::Leaves {
            for _ in 0..3 {
                assert!((&mut response).now_or_never().is_none());
                tokio::task::yield_now().await;
            }
            return;
        }
        let Ok(response) = response.await else { return };
        let mut body = response.into_body();
        if end == End::LeavesInBody {
            body.frame().await.unwrap().unwrap();
        } else {
            while let Some(Ok(_)) = body.frame().await {}
        }
    });
    let panicked = served.await.is_err();
    assert_eq!(panicked, outcome == Outcome::Panicked, "{end:?}");
    let event = stage.events().await.pop().unwrap();
    assert_eq!((event.outcome, event.status), (outcome, status), "{end:?}");
    let charged = Units::new(if is_charged { 2 } else { 0 });
    assert_eq!(event.units_of(&MeterName::REQUESTS), charged, "{end:?}");
    assert_eq!(
        stage.events_in_store().await.len(),
        2,
        "{end:?}: the one before and this one"
    );
    assert_eq!(stage.balance().await.used, charged.plus(Units::ONE), "{end:?}");
    assert!(
        stage
            .meter
            .shutdown(std::time::Duration::from_secs(5))
            .await
            .released
    );
    assert_eq!(
        stage.balance().await.leased,
        Units::ZERO,
        "{end:?}: all is given back"
    );
}

/// Uses one unit and lets the store say that beyond the rest there is nothing.
async fn exhaust(stage: &Stage) {
    let ask = |cost| {
        let service = stage
            .meter
            .layer("facts")
            .cost(cost)
            .layer(handler(crate::stage::facts));
        async {
            service
                .oneshot(stage.request())
                .await
                .unwrap()
                .into_body()
                .collect()
                .await
                .unwrap()
        }
    };
    ask(1).await;
    let balance = || async { stage.balance().await.leased };
    while balance().await < Units::new(4) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn those_that_succeed_are_charged_unless_said() {
    for (end, outcome, status, is_charged) in ENDS {
        run(ChargeRule::OnSuccess, end, outcome, status, is_charged).await;
    }
    run(
        ChargeRule::OnSuccess,
        End::TimesOut,
        Outcome::TimedOut,
        503,
        false,
    )
    .await;
}

#[tokio::test]
async fn all_are_charged_if_so_said() {
    for (end, outcome, status, _) in ENDS {
        run(ChargeRule::Always, end, outcome, status, true).await;
    }
    run(ChargeRule::Always, End::TimesOut, Outcome::TimedOut, 503, true).await;
}

#[tokio::test]
async fn none_is_charged_if_so_said() {
    for (end, outcome, status, _) in ENDS {
        run(ChargeRule::Never, end, outcome, status, false).await;
    }
}

#[tokio::test]
async fn a_rule_is_asked_once_and_told_how_the_request_ended() {
    for (end, outcome, status, is_success) in ENDS {
        let asked: Arc<Mutex<Vec<Ending>>> = Arc::default();
        let rule = ChargeRule::when({
            let asked = Arc::clone(&asked);
            move |ending| {
                asked.lock().unwrap().push(*ending);
                !ending.is_success()
            }
        });
        run(rule, end, outcome, status, !is_success).await;
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked.len(), 1, "{end:?}");
        let ending = asked[0];
        assert_eq!(ending.outcome(), outcome, "{end:?}");
        let known = matches!(end, End::Leaves | End::Fails | End::Panics);
        assert_eq!(
            ending.status().map(|status| status.as_u16()),
            (!known).then_some(status),
            "{end:?}"
        );
        let grpc = match end {
            End::Calls(status) | End::CallsInHead(status) => Some(status),
            // UNKNOWN, as for its caller.
            End::LosesStatus => Some(2),
            _ => None,
        };
        assert_eq!(ending.grpc_status(), grpc, "{end:?}");
    }
}

#[tokio::test]
async fn a_rule_is_not_asked_before_the_end_and_the_head_counts_what_a_success_takes() {
    let stage = Stage::new(FIVE).await;
    let asked: Arc<Mutex<Vec<Ending>>> = Arc::default();
    let rule = ChargeRule::when({
        let asked = Arc::clone(&asked);
        move |ending| {
            asked.lock().unwrap().push(*ending);
            ending.status().is_none_or(|status| status != 404)
        }
    });
    for (status, used, charged) in [(200, 1, 1), (500, 1, 2), (404, 3, 2), (200, 3, 3)] {
        let answering = handler(move |request: Request<Full<Bytes>>| {
            answer(
                End::Answers(status),
                request.extensions().get::<Charge>().unwrap().clone(),
            )
        });
        let layer = stage.meter.layer("facts").charge(rule.clone());
        let response = layer.layer(answering).oneshot(stage.request()).await.unwrap();
        assert_eq!(response.headers()["x-ratelimit-used"], used.to_string());
        assert_eq!(asked.lock().unwrap().len(), 0);
        response.into_body().collect().await.unwrap();
        assert_eq!(std::mem::take(&mut *asked.lock().unwrap()).len(), 1);
        stage.events().await;
        assert_eq!(stage.balance().await.used, Units::new(charged));
    }
}

#[tokio::test]
async fn a_rule_that_panics_charges_nothing_even_while_its_handler_panics() {
    for (end, outcome, status, _) in ENDS {
        run(
            ChargeRule::when(|_| panic!("a rule's mistake")),
            end,
            outcome,
            status,
            false,
        )
        .await;
    }
}
