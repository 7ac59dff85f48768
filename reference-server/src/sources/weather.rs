//! `weather`: what it is like at a place now, by Open-Meteo.

use std::time::Duration;

use async_trait::async_trait;
use chrono::DateTime;
use serde::Deserialize;

use super::answer::{Conditions, Details, Item};
use super::ask::Ask;
use super::error::SourceError;
use super::text::{self, NAME_CHARS_MAX, TITLE_CHARS_MAX};
use super::upstream::Upstream;
use super::{Reach, Source};

/// Several places can have one name. More than these few are hardly meant.
const PLACES_MAX: usize = 3;
const CURRENT: &str = "temperature_2m,apparent_temperature,relative_humidity_2m,precipitation,weather_code,\
                       wind_speed_10m,wind_direction_10m";

/// Finds places by name, then asks for the conditions at all of them at once.
pub(super) struct Weather {
    places: Upstream,
    forecast: Upstream,
    time_limit: Duration,
}

impl Weather {
    pub(super) fn new(places: Upstream, forecast: Upstream, time_limit: Duration) -> Self {
        Self {
            places,
            forecast,
            time_limit,
        }
    }

    async fn find_places(&self, ask: &Ask) -> Result<Vec<Place>, SourceError> {
        let wanted = ask.limit_len().min(PLACES_MAX);
        let count = wanted.to_string();
        let query = [
            ("count", count.as_str()),
            ("language", "en"),
            ("format", "json"),
            ("name", ask.text()?),
        ];
        let mut places = self.places.json::<Places>("v1/search", &query).await?.results;
        places.truncate(wanted);
        if places.iter().any(|place| !place.is_on_earth()) {
            return Err(SourceError::BadAnswer("a place that is not on earth"));
        }
        Ok(places)
    }

    async fn observe(&self, places: &[Place]) -> Result<Vec<Current>, SourceError> {
        let join = |coordinate: fn(&Place) -> f64| {
            places
                .iter()
                .map(|place| coordinate(place).to_string())
                .collect::<Vec<_>>()
                .join(",")
        };
        let (latitude, longitude) = (join(|place| place.latitude), join(|place| place.longitude));
        let query = [
            ("latitude", latitude.as_str()),
            ("longitude", &longitude),
            ("current", CURRENT),
            ("timeformat", "unixtime"),
        ];
        let observed = match self.forecast.json("v1/forecast", &query).await? {
            Forecasts::Many(forecasts) => forecasts,
            Forecasts::One(forecast) => vec![forecast],
        };
        if observed.len() != places.len() {
            return Err(SourceError::BadAnswer("not as many places as asked for"));
        }
        Ok(observed.into_iter().map(|forecast| forecast.current).collect())
    }
}

/// The service leaves the list out when it finds nothing.
#[derive(Deserialize)]
struct Places {
    #[serde(default)]
    results: Vec<Place>,
    /// Always there, so that some other JSON is not taken for "nothing found".
    #[serde(rename = "generationtime_ms")]
    _took_ms: f64,
}

#[derive(Deserialize)]
struct Place {
    name: String,
    latitude: f64,
    longitude: f64,
    admin1: Option<String>,
    country: Option<String>,
}

impl Place {
    fn is_on_earth(&self) -> bool {
        self.latitude.abs() <= 90.0 && self.longitude.abs() <= 180.0
    }

    /// The name with region and country, as far as they are known and tell anything more.
    fn title(&self) -> Option<String> {
        let mut title = text::plain(&self.name, NAME_CHARS_MAX)?;
        for part in [&self.admin1, &self.country].into_iter().flatten() {
            if let Some(part) = text::plain(part, NAME_CHARS_MAX).filter(|part| *part != self.name) {
                title.push_str(", ");
                title.push_str(&part);
            }
        }
        text::plain(&title, TITLE_CHARS_MAX)
    }
}

