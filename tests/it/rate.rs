//! The rate limit, as shipped: 100 requests a second for each account on the free plan, 100 of them at once.

use std::time::Duration;

use hm_system_tests::http::Call;
use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::fire;
use hm_system_tests::on_every_database;
use hm_system_tests::people::Person;
use hm_system_tests::place::Place;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::wait::until;
use tokio::time::Instant;

use crate::answers::must_tell_the_limits;

const QUOTA: u64 = 1_000_000;
const RATE: u64 = 100;

on_every_database! {
    a_burst_over_the_rate_is_refused => a_burst_over_the_rate_is_refused_on_sqlite, a_burst_over_the_rate_is_refused_on_postgres, a_burst_over_the_rate_is_refused_on_mariadb;
}

async fn a_burst_over_the_rate_is_refused(place: Place) {
    let settings = Settings::default().file(&format!("[plans.free]\nrequests_per_month = {QUOTA}\n"));
    let server = Server::start(&place, &settings).await;
    let ada = Person::register(&server, "ada@example.org").await;
    let keys = [
        ada.create_key(&server, "one").await,
        ada.create_key(&server, "two").await,
    ];

    let begun = Instant::now();
    let one = fire(server.address(), &keys[0].text, 600, "one").await;
    let two = fire(server.address(), &keys[1].text, 600, "two").await;
    let seconds = begun.elapsed().as_secs_f64();
    let admitted = one.admitted().len() + two.admitted().len();
    let refused = one.refused("rate_limited").len() + two.refused("rate_limited").len();
    assert_eq!(admitted + refused, 1_200, "no other answers");
    assert!(
        refused > 0,
        "1,200 requests took {seconds} s, too long to be too many"
    );
    assert!(admitted >= 100, "the burst: {admitted}");
    let most = 100.0 + 100.0 * seconds + 1.0;
    assert!(
        (admitted as f64) <= most,
        "{admitted} admitted in {seconds} s, which allow {most}"
    );
    for answer in one.answers().chain(two.answers()) {
        must_tell_the_limits(answer, QUOTA, RATE);
        if answer.status == 429 {
            answer.problem(429, "rate_limited");
            assert!(
                answer.header("ratelimit").starts_with("\"second\";r=0;t="),
                "{}",
                answer.header("ratelimit")
            );
        }
    }

    until(
        "the rate allows requests again",
        Duration::from_secs(10),
        async || {
            let answer = server.call(Call::curiosity(&keys[0].text).named("later")).await;
            (answer.status == 200).then_some(())
        },
    )
    .await;
    server.stop().await;
    let ledger = Ledger::read(&place).await;
    let charged = i64::try_from(admitted).unwrap() + 1;
    assert_eq!(ledger.charged(), charged, "what was refused is not charged");
    assert_eq!(ledger.counted(), (charged, 0));
    let recorded = ledger
        .events()
        .iter()
        .filter(|event| event.status == 429 && event.request_id != "later");
    assert_eq!(recorded.count(), refused, "what was refused is recorded");
}
