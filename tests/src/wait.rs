//! Waiting for something to become true, with an end to the patience. Nothing is ever merely waited out.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

const PAUSE: Duration = Duration::from_millis(20);

/// Looks again and again until there is something to see, and gives it back.
///
/// # Panics
///
/// After `patience` without it.
pub async fn until<T>(what: &str, patience: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match timeout_at(deadline, look()).await {
            Ok(Some(seen)) => return seen,
            Ok(None) if Instant::now() < deadline => sleep(PAUSE).await,
            Ok(None) | Err(_) => panic!("within {patience:?} this did not happen: {what}"),
        }
    }
}
