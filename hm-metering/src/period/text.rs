//! Period rules in configurations: a word, or a table with the word and what it needs.

use std::fmt;
use std::num::NonZeroU32;

use chrono::Weekday;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{LocalRule, PeriodRule, Rolling, Zone};

const WORDS: &str = "anchored_month, calendar_month, week, day, hour, fixed, anchored_fixed or rolling";

const WEEKDAYS: [(&str, Weekday); 7] = [
    ("monday", Weekday::Mon),
    ("tuesday", Weekday::Tue),
    ("wednesday", Weekday::Wed),
    ("thursday", Weekday::Thu),
    ("friday", Weekday::Fri),
    ("saturday", Weekday::Sat),
    ("sunday", Weekday::Sun),
];

/// Every field that a rule may have; which of them do is checked on the way.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    rule: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first_day: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hours: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    minutes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seconds: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grain_hours: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grain_minutes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    grain_seconds: Option<u32>,
}

impl RuleText {
    fn into_rule(self) -> Result<PeriodRule, String> {
        let rule = match self.rule.as_str() {
            "anchored_month" => LocalRule::AnchoredMonth,
            "calendar_month" => LocalRule::CalendarMonth,
            "week" => LocalRule::Week(self.first_day()?),
            "day" => LocalRule::Day,
            "hour" => LocalRule::Hour,
            "fixed" | "anchored_fixed" => return self.into_fixed(),
            "rolling" => return self.into_rolling(),
            other => return Err(format!("period rule {other:?} is none of {WORDS}")),
        };
        self.allow_only(&["zone", if self.rule == "week" { "first_day" } else { "" }])?;
        let zone = self.zone.as_deref().map_or(Ok(Zone::UTC), str::parse);
        Ok(PeriodRule::from(rule).in_zone(zone.map_err(|error| error.to_string())?))
    }

    fn into_fixed(self) -> Result<PeriodRule, String> {
        self.allow_only(&["days", "hours", "minutes", "seconds"])?;
        let seconds = self.length()?;
        Ok(if self.rule == "fixed" {
            PeriodRule::Fixed { seconds }
        } else {
            PeriodRule::AnchoredFixed { seconds }
        })
    }

    fn into_rolling(self) -> Result<PeriodRule, String> {
        let lengths = ["days", "hours", "minutes", "seconds"];
        let grains = ["grain_hours", "grain_minutes", "grain_seconds"];
        self.allow_only(&[&lengths[..], &grains[..]].concat())?;
        let grain = self.one_of(&[
            ("grain_hours", self.grain_hours, 3_600),
            ("grain_minutes", self.grain_minutes, 60),
            ("grain_seconds", self.grain_seconds, 1),
        ])?;
        Rolling::new(self.length()?, grain)
            .map(PeriodRule::Rolling)
            .map_err(|error| error.to_string())
    }

    fn first_day(&self) -> Result<Weekday, String> {
        let Some(word) = self.first_day.as_deref() else {
            return Ok(Weekday::Mon);
        };
        WEEKDAYS
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, day)| *day)
            .ok_or_else(|| format!("`first_day` is a day such as \"monday\", not {word:?}"))
    }

    fn length(&self) -> Result<NonZeroU32, String> {
        self.one_of(&[
            ("days", self.days, 86_400),
            ("hours", self.hours, 3_600),
            ("minutes", self.minutes, 60),
            ("seconds", self.seconds, 1),
        ])
    }

    /// The one of several units that is given, in seconds.
    fn one_of(&self, units: &[(&str, Option<u32>, u32)]) -> Result<NonZeroU32, String> {
        let mut given = units
            .iter()
            .filter_map(|(name, count, size)| count.map(|count| (name, count, size)));
        let (Some((name, count, size)), None) = (given.next(), given.next()) else {
            let names: Vec<_> = units.iter().map(|(name, ..)| format!("`{name}`")).collect();
            return Err(format!(
                "period rule {:?} needs exactly one of {}",
                self.rule,
                names.join(", ")
            ));
        };
        let seconds = count.checked_mul(*size).and_then(NonZeroU32::new);
        seconds.ok_or_else(|| format!("`{name}` must be more than 0 and less than 136 years, not {count}"))
    }

    /// Names the first field that the rule has no use for.
    fn allow_only(&self, allowed: &[&str]) -> Result<(), String> {
        let given = [
            ("zone", self.zone.is_some()),
            ("first_day", self.first_day.is_some()),
            ("days", self.days.is_some()),
            ("hours", self.hours.is_some()),
            ("minutes", self.minutes.is_some()),
            ("seconds", self.seconds.is_some()),
            ("grain_hours", self.grain_hours.is_some()),
            ("grain_minutes", self.grain_minutes.is_some()),
            ("grain_seconds", self.grain_seconds.is_some()),
        ];
        match given
            .iter()
            .find(|(name, is_given)| *is_given && !allowed.contains(name))
        {
            Some((name, _)) => Err(format!("period rule {:?} has no `{name}`", self.rule)),
            None => Ok(()),
        }
    }

    fn of(rule: PeriodRule) -> Self {
        let text = |rule: &str| Self {
            rule: rule.to_owned(),
            ..Self::default()
        };
        match rule {
            PeriodRule::Fixed { seconds } => Self {
                seconds: Some(seconds.get()),
                ..text("fixed")
            },
            PeriodRule::AnchoredFixed { seconds } => Self {
                seconds: Some(seconds.get()),
                ..text("anchored_fixed")
            },
            PeriodRule::Rolling(rolling) => Self {
                seconds: Some(rolling.length_seconds().get()),
                grain_seconds: Some(rolling.grain_seconds().get()),
                ..text("rolling")
            },
            PeriodRule::AnchoredMonth => text("anchored_month"),
            PeriodRule::CalendarMonth => text("calendar_month"),
            PeriodRule::Day => text("day"),
            PeriodRule::Hour => text("hour"),
            PeriodRule::Week { first_day } => Self {
                first_day: WEEKDAYS
                    .iter()
                    .find(|(_, day)| *day == first_day && first_day != Weekday::Mon)
                    .map(|(name, _)| (*name).to_owned()),
                ..text("week")
            },
            PeriodRule::Zoned(zoned) => Self {
                zone: Some(zoned.zone().name().to_owned()),
                ..Self::of(zoned.in_utc())
            },
        }
    }

    fn is_a_word(&self) -> bool {
        self.allow_only(&[]).is_ok()
    }
}

