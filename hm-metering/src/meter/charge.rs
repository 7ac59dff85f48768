//! What a handler says about what its request really takes.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::name::MeterName;
use crate::units::Units;

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
        let end = (0..=SOURCE_MAX.min(source.len()))
            .rev()
            .find(|end| source.is_char_boundary(*end))
            .unwrap_or(0);
        self.touch(|said| said.source = Some(source[..end].to_owned()));
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
}
