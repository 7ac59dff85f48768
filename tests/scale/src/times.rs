//! How long many runs of one thing took.

use std::time::{Duration, Instant};

/// Durations, sorted.
#[derive(Debug)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Those of as many runs as `runs` has, one after the other.
    pub async fn of<T>(runs: impl IntoIterator<Item = T>, mut run: impl AsyncFnMut(T)) -> Self {
        let mut times = Vec::new();
        for one in runs {
            let began = Instant::now();
            run(one).await;
            times.push(began.elapsed());
        }
        Self::new(times)
    }

    /// These.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that the share `quantile` of the runs did not exceed, in milliseconds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a number of runs"
    )]
    pub fn at(&self, quantile: f64) -> f64 {
        let last = self.0.len() - 1;
        self.0[(last as f64 * quantile).round() as usize].as_secs_f64() * 1e3
    }

    /// Both that matter, as a table has them.
    pub fn line(&self) -> String {
        format!("{:.2} ms, p99 {:.2} ms", self.at(0.5), self.at(0.99))
    }
}
