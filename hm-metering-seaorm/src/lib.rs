//! SQL storage for `hm-metering`.
