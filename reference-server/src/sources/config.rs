//! The settings of the sources.

use std::time::Duration;

use reqwest::Url;
use serde::{Deserialize, Serialize};

/// The settings of all sources; what is left out is as [`Default`] says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourcesConfig {
    /// How long an answer is kept, in seconds; 0 keeps none, at most a day.
    pub cache_ttl_s: u64,
    /// How many answers are kept over all sources; 0 keeps none, at most 10,000.
    pub cache_entries: usize,
    /// The most bytes an upstream's answer may have: 1 KiB to 16 MiB.
    pub body_limit: usize,
    /// How many questions may be under way to each source, so that a slow one holds up no other: 1 to 1,000.
    pub max_in_flight: usize,
    /// How long connecting to an upstream may take, in milliseconds: 1 to 60,000.
    pub connect_timeout_ms: u64,
    /// Articles of an encyclopaedia.
    pub wiki: WikiConfig,
    /// Scientific papers.
    pub arxiv: ArxivConfig,
    /// Technology news.
    pub news: NewsConfig,
    /// The weather at a place.
    pub weather: WeatherConfig,
}

/// The settings of `wiki`, a `MediaWiki` site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WikiConfig {
    /// Where `w/api.php` and `wiki/` are.
    pub base_url: String,
    /// How long one question may take in all, in milliseconds: 1 to 60,000.
    pub timeout_ms: u64,
}

/// The settings of `arxiv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArxivConfig {
    /// Where `api/query` is.
    pub base_url: String,
    /// How long one question may take in all, in milliseconds: 1 to 60,000.
    pub timeout_ms: u64,
}

/// The settings of `news`, the search of Hacker News.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewsConfig {
    /// Where `api/v1/search` is.
    pub base_url: String,
    /// How long one question may take in all, in milliseconds: 1 to 60,000.
    pub timeout_ms: u64,
}

/// The settings of `weather`, by Open-Meteo.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeatherConfig {
    /// Where `v1/forecast` is.
    pub base_url: String,
    /// Where `v1/search`, which finds places by name, is.
    pub geocoding_url: String,
    /// How long one question may take in all, in milliseconds: 1 to 60,000. It is two requests, one after the other.
    pub timeout_ms: u64,
}

impl Default for SourcesConfig {
    fn default() -> Self {
        Self {
            cache_ttl_s: 300,
            cache_entries: 512,
            body_limit: 1024 * 1024,
            max_in_flight: 32,
            connect_timeout_ms: 2_000,
            wiki: WikiConfig::default(),
            arxiv: ArxivConfig::default(),
            news: NewsConfig::default(),
            weather: WeatherConfig::default(),
        }
    }
}

impl Default for WikiConfig {
    fn default() -> Self {
        Self {
            base_url: "https://en.wikipedia.org/".to_owned(),
            timeout_ms: 5_000,
        }
    }
}

impl Default for ArxivConfig {
    fn default() -> Self {
        Self {
            base_url: "https://export.arxiv.org/".to_owned(),
            timeout_ms: 10_000,
        }
    }
}

impl Default for NewsConfig {
    fn default() -> Self {
        Self {
            base_url: "https://hn.algolia.com/".to_owned(),
            timeout_ms: 5_000,
        }
    }
}

impl Default for WeatherConfig {
    fn default() -> Self {
        Self {
            base_url: "https://api.open-meteo.com/".to_owned(),
            geocoding_url: "https://geocoding-api.open-meteo.com/".to_owned(),
            timeout_ms: 6_000,
        }
    }
}

/// Why the sources cannot be set up: everything that is wrong with their settings, at once.
#[derive(Debug, thiserror::Error)]
#[error("{}", mistakes.join("; "))]
pub struct SourceSetupError {
    pub(super) mistakes: Vec<String>,
}

impl SourceSetupError {
    /// One sentence for each mistake, naming the setting but never repeating its value.
    #[must_use]
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }

    pub(super) fn one(mistake: String) -> Self {
        Self {
            mistakes: vec![mistake],
        }
    }
}

/// The settings, checked and in the types that are worked with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) cache_ttl: Duration,
    pub(super) connect_timeout: Duration,
    pub(super) wiki: (Url, Duration),
    pub(super) arxiv: (Url, Duration),
    pub(super) news: (Url, Duration),
    pub(super) weather: (Url, Url, Duration),
}

impl SourcesConfig {
    /// Looks for mistakes without setting anything up.
    ///
    /// # Errors
    ///
    /// All mistakes there are.
    pub fn check(&self) -> Result<(), SourceSetupError> {
        self.settings().map(drop)
    }

