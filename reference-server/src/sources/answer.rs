//! What comes back from a source, in one shape for all of them.

use std::sync::Arc;

use hm_metering::Timestamp;
use serde::{Serialize, Serializer};

/// The answer to one question.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The source that was asked.
    pub source: &'static str,
    /// The query as it was asked, trimmed; `null` when there was none.
    pub query: Option<String>,
    /// What was found, best first.
    #[serde(serialize_with = "as_list")]
    pub results: Arc<[Item]>,
    /// Whether this is an earlier answer to the same question.
    pub cached: bool,
    /// How long it took to find, in milliseconds.
    pub took_ms: u64,
}

fn as_list<S: Serializer>(items: &Arc<[Item]>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(items.iter())
}

/// One thing found. Texts are plain text of bounded length.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// What it is called; never empty.
    pub title: String,
    /// Where to read on; always `http` or `https`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A few sentences about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// When it was first published; for weather, when it was observed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// What only sources of this kind know; in JSON beside the other fields.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
}

/// What only some sources know about an item.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Details {
    /// An article of an encyclopaedia.
    Article {
        /// When it was last changed.
        updated_at: Option<Timestamp>,
        /// Its length in words.
        words: Option<u64>,
    },
    /// A scientific paper.
    Paper {
        /// Who wrote it, in order; long lists are cut.
        authors: Vec<String>,
        /// Its subject classes, the main one first.
        categories: Vec<String>,
        /// When this version appeared.
        updated_at: Option<Timestamp>,
        /// The paper itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        pdf_url: Option<String>,
    },
    /// A story on a news site.
    Story {
        /// Who submitted it.
        author: Option<String>,
        /// Votes.
        points: Option<i64>,
        /// How many comments it has.
        comments: Option<i64>,
        /// Where it is discussed.
        discussion_url: String,
    },
    /// The weather at a place.
    Weather {
        /// Degrees north.
        latitude: f64,
        /// Degrees east.
        longitude: f64,
        /// What it is like there now.
        current: Conditions,
    },
    /// A curious fact.
    Fact {
        /// The field of knowledge.
        topic: &'static str,
    },
}

/// The weather at one moment. What the station does not tell is left out.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// In words, such as `light rain`.
    pub description: &'static str,
    /// WMO weather interpretation code.
    pub weather_code: u16,
    /// Air temperature in degrees Celsius.
    pub temperature_c: f64,
    /// What it feels like, in degrees Celsius.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparent_temperature_c: Option<f64>,
    /// Relative humidity in per cent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub humidity_percent: Option<f64>,
    /// Precipitation of the preceding interval in millimetres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precipitation_mm: Option<f64>,
    /// Wind speed in kilometres an hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wind_kmh: Option<f64>,
    /// Where the wind comes from, in degrees from north.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wind_from_degrees: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_written_as_the_contract_says() {
        let answer = Answer {
            source: "curiosity",
            query: None,
            results: Arc::from(vec![Item {
                title: "Octopuses have three hearts".to_owned(),
                details: Some(Details::Fact { topic: "animals" }),
                ..Item::default()
            }]),
            cached: false,
            took_ms: 3,
        };
        assert_eq!(
            serde_json::to_string(&answer).unwrap(),
            r#"{"source":"curiosity","query":null,"results":[{"title":"Octopuses have three hearts","topic":"animals"}],"cached":false,"tookMs":3}"#
        );
    }
}
