use std::time::Duration;

use hm_server::sources::{Answer, Sources};

use crate::harness::{StillClock, config, results};

/// Sources whose upstreams are not there.
fn offline() -> (Sources, std::sync::Arc<StillClock>) {
    let clock = StillClock::new();
    (
        Sources::new(&config("http://127.0.0.1:9"), clock.clone()).unwrap(),
        clock,
    )
}

fn titles(answer: &Answer) -> Vec<String> {
    answer.results.iter().map(|item| item.title.clone()).collect()
}

#[tokio::test]
async fn facts_are_found_by_their_words() {
    let (sources, _) = offline();
    let answer = sources
        .answer("curiosity", Some("octopus heart"), Some(1))
        .await
        .unwrap();
    assert_eq!(
        (answer.source, answer.query.as_deref()),
        ("curiosity", Some("octopus heart"))
    );
    let results = results(&answer);
    assert_eq!(results[0]["title"], "Octopuses have three hearts");
    assert_eq!(results[0]["topic"], "animals");
    assert!(results[0]["summary"].as_str().unwrap().contains("gills"));
}

#[tokio::test]
async fn a_topic_finds_its_facts() {
    let (sources, _) = offline();
    let answer = sources
        .answer("curiosity", Some("mathematics"), Some(8))
        .await
        .unwrap();
    let results = results(&answer);
    assert_eq!(results.as_array().unwrap().len(), 8);
    assert!(
        results
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["topic"] == "mathematics")
    );
}

#[tokio::test]
async fn words_that_occur_nowhere_find_nothing() {
    let (sources, _) = offline();
    for query in ["qwertzuiop", "the of", "x' UNION SELECT *", "<script>"] {
        let found = sources.answer("curiosity", Some(query), None).await.unwrap();
        assert!(found.results.is_empty(), "{query}: {:?}", titles(&found));
    }
}

#[tokio::test]
async fn without_a_query_each_day_has_its_own_pick() {
    let (sources, clock) = offline();
    let today = titles(&sources.answer("curiosity", None, None).await.unwrap());
    assert_eq!(today.len(), 10);
    clock.advance(Duration::from_secs(11 * 3_600));
    assert_eq!(
        titles(&sources.answer("curiosity", None, None).await.unwrap()),
        today
    );
    clock.advance(Duration::from_secs(3_600));
    let tomorrow = titles(&sources.answer("curiosity", None, None).await.unwrap());
    assert!(tomorrow.iter().all(|title| !today.contains(title)));
}

#[tokio::test]
async fn a_wrong_query_is_refused_here_too() {
    let (sources, _) = offline();
    assert_eq!(
        sources
            .answer("curiosity", Some(" "), None)
            .await
            .unwrap_err()
            .code(),
        "invalid_query"
    );
    assert_eq!(
        sources
            .answer("curiosity", None, Some(0))
            .await
            .unwrap_err()
            .code(),
        "invalid_limit"
    );
}
