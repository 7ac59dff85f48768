//! Reading Atom feeds of strangers.
//!
//! Only what is needed of RFC 4287 is read. A document type is refused as such, so no entity is ever declared or
//! expanded; what is left are the five predefined entities and character references, which are no larger than what
//! they are written as. Elements may be nested a few levels only, and lists within an entry are bounded.

use chrono::DateTime;
use hm_metering::Timestamp;
use quick_xml::XmlVersion;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::reader::Reader;

use super::error::SourceError;

/// How deep elements may be nested.
const DEPTH_MAX: usize = 16;
/// How many authors, categories and links of an entry are kept.
const LIST_LEN_MAX: usize = 50;

/// One entry of a feed, with texts as they are written there.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) summary: String,
    pub(super) published: Option<Timestamp>,
    pub(super) updated: Option<Timestamp>,
    pub(super) authors: Vec<String>,
    pub(super) categories: Vec<String>,
    pub(super) links: Vec<Link>,
}

/// A link of an entry.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) rel: String,
    pub(super) media_type: String,
}

/// Reads at most `entries_max` entries.
///
/// # Errors
///
/// [`SourceError::BadAnswer`] when the document is not a well-formed, modest feed.
pub(super) fn parse(document: &[u8], entries_max: usize) -> Result<Vec<Entry>, SourceError> {
    let text = std::str::from_utf8(document).map_err(|_| SourceError::BadAnswer("not UTF-8"))?;
    let mut reader = Reader::from_str(text);
    let mut feed = Feed::default();
    loop {
        match reader.read_event().map_err(not_well_formed)? {
            Event::Start(element) => feed.open(&element)?,
            Event::Empty(element) => {
                feed.open(&element)?;
                feed.close()?;
            }
            Event::End(_) => {
                if feed.close()? && feed.entries.len() >= entries_max {
                    return Ok(feed.entries);
                }
            }
            Event::Text(text) => feed.text.push_str(&text),
            Event::CData(text) => feed.text.push_str(&text),
            Event::GeneralRef(reference) => feed.text.push_str(resolve(&reference)?.as_str()),
            Event::DocType(_) => return Err(SourceError::BadAnswer("a feed with a document type")),
            Event::Eof => return feed.finish(),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
}

fn not_well_formed<E>(_: E) -> SourceError {
    SourceError::BadAnswer("not well-formed XML")
}

fn resolve(reference: &BytesRef<'_>) -> Result<String, SourceError> {
    if let Some(character) = reference.resolve_char_ref().map_err(not_well_formed)? {
        return Ok(character.to_string());
    }
    resolve_predefined_entity(reference)
        .map(str::to_owned)
        .ok_or(SourceError::BadAnswer("a feed with an unknown entity"))
}

/// What of an entry the text of an element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Id,
    Title,
    Summary,
    Published,
    Updated,
    AuthorName,
}

#[derive(Debug, PartialEq, Eq)]
enum Element {
    Feed,
    Entry,
    Author,
    Text(Field),
    /// Of no interest, like everything in it.
    Other,
}

#[derive(Debug, Default)]
struct Feed {
    open: Vec<Element>,
    seen: bool,
    entry: Entry,
    entries: Vec<Entry>,
    text: String,
}

impl Feed {
    fn open(&mut self, start: &BytesStart<'_>) -> Result<(), SourceError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(SourceError::BadAnswer("a feed nested too deeply"));
        }
        let name = start.name().into_inner();
        let name = name.strip_prefix("atom:").unwrap_or(name);
        let element = match (self.open.last(), name) {
            (None, "feed") if !self.seen => Element::Feed,
            (None, _) => return Err(SourceError::BadAnswer("not a feed")),
            (Some(Element::Feed), "entry") => Element::Entry,
            (Some(Element::Entry), "author") => Element::Author,
            (Some(Element::Entry), "id") => Element::Text(Field::Id),
            (Some(Element::Entry), "title") => Element::Text(Field::Title),
            (Some(Element::Entry), "summary") => Element::Text(Field::Summary),
            (Some(Element::Entry), "published") => Element::Text(Field::Published),
            (Some(Element::Entry), "updated") => Element::Text(Field::Updated),
            (Some(Element::Author), "name") => Element::Text(Field::AuthorName),
            (Some(Element::Entry), "link") => {
                self.note_link(start)?;
                Element::Other
            }
            (Some(Element::Entry), "category") => {
                push_bounded(&mut self.entry.categories, attribute(start, "term")?);
                Element::Other
            }
            _ => Element::Other,
        };
        self.seen = true;
        // Text before a child element is not part of what the child says.
        if matches!(element, Element::Text(_)) {
            self.text.clear();
        }
        self.open.push(element);
        Ok(())
    }

    /// Closes the innermost element; tells whether that completed an entry.
    fn close(&mut self) -> Result<bool, SourceError> {
        match self.open.pop() {
            Some(Element::Entry) => {
                self.entries.push(std::mem::take(&mut self.entry));
                return Ok(true);
            }
            Some(Element::Text(field)) => {
                let text = std::mem::take(&mut self.text);
                match field {
                    Field::Id => self.entry.id = text,
                    Field::Title => self.entry.title = text,
                    Field::Summary => self.entry.summary = text,
                    Field::Published => self.entry.published = Some(time(&text)?),
                    Field::Updated => self.entry.updated = Some(time(&text)?),
                    Field::AuthorName => push_bounded(&mut self.entry.authors, text),
                }
            }
            Some(Element::Feed | Element::Author | Element::Other) | None => {}
        }
        Ok(false)
    }

    fn finish(self) -> Result<Vec<Entry>, SourceError> {
        if self.seen && self.open.is_empty() {
            Ok(self.entries)
        } else {
            Err(SourceError::BadAnswer("a feed that is cut off"))
        }
    }

    fn note_link(&mut self, start: &BytesStart<'_>) -> Result<(), SourceError> {
        let link = Link {
            href: attribute(start, "href")?,
            rel: attribute(start, "rel")?,
            media_type: attribute(start, "type")?,
        };
        push_bounded(&mut self.entry.links, link);
        Ok(())
    }
}

