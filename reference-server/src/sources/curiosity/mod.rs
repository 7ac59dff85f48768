//! `curiosity`: a collection of curious facts, built in.

mod facts;
mod search;

use async_trait::async_trait;

use self::facts::Fact;
use self::search::Entry;
use super::answer::{Details, Item};
use super::ask::Ask;
use super::error::SourceError;
use super::{Reach, Source};

/// The source of curious facts. It needs no network, so it always answers.
///
/// Without a query it gives a pick that is the same all day for everybody and another one the next day; with one, the
/// facts that its words occur in, best first.
#[derive(Clone, Debug)]
pub struct Curiosity {
    entries: Vec<Entry>,
}

impl Default for Curiosity {
    fn default() -> Self {
        Self::new()
    }
}

impl Curiosity {
    /// The source of curious facts.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: facts::all().into_iter().map(Entry::new).collect(),
        }
    }
}

#[async_trait]
impl Source for Curiosity {
    fn name(&self) -> &'static str {
        "curiosity"
    }

    fn reach(&self) -> Reach {
        Reach::BuiltIn
    }

    fn answers_without_query(&self) -> bool {
        true
    }

    async fn search(&self, ask: &Ask) -> Result<Vec<Item>, SourceError> {
        let found = match ask.query() {
            Some(query) => search::matching(&self.entries, query.as_str()),
            None => search::of_the_day(&self.entries, ask.today()),
        };
        Ok(found.into_iter().take(ask.limit_len()).map(item).collect())
    }
}

fn item(fact: &Fact) -> Item {
    Item {
        title: fact.title.to_owned(),
        url: None,
        summary: Some(fact.text.to_owned()),
        published_at: None,
        details: Some(Details::Fact { topic: fact.topic }),
    }
}
