//! How fast flushes are, beside PostgreSQL's COPY into the same table. See `docs/benchmarks.md`.
//!
//! A flush dedupes by batch and by event, settles leases, and keeps sums by hour, by period and by key, in one
//! transaction. COPY only writes the rows, which are encoded beforehand; it commits as often. Rounds of the two alternate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

mod copy;
mod work;

use std::time::{Duration, Instant};

use hm_metering::{Clock, SystemClock, UsageSink};
use hm_metering_seaorm::testing::TestDatabase;
use hm_metering_seaorm::{SeaOrmStore, operator};

use self::work::Work;

/// How many batches a round has, and how many rounds there are.
const BATCHES: usize = 10;
const ROUNDS: usize = 5;

#[tokio::main]
async fn main() {
    println!("| events in a batch | | events a second | ÷ COPY |");
    println!("| --- | --- | --- | --- |");
    for size in [1_000, 5_000] {
        let copied = match TestDatabase::postgres().await.unwrap() {
            Some(database) => Some(on_postgres(&database, size).await),
            None => None,
        };
        let mariadb = TestDatabase::mysql().await.unwrap();
        let others = [Some(TestDatabase::sqlite().await.unwrap()), mariadb];
        for (name, database) in ["SQLite", "MariaDB"].into_iter().zip(others) {
            let Some(database) = database else { continue };
            let mut work = Work::on(&database).await;
            let mut times = Vec::new();
            for _ in 0..ROUNDS {
                times.push(flush(&work.store.clone(), &mut work, size).await);
            }
            say(size, name, middle(times), copied);
        }
    }
}

/// Rounds of both on PostgreSQL; answers how many events a second COPY writes.
async fn on_postgres(database: &TestDatabase, size: usize) -> f64 {
    let mut work = Work::on(database).await;
    // Ids are of now, so all events go to this month's part.
    operator::make_partitions(&work.store, SystemClock::new().now())
        .await
        .unwrap();
    let pool = database.connection().get_postgres_connection_pool().clone();
    let (mut flushes, mut copies) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let batches: Vec<Vec<u8>> = (0..BATCHES).map(|_| copy::encode(&work.events(size))).collect();
        let began = Instant::now();
        for rows in batches {
            copy::copy(&pool, rows).await;
        }
        let copied = began.elapsed();
        let flushed = flush(&work.store.clone(), &mut work, size).await;
        // The first round makes files and prepares statements.
        if round > 0 {
            copies.push(copied);
            flushes.push(flushed);
        }
    }
    let copied = rate(size, middle(copies));
    println!("| {size} | COPY | {copied:.0} | |");
    say(size, "PostgreSQL", middle(flushes), Some(copied));
    copied
}

async fn flush(store: &SeaOrmStore, work: &mut Work, size: usize) -> Duration {
    let batches: Vec<_> = (0..BATCHES).map(|_| work.batch(size)).collect();
    let began = Instant::now();
    for batch in &batches {
        store.record(batch).await.unwrap();
    }
    began.elapsed()
}

fn say(size: usize, name: &str, time: Duration, copied: Option<f64>) {
    let rate = rate(size, time);
    let ratio = copied.map_or_else(String::new, |copied| format!("{:.2}", rate / copied));
    println!("| {size} | flush on {name} | {rate:.0} | {ratio} |");
}

fn rate(size: usize, time: Duration) -> f64 {
    (size * BATCHES) as f64 / time.as_secs_f64()
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