impl Serialize for PeriodRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = RuleText::of(*self);
        if text.is_a_word() {
            serializer.serialize_str(&text.rule)
        } else {
            text.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for PeriodRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = PeriodRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a period: a word such as \"day\", or a table such as { rule = \"day\", zone = \"Europe/Berlin\" }")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<PeriodRule, E> {
        let text = RuleText {
            rule: word.to_owned(),
            ..RuleText::default()
        };
        text.into_rule().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PeriodRule, A::Error> {
        let text = RuleText::deserialize(MapAccessDeserializer::new(map))?;
        text.into_rule().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Config {
        period: PeriodRule,
    }

    fn read(period: &str) -> Result<PeriodRule, String> {
        let read = toml::from_str::<Config>(&format!("period = {period}"));
        read.map(|config| config.period)
            .map_err(|error| error.to_string())
    }

    fn seconds(seconds: u32) -> NonZeroU32 {
        NonZeroU32::new(seconds).unwrap()
    }

    #[test]
    fn every_rule_has_a_form_and_comes_back_from_it() {
        let berlin = "Europe/Berlin".parse().unwrap();
        let sunday = PeriodRule::Week {
            first_day: Weekday::Sun,
        };
        let rolling = Rolling::new(seconds(86_400), seconds(3_600)).unwrap();
        let forms = [
            ("'anchored_month'", PeriodRule::AnchoredMonth),
            ("'calendar_month'", PeriodRule::CalendarMonth),
            ("'week'", PeriodRule::WEEK),
            ("'day'", PeriodRule::Day),
            ("'hour'", PeriodRule::Hour),
            ("{ rule = 'day' }", PeriodRule::Day),
            ("{ rule = 'day', zone = 'UTC' }", PeriodRule::Day),
            (
                "{ rule = 'day', zone = 'Europe/Berlin' }",
                PeriodRule::Day.in_zone(berlin),
            ),
            ("{ rule = 'week', first_day = 'sunday' }", sunday),
            (
                "{ rule = 'week', first_day = 'sunday', zone = 'Europe/Berlin' }",
                sunday.in_zone(berlin),
            ),
            (
                "{ rule = 'fixed', seconds = 900 }",
                PeriodRule::Fixed {
                    seconds: seconds(900),
                },
            ),
            (
                "{ rule = 'anchored_fixed', days = 28 }",
                PeriodRule::AnchoredFixed {
                    seconds: seconds(28 * 86_400),
                },
            ),
            (
                "{ rule = 'rolling', hours = 24, grain_minutes = 60 }",
                PeriodRule::Rolling(rolling),
            ),
        ];
        for (form, rule) in forms {
            assert_eq!(read(form), Ok(rule), "{form}");
            let written = toml::to_string(&Config { period: rule }).unwrap();
            assert_eq!(toml::from_str(&written), Ok(Config { period: rule }), "{written}");
        }
    }

    #[test]
    fn a_mistake_is_named() {
        let mistakes = [
            ("'fortnight'", "\"fortnight\" is none of anchored_month"),
            ("'fixed'", "\"fixed\" needs exactly one of `days`"),
            ("'rolling'", "\"rolling\" needs exactly one of `grain_hours`"),
            ("3", "a period: a word such as"),
            ("{ zone = 'UTC' }", "missing field `rule`"),
            ("{ rule = 'day', zones = 'UTC' }", "unknown field `zones`"),
            ("{ rule = 'day', zone = 'Mars/Base' }", "\"Mars/Base\" is no zone"),
            (
                "{ rule = 'day', first_day = 'sunday' }",
                "\"day\" has no `first_day`",
            ),
            ("{ rule = 'day', hours = 24 }", "\"day\" has no `hours`"),
            ("{ rule = 'week', first_day = 'Sun' }", "not \"Sun\""),
            ("{ rule = 'fixed', seconds = 0 }", "`seconds` must be more than 0"),
            (
                "{ rule = 'fixed', days = 60000 }",
                "`days` must be more than 0 and less",
            ),
            ("{ rule = 'fixed', days = 1, hours = 1 }", "exactly one of"),
            (
                "{ rule = 'fixed', hours = 1, zone = 'UTC' }",
                "\"fixed\" has no `zone`",
            ),
            (
                "{ rule = 'fixed', hours = 1, grain_hours = 1 }",
                "has no `grain_hours`",
            ),
            ("{ rule = 'rolling', hours = 24 }", "exactly one of `grain_hours`"),
            (
                "{ rule = 'rolling', hours = 1, grain_minutes = 7 }",
                "no whole number",
            ),
            (
                "{ rule = 'rolling', days = 2, grain_seconds = 1 }",
                "more than 1440",
            ),
        ];
        for (form, part) in mistakes {
            let error = read(form).unwrap_err();
            assert!(error.contains(part), "{part:?} is missing in {error}");
        }
    }
}
