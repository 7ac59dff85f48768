//! The sources behind the data route. What a value means and which ones are allowed is said in [`crate::sources`].

use super::reader::Reader;
use crate::sources::{ArxivConfig, NewsConfig, SourcesConfig, WeatherConfig, WikiConfig};

const ANY: std::ops::RangeInclusive<u64> = 0..=u64::MAX;

/// Reads `[sources]` and adds what is wrong with it to the other mistakes.
pub(super) fn read(reader: &mut Reader) -> SourcesConfig {
    let config = SourcesConfig {
        cache_ttl_s: reader.integer("sources.cache_ttl_s", ANY),
        cache_entries: reader.size("sources.cache_entries", ANY),
        body_limit: reader.size("sources.body_limit", ANY),
        max_in_flight: reader.size("sources.max_in_flight", ANY),
        connect_timeout_ms: reader.integer("sources.connect_timeout_ms", ANY),
        wiki: WikiConfig {
            base_url: reader.text("sources.wiki.base_url"),
            timeout_ms: reader.integer("sources.wiki.timeout_ms", ANY),
        },
        arxiv: ArxivConfig {
            base_url: reader.text("sources.arxiv.base_url"),
            timeout_ms: reader.integer("sources.arxiv.timeout_ms", ANY),
        },
        news: NewsConfig {
            base_url: reader.text("sources.news.base_url"),
            timeout_ms: reader.integer("sources.news.timeout_ms", ANY),
        },
        weather: WeatherConfig {
            base_url: reader.text("sources.weather.base_url"),
            geocoding_url: reader.text("sources.weather.geocoding_url"),
            timeout_ms: reader.integer("sources.weather.timeout_ms", ANY),
        },
    };
    if let Err(error) = config.check() {
        for mistake in error.mistakes() {
            let (path, what) = mistake.split_once(' ').unwrap_or(("sources", mistake));
            reader.mistake(path, what);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_shipped_settings_are_the_defaults_of_the_sources() {
        assert_eq!(
            Config::parse("", Vec::new()).unwrap().sources,
            SourcesConfig::default()
        );
    }

    #[test]
    fn mistakes_of_the_sources_are_reported_with_the_others() {
        let file =
            "[http]\nlisten = 'x'\n[sources.wiki]\nbase_url = 'ftp://a.b'\n[sources.news]\ntimeout_ms = 0";
        let message = Config::parse(file, Vec::new()).unwrap_err().to_string();
        for part in [
            "http.listen",
            "sources.wiki.base_url: must be",
            "sources.news.timeout_ms: must be",
        ] {
            assert!(message.contains(part), "`{part}` is missing in: {message}");
        }
    }
}