/// One place gives an object, several give a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Forecasts {
    Many(Vec<Forecast>),
    One(Forecast),
}

#[derive(Deserialize)]
struct Forecast {
    current: Current,
}

#[derive(Deserialize)]
struct Current {
    time: i64,
    temperature_2m: f64,
    weather_code: u16,
    apparent_temperature: Option<f64>,
    relative_humidity_2m: Option<f64>,
    precipitation: Option<f64>,
    wind_speed_10m: Option<f64>,
    wind_direction_10m: Option<f64>,
}

#[async_trait]
impl Source for Weather {
    fn name(&self) -> &'static str {
        "weather"
    }

    fn reach(&self) -> Reach {
        Reach::Live {
            time_limit: self.time_limit,
        }
    }

    async fn search(&self, ask: &Ask) -> Result<Vec<Item>, SourceError> {
        let places = self.find_places(ask).await?;
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let observed = self.observe(&places).await?;
        places
            .iter()
            .zip(observed)
            .map(|(place, current)| item(place, &current))
            .collect()
    }
}

fn item(place: &Place, current: &Current) -> Result<Item, SourceError> {
    let title = place
        .title()
        .ok_or(SourceError::BadAnswer("a place without a name"))?;
    let at = DateTime::from_timestamp(current.time, 0).ok_or(SourceError::BadAnswer("an impossible time"))?;
    Ok(Item {
        title,
        url: None,
        summary: Some(summary(current)),
        published_at: Some(at.into()),
        details: Some(Details::Weather {
            latitude: place.latitude,
            longitude: place.longitude,
            current: Conditions {
                description: describe(current.weather_code),
                weather_code: current.weather_code,
                temperature_c: current.temperature_2m,
                apparent_temperature_c: current.apparent_temperature,
                humidity_percent: current.relative_humidity_2m,
                precipitation_mm: current.precipitation,
                wind_kmh: current.wind_speed_10m,
                wind_from_degrees: current.wind_direction_10m,
            },
        }),
    })
}

fn summary(current: &Current) -> String {
    let mut summary = format!(
        "{}, {:.1} °C",
        describe(current.weather_code),
        current.temperature_2m
    );
    if let Some(apparent) = current.apparent_temperature {
        summary.push_str(&format!(", feels like {apparent:.1} °C"));
    }
    if let Some(humidity) = current.relative_humidity_2m {
        summary.push_str(&format!(", humidity {humidity:.0} %"));
    }
    if let Some(wind) = current.wind_speed_10m {
        summary.push_str(&format!(", wind {wind:.0} km/h"));
    }
    summary
}

/// WMO code table 4677, as far as the service uses it.
fn describe(weather_code: u16) -> &'static str {
    match weather_code {
        0 => "clear sky",
        1 => "mainly clear",
        2 => "partly cloudy",
        3 => "overcast",
        45 => "fog",
        48 => "fog with hoarfrost",
        51 => "light drizzle",
        53 => "drizzle",
        55 => "dense drizzle",
        56 => "light freezing drizzle",
        57 => "dense freezing drizzle",
        61 => "light rain",
        63 => "rain",
        65 => "heavy rain",
        66 => "light freezing rain",
        67 => "heavy freezing rain",
        71 => "light snow",
        73 => "snow",
        75 => "heavy snow",
        77 => "snow grains",
        80 => "light rain showers",
        81 => "rain showers",
        82 => "violent rain showers",
        85 => "light snow showers",
        86 => "heavy snow showers",
        95 => "thunderstorm",
        96 => "thunderstorm with light hail",
        99 => "thunderstorm with heavy hail",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_not_named_twice() {
        let place = Place {
            name: "Singapore".to_owned(),
            latitude: 1.3,
            longitude: 103.9,
            admin1: Some("Singapore".to_owned()),
            country: Some("Singapore".to_owned()),
        };
        assert_eq!(place.title().unwrap(), "Singapore");
    }
}
