//! Fills a database with a great many keys and events through the public interface, and measures what that does to it:
//! how fast they are written, how long questions and keys that are not in memory take, how much disk it needs.
//!
//! ```text
//! hm-scale DATABASE_URL [KEYS [EVENTS]]
//! ```
//!
//! The database must be empty. Keys are a million and events ten million unless said. Nothing is removed at the end.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a program for measuring: what is not as it should be ends it"
)]

mod ask;
mod cold;
mod disk;
mod fill;
mod random;
mod times;

use std::time::Instant;

use hm_metering_seaorm::SeaOrmStore;

use crate::fill::World;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(url) = arguments.next() else {
        println!("usage: hm-scale DATABASE_URL [KEYS [EVENTS]]");
        return;
    };
    let mut number = |usual: usize| {
        let said = arguments.next();
        said.map_or(usual, |text| text.replace('_', "").parse().expect("a number"))
    };
    let (keys, events) = (number(1_000_000), number(10_000_000));
    let store = SeaOrmStore::open(&url).await.expect("an empty database");
    println!("| what | figure |\n| --- | --- |");
    let world = World::with_keys(&store, keys).await;
    let before = disk::bytes(&store).await;
    world.record(&store, events).await;
    let after = disk::bytes(&store).await;
    println!(
        "| disk for an event, its indexes and sums included | {} bytes |",
        (after - before) / events as u64
    );
    store.close().await.expect("the end of filling");

    let began = Instant::now();
    let store = SeaOrmStore::open(&url).await.expect("the full database");
    println!(
        "| opening the full database | {:.1} ms |",
        began.elapsed().as_secs_f64() * 1e3
    );
    ask::measure(&store, &world).await;
    cold::measure(&store, &world).await;
    store.close().await.expect("the end");
}
