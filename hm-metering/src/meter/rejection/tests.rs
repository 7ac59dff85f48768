use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use proptest::prelude::*;
use prost::Message as _;
use tonic_types::pb;
use uuid::Uuid;

use super::*;
use crate::id::AccountId;
use crate::keys::InvalidKey;
use crate::name::PlanId;
use crate::refusal::ViolatedLimit;
use crate::time::Timestamp;
use crate::units::Units;

fn limit(name: &str) -> ViolatedLimit {
    ViolatedLimit {
        name: name.to_owned(),
        limit: Units::new(1_000),
        remaining: Units::ZERO,
        elsewhere: Units::ZERO,
        needed: Units::ONE,
        reset: Some(Timestamp::from_micros(1_798_156_800_000_000)),
    }
}

fn rejected(refusal: Refusal, form: Form) -> (Rejection, HeaderMap) {
    let account = AccountId::from_uuid(Uuid::from_u128(7));
    let plan = PlanId::from_static("free");
    let asked = Asked {
        request_id: "r-1".to_owned(),
        form,
        operation: None,
        principal: Some(Principal::new(account, plan, Timestamp::MIN)),
        is_head: false,
    };
    let rejection = Rejection::new(refusal, None, asked);
    let mut headers = HeaderMap::new();
    rejection.write_headers(&rejection.body(), &mut headers);
    (rejection, headers)
}

fn answer(refusal: Refusal) -> (HeaderMap, serde_json::Value) {
    let (rejection, headers) = rejected(refusal, Form::Problem);
    (headers, serde_json::from_slice(&rejection.body()).unwrap())
}

#[test]
fn a_used_up_quota_says_when_it_begins_anew() {
    let refusal = Refusal::new(RefusalKind::QuotaExceeded)
        .with_retry_after(Duration::from_millis(1_036_799_001))
        .with_limit(limit("month"));
    let (headers, body) = answer(refusal);
    assert_eq!(headers["retry-after"], "1036800");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(
        body,
        serde_json::json!({
            "type": problem::QUOTA_EXCEEDED,
            "title": "Quota Exceeded",
            "status": 429,
            "detail": "The month quota allows 1000 units; this request needs 1 and 0 are left.",
            "code": "quota_exceeded",
            "requestId": "r-1",
            "retryAfter": 1_036_800,
            "resetDate": "2026-12-25T00:00:00Z",
            "violated-policies": ["month"],
        })
    );
}

#[test]
fn what_never_fits_is_told_apart_from_what_fits_later() {
    let mut month = limit("month");
    month.needed = Units::new(1_001);
    let (headers, body) = answer(Refusal::new(RefusalKind::CostExceedsLimit).with_limit(month));
    assert!(!headers.contains_key("retry-after"));
    assert_eq!(
        (&body["status"], &body["code"], &body["detail"]),
        (
            &429.into(),
            &"cost_exceeds_limit".into(),
            &"The month limit allows 1000 units at most; this request needs 1001, so waiting does not help."
                .into()
        )
    );
}

#[test]
fn a_missing_key_is_challenged() {
    let (headers, body) = answer(Refusal::new(RefusalKind::MissingKey));
    assert_eq!(headers["www-authenticate"], "Bearer");
    assert_eq!(body["code"], "missing_api_key");
    assert_eq!(body.get("resetDate"), None);
}

#[test]
fn a_call_is_grpc_by_its_content_type() {
    for (sent, form) in [
        ("application/grpc", Form::Grpc("application/grpc")),
        ("application/grpc+proto", Form::Grpc("application/grpc")),
        ("Application/GRPC;charset=x", Form::Grpc("application/grpc")),
        ("application/grpc-web", Form::Grpc("application/grpc-web+proto")),
        (
            "application/grpc-web-text+proto",
            Form::Grpc("application/grpc-web-text+proto"),
        ),
        ("application/json", Form::Problem),
        ("application/grp", Form::Problem),
        ("text/application/grpc", Form::Problem),
    ] {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, sent.parse().unwrap())]);
        assert_eq!(Form::of(&headers), form, "{sent}");
    }
    assert_eq!(Form::of(&HeaderMap::new()), Form::Problem);
}

/// The status of a trailers-only response and its details, decoded by what gRPC clients use.
struct Decoded {
    status: pb::Status,
    info: pb::ErrorInfo,
    retry: Option<pb::RetryInfo>,
    quota: Option<pb::QuotaFailure>,
}

fn decode(headers: &HeaderMap) -> Decoded {
    let bytes = STANDARD_NO_PAD
        .decode(headers["grpc-status-details-bin"].as_bytes())
        .unwrap();
    let status = pb::Status::decode(&*bytes).unwrap();
    assert_eq!(headers["grpc-status"], status.code.to_string());
    let message = percent_encoding::percent_decode(headers["grpc-message"].as_bytes());
    assert_eq!(message.decode_utf8().unwrap(), status.message);
    let find = |name: &str| {
        let url = format!("type.googleapis.com/google.rpc.{name}");
        let any = status.details.iter().find(|any| any.type_url == url);
        any.map(|any| &*any.value)
    };
    Decoded {
        info: pb::ErrorInfo::decode(find("ErrorInfo").unwrap()).unwrap(),
        retry: find("RetryInfo").map(|bytes| pb::RetryInfo::decode(bytes).unwrap()),
        quota: find("QuotaFailure").map(|bytes| pb::QuotaFailure::decode(bytes).unwrap()),
        status,
    }
}

