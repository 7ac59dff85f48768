//! `wiki`: articles of Wikipedia, or of another `MediaWiki` site.

use std::time::Duration;

use async_trait::async_trait;
use hm_metering::Timestamp;
use reqwest::Url;
use serde::Deserialize;

use super::answer::{Details, Item};
use super::ask::Ask;
use super::error::SourceError;
use super::text::{self, SUMMARY_CHARS_MAX, TITLE_CHARS_MAX};
use super::upstream::Upstream;
use super::{Reach, Source};

/// Searches by the `MediaWiki` action API.
pub(super) struct Wiki {
    site: Upstream,
    time_limit: Duration,
}

impl Wiki {
    pub(super) fn new(site: Upstream, time_limit: Duration) -> Self {
        Self { site, time_limit }
    }
}

#[derive(Deserialize)]
struct Reply {
    query: Found,
}

#[derive(Deserialize)]
struct Found {
    search: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    title: String,
    snippet: Option<String>,
    timestamp: Option<Timestamp>,
    wordcount: Option<u64>,
}

#[async_trait]
impl Source for Wiki {
    fn name(&self) -> &'static str {
        "wiki"
    }

    fn reach(&self) -> Reach {
        Reach::Live {
            time_limit: self.time_limit,
        }
    }

    async fn search(&self, ask: &Ask) -> Result<Vec<Item>, SourceError> {
        let limit = ask.limit().to_string();
        let query = [
            ("action", "query"),
            ("list", "search"),
            ("format", "json"),
            ("formatversion", "2"),
            ("srprop", "snippet|timestamp|wordcount"),
            ("srlimit", &limit),
            ("srsearch", ask.text()?),
        ];
        let reply: Reply = self.site.json("w/api.php", &query).await?;
        reply
            .query
            .search
            .into_iter()
            .take(ask.limit_len())
            .map(|hit| item(self.site.base(), hit))
            .collect()
    }
}

fn item(base: &Url, hit: Hit) -> Result<Item, SourceError> {
    let title = text::plain(&hit.title, TITLE_CHARS_MAX)
        .ok_or(SourceError::BadAnswer("an article without a title"))?;
    Ok(Item {
        url: article_url(base, &hit.title),
        title,
        summary: hit
            .snippet
            .and_then(|html| text::from_html(&html, SUMMARY_CHARS_MAX)),
        published_at: None,
        details: Some(Details::Article {
            updated_at: hit.timestamp,
            words: hit.wordcount,
        }),
    })
}

/// The page of an article; `MediaWiki` writes underscores for spaces.
fn article_url(base: &Url, title: &str) -> Option<String> {
    let mut url = base.join("wiki/").ok()?;
    url.path_segments_mut()
        .ok()?
        .pop_if_empty()
        .push(&title.replace(' ', "_"));
    text::web_link(url.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_cannot_leave_the_folder_of_articles() {
        let base = Url::parse("https://en.wikipedia.org/").unwrap();
        let url = |title| article_url(&base, title);
        assert_eq!(
            url("Red panda").unwrap(),
            "https://en.wikipedia.org/wiki/Red_panda"
        );
        assert_eq!(
            url("AC/DC?x#y").unwrap(),
            "https://en.wikipedia.org/wiki/AC%2FDC%3Fx%23y"
        );
        assert_eq!(url("蟹").unwrap(), "https://en.wikipedia.org/wiki/%E8%9F%B9");
        assert!(url("..").is_none_or(|url| url.starts_with("https://en.wikipedia.org/wiki")));
    }
}
