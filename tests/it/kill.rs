//! `kill -9` under load, again and again: every answered request is in the ledger once, and quotas are exact to the last
//! unit.

use std::collections::BTreeSet;
use std::time::Duration;

use hm_system_tests::ledger::Ledger;
use hm_system_tests::load::{Load, Shots, fire};
use hm_system_tests::on_every_database;
use hm_system_tests::people::{Key, Person};
use hm_system_tests::place::Place;
use hm_system_tests::random::Random;
use hm_system_tests::server::{Server, Settings};
use hm_system_tests::wait::until;
use tokio::time::sleep;

/// How often the server is killed.
const ROUNDS: usize = 50;
/// Each account's requests meet so many kills. Its quota may be used up in between or not.
const ROUNDS_OF_AN_ACCOUNT: usize = 5;
const QUOTA: usize = 1_500;

on_every_database! {
    fifty_kills_under_load_lose_nothing_and_double_nothing => fifty_kills_under_load_lose_nothing_and_double_nothing_on_sqlite, fifty_kills_under_load_lose_nothing_and_double_nothing_on_postgres, fifty_kills_under_load_lose_nothing_and_double_nothing_on_mariadb;
}

async fn fifty_kills_under_load_lose_nothing_and_double_nothing(place: Place) {
    let mut random = Random::from_environment();
    // Batches are under way all the time, so that kills meet some whose outcome nobody knows.
    let settings = Settings::default().file(&format!(
        "[plans.free]\nrequests_per_month = {QUOTA}\nrequests_per_second = 1000000\n\
         [usage]\nflush_interval_ms = 30\n\
         [auth.password]\nmemory_kib = 8\niterations = 1\n"
    ));
    let people = sign_up(&place, &settings).await;
    let mut seen: Vec<Seen> = people.iter().map(|_| Seen::default()).collect();
    for round in 0..ROUNDS {
        let account = round / ROUNDS_OF_AN_ACCOUNT;
        let (_, key) = &people[account];
        let durability = if round % 3 == 2 { "power" } else { "process" };
        let settings = settings.clone().variable("HM_DURABILITY", durability);
        let server = Server::start(&place, &settings).await;
        key.keep_secret(&server);
        let load = Load::begin(server.address(), &key.text, usize::MAX, &format!("round-{round}"));
        load.reach(1).await;
        // The moment is what is tested; nothing waits for this.
        sleep(Duration::from_millis(random.within(0..400))).await;
        server.kill().await;
        seen[account].add(&load.end().await);
    }

    let server = Server::start(&place, &settings).await;
    for ((person, key), seen) in people.iter().zip(&mut seen) {
        use_up(&server, person, key, seen).await;
        assert!(
            seen.admitted <= QUOTA,
            "{} admitted, more than {QUOTA}",
            seen.admitted
        );
    }
    server.stop().await;

    let ledger = Ledger::read(&place).await;
    let of_all = |names: fn(&Seen) -> &BTreeSet<String>| seen.iter().flat_map(names).cloned().collect();
    ledger.must_have_once(&of_all(|seen| &seen.answered), &of_all(|seen| &seen.sent));
    let quota = i64::try_from(QUOTA).unwrap();
    let accounts = ledger.by_account();
    assert_eq!(accounts.len(), people.len());
    for (account, sums) in accounts {
        assert_eq!(
            sums,
            (quota, quota, 0),
            "charged, used and leased of account {account}"
        );
    }
}

/// What the clients of an account saw.
#[derive(Default)]
struct Seen {
    sent: BTreeSet<String>,
    answered: BTreeSet<String>,
    admitted: usize,
}

impl Seen {
    fn add(&mut self, shots: &Shots) {
        for shot in &shots.0 {
            self.sent.insert(shot.request_id.clone());
            let Some(answer) = &shot.answer else { continue };
            match answer.status {
                200 => {}
                // A database that is busy with what the dead servers left may keep a request waiting for too long. That is
                // said, served to nobody, and not always recorded.
                503 => {
                    answer.problem(503, "temporarily_unavailable");
                    continue;
                }
                _ => {
                    answer.problem(429, "quota_exceeded");
                }
            }
            self.answered.insert(shot.request_id.clone());
        }
        self.admitted += shots.admitted().len();
    }
}

async fn sign_up(place: &Place, settings: &Settings) -> Vec<(Person, Key)> {
    let server = Server::start(place, settings).await;
    let mut people = Vec::new();
    for number in 0..ROUNDS / ROUNDS_OF_AN_ACCOUNT {
        let person = Person::register(&server, &format!("person{number}@example.org")).await;
        let key = person.create_key(&server, "unlucky").await;
        people.push((person, key));
    }
    server.stop().await;
    people
}

/// Spends what is left of a quota.
async fn use_up(server: &Server, person: &Person, key: &Key, seen: &mut Seen) {
    key.keep_secret(server);
    let mut portion = 0;
    until("the whole quota is used", Duration::from_secs(60), async || {
        portion += 1;
        let name = format!("{}-rest-{portion}", person.email);
        seen.add(&fire(server.address(), &key.text, 100, &name).await);
        (person.usage(server).await["used"] == QUOTA).then_some(())
    })
    .await;
}