fn grpc(refusal: Refusal) -> (HeaderMap, Decoded) {
    let (rejection, headers) = rejected(refusal, Form::Grpc("application/grpc"));
    assert_eq!(rejection.status(), StatusCode::OK);
    assert!(rejection.body().is_empty());
    assert_eq!(headers["content-type"], "application/grpc");
    assert_eq!(headers["x-request-id"], "r-1");
    let decoded = decode(&headers);
    (headers, decoded)
}

#[test]
fn a_grpc_call_over_its_rate_is_told_when_to_come_again() {
    let refusal = Refusal::new(RefusalKind::RateLimited)
        .with_retry_after(Duration::from_micros(1_500_001))
        .with_limit(limit("second"))
        .with_limit(limit("minute"));
    let (headers, decoded) = grpc(refusal);
    assert_eq!(decoded.status.code, 8);
    assert_eq!(headers["grpc-retry-pushback-ms"], "1501");
    assert_eq!(headers["retry-after"], "2");
    assert_eq!(
        (decoded.info.reason.as_str(), decoded.info.domain.as_str()),
        ("RATE_LIMITED", "hm-metering")
    );
    assert_eq!(decoded.info.metadata["requestId"], "r-1");
    let delay = decoded.retry.unwrap().retry_delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (1, 500_001_000));
    let violations = decoded.quota.unwrap().violations;
    assert_eq!(violations.len(), 2);
    assert_eq!(
        violations[0].subject,
        "account:00000000-0000-0000-0000-000000000007"
    );
    assert!(violations[0].description.contains("allows 1000 units"));
    assert_eq!(
        (violations[0].quota_id.as_str(), violations[0].quota_value),
        ("second", 1_000)
    );
    assert_eq!(violations[1].quota_id, "minute");
}

#[test]
fn a_grpc_client_does_not_wait_for_what_is_far_or_never() {
    let used_up = Refusal::new(RefusalKind::QuotaExceeded)
        .with_retry_after(Duration::from_secs(86_400))
        .with_limit(limit("month"));
    let (headers, decoded) = grpc(used_up);
    assert_eq!(headers["grpc-retry-pushback-ms"], "-1");
    assert_eq!(decoded.retry.unwrap().retry_delay.unwrap().seconds, 86_400);
    let never = Refusal::new(RefusalKind::CostExceedsLimit).with_limit(limit("month"));
    let (headers, decoded) = grpc(never);
    assert_eq!(headers["grpc-retry-pushback-ms"], "-1");
    assert_eq!(decoded.info.reason, "COST_EXCEEDS_LIMIT");
    assert!(decoded.retry.is_none() && decoded.quota.is_some());
}

#[test]
fn each_kind_has_its_grpc_status_and_keys_look_alike() {
    let keys = [InvalidKey::Unknown, InvalidKey::Revoked, InvalidKey::Expired];
    for (kind, code) in [
        (RefusalKind::MissingKey, 16),
        (RefusalKind::UnreadableKey, 16),
        (RefusalKind::MissingScope, 7),
        (RefusalKind::Unavailable, 14),
    ] {
        let (headers, decoded) = grpc(Refusal::new(kind));
        assert_eq!(decoded.status.code, code, "{kind:?}");
        assert!(decoded.quota.is_none());
        assert!(!headers.contains_key("www-authenticate"));
    }
    let answers = keys.map(|reason| format!("{:?}", grpc(Refusal::new(RefusalKind::InvalidKey(reason))).0));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

proptest! {
    #[test]
    fn any_refusal_is_decoded_as_it_was_meant(
        scope in ".{0,40}",
        names in prop::collection::vec("[ -~]{1,80}", 0..4),
        wait in prop::option::of(any::<u64>()),
        units in any::<u64>(),
    ) {
        let mut refusal = Refusal::new(RefusalKind::MissingScope).with_scope(scope.as_str());
        for name in &names {
            refusal = refusal.with_limit(ViolatedLimit { limit: Units::new(units), ..limit(name) });
        }
        if let Some(wait) = wait {
            refusal = refusal.with_retry_after(Duration::from_nanos(wait));
        }
        let (_, decoded) = grpc(refusal);
        prop_assert_eq!(decoded.info.metadata["scope"].as_str(), scope.as_str());
        let violations = decoded.quota.unwrap_or_default().violations;
        prop_assert_eq!(violations.len(), names.len());
        for (violation, name) in violations.iter().zip(&names) {
            prop_assert_eq!(&violation.quota_id, name);
            prop_assert_eq!(violation.quota_value, Units::new(units).as_i64());
        }
        if let Some(wait) = wait {
            let delay = decoded.retry.unwrap().retry_delay.unwrap();
            let read = Duration::new(delay.seconds as u64, delay.nanos as u32);
            prop_assert_eq!(read, Duration::from_nanos(wait).max(Duration::from_millis(1)));
        }
    }
}
