use std::collections::BTreeMap;
use std::sync::Mutex;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use uuid::Uuid;

use super::*;
use crate::key::KeyEnv;
use crate::refusal::ViolatedLimit;

type Fields = BTreeMap<&'static str, String>;

/// Keeps the events that it is told of.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Fields>>>);

struct Reader<'a>(&'a mut Fields);

impl Visit for Reader<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::new();
        event.record(&mut Reader(&mut fields));
        self.0.lock().unwrap().push(fields);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn trace(refusal: Refusal) -> DecisionTrace {
    let uuid = Uuid::from_u128;
    let plan = PlanId::from_static("free");
    let principal = Principal::new(AccountId::from_uuid(uuid(1)), plan, Timestamp::MIN)
        .with_key(KeyId::from_uuid(uuid(2)), KeyEnv::Live);
    let operation = Operation::new(OperationName::from_static("facts"));
    DecisionTrace::new(
        Some(refusal),
        None,
        Some(principal),
        Some(Arc::new(operation)),
        "r-1".to_owned(),
    )
}

fn used_up() -> Refusal {
    Refusal::new(RefusalKind::QuotaExceeded)
        .with_retry_after(std::time::Duration::from_micros(1_500_001))
        .with_limit(ViolatedLimit {
            name: "month".to_owned(),
            limit: Units::new(5),
            remaining: Units::ONE,
            elsewhere: Units::ZERO,
            needed: Units::new(2),
            reset: Some(Timestamp::from_micros(1_798_156_800_000_000)),
        })
}

#[test]
fn a_refusal_is_one_event_in_the_log_with_all_that_was_known() {
    let log = Log::default();
    tracing::subscriber::with_default(log.clone(), || trace(used_up()).log());
    let events = log.0.lock().unwrap();
    assert_eq!(events.len(), 1);
    for (name, value) in [
        ("message", "a request was refused"),
        ("refusal.code", "\"quota_exceeded\""),
        ("key.state", "\"accepted\""),
        ("account.id", "00000000-0000-0000-0000-000000000001"),
        ("key.id", "00000000-0000-0000-0000-000000000002"),
        ("plan.name", "free"),
        ("operation.name", "facts"),
        ("limit.name", "\"month\""),
        ("limit.remaining", "1"),
        ("limit.needed", "2"),
        ("limit.reset", "2026-12-25T00:00:00Z"),
        ("retry_after_ms", "1501"),
        ("request.id", "\"r-1\""),
    ] {
        assert_eq!(events[0].get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[test]
fn it_is_written_as_json() {
    assert_eq!(
        serde_json::to_value(trace(used_up())).unwrap(),
        serde_json::json!({
            "decision": "refused",
            "code": "quota_exceeded",
            "detail": "The month quota allows 5 units; this request needs 2 and 1 are left.",
            "requestId": "r-1",
            "operation": "facts",
            "accountId": "00000000-0000-0000-0000-000000000001",
            "keyId": "00000000-0000-0000-0000-000000000002",
            "plan": "free",
            "keyState": "accepted",
            "retryAfterMs": 1_501,
            "costs": [{ "meter": "requests", "units": 1 }],
            "limits": [{
                "name": "month",
                "violated": true,
                "limit": 5,
                "remaining": 1,
                "elsewhere": 0,
                "needed": 2,
                "reset": "2026-12-25T00:00:00Z",
            }],
        })
    );
}

#[test]
fn it_tells_operators_what_callers_do_not_learn() {
    let state = |kind| trace(Refusal::new(kind)).key_state().as_str();
    assert_eq!(state(RefusalKind::InvalidKey(InvalidKey::Revoked)), "revoked");
    assert_eq!(state(RefusalKind::InvalidKey(InvalidKey::Unknown)), "unknown");
    assert_eq!(state(RefusalKind::MissingKey), "missing");
    assert_eq!(state(RefusalKind::MissingScope), "accepted");
    let nobody = Refusal::new(RefusalKind::Unavailable);
    let nobody = DecisionTrace::new(Some(nobody), None, None, None, String::new());
    assert_eq!(nobody.key_state(), KeyState::NotChecked);
}
