//! What becomes of a request that takes more than was reserved, while the quota store is away and its operation has an
//! allowance for such times.

use hm_metering::testing::StoreCall;
use hm_metering::usage::{Event, Outcome};
use hm_metering::{Charge, MeterName, OnUnavailable, Overrun, StoreErrorKind, Units};
use http::Request;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

const TOKENS: MeterName = MeterName::from_static("tokens");
const PLAN_TOKENS: u64 = 1_000;
/// What the operation may have of each meter while the store is away.
const ALLOWANCE: u32 = 5;
/// What it says a request takes.
const DECLARED: u64 = 2;

async fn stage() -> Stage {
    let plans = FIVE.replace("limit = 5,", "limit = 1000,").replace(
        "quotas = [",
        &format!("quotas = [{{ meter = \"tokens\", limit = {PLAN_TOKENS}, period = \"day\" }}, "),
    );
    Stage::new(&plans).await
}

/// Sends a request that takes `said` tokens, as it turns out.
async fn ask(stage: &Stage, overrun: Overrun, said: u64) -> u16 {
    let layer = stage
        .meter
        .layer("chat")
        .cost_of("tokens", Units::new(DECLARED))
        .unwrap()
        .on_unavailable(OnUnavailable::Safe { units: ALLOWANCE })
        .overrun(overrun);
    let service = layer.layer(handler(move |request: Request<Full<bytes::Bytes>>| async move {
        let charge = request.extensions().get::<Charge>().unwrap();
        charge.set(&TOKENS, Units::new(said));
        facts(request).await
    }));
    let response = service.oneshot(stage.request()).await.unwrap();
    let status = response.status().as_u16();
    response.into_body().collect().await.unwrap();
    status
}

fn tokens(event: &Event) -> u64 {
    event.units_of(&TOKENS).get()
}

#[tokio::test(start_paused = true)]
async fn what_exceeds_the_allowance_is_charged_capped_or_stopped_as_the_operation_says() {
    for (overrun, status, outcome, charged) in [
        (Overrun::Overflow, 200, Outcome::Completed, 40),
        (Overrun::Cap, 200, Outcome::Completed, DECLARED),
        (Overrun::Reject, 429, Outcome::Stopped, DECLARED),
    ] {
        let stage = stage().await;
        for call in [StoreCall::Lease, StoreCall::Balances] {
            stage.flaky.fail_every(call, StoreErrorKind::Unavailable);
        }
        assert_eq!(ask(&stage, overrun, 40).await, status, "{overrun:?}");
        // As many more as the allowance still has room for, and not one beyond.
        let room = u64::from(ALLOWANCE).saturating_sub(charged) / DECLARED;
        for _ in 0..room {
            assert_eq!(ask(&stage, overrun, DECLARED).await, 200, "{overrun:?}");
        }
        assert_eq!(ask(&stage, overrun, DECLARED).await, 503, "{overrun:?}");
        stage.flaky.recover();
        let report = stage.meter.shutdown(std::time::Duration::from_secs(5)).await;
        assert!(report.recorded && report.released, "{overrun:?} {report:?}");

        let events = stage.events_in_store().await;
        let first = &events[0];
        assert_eq!((first.outcome, tokens(first)), (outcome, charged), "{overrun:?}");
        assert!(
            first.tags.contains(&("fallback".to_owned(), "safe".to_owned())),
            "{overrun:?} {:?}",
            first.tags
        );
        let sum: u64 = events.iter().map(tokens).sum();
        assert_eq!(sum, charged + room * DECLARED, "{overrun:?}");
        let balance = stage.day_of(&TOKENS).await;
        assert_eq!(
            (balance.used.get(), balance.leased),
            (sum, Units::ZERO),
            "{overrun:?}"
        );
    }
}
