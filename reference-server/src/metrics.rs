//! What is counted for operators, as Prometheus reads it.

use std::fmt;
use std::time::Duration;

use metrics::SetRecorderError;
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Upper bounds of the buckets for durations, in seconds.
const SECONDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How often durations are put into their buckets, also if nobody asks for them: until then each takes memory of its own.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Tells what was counted. Cheap to clone.
///
/// Code counts through the facade of the crate `metrics`, which has one recorder for the process or one for a thread. So a
/// program calls [`Metrics::install`] once; tests keep several applications in one process apart by making the recorder
/// of [`Metrics::new`] that of their thread.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// Why nothing can be counted.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The buckets make no sense.
    #[error("metrics can't be set up")]
    Setup(#[from] BuildError),
    /// Something else in this process counts already.
    #[error("something else in this process receives metrics already")]
    Taken(#[from] SetRecorderError<PrometheusRecorder>),
}

impl Metrics {
    /// A recorder, and what tells of it. It counts what is counted where the recorder is in use.
    ///
    /// # Errors
    ///
    /// The buckets make no sense.
    pub fn new() -> Result<(PrometheusRecorder, Self), MetricsError> {
        let durations = Matcher::Suffix("_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(durations, &SECONDS)?
            .build_recorder();
        let handle = recorder.handle();
        Ok((recorder, Self(handle)))
    }

    /// Counts everything in this process from now on. Call it before the application is started: what is counted
    /// earlier is lost.
    ///
    /// # Errors
    ///
    /// Something else in this process counts already.
    pub fn install() -> Result<Self, MetricsError> {
        let (recorder, metrics) = Self::new()?;
        metrics::set_global_recorder(recorder)?;
        Ok(metrics)
    }

    /// Everything that was counted, in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Keeps the memory for durations bounded until the answer is dropped. Needs a runtime.
    pub(crate) fn keep_tidy(&self) -> Upkeep {
        let handle = self.0.clone();
        let tidying = tokio::spawn(async move {
            let mut ticks = interval(TIDY_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                handle.run_upkeep();
            }
        });
        Upkeep(tidying.abort_handle())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Metrics").finish()
    }
}

/// The task behind [`Metrics::keep_tidy`], which ends with it.
pub(crate) struct Upkeep(AbortHandle);

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.0.abort();
    }
}
