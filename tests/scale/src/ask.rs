//! Questions to a full ledger.

use std::time::Duration;

use hm_metering::UsageStore;
use hm_metering::page::PageRequest;
use hm_metering::usage::{Grain, UsageQuery};
use hm_metering_seaorm::SeaOrmStore;

use crate::fill::World;
use crate::random::Random;
use crate::times::Times;

/// How often each question is asked, each time of another account.
const TIMES: usize = 200;

/// Asks what the usage pages ask, of accounts as they come and of the busiest one.
pub async fn measure(store: &SeaOrmStore, world: &World) {
    let mut random = Random::new(2);
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let mut some = || world.accounts[random.skewed(world.accounts.len())].0;
    let accounts: Vec<_> = (0..TIMES).map(|_| some()).collect();
    let busiest = vec![world.accounts[0].0; 20];
    for (whose, accounts) in [
        ("accounts as they come", accounts),
        ("the busiest account", busiest),
    ] {
        let month = |account| UsageQuery::new(account, world.now.minus(days(30)), world.now);
        let totals = Times::of(accounts.clone(), async |account| {
            store.totals(&month(account)).await.expect("totals");
        });
        println!("| totals of 30 days, {whose} | {} |", totals.await.line());
        let series = Times::of(accounts.clone(), async |account| {
            store.series(&month(account), Grain::Day).await.expect("a series");
        });
        println!("| a series of 30 days, {whose} | {} |", series.await.line());
        let quantiles = Times::of(accounts.clone(), async |account| {
            let asked = store.response_times(&month(account), &[0.5, 0.95, 0.99]).await;
            asked.expect("response times");
        });
        println!(
            "| p50, p95 and p99 of 30 days, {whose} | {} |",
            quantiles.await.line()
        );
        let recent = Times::of(accounts, async |account| {
            let page = PageRequest::first(100);
            store.recent(&month(account), &page).await.expect("events");
        });
        println!("| the latest 100 events, {whose} | {} |", recent.await.line());
    }
}
