//! What endpoints are called in the ledger.

use std::collections::BTreeSet;

use hm_metering::MeteringLayer;
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt};

use crate::stage::{FIVE, Stage, facts, handler};

async fn stage() -> Stage {
    Stage::new(&FIVE.replace("limit = 5,", "limit = 1000,")).await
}

/// Sends a request for each path, and answers what their events call them.
async fn called(stage: &Stage, layer: MeteringLayer, paths: &[&str]) -> Vec<String> {
    let before = stage.events().await.len();
    for path in paths {
        let mut request = stage.request();
        *request.uri_mut() = path.parse().unwrap();
        let response = layer.layer(handler(facts)).oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.into_body().collect().await.unwrap();
    }
    let events = stage.events().await.split_off(before);
    events.iter().map(|event| event.endpoint.to_string()).collect()
}

#[tokio::test]
async fn a_route_is_called_what_its_operation_says_however_its_paths_differ() {
    let stage = stage().await;
    let paths: Vec<String> = (0..100).map(|number| format!("/a{number}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let layer = stage.meter.layer("facts");
    assert_eq!(
        called(&stage, layer.clone(), &paths[..3]).await,
        ["/a0", "/a1", "/a2"]
    );
    let fixed = layer.clone().endpoint("/{fact}");
    let endpoints: BTreeSet<String> = called(&stage, fixed, &paths).await.into_iter().collect();
    assert_eq!(endpoints, BTreeSet::from(["/{fact}".to_owned()]));
    let by = layer.endpoint_by(|path| match path {
        "/" => "/".into(),
        _ if path.starts_with("/users/") => "/users/{id}".into(),
        _ => "/other".into(),
    });
    let paths = ["/", "/users/1", "/users/2?page=3", "/users", "/x"];
    let expected = ["/", "/users/{id}", "/users/{id}", "/other", "/other"];
    assert_eq!(called(&stage, by, &paths).await, expected);
}

#[tokio::test]
async fn a_request_that_waits_and_one_that_is_refused_are_called_so_too() {
    let stage = Stage::new(FIVE).await;
    let layer = stage.meter.layer("facts").endpoint("/{fact}");
    for number in 0..7 {
        // The first one waits for its key to be looked up.
        let mut request = stage.request();
        *request.uri_mut() = format!("/a{number}").parse().unwrap();
        let response = layer.layer(handler(facts)).oneshot(request).await.unwrap();
        assert_eq!(response.status() == 429, number >= 5);
        response.into_body().collect().await.unwrap();
    }
    let events = stage.events().await;
    assert_eq!(events.len(), 7);
    assert!(
        events.iter().all(|event| event.endpoint == "/{fact}"),
        "{events:#?}"
    );
}

#[tokio::test]
async fn a_panic_in_what_names_endpoints_costs_no_request() {
    let stage = stage().await;
    let layer = stage.meter.layer("facts").endpoint_by(|_| panic!("a mistake"));
    assert_eq!(called(&stage, layer, &["/a"]).await, ["/a"]);
}
