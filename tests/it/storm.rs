//! Ten thousand requests whose clients are gone before they have an answer.

use std::collections::BTreeSet;
use std::time::Duration;

use hm_system_tests::footprint::Footprint;
use hm_system_tests::http::{Call, once};
use hm_system_tests::leave::{Left, leave};
use hm_system_tests::ledger::Ledger;
use hm_system_tests::on_every_database;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::random::Random;
use hm_system_tests::seen::Seen;
use hm_system_tests::server::{Server, Settings, run};
use hm_system_tests::wait::until;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

const PEOPLE: usize = 8;
const QUOTA: usize = 2_000;
/// Of each of two storms: with the first one, the server gets the memory that it works with.
const DROPPED: usize = 10_000;
/// What the second may add to it, and how many files and connections may be open after each that were not before.
const MEMORY_KIB: usize = 32 * 1024;
const OPEN_FILES: usize = 32;
const POOL: usize = 4;

on_every_database! {
    ten_thousand_requests_that_are_dropped_leave_nothing_behind => ten_thousand_requests_that_are_dropped_leave_nothing_behind_on_sqlite, ten_thousand_requests_that_are_dropped_leave_nothing_behind_on_postgres, ten_thousand_requests_that_are_dropped_leave_nothing_behind_on_mariadb;
}

async fn ten_thousand_requests_that_are_dropped_leave_nothing_behind(place: Place) {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = settings(&silent);
    let server = Server::start(&place, &settings).await;
    let mut people = Vec::new();
    for number in 0..PEOPLE {
        let person = Person::register(&server, &format!("person{number}@example.org")).await;
        let key = person.create_key(&server, "hasty").await;
        people.push((person, key));
    }
    let calls: Vec<Call> = people
        .iter()
        .flat_map(|(person, key)| calls(person, key))
        .collect();
    let mut random = Random::from_environment();
    let idle = server.footprint();
    let warm = leave(server.address(), &calls, DROPPED, "warm", &mut random).await;
    let before = settled(&server, idle).await;
    let left = leave(server.address(), &calls, DROPPED, "left", &mut random).await;
    assert!(left.len() >= DROPPED);
    the_pool_serves_at_once(&server, &people).await;
    let after = settled(&server, idle).await;
    eprintln!("{idle:?} idle, {before:?} before, {after:?} afterwards");
    if let (Some(before), Some(after)) = (before, after) {
        assert!(
            after.memory_kib <= before.memory_kib + MEMORY_KIB,
            "{before:?} before, {after:?} afterwards"
        );
    }
    let mut seen = Seen::default();
    for (person, key) in &people {
        let mut of_person = Seen::default();
        of_person.use_up(&server, person, key, QUOTA).await;
        seen.sent.append(&mut of_person.sent);
        seen.answered.append(&mut of_person.answered);
    }
    server.stop().await;

    let ended = run(&place, &settings, &["check"]).await;
    assert_eq!(ended.code, 0, "counters, events and sums agree: {}", ended.text);
    the_ledger_has_each_once(&Ledger::read(&place).await, seen, [warm, left]);
}

/// A plan that the storm does not use up, a small pool, and a source that never answers.
fn settings(silent: &TcpListener) -> Settings {
    let address = silent.local_addr().unwrap();
    // Showing where something panicked takes more memory than all the requests.
    let settings = Settings::default().variable("RUST_BACKTRACE", "0");
    settings.file(&format!(
        "[plans.free]\nrequests_per_month = {QUOTA}\nrequests_per_second = 1000000\n\
         [usage]\nflush_interval_ms = 50\n\
         [database]\nmax_connections = {POOL}\n\
         [sources.wiki]\nbase_url = \"http://{address}/\"\ntimeout_ms = 300\n\
         [auth.password]\nmemory_kib = 8\niterations = 1\n"
    ))
}

/// What is asked for, and dropped: metered, most of it, and such that asks or changes the database in the request.
fn calls(person: &Person, key: &Key) -> Vec<Call> {
    let many = Call::get("/api/v1/data?source=curiosity&limit=25").key(&key.text);
    let unanswered = json!({ "source": "wiki", "query": "silence" });
    let unanswered = Call::post("/api/v1/data", &unanswered).key(&key.text);
    let mut calls = vec![Call::curiosity(&key.text); 4];
    calls.extend([many, unanswered]);
    let token = &person.access_token;
    calls.extend([
        Call::get("/api/v1/usage").bearer(token),
        Call::get("/api/v1/keys").bearer(token),
        Call::post("/api/v1/keys", &json!({ "name": "dropped" })).bearer(token),
    ]);
    calls
}

/// What the server holds when it has noticed that its clients are gone.
async fn settled(server: &Server, idle: Option<Footprint>) -> Option<Footprint> {
    let idle = idle?;
    let patience = Duration::from_secs(30);
    let settled = until("connections are closed", patience, async || {
        let now = server.footprint()?;
        (now.open_files <= idle.open_files + OPEN_FILES).then_some(now)
    });
    Some(settled.await)
}

/// More requests than the pool has connections, each with questions to the database, and a key that nobody used before.
async fn the_pool_serves_at_once(server: &Server, people: &[(Person, Key)]) {
    let at_once = async {
        let mut answers = JoinSet::new();
        for (person, _) in people.iter().cycle().take(4 * POOL) {
            let call = Call::get("/api/v1/usage").bearer(&person.access_token);
            answers.spawn(once(server.address(), call));
        }
        for answer in answers.join_all().await {
            answer.expect(200);
        }
        let stranger = Person::register(server, "stranger@example.org").await;
        let key = stranger.create_key(server, "fresh").await;
        let call = Call::curiosity(&key.text).named("fresh");
        server.call(call).await.expect(200);
    };
    // Much less than a connection of the pool is waited for in vain, for each of them.
    timeout(Duration::from_secs(10), at_once)
        .await
        .expect("the pool serves at once");
}

fn the_ledger_has_each_once(ledger: &Ledger, seen: Seen, left: [Left; 2]) {
    let Seen {
        mut sent,
        mut answered,
        ..
    } = seen;
    sent.insert("fresh".to_owned());
    answered.insert("fresh".to_owned());
    let headless: BTreeSet<_> = left.iter().flat_map(|left| &left.headless).collect();
    let times = ledger.times();
    let served: Vec<_> = times
        .keys()
        .filter(|name| headless.contains(&(**name).to_owned()))
        .collect();
    assert!(served.is_empty(), "served without a head: {served:?}");
    let dropped: BTreeSet<_> = left.into_iter().flat_map(|left| left.begun).collect();
    let of_dropped = ledger
        .events()
        .iter()
        .filter(|event| dropped.contains(&event.request_id));
    let outcomes: Vec<_> = of_dropped.map(|event| event.outcome.as_str()).collect();
    // It is no storm when the server sees little of it.
    assert!(outcomes.len() > DROPPED / 5, "{} were metered", outcomes.len());
    assert!(outcomes.contains(&"client_gone"), "nobody was seen leaving");
    sent.extend(dropped);
    ledger.must_have_once(&answered, &sent);

    let quota = i64::try_from(QUOTA).unwrap();
    let accounts = ledger.by_account();
    assert_eq!(accounts.len(), PEOPLE + 1);
    let stranger = accounts.values().filter(|sums| **sums == (1, 1, 0)).count();
    let others = accounts
        .values()
        .filter(|sums| **sums == (quota, quota, 0))
        .count();
    assert_eq!(
        (stranger, others),
        (1, PEOPLE),
        "charged, used and leased of the accounts: {accounts:?}"
    );
}
