//! Limit headers over those of an answer, whatever it has already.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::tests::pro;
use crate::meter::report::{HeaderDraft, HeaderStyle, ResetFormat};

const ID: &[u8] = b"the-request";
/// Names that answers have, some of which are ours too, beside any number of others.
const NAMES: [&str; 9] = [
    "content-type",
    "set-cookie",
    "vary",
    "x-request-id",
    "x-ratelimit-limit",
    "x-ratelimit-used",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-remaining",
];

fn style() -> impl Strategy<Value = HeaderStyle> {
    let both = |draft| HeaderStyle::default().with_draft(draft);
    prop::sample::select(vec![
        HeaderStyle::NONE,
        HeaderStyle::default(),
        both(HeaderDraft::V6),
        both(HeaderDraft::V7),
        HeaderStyle::NONE.with_classic(ResetFormat::DeltaSeconds),
    ])
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
        1 => "x-own-[a-z0-9]{1,3}",
    ]
}

fn values(headers: &HeaderMap, name: &HeaderName) -> Vec<HeaderValue> {
    headers.get_all(name).iter().cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn an_answer_keeps_what_is_its_own_and_has_each_of_our_headers_once(
        style in style(),
        limit in prop::option::of(2_000_u64..9_000),
        own in prop::collection::vec((name(), "[a-z]{0,5}"), 0..40),
        room in 0_usize..64,
    ) {
        let report = pro(style, limit);
        let mut ours = HeaderMap::new();
        report.write_with_id(ID, &mut ours);
        let mut before = HeaderMap::with_capacity(room);
        for (name, value) in own {
            before.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        let mut answer = before.clone();
        report.write_with_id(ID, &mut answer);
        let x_request_id = HeaderName::from_static("x-request-id");
        prop_assert!(answer.contains_key(&x_request_id));
        for name in before.keys().chain(ours.keys()) {
            let is_kept = !ours.contains_key(name) || (*name == x_request_id && before.contains_key(name));
            let expected = if is_kept { &before } else { &ours };
            prop_assert_eq!(values(&answer, name), values(expected, name), "{}", name);
        }
        let added = ours.keys().filter(|name| !before.contains_key(*name)).count();
        prop_assert_eq!(answer.keys_len(), before.keys_len() + added);
    }
}
