use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hm_server::sources::{Ask, Item, Reach, Source, SourceError, Sources};
use tokio::sync::Semaphore;

use crate::harness::{StillClock, config};

/// Says when it is asked, and answers when it is let.
struct Gate {
    asked: Arc<Semaphore>,
    open: Arc<Semaphore>,
}

#[async_trait]
impl Source for Gate {
    fn name(&self) -> &'static str {
        "gate"
    }

    fn reach(&self) -> Reach {
        Reach::Live {
            time_limit: Duration::from_secs(60),
        }
    }

    async fn search(&self, _: &Ask) -> Result<Vec<Item>, SourceError> {
        self.asked.add_permits(1);
        self.open.acquire().await.unwrap().forget();
        Ok((0..40)
            .map(|n| Item {
                title: format!("item {n}"),
                ..Item::default()
            })
            .collect())
    }
}

fn gated() -> (Arc<Sources>, Arc<Semaphore>, Arc<Semaphore>) {
    let (asked, open) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let mut config = config("http://127.0.0.1:9");
    config.max_in_flight = 1;
    let gate = Gate {
        asked: Arc::clone(&asked),
        open: Arc::clone(&open),
    };
    let sources = Sources::new(&config, StillClock::new())
        .unwrap()
        .with(gate)
        .unwrap();
    (Arc::new(sources), asked, open)
}

#[tokio::test]
async fn too_many_questions_at_once_are_refused_for_that_source_only() {
    let (sources, asked, open) = gated();
    let first = tokio::spawn({
        let sources = Arc::clone(&sources);
        async move { sources.answer("gate", Some("one"), Some(3)).await }
    });
    asked.acquire().await.unwrap().forget();
    let error = sources.answer("gate", Some("two"), None).await.unwrap_err();
    assert_eq!(
        (error.status().as_u16(), error.code()),
        (503, "source_overloaded")
    );
    sources.answer("curiosity", None, None).await.unwrap();

    open.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap().results.len(), 3);
    sources.answer("gate", Some("two"), None).await.unwrap();
}

#[tokio::test]
async fn a_question_that_is_given_up_makes_room() {
    let (sources, asked, open) = gated();
    let first = tokio::spawn({
        let sources = Arc::clone(&sources);
        async move { sources.answer("gate", Some("one"), None).await }
    });
    asked.acquire().await.unwrap().forget();
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    open.add_permits(1);
    assert!(!sources.answer("gate", Some("one"), None).await.unwrap().cached);
}

#[tokio::test]
async fn a_kept_answer_needs_no_room() {
    let (sources, asked, open) = gated();
    open.add_permits(1);
    sources.answer("gate", Some("kept"), None).await.unwrap();
    asked.acquire().await.unwrap().forget();
    let under_way = tokio::spawn({
        let sources = Arc::clone(&sources);
        async move { sources.answer("gate", Some("other"), None).await }
    });
    asked.acquire().await.unwrap().forget();
    assert!(sources.answer("gate", Some("kept"), None).await.unwrap().cached);
    open.add_permits(1);
    under_way.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_name_can_be_taken_once_only() {
    let gate = || Gate {
        asked: Arc::new(Semaphore::new(0)),
        open: Arc::new(Semaphore::new(0)),
    };
    let sources = Sources::new(&config("http://127.0.0.1:9"), StillClock::new()).unwrap();
    let error = sources.with(gate()).unwrap().with(gate()).unwrap_err();
    assert_eq!(error.mistakes(), ["there are two sources named gate"]);
}
