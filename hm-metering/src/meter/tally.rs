//! What a handler has said of its request so far.

use smallvec::SmallVec;

use crate::name::MeterName;
use crate::units::Units;
use crate::usage::Event;

const SOURCE_MAX: usize = 64;
/// A request that names more meters than this is a mistake; further ones are not counted.
pub(crate) const METERS_MAX: usize = 16;

/// What was said.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) meters: SmallVec<[(MeterName, Units); 2]>,
    pub(crate) source: Option<String>,
    /// Sorted by name, none twice.
    pub(crate) tags: Vec<(String, String)>,
}

impl Tally {
    /// Changes what the request takes of `meter`, and answers what that was before and is now. None when it names too many
    /// meters.
    pub(crate) fn change(
        &mut self,
        meter: &MeterName,
        change: impl FnOnce(Units) -> Units,
    ) -> Option<(Units, Units)> {
        if let Some((_, units)) = self.meters.iter_mut().find(|(has, _)| has == meter) {
            let before = *units;
            *units = change(before);
            Some((before, *units))
        } else if self.meters.len() < METERS_MAX {
            let units = change(Units::ZERO);
            self.meters.push((meter.clone(), units));
            Some((Units::ZERO, units))
        } else {
            tracing::warn!(meter.name = %meter, "a request names too many meters; this one is not counted");
            None
        }
    }

    pub(crate) fn set_source(&mut self, source: &str) {
        self.source = Some(cut(source, SOURCE_MAX).to_owned());
    }

    pub(crate) fn tag(&mut self, name: &str, value: &str) {
        let value = cut(value, Event::TAG_VALUE_MAX);
        match self.tags.binary_search_by(|(has, _)| has.as_str().cmp(name)) {
            Ok(place) => value.clone_into(&mut self.tags[place].1),
            Err(place) if is_tag_name(name) && self.tags.len() < Event::TAGS_MAX => {
                self.tags.insert(place, (name.to_owned(), value.to_owned()));
            }
            Err(_) => tracing::warn!(
                tag.name = cut(name, Event::TAG_NAME_MAX),
                "a request has too many tags, or one without a proper name; this one is left out"
            ),
        }
    }
}

fn is_tag_name(name: &str) -> bool {
    (1..=Event::TAG_NAME_MAX).contains(&name.len())
}

/// The longest start of `text` that has at most `max` bytes and only whole characters.
pub(crate) fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_set_and_added_by_meter() {
        let mut tally = Tally::default();
        let tokens = MeterName::from_static("tokens");
        tally.change(&tokens, |before| before.plus(Units::new(3)));
        tally.change(&tokens, |before| before.plus(Units::new(4)));
        tally.change(&MeterName::REQUESTS, |_| Units::new(2));
        assert_eq!(
            tally.meters.as_slice(),
            [(tokens, Units::new(7)), (MeterName::REQUESTS, Units::new(2))]
        );
    }

    #[test]
    fn meters_and_source_are_bounded() {
        let mut tally = Tally::default();
        for i in 0..100 {
            tally.change(&MeterName::parse(&format!("m{i}")).unwrap(), |_| Units::ONE);
        }
        tally.set_source(&"ä".repeat(100));
        assert_eq!(tally.meters.len(), METERS_MAX);
        assert_eq!(tally.source.unwrap().len(), 64);
    }

    #[test]
    fn tags_are_sorted_and_the_last_value_of_a_name_counts() {
        let mut tally = Tally::default();
        tally.tag("region", "eu");
        tally.tag("model", "small");
        tally.tag("region", "");
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(tally.tags, [tag("model", "small"), tag("region", "")]);
    }

    #[test]
    fn tags_are_bounded_in_number_and_size() {
        let mut tally = Tally::default();
        let longest = "n".repeat(Event::TAG_NAME_MAX);
        for name in ["", &"n".repeat(Event::TAG_NAME_MAX + 1), &longest] {
            tally.tag(name, &"x".repeat(Event::TAG_VALUE_MAX - 1));
        }
        tally.tag(&longest, &("x".repeat(Event::TAG_VALUE_MAX - 1) + "ä"));
        let tags = tally.tags.clone();
        assert_eq!(tags, [(longest.clone(), "x".repeat(Event::TAG_VALUE_MAX - 1))]);
        for i in 0..100 {
            tally.tag(&format!("t{i}"), "v");
        }
        tally.tag(&longest, "still changed");
        let tags = tally.tags.clone();
        assert_eq!(tags.len(), Event::TAGS_MAX);
        assert_eq!(tags[0], (longest, "still changed".to_owned()));
    }
}
