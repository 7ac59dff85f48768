//! `news`: stories of Hacker News, by its public search.

use std::time::Duration;

use async_trait::async_trait;
use hm_metering::Timestamp;
use serde::Deserialize;

use super::answer::{Details, Item};
use super::ask::Ask;
use super::error::SourceError;
use super::text::{self, NAME_CHARS_MAX, SUMMARY_CHARS_MAX, TITLE_CHARS_MAX};
use super::upstream::Upstream;
use super::{Reach, Source};

/// Searches stories by the Algolia API of Hacker News.
pub(super) struct News {
    site: Upstream,
    time_limit: Duration,
}

impl News {
    pub(super) fn new(site: Upstream, time_limit: Duration) -> Self {
        Self { site, time_limit }
    }
}

#[derive(Deserialize)]
struct Reply {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "objectID")]
    id: String,
    title: Option<String>,
    url: Option<String>,
    author: Option<String>,
    story_text: Option<String>,
    points: Option<i64>,
    num_comments: Option<i64>,
    created_at: Timestamp,
}

#[async_trait]
impl Source for News {
    fn name(&self) -> &'static str {
        "news"
    }

    fn reach(&self) -> Reach {
        Reach::Live {
            time_limit: self.time_limit,
        }
    }

    async fn search(&self, ask: &Ask) -> Result<Vec<Item>, SourceError> {
        let limit = ask.limit().to_string();
        let query = [("tags", "story"), ("hitsPerPage", &limit), ("query", ask.text()?)];
        let reply: Reply = self.site.json("api/v1/search", &query).await?;
        reply
            .hits
            .into_iter()
            .take(ask.limit_len())
            .filter_map(|hit| item(hit).transpose())
            .collect()
    }
}

/// The story, or none when it was withdrawn, which leaves it without a title.
fn item(hit: Hit) -> Result<Option<Item>, SourceError> {
    if hit.id.is_empty() || hit.id.len() > 20 || !hit.id.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(SourceError::BadAnswer("a story without a number"));
    }
    let Some(title) = hit.title.and_then(|title| text::plain(&title, TITLE_CHARS_MAX)) else {
        return Ok(None);
    };
    let discussion_url = format!("https://news.ycombinator.com/item?id={}", hit.id);
    let url = hit
        .url
        .and_then(|url| text::web_link(&url))
        .unwrap_or_else(|| discussion_url.clone());
    Ok(Some(Item {
        title,
        url: Some(url),
        summary: hit
            .story_text
            .and_then(|html| text::from_html(&html, SUMMARY_CHARS_MAX)),
        published_at: Some(hit.created_at),
        details: Some(Details::Story {
            author: hit.author.and_then(|name| text::plain(&name, NAME_CHARS_MAX)),
            points: hit.points,
            comments: hit.num_comments,
            discussion_url,
        }),
    }))
}
