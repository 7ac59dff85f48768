//! What Prometheus reads.

use std::collections::BTreeMap;
use std::time::Duration;

use hm_server::metrics::Metrics;
use prometheus_parse::{Scrape, Value};

use crate::harness::{Answer, Server};

const DOCUMENTED: &str = include_str!("../../../docs/src/operations.md");

/// By name and labels: the value of a counter or gauge, how many values a histogram has.
fn read(text: &str) -> BTreeMap<String, f64> {
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let mut values = BTreeMap::new();
    for sample in scrape.samples {
        let mut labels: Vec<_> = sample
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        labels.sort();
        let name = format!("{}{{{}}}", sample.metric, labels.join(","));
        let value = match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            Value::Histogram(buckets) => buckets.last().unwrap().count,
            Value::Summary(_) => panic!("{name} has quantiles, which can't be summed up"),
        };
        values.insert(name, value);
    }
    values
}

async fn scrape(server: &Server) -> Answer {
    server.get("/metrics").send().await
}

/// What the ledger has by status.
async fn ledger(server: &Server, token: &str) -> BTreeMap<u64, f64> {
    let usage = server
        .get("/api/v1/usage?limit=100")
        .token(token)
        .send()
        .await
        .json();
    let mut counts = BTreeMap::new();
    for request in usage["requests"].as_array().unwrap() {
        *counts.entry(request["status"].as_u64().unwrap()).or_default() += 1.0;
    }
    counts
}

#[tokio::test]
async fn what_is_counted_agrees_with_the_ledger_and_names_nobody() {
    let (recorder, metrics) = Metrics::new().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = Server::measured(metrics).await;
    let ada = server.register("ada@example.org").await;
    let key = server.key_of(&ada).await;
    for _ in 0..7 {
        assert_eq!(server.ask(&key.key).await.status, 200);
    }
    let wrong = server
        .get("/api/v1/data?source=nonsense")
        .header("x-api-key", &key.key);
    assert_eq!(wrong.send().await.status, 422);
    server
        .ask("hm_live_nonsense")
        .await
        .problem(401, "invalid_api_key");
    let path = format!("/nowhere/{}", key.id);
    server.get(&path).send().await.problem(404, "not_found");
    let ledger = ledger(&server, &ada.access_token).await;
    assert_eq!(ledger, BTreeMap::from([(200, 7.0), (422, 1.0)]));
    // The counters' own sink goes at its own pace.
    let counted = "hm_metering_usage_events_total{operation=data.query,outcome=completed}";
    let mut values = BTreeMap::new();
    let followed = async {
        while values.get(counted) != Some(&8.0) {
            tokio::task::yield_now().await;
            values = read(&scrape(&server).await.text());
        }
    };
    tokio::time::timeout(Duration::from_secs(30), followed)
        .await
        .unwrap();
    for (name, expected) in [
        (
            "hm_metering_requests_total{operation=data.query,outcome=completed}",
            8.0,
        ),
        (
            "hm_metering_requests_total{operation=data.query,outcome=refused}",
            1.0,
        ),
        (
            "hm_metering_refusals_total{code=invalid_api_key,operation=data.query}",
            1.0,
        ),
        ("hm_metering_response_seconds{operation=data.query}", 8.0),
        ("hm_metering_batch_events_total{sink=ledger}", 8.0),
        ("hm_metering_events_lost_total{}", 0.0),
        (
            "hm_metering_usage_units_total{meter=requests,operation=data.query,outcome=completed}",
            8.0,
        ),
        (
            "hm_server_requests_total{method=GET,route=/api/v1/data,status=2xx}",
            7.0,
        ),
        (
            "hm_server_requests_total{method=GET,route=/api/v1/data,status=4xx}",
            2.0,
        ),
        (
            "hm_server_requests_total{method=POST,route=/api/v1/keys,status=2xx}",
            1.0,
        ),
        (
            "hm_server_requests_total{method=GET,route=(none),status=4xx}",
            1.0,
        ),
        ("hm_server_response_seconds{route=/api/v1/data}", 9.0),
    ] {
        assert_eq!(values.get(name), Some(&expected), "{name} {values:#?}");
    }

    let answer = scrape(&server).await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/plain; version=0.0.4")
    );
    let text = answer.text();
    let account = ada.json["account"]["id"].as_str().unwrap();
    for name in [account, &key.id, &key.key, "ada@example.org", "hm_live_"] {
        assert!(!text.contains(name), "{name} is in {text}");
    }
    for name in values.keys().filter_map(|name| name.split('{').next()) {
        // What a histogram is made of.
        let name = ["_sum", "_count"]
            .iter()
            .find_map(|part| name.strip_suffix(part))
            .unwrap_or(name);
        assert!(
            DOCUMENTED.contains(&format!("`{name}`")),
            "{name} is not documented"
        );
    }
}