fn push_bounded<T>(list: &mut Vec<T>, value: T) {
    if list.len() < LIST_LEN_MAX {
        list.push(value);
    }
}

/// The value of an attribute, empty when there is none.
fn attribute(start: &BytesStart<'_>, name: &str) -> Result<String, SourceError> {
    match start.try_get_attribute(name).map_err(not_well_formed)? {
        Some(found) => Ok(found
            .normalized_value(XmlVersion::Implicit1_0)
            .map_err(not_well_formed)?
            .into_owned()),
        None => Ok(String::new()),
    }
}

fn time(text: &str) -> Result<Timestamp, SourceError> {
    DateTime::parse_from_rfc3339(text.trim())
        .map(|at| at.to_utc().into())
        .map_err(|_| SourceError::BadAnswer("a feed with an impossible time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(document: &str) -> &'static str {
        match parse(document.as_bytes(), 10) {
            Err(SourceError::BadAnswer(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn texts_entities_and_character_data_are_put_together() {
        let entries = parse(
            b"<?xml version='1.0'?><feed xmlns='http://www.w3.org/2005/Atom'><title>of the feed</title>
              <entry><title>A &lt;B&gt; &amp; <![CDATA[<C>]]>&#233;&#x1F980;</title><id>x</id></entry></feed>",
            10,
        )
        .unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].title, "A <B> & <C>é🦀");
    }

    #[test]
    fn unknown_elements_are_passed_over() {
        let entries = parse(
            b"<feed><entry><x:title xmlns:x='urn:x'>no</x:title><media><title>no</title></media><title>yes</title>
              <source><id>no</id></source><id>yes</id></entry></feed>",
            10,
        )
        .unwrap();
        assert_eq!(
            (entries[0].title.as_str(), entries[0].id.as_str()),
            ("yes", "yes")
        );
    }

    #[test]
    fn no_more_entries_are_read_than_wanted() {
        let many = format!("<feed>{}", "<entry><title>t</title></entry>".repeat(1_000));
        assert_eq!(parse(many.as_bytes(), 3).unwrap().len(), 3);
    }

    #[test]
    fn an_entity_bomb_is_refused() {
        let bomb = r#"<!DOCTYPE feed [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
            <feed><entry><title>&b;</title></entry></feed>"#;
        assert_eq!(reason(bomb), "a feed with a document type");
        let outside = r#"<!DOCTYPE feed [<!ENTITY f SYSTEM "file:///etc/passwd">]><feed><entry><title>&f;</title></entry></feed>"#;
        assert_eq!(reason(outside), "a feed with a document type");
        assert_eq!(
            reason("<feed><entry><title>&b;</title></entry></feed>"),
            "a feed with an unknown entity"
        );
        assert_eq!(
            reason("<feed><entry><link href='&b;'/></entry></feed>"),
            "not well-formed XML"
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert_eq!(
            reason(&format!("<feed>{}", "<a>".repeat(100_000))),
            "a feed nested too deeply"
        );
    }

    #[test]
    fn what_is_not_a_whole_feed_is_refused() {
        assert_eq!(reason(""), "a feed that is cut off");
        assert_eq!(reason("plain words"), "a feed that is cut off");
        assert_eq!(reason("<feed><entry><title>t</title>"), "a feed that is cut off");
        assert_eq!(reason("<html><body/></html>"), "not a feed");
        assert_eq!(reason("<feed/><feed/>"), "not a feed");
        assert_eq!(reason("<feed><entry></feed>"), "not well-formed XML");
        assert_eq!(
            reason("<feed><entry><published>soon</published></entry></feed>"),
            "a feed with an impossible time"
        );
        assert!(matches!(
            parse(b"<feed>\xff</feed>", 1),
            Err(SourceError::BadAnswer("not UTF-8"))
        ));
    }

    #[test]
    fn long_lists_are_cut() {
        let entry = format!(
            "<feed><entry>{}</entry></feed>",
            "<author><name>n</name></author>".repeat(3_000)
        );
        assert_eq!(parse(entry.as_bytes(), 1).unwrap()[0].authors.len(), LIST_LEN_MAX);
    }
}
