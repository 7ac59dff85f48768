//! A clock that stands still until it is moved.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::time::{Clock, Timestamp};

/// A clock that stands still until it is moved. Clones are one clock.
///
/// Both readings move together in [`TestClock::advance`]. The wall clock alone can be set, as a machine's owner
/// would set it; the monotonic reading never goes back.
#[derive(Clone, Debug)]
pub struct TestClock {
    readings: Arc<Mutex<Readings>>,
}

#[derive(Clone, Copy, Debug)]
struct Readings {
    wall: Timestamp,
    monotonic: Duration,
}

impl TestClock {
    /// A clock whose wall reads `start`. Its monotonic reading begins at an hour, so that nothing can take zero for
    /// the beginning.
    #[must_use]
    pub fn at(start: Timestamp) -> Self {
        let readings = Readings {
            wall: start,
            monotonic: Duration::from_secs(3_600),
        };
        Self {
            readings: Arc::new(Mutex::new(readings)),
        }
    }

    /// Lets time pass on both readings.
    pub fn advance(&self, by: Duration) {
        let mut readings = self.lock();
        readings.wall = readings.wall.plus(by);
        readings.monotonic = readings.monotonic.saturating_add(by);
    }

    /// Sets the wall clock back; the monotonic reading stays.
    pub fn set_back(&self, by: Duration) {
        let mut readings = self.lock();
        readings.wall = readings.wall.minus(by);
    }

    /// Sets the wall clock to any time; the monotonic reading stays.
    pub fn set(&self, wall: Timestamp) {
        self.lock().wall = wall;
    }

    fn lock(&self) -> MutexGuard<'_, Readings> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        self.lock().wall
    }

    fn monotonic(&self) -> Duration {
        self.lock().monotonic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_one_clock_and_only_the_wall_goes_back() {
        let start = Timestamp::from_micros(1_770_000_000_000_000);
        let clock = TestClock::at(start);
        let (same, before) = (clock.clone(), clock.monotonic());
        clock.advance(Duration::from_secs(10));
        assert_eq!(same.now(), start.plus(Duration::from_secs(10)));
        assert_eq!(same.monotonic(), before + Duration::from_secs(10));
        same.set_back(Duration::from_secs(3));
        assert_eq!(clock.now(), start.plus(Duration::from_secs(7)));
        assert_eq!(clock.monotonic(), before + Duration::from_secs(10));
    }
}
