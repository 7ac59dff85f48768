//! One clock for all parts of the server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hm_metering::{Clock, Timestamp};

/// A clock that is shared, for parts that want to own theirs.
#[derive(Clone)]
pub struct SharedClock(pub Arc<dyn Clock>);

impl Clock for SharedClock {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

impl fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedClock")
    }
}
