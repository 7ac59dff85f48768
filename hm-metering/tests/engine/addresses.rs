//! Rates by client address, as the layer holds them: who is one client, and who is believed about that.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use hm_metering::testing::TestClock;
use hm_metering::{ForwardedHeader, PeerAddress, RateLimitLayer, Timestamp, TrustedProxies};
use http::Request;
use http_body_util::Full;
use metrics_util::debugging::DebuggingRecorder;
use tower::{Layer, ServiceExt};

use crate::measures::{check_documented, values};
use crate::stage::{facts, handler};

/// Two requests in a minute from each client.
fn two_a_minute() -> (RateLimitLayer, TestClock) {
    let clock = TestClock::at(Timestamp::default());
    let layer = RateLimitLayer::new(2, Duration::from_secs(60)).clock(clock.clone());
    (layer, clock)
}

fn proxies(networks: &[&str]) -> TrustedProxies {
    TrustedProxies::new(networks.iter().map(|network| network.parse().unwrap()))
}

/// The status of a request from `peer` with these headers.
async fn send(layer: &RateLimitLayer, peer: Option<&str>, headers: &[(&str, &str)]) -> u16 {
    let mut request = Request::post("/login");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(peer) = peer {
        request = request.extension(PeerAddress(peer.parse::<IpAddr>().unwrap()));
    }
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let response = layer.layer(handler(facts)).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    if status == 429 {
        let wait: u64 = response.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse()
            .unwrap();
        assert!(
            (1..=30).contains(&wait),
            "a bucket of two a minute has room in half a minute"
        );
    }
    status
}

async fn from(layer: &RateLimitLayer, peers: &[&str]) -> Vec<u16> {
    let mut answers = Vec::new();
    for peer in peers {
        answers.push(send(layer, Some(peer), &[]).await);
    }
    answers
}

#[tokio::test]
async fn peers_are_apart_and_each_has_its_rate_again_in_time() {
    let (layer, clock) = two_a_minute();
    let (ada, bob) = ("192.0.2.1", "192.0.2.2");
    assert_eq!(
        from(&layer, &[ada, ada, ada, bob, bob, bob]).await,
        [200, 200, 429, 200, 200, 429]
    );
    // However often it knocks: refusals are in nobody's way, not even its own.
    for _ in 0..10 {
        assert_eq!(from(&layer, &[ada]).await, [429]);
    }
    clock.advance(Duration::from_secs(30));
    assert_eq!(from(&layer, &[ada, ada, bob, bob]).await, [200, 429, 200, 429]);
}

#[tokio::test]
async fn an_ipv6_client_is_its_first_64_bits() {
    let (layer, _) = two_a_minute();
    let one = ["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:1::3"];
    assert_eq!(from(&layer, &one).await, [200, 200, 429], "one /64 is one client");
    assert_eq!(
        from(&layer, &["2001:db8:0:2::1"]).await,
        [200],
        "the next /64 is another one"
    );
    // One address, written in two ways.
    let same = ["192.0.2.9", "::ffff:192.0.2.9", "192.0.2.9"];
    assert_eq!(from(&layer, &same).await, [200, 200, 429]);
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_nobody_else() {
    for (header, of) in [
        (ForwardedHeader::XForwardedFor, "x-forwarded-for"),
        (ForwardedHeader::Forwarded, "forwarded"),
    ] {
        let (layer, _) = two_a_minute();
        let layer = layer.trusted_proxies(proxies(&["10.0.0.0/8"]).header(header));
        let says = |client: &str| match header {
            ForwardedHeader::Forwarded => client
                .split(", ")
                .map(|client| format!("for={client}"))
                .collect::<Vec<_>>()
                .join(", "),
            _ => client.to_owned(),
        };
        let proxy = Some("10.1.2.3");
        for (client, expected) in [
            ("203.0.113.1", 200),
            ("203.0.113.1", 200),
            ("203.0.113.1", 429),
            ("203.0.113.2", 200),
            // What stands further left was written by the client.
            ("8.8.8.8, 203.0.113.1", 429),
            // Another proxy of ours in between.
            ("203.0.113.1, 10.9.9.9", 429),
        ] {
            let status = send(&layer, proxy, &[(of, &says(client))]).await;
            assert_eq!(status, expected, "{of}: {client}");
        }
        // A stranger may claim whatever it likes: it is one client.
        let mut answers = Vec::new();
        for number in 0..50 {
            let forged = says(&format!("203.0.113.{number}"));
            answers.push(send(&layer, Some("198.51.100.7"), &[(of, &forged)]).await);
        }
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 2, "{of}");
        // The victim that it named has lost nothing.
        assert_eq!(
            send(&layer, proxy, &[(of, &says("203.0.113.49"))]).await,
            200,
            "{of}"
        );
    }
}

#[tokio::test]
async fn refusals_are_counted_by_the_bucket_and_name_no_address() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let (layer, _) = two_a_minute();
    from(&layer, &["192.0.2.1"; 5]).await;
    from(&layer, &["192.0.2.2"; 2]).await;
    for expected in [200, 200, 429, 429] {
        assert_eq!(send(&layer, None, &[]).await, expected);
    }
    // A bound of one address: all others share a bucket.
    let small = layer.addresses(1);
    from(&small, &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]).await;
    let values = values(&snapshotter);
    for (name, expected) in [
        ("hm_metering_address_refusals_total{bucket=own}", 3.0),
        ("hm_metering_address_refusals_total{bucket=shared}", 3.0),
    ] {
        assert_eq!(values.get(name), Some(&expected), "{values:#?}");
    }
    assert!(values.keys().all(|name| !name.contains("192")), "{values:#?}");
    check_documented(&values);
}
