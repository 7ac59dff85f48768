//! Counts attempts to sign in, so that guessing gets slow.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hm_metering::Timestamp;

use crate::config::LoginConfig;

/// Attempts by address and client within a window. Bounded: when full, the pair that is forgotten soonest makes room.
#[derive(Debug)]
pub struct Attempts {
    most: u32,
    window: Duration,
    capacity: usize,
    counts: Mutex<HashMap<Pair, Count>>,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Pair {
    email: String,
    client: IpAddr,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    attempts: u32,
    until: Timestamp,
}

impl Attempts {
    /// No attempts yet.
    #[must_use]
    pub fn new(config: &LoginConfig) -> Self {
        Self {
            most: config.attempts,
            window: config.window,
            capacity: config.tracked,
            counts: Mutex::new(HashMap::new()),
        }
    }

    /// Counts an attempt before the password is looked at, so that many at once don't slip through.
    ///
    /// # Errors
    ///
    /// How long to wait, when there were too many.
    pub fn begin(&self, email: &str, client: IpAddr, now: Timestamp) -> Result<(), Duration> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = Pair {
            email: email.to_owned(),
            client,
        };
        let known = counts.get_mut(&pair).filter(|count| count.until > now);
        if let Some(count) = known {
            if count.attempts >= self.most {
                return Err(count.until.since(now));
            }
            count.attempts += 1;
            return Ok(());
        }
        if counts.len() >= self.capacity {
            make_room(&mut counts, now);
        }
        counts.insert(
            pair,
            Count {
                attempts: 1,
                until: now.plus(self.window),
            },
        );
        Ok(())
    }

    /// Forgets the attempts after one that succeeded.
    pub fn succeeded(&self, email: &str, client: IpAddr) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&Pair {
            email: email.to_owned(),
            client,
        });
    }
}

/// Drops what has expired; if that is nothing, what would expire next.
fn make_room(counts: &mut HashMap<Pair, Count>, now: Timestamp) {
    let before = counts.len();
    counts.retain(|_, count| count.until > now);
    if counts.len() < before {
        return;
    }
    let next = counts
        .iter()
        .min_by_key(|(_, count)| count.until)
        .map(|(pair, _)| pair.clone());
    if let Some(pair) = next {
        counts.remove(&pair);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(capacity: usize) -> Attempts {
        let config = LoginConfig {
            attempts: 3,
            window: Duration::from_secs(60),
            tracked: capacity,
            burst_per_minute: 1,
        };
        Attempts::new(&config)
    }

    fn noon() -> Timestamp {
        Timestamp::from_micros(1_772_366_400_000_000)
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn the_fourth_attempt_waits_until_the_window_ends() {
        let attempts = attempts(10);
        for _ in 0..3 {
            attempts.begin("a@b.c", HERE, noon()).unwrap();
        }
        let later = noon().plus(Duration::from_secs(20));
        assert_eq!(attempts.begin("a@b.c", HERE, later), Err(Duration::from_secs(40)));
        attempts
            .begin("a@b.c", HERE, noon().plus(Duration::from_secs(60)))
            .unwrap();
    }

    #[test]
    fn others_are_not_affected_and_success_forgets() {
        let attempts = attempts(10);
        for _ in 0..3 {
            attempts.begin("a@b.c", HERE, noon()).unwrap();
        }
        attempts.begin("d@e.f", HERE, noon()).unwrap();
        attempts
            .begin("a@b.c", "10.0.0.1".parse().unwrap(), noon())
            .unwrap();
        attempts.succeeded("a@b.c", HERE);
        attempts.begin("a@b.c", HERE, noon()).unwrap();
    }

    #[test]
    fn a_flood_of_addresses_does_not_grow_the_map() {
        let attempts = attempts(16);
        for number in 0..1000 {
            attempts
                .begin(
                    &format!("{number}@b.c"),
                    HERE,
                    noon().plus(Duration::from_millis(number)),
                )
                .unwrap();
        }
        assert_eq!(attempts.counts.lock().unwrap().len(), 16);
    }
}
