//! Periods in zones, held against two who found them in other ways.

mod naive;
mod oracle;
