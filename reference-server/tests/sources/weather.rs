use serde_json::{Value, json};
use wiremock::matchers::{method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{answering, bad_answer, config, results, serve, sources};

fn places() -> Value {
    json!({
        "results": [
            {"id": 1, "name": "Berlin", "latitude": 52.52437, "longitude": 13.41053, "elevation": 74.0, "feature_code": "PPLC",
             "country_code": "DE", "timezone": "Europe/Berlin", "population": 3426354, "country": "Germany", "admin1": "State of Berlin"},
            {"id": 2, "name": "Berlin", "latitude": 44.46867, "longitude": -71.18508, "country": "United States", "admin1": "New Hampshire"}
        ],
        "generationtime_ms": 0.7
    })
}

fn forecast(temperature: f64, code: u16) -> Value {
    json!({
        "latitude": 52.52, "longitude": 13.42, "generationtime_ms": 0.03, "utc_offset_seconds": 0, "timezone": "GMT", "elevation": 38.0,
        "current_units": {"time": "unixtime", "interval": "seconds", "temperature_2m": "°C"},
        "current": {"time": 1_772_366_400, "interval": 900, "temperature_2m": temperature, "apparent_temperature": 3.2,
                    "relative_humidity_2m": 71, "precipitation": 0.1, "weather_code": code, "wind_speed_10m": 14.4, "wind_direction_10m": 250}
    })
}

async fn server_with(places: Value, forecast: Value) -> MockServer {
    let server = MockServer::start().await;
    serve(
        &server,
        "/v1/search",
        ResponseTemplate::new(200).set_body_json(places),
    )
    .await;
    serve(
        &server,
        "/v1/forecast",
        ResponseTemplate::new(200).set_body_json(forecast),
    )
    .await;
    server
}

#[tokio::test]
async fn the_weather_is_told_for_every_place_of_that_name() {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/v1/search"))
        .and(query_param("name", "Berlin"))
        .and(query_param("count", "3"))
        .respond_with(ResponseTemplate::new(200).set_body_json(places()))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(method("GET"))
        .and(path("/v1/forecast"))
        .and(query_param("latitude", "52.52437,44.46867"))
        .and(query_param("longitude", "13.41053,-71.18508"))
        .and(query_param("timeformat", "unixtime"))
        .respond_with(
            ResponseTemplate::new(200).set_body_json(json!([forecast(5.9, 61), forecast(-7.0, 71)])),
        )
        .expect(1)
        .mount(&server)
        .await;
    let answer = sources(&config(&server.uri()))
        .answer("weather", Some("Berlin"), None)
        .await
        .unwrap();
    let results = results(&answer);
    assert_eq!(
        results[0],
        json!({
            "title": "Berlin, State of Berlin, Germany",
            "summary": "light rain, 5.9 °C, feels like 3.2 °C, humidity 71 %, wind 14 km/h",
            "publishedAt": "2026-03-01T12:00:00Z",
            "latitude": 52.52437,
            "longitude": 13.41053,
            "current": {
                "description": "light rain", "weatherCode": 61, "temperatureC": 5.9, "apparentTemperatureC": 3.2,
                "humidityPercent": 71.0, "precipitationMm": 0.1, "windKmh": 14.4, "windFromDegrees": 250.0,
            },
        })
    );
    assert_eq!(results[1]["title"], "Berlin, New Hampshire, United States");
    assert_eq!(results[1]["current"]["temperatureC"], -7.0);
}

#[tokio::test]
async fn one_place_is_answered_without_a_list() {
    let mut one = places();
    one["results"].as_array_mut().unwrap().truncate(1);
    let server = server_with(one, forecast(20.0, 0)).await;
    let answer = sources(&config(&server.uri()))
        .answer("weather", Some("Berlin"), Some(1))
        .await
        .unwrap();
    assert_eq!(results(&answer)[0]["current"]["description"], "clear sky");
}

#[tokio::test]
async fn an_unknown_place_gives_no_results_and_no_second_request() {
    let (server, sources) = answering("/v1/search", r#"{"generationtime_ms":0.2}"#).await;
    let answer = sources
        .answer("weather", Some("Nowhereville"), None)
        .await
        .unwrap();
    assert!(answer.results.is_empty());
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn other_json_is_not_taken_for_an_unknown_place() {
    let (_server, sources) = answering("/v1/search", r#"{"error":true,"reason":"over the limit"}"#).await;
    assert_eq!(
        bad_answer(sources.answer("weather", Some("x"), None).await),
        "unexpected JSON"
    );
}

#[tokio::test]
async fn what_cannot_be_is_a_bad_answer() {
    let mut beyond = places();
    beyond["results"][0]["latitude"] = json!(91.0);
    for (places, forecast) in [
        (beyond, json!([forecast(1.0, 0), forecast(1.0, 0)])),
        (places(), json!([forecast(1.0, 0)])),
        (places(), json!({"latitude": 1.0})),
        (
            places(),
            json!([{"current": {"time": i64::MAX, "temperature_2m": 1.0, "weather_code": 0}}, forecast(1.0, 0)]),
        ),
        (
            places(),
            json!([{"current": {"time": 0, "temperature_2m": null, "weather_code": 0}}, forecast(1.0, 0)]),
        ),
    ] {
        let server = server_with(places, forecast).await;
        bad_answer(
            sources(&config(&server.uri()))
                .answer("weather", Some("Berlin"), None)
                .await,
        );
    }
}

#[tokio::test]
async fn a_failure_of_the_second_request_is_a_failure() {
    let server = MockServer::start().await;
    serve(
        &server,
        "/v1/search",
        ResponseTemplate::new(200).set_body_json(places()),
    )
    .await;
    serve(&server, "/v1/forecast", ResponseTemplate::new(503)).await;
    let error = sources(&config(&server.uri()))
        .answer("weather", Some("Berlin"), None)
        .await
        .unwrap_err();
    assert_eq!(error.status().as_u16(), 502);
}
