//! Time limits around and inside of a metered service: what is charged, and what the ledger says.

use std::time::Duration;

use bytes::Bytes;
use hm_metering::usage::{Event, Outcome};
use hm_metering::{Charge, MeterName, Units};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::timeout;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

const LIMIT: Duration = Duration::from_secs(30);

type Answer = Result<Response<Full<Bytes>>, std::io::Error>;

/// A service that takes longer than any limit.
async fn slow() -> Answer {
    tokio::time::sleep(LIMIT * 10).await;
    facts(Request::default()).await
}

/// The answer of a layer that gives up on what is inside, as `TimeoutLayer` of tower-http does.
async fn within_limit(answer: impl Future<Output = Answer>) -> Answer {
    timeout(LIMIT, answer)
        .await
        .unwrap_or_else(|_| Ok(Response::builder().status(408).body(Full::default()).unwrap()))
}

async fn one_event(stage: &Stage, outcome: Outcome, status: u16, units: u64) -> Event {
    let event = stage.event().await;
    assert_eq!((event.outcome, event.status), (outcome, status));
    assert_eq!(event.units_of(&MeterName::REQUESTS), Units::new(units));
    assert_eq!(stage.balance().await.used, Units::new(units));
    event
}

#[tokio::test(start_paused = true)]
async fn a_limit_inside_makes_an_answer_that_is_judged_by_its_status() {
    let stage = Stage::new(FIVE).await;
    let service = stage
        .meter
        .layer("facts")
        .layer(handler(|_| within_limit(slow())));
    let response = service.oneshot(stage.request()).await.unwrap();
    assert_eq!(response.status(), 408);
    response.into_body().collect().await.unwrap();
    one_event(&stage, Outcome::Completed, 408, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_inside_that_says_so_costs_nothing() {
    let stage = Stage::new(FIVE).await;
    let service = stage
        .meter
        .layer("facts")
        .layer(handler(|request: Request<Full<Bytes>>| {
            let charge = request.extensions().get::<Charge>().unwrap().clone();
            async move {
                let answer = within_limit(slow()).await;
                charge.note_timeout();
                answer
            }
        }));
    let response = service.oneshot(stage.request()).await.unwrap();
    response.into_body().collect().await.unwrap();
    one_event(&stage, Outcome::TimedOut, 408, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_inside_that_fails_the_service_costs_nothing() {
    let stage = Stage::new(FIVE).await;
    // As the time limit of tower does.
    let service = stage.meter.layer("facts").layer(handler(|_| async {
        let answer = timeout(LIMIT, slow()).await;
        answer.map_err(|elapsed| std::io::Error::other(elapsed.to_string()))?
    }));
    assert!(service.oneshot(stage.request()).await.is_err());
    one_event(&stage, Outcome::ServiceError, 500, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_limit_outside_looks_like_a_client_that_leaves_and_is_charged() {
    let stage = Stage::new(FIVE).await;
    let service = stage.meter.layer("facts").layer(handler(|_| slow()));
    assert!(timeout(LIMIT, service.oneshot(stage.request())).await.is_err());
    one_event(&stage, Outcome::ClientGone, 499, 1).await;
}
