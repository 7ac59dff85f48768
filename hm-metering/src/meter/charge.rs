//! What a handler says about what its request really takes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::name::MeterName;
use crate::units::Units;
use crate::usage::Event;

const SOURCE_MAX: usize = 64;
/// A request that names more meters than this is a mistake; further ones are not counted.
const METERS_MAX: usize = 16;

/// A handle on the charge of the request in hand, in its extensions. Clones are the same charge.
///
/// What a handler says counts until the response ends; what it says later is lost. A response that becomes another
/// protocol (101, such as a WebSocket) ends with its head. A request that is not charged, such
/// as one that ended with status 500, is not charged whatever was said.
#[derive(Clone)]
pub struct Charge(Arc<Shared>);

#[derive(Default)]
struct Shared {
    touched: AtomicBool,
    said: Mutex<Said>,
}

/// What was said.
#[derive(Clone, Default)]
pub(crate) struct Said {
    pub(crate) meters: Vec<(MeterName, Units)>,
    pub(crate) source: Option<String>,
    /// Sorted by name, none twice.
    pub(crate) tags: Vec<(String, String)>,
}

impl Charge {
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// The request takes `units` of `meter`, whatever the operation declared.
    pub fn set(&self, meter: &MeterName, units: Units) {
        self.change(meter, |_| units);
    }

    /// The request takes `units` of `meter` more than was said before. Starts from nothing, not from what the operation
    /// declared: a stream that counts its tokens says all of them.
    pub fn add(&self, meter: &MeterName, units: Units) {
        self.change(meter, |before| before.plus(units));
    }

    /// Where the answer came from, for the ledger and reports; cut to 64 bytes.
    pub fn set_source(&self, source: &str) {
        self.touch(|said| said.source = Some(cut(source, SOURCE_MAX).to_owned()));
    }

    /// Notes something about the request for the ledger, such as the model that answered. The last value of a name
    /// counts; it is cut to [`Event::TAG_VALUE_MAX`] bytes. A name that is empty or longer than [`Event::TAG_NAME_MAX`]
    /// bytes, and more names than [`Event::TAGS_MAX`], are mistakes: they are left out, with a warning in the log.
    pub fn tag(&self, name: &str, value: &str) {
        let value = cut(value, Event::TAG_VALUE_MAX);
        self.touch(
            |said| match said.tags.binary_search_by(|(has, _)| has.as_str().cmp(name)) {
                Ok(place) => value.clone_into(&mut said.tags[place].1),
                Err(place) if is_tag_name(name) && said.tags.len() < Event::TAGS_MAX => {
                    said.tags.insert(place, (name.to_owned(), value.to_owned()));
                }
                Err(_) => tracing::warn!(
                    tag.name = cut(name, Event::TAG_NAME_MAX),
                    "a request has too many tags, or one without a proper name; this one is left out"
                ),
            },
        );
    }

    fn change(&self, meter: &MeterName, change: impl FnOnce(Units) -> Units) {
        self.touch(|said| {
            if let Some((_, units)) = said.meters.iter_mut().find(|(has, _)| has == meter) {
                *units = change(*units);
            } else if said.meters.len() < METERS_MAX {
                said.meters.push((meter.clone(), change(Units::ZERO)));
            } else {
                tracing::warn!(meter.name = %meter, "a request names too many meters; this one is not counted");
            }
        });
    }

    fn touch(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.0.said.lock().unwrap_or_else(PoisonError::into_inner));
        self.0.touched.store(true, Ordering::Release);
    }

    /// What was said, if anything.
    pub(crate) fn said(&self) -> Option<Said> {
        self.0
            .touched
            .load(Ordering::Acquire)
            .then(|| self.0.said.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn is_tag_name(name: &str) -> bool {
    (1..=Event::TAG_NAME_MAX).contains(&name.len())
}

/// The longest start of `text` that has at most `max` bytes and only whole characters.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

impl fmt::Debug for Charge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charge").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_set_and_added_by_meter() {
        let charge = Charge::new();
        assert!(charge.said().is_none());
        let tokens = MeterName::from_static("tokens");
        charge.add(&tokens, Units::new(3));
        charge.clone().add(&tokens, Units::new(4));
        charge.set(&MeterName::REQUESTS, Units::new(2));
        let said = charge.said().unwrap();
        assert_eq!(
            said.meters,
            [(tokens, Units::new(7)), (MeterName::REQUESTS, Units::new(2))]
        );
    }

    #[test]
    fn meters_and_source_are_bounded() {
        let charge = Charge::new();
        for i in 0..100 {
            charge.add(&MeterName::parse(&format!("m{i}")).unwrap(), Units::ONE);
        }
        charge.set_source(&"ä".repeat(100));
        let said = charge.said().unwrap();
        assert_eq!(said.meters.len(), METERS_MAX);
        assert_eq!(said.source.unwrap().len(), 64);
    }

    #[test]
    fn tags_are_sorted_and_the_last_value_of_a_name_counts() {
        let charge = Charge::new();
        charge.tag("region", "eu");
        charge.tag("model", "small");
        charge.clone().tag("region", "");
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            charge.said().unwrap().tags,
            [tag("model", "small"), tag("region", "")]
        );
    }

    #[test]
    fn tags_are_bounded_in_number_and_size() {
        let charge = Charge::new();
        let longest = "n".repeat(Event::TAG_NAME_MAX);
        for name in ["", &"n".repeat(Event::TAG_NAME_MAX + 1), &longest] {
            charge.tag(name, &"x".repeat(Event::TAG_VALUE_MAX - 1));
        }
        charge.tag(&longest, &("x".repeat(Event::TAG_VALUE_MAX - 1) + "ä"));
        let tags = charge.said().unwrap().tags;
        assert_eq!(tags, [(longest.clone(), "x".repeat(Event::TAG_VALUE_MAX - 1))]);
        for i in 0..100 {
            charge.tag(&format!("t{i}"), "v");
        }
        charge.tag(&longest, "still changed");
        let tags = charge.said().unwrap().tags;
        assert_eq!(tags.len(), Event::TAGS_MAX);
        assert_eq!(tags[0], (longest, "still changed".to_owned()));
    }
}
