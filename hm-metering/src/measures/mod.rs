//! What the engine counts for operators, through the facade of the crate `metrics`. Without the feature `metrics` nothing is
//! counted, and all of it compiles to nothing.
//!
//! Labels are names of operations and sinks, which the program declares, and words of this crate. No account, key or address
//! ever is one. The names are listed in the documentation, "Running a meter".

#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(feature = "metrics")]
mod on;

#[cfg(not(feature = "metrics"))]
pub(crate) use off::{AddressMeasures, Measures, OperationMeasures, SinkMeasures};
#[cfg(feature = "metrics")]
pub(crate) use on::{AddressMeasures, Measures, OperationMeasures, SinkMeasures};
