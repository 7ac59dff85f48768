//! The sources behind the data route.

use std::time::Duration;

use super::reader::Reader;

/// `[sources]`.
#[derive(Clone, Debug)]
pub struct SourcesConfig {
    /// How long answers of upstreams are kept; zero keeps none.
    pub cache_ttl: Duration,
    /// Answers kept at most.
    pub cache_entries: usize,
    /// Encyclopaedia articles.
    pub wiki: SourceConfig,
    /// Scientific papers.
    pub arxiv: SourceConfig,
    /// News.
    pub news: SourceConfig,
    /// Weather by place.
    pub weather: WeatherConfig,
}

/// One upstream.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Scheme, host and perhaps a path, without a slash at the end.
    pub base_url: String,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// `[sources.weather]`: the forecast and the service that finds places.
#[derive(Clone, Debug)]
pub struct WeatherConfig {
    /// The forecast.
    pub forecast: SourceConfig,
    /// Finds the coordinates of a place.
    pub geocoding_base_url: String,
}

impl SourcesConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self {
            cache_ttl: reader.seconds("sources.cache_ttl_s", 0..=86_400),
            cache_entries: reader.size("sources.cache_entries", 1..=1_000_000),
            wiki: SourceConfig::read(reader, "wiki"),
            arxiv: SourceConfig::read(reader, "arxiv"),
            news: SourceConfig::read(reader, "news"),
            weather: WeatherConfig {
                forecast: SourceConfig::read(reader, "weather"),
                geocoding_base_url: base_url(reader, "sources.weather.geocoding_base_url"),
            },
        }
    }
}

impl SourceConfig {
    fn read(reader: &mut Reader, name: &str) -> Self {
        Self {
            base_url: base_url(reader, &format!("sources.{name}.base_url")),
            timeout: reader.millis(&format!("sources.{name}.timeout_ms"), 50..=60_000),
        }
    }
}

fn base_url(reader: &mut Reader, path: &str) -> String {
    reader.parsed(path, "an http or https address", String::new(), |text| {
        let url = reqwest::Url::parse(text).ok()?;
        let plain = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
        plain.then(|| text.trim_end_matches('/').to_owned())
    })
}
