//! `arxiv`: scientific papers, by the search of arXiv.

use std::time::Duration;

use async_trait::async_trait;

use super::answer::{Details, Item};
use super::ask::Ask;
use super::atom::{self, Entry, Link};
use super::error::{QueryFault, SourceError};
use super::text::{self, NAME_CHARS_MAX, SUMMARY_CHARS_MAX, TITLE_CHARS_MAX};
use super::upstream::Upstream;
use super::{Reach, Source};

/// Searches by arXiv's API, which answers Atom feeds.
pub(super) struct Arxiv {
    site: Upstream,
    time_limit: Duration,
}

impl Arxiv {
    pub(super) fn new(site: Upstream, time_limit: Duration) -> Self {
        Self { site, time_limit }
    }
}

#[async_trait]
impl Source for Arxiv {
    fn name(&self) -> &'static str {
        "arxiv"
    }

    fn reach(&self) -> Reach {
        Reach::Live {
            time_limit: self.time_limit,
        }
    }

    async fn search(&self, ask: &Ask) -> Result<Vec<Item>, SourceError> {
        let expression = expression(ask.text()?).ok_or(QueryFault::NoWord)?;
        let limit = ask.limit().to_string();
        let query = [
            ("search_query", expression.as_str()),
            ("start", "0"),
            ("max_results", &limit),
        ];
        let document = self.site.get("api/query", &query, "application/atom+xml").await?;
        atom::parse(&document, ask.limit_len())?
            .into_iter()
            .map(item)
            .collect()
    }
}

/// All words anywhere in a paper. Each is quoted, so that what the caller writes is only ever looked for and never
/// taken for an operator or a field of arXiv's query language. None when there is nothing to look for.
fn expression(query: &str) -> Option<String> {
    let words: Vec<String> = query
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '(' | ')' | ':'))
        .filter(|word| word.chars().any(char::is_alphanumeric))
        .map(|word| format!("all:\"{word}\""))
        .collect();
    (!words.is_empty()).then(|| words.join(" AND "))
}

fn item(entry: Entry) -> Result<Item, SourceError> {
    // A mistake in a query comes as a feed with one entry of this kind.
    if entry.id.contains("/api/errors") {
        return Err(SourceError::BadAnswer("an error in place of papers"));
    }
    let title = text::plain(&entry.title, TITLE_CHARS_MAX)
        .ok_or(SourceError::BadAnswer("a paper without a title"))?;
    let page = entry
        .links
        .iter()
        .find(|link| link.rel == "alternate")
        .and_then(link_url);
    let pdf = entry
        .links
        .iter()
        .find(|link| link.media_type == "application/pdf")
        .and_then(link_url);
    let names = |names: Vec<String>| {
        names
            .iter()
            .filter_map(|name| text::plain(name, NAME_CHARS_MAX))
            .collect()
    };
    Ok(Item {
        title,
        url: page.or_else(|| text::web_link(&entry.id)),
        summary: text::plain(&entry.summary, SUMMARY_CHARS_MAX),
        published_at: entry.published,
        details: Some(Details::Paper {
            authors: names(entry.authors),
            categories: names(entry.categories),
            updated_at: entry.updated,
            pdf_url: pdf,
        }),
    })
}

fn link_url(link: &Link) -> Option<String> {
    text::web_link(&link.href)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_looked_for_as_it_is() {
        assert_eq!(
            expression("dark matter").unwrap(),
            r#"all:"dark" AND all:"matter""#
        );
        assert_eq!(
            expression(r#"x" OR au:smith ANDNOT (y)"#).unwrap(),
            r#"all:"x" AND all:"OR" AND all:"au" AND all:"smith" AND all:"ANDNOT" AND all:"y""#
        );
        assert_eq!(
            expression("schrödinger 方程").unwrap(),
            r#"all:"schrödinger" AND all:"方程""#
        );
        assert_eq!(expression(r#"" () : -"#), None);
    }
}
