//! Deciding over real leases, without keys, layers and events in between.

mod all_or_nothing;
mod modes;
mod replica;
mod sharing;
mod weight;
mod windows;