#[tokio::test]
async fn a_method_that_nobody_knows_gets_no_label_of_its_own() {
    let (recorder, metrics) = Metrics::new().unwrap();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let server = Server::measured(metrics).await;
    for number in 0..20 {
        server
            .method(&format!("MADEUP{number}"), &format!("/made/up/{number}"))
            .send()
            .await;
    }
    let values = read(&scrape(&server).await.text());
    let made_up: f64 = values
        .iter()
        .filter(|(name, _)| name.starts_with("hm_server_requests_total{method=other,route=(none)"))
        .map(|(_, count)| count)
        .sum();
    assert_eq!(made_up, 20.0, "{values:#?}");
    assert!(
        !values
            .keys()
            .any(|name| name.contains("made") || name.contains("MADE"))
    );
}

#[test]
fn applications_in_one_process_are_counted_apart() {
    let run = |asks: usize| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let (recorder, metrics) = Metrics::new().unwrap();
            let _guard = metrics::set_default_local_recorder(&recorder);
            runtime.block_on(async {
                let server = Server::measured(metrics).await;
                let ada = server.register("ada@example.org").await;
                let key = server.key_of(&ada).await;
                for _ in 0..asks {
                    assert_eq!(server.ask(&key.key).await.status, 200);
                }
                let values = read(&scrape(&server).await.text());
                values["hm_metering_requests_total{operation=data.query,outcome=completed}"]
            })
        })
    };
    let (one, other) = (run(3), run(5));
    assert_eq!((one.join().unwrap(), other.join().unwrap()), (3.0, 5.0));
}

#[tokio::test]
async fn metrics_are_told_to_the_networks_of_the_settings_only() {
    let server = Server::start().await;
    assert_eq!(server.get("/metrics").from("127.0.0.1").send().await.status, 200);
    assert_eq!(server.head("/metrics").from("::1").send().await.status, 200);
    for stranger in ["10.1.2.3", "192.0.2.7", "2001:db8::1"] {
        let answer = server.get("/metrics").from(stranger).send().await;
        answer.problem(403, "address_not_allowed");
    }
    // A proxy on this machine that nobody told us of passes on what comes from anywhere.
    let passed_on = server.get("/metrics").header("x-forwarded-for", "192.0.2.7");
    passed_on.send().await.problem(403, "address_not_allowed");
    let pretended = server.get("/metrics").header("x-forwarded-for", "127.0.0.1");
    pretended.send().await.problem(403, "address_not_allowed");

    // A page in a browser on this machine may come from anywhere as well.
    let page = server.get("/metrics").header("origin", "https://example.org");
    page.send().await.problem(403, "address_not_allowed");

    let settings = "[http]\nmetrics_networks = ['10.1.0.0/16']\ntrusted_proxies = ['10.9.0.0/16']";
    let server = Server::with(settings).await;
    assert_eq!(server.get("/metrics").from("10.1.2.3").send().await.status, 200);
    let through = |client: &str| {
        let call = server.get("/metrics").from("10.9.0.1");
        call.header("x-forwarded-for", client)
    };
    assert_eq!(through("10.1.2.3").send().await.status, 200);
    through("192.0.2.7")
        .send()
        .await
        .problem(403, "address_not_allowed");
    through("10.1.2.3, 192.0.2.7")
        .send()
        .await
        .problem(403, "address_not_allowed");
    server
        .get("/metrics")
        .from("127.0.0.1")
        .send()
        .await
        .problem(403, "address_not_allowed");
}