    pub(super) fn settings(&self) -> Result<Settings, SourceSetupError> {
        let mut check = Check::default();
        check.range("sources.cache_entries", self.cache_entries, 0, 10_000);
        check.range("sources.body_limit", self.body_limit, 1024, 16 * 1024 * 1024);
        check.range("sources.max_in_flight", self.max_in_flight, 1, 1_000);
        check.range("sources.cache_ttl_s", self.cache_ttl_s, 0, 86_400);
        let connect_timeout = check.timeout("sources.connect_timeout_ms", self.connect_timeout_ms);
        let wiki = (
            check.base_url("sources.wiki.base_url", &self.wiki.base_url),
            check.timeout("sources.wiki.timeout_ms", self.wiki.timeout_ms),
        );
        let arxiv = (
            check.base_url("sources.arxiv.base_url", &self.arxiv.base_url),
            check.timeout("sources.arxiv.timeout_ms", self.arxiv.timeout_ms),
        );
        let news = (
            check.base_url("sources.news.base_url", &self.news.base_url),
            check.timeout("sources.news.timeout_ms", self.news.timeout_ms),
        );
        let weather = (
            check.base_url("sources.weather.base_url", &self.weather.base_url),
            check.base_url("sources.weather.geocoding_url", &self.weather.geocoding_url),
            check.timeout("sources.weather.timeout_ms", self.weather.timeout_ms),
        );
        // An address is missing only where a mistake was noted.
        match (wiki, arxiv, news, weather) {
            (
                (Some(wiki), wiki_limit),
                (Some(arxiv), arxiv_limit),
                (Some(news), news_limit),
                (Some(forecast), Some(places), weather_limit),
            ) if check.mistakes.is_empty() => Ok(Settings {
                cache_ttl: Duration::from_secs(self.cache_ttl_s),
                connect_timeout,
                wiki: (wiki, wiki_limit),
                arxiv: (arxiv, arxiv_limit),
                news: (news, news_limit),
                weather: (forecast, places, weather_limit),
            }),
            _ => Err(SourceSetupError {
                mistakes: check.mistakes,
            }),
        }
    }
}

#[derive(Default)]
struct Check {
    mistakes: Vec<String>,
}

impl Check {
    fn range<T: PartialOrd + Copy + std::fmt::Display>(
        &mut self,
        setting: &str,
        value: T,
        least: T,
        most: T,
    ) {
        if value < least || value > most {
            self.mistakes
                .push(format!("{setting} must be between {least} and {most}"));
        }
    }

    fn timeout(&mut self, setting: &str, ms: u64) -> Duration {
        self.range(setting, ms, 1, 60_000);
        Duration::from_millis(ms)
    }

    /// The address, ending in a slash so that paths can be appended to it.
    fn base_url(&mut self, setting: &str, text: &str) -> Option<Url> {
        let mistake = match Url::parse(text) {
            Err(_) => "is not an absolute URL",
            Ok(url) if !matches!(url.scheme(), "http" | "https") => "must be an http or https URL",
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "must not carry a user name or password"
            }
            Ok(url) if url.query().is_some() || url.fragment().is_some() => {
                "must have neither query nor fragment"
            }
            Ok(mut url) => {
                if !url.path().ends_with('/') {
                    let path = format!("{}/", url.path());
                    url.set_path(&path);
                }
                return Some(url);
            }
        };
        self.mistakes.push(format!("{setting} {mistake}"));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_order() {
        SourcesConfig::default().check().unwrap();
    }

    #[test]
    fn a_setting_can_be_given_alone() {
        let config: SourcesConfig = toml::from_str("cache_ttl_s = 1\n[wiki]\ntimeout_ms = 7").unwrap();
        assert_eq!(config.wiki.timeout_ms, 7);
        assert_eq!(config.wiki.base_url, WikiConfig::default().base_url);
        assert_eq!(config.weather, WeatherConfig::default());
    }

    #[test]
    fn an_unknown_setting_is_refused() {
        for text in ["cache_tll_s = 1", "[wiki]\nbase = 'x'", "[wikki]\ntimeout_ms = 1"] {
            assert!(toml::from_str::<SourcesConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once_and_without_values() {
        let mut config = SourcesConfig {
            max_in_flight: 0,
            body_limit: 1,
            ..SourcesConfig::default()
        };
        config.wiki.base_url = "file:///etc/passwd".to_owned();
        config.news.base_url = "https://someone:hunter2@example.org/".to_owned();
        config.weather.geocoding_url = "example.org".to_owned();
        config.arxiv.timeout_ms = 0;
        let error = config.check().unwrap_err();
        assert_eq!(error.mistakes().len(), 6, "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_base_url_keeps_its_path() {
        let mut config = SourcesConfig::default();
        config.wiki.base_url = "http://127.0.0.1:9/mirror".to_owned();
        assert_eq!(
            config.settings().unwrap().wiki.0.as_str(),
            "http://127.0.0.1:9/mirror/"
        );
    }
}
