//! Rates in whatever order requests take from them and put back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use shuttle::thread;

use super::account::Account;
use super::report::{HeaderStyle, Shapes};
use super::terms::Terms;
use crate::id::AccountId;
use crate::name::PlanId;
use crate::plan::{Plan, RateLimit};
use crate::rate::gcra::Check;
use crate::sync::explore;
use crate::time::Timestamp;

const NOW: u64 = 10_000_000_000;
const BURST: u32 = 3;

fn account() -> Account {
    let rate = RateLimit {
        name: "second".to_owned(),
        limit: BURST,
        per: Duration::from_secs(1),
        burst: BURST,
    };
    let plan = Arc::new(Plan {
        id: PlanId::from_static("free"),
        rates: vec![rate],
        concurrency: Vec::new(),
        quotas: Vec::new(),
    });
    let id = AccountId::from_uuid(uuid::Uuid::nil());
    let terms = Terms::new(plan, &Shapes::new(HeaderStyle::default()), None);
    Account::new(id, terms, Timestamp::from_micros(0), None)
}

#[test]
fn a_rate_never_gives_more_than_its_burst_and_gets_back_what_is_put_back() {
    explore(4_000, || {
        let (account, out) = (Arc::new(account()), Arc::new(AtomicU32::new(0)));
        let requests = [(); 3].map(|()| {
            let (account, out) = (Arc::clone(&account), Arc::clone(&out));
            thread::spawn(move || {
                let bucket = account.buckets().iter().next().unwrap();
                for is_kept in [false, true] {
                    if matches!(bucket.take(NOW, 1), Check::Fits(_)) {
                        assert!(out.fetch_add(1, Ordering::SeqCst) < BURST, "more than the burst");
                        if !is_kept {
                            out.fetch_sub(1, Ordering::SeqCst);
                            bucket.put_back(1);
                        }
                    }
                }
            })
        });
        requests.into_iter().for_each(|request| request.join().unwrap());
        let out = out.load(Ordering::SeqCst);
        assert_eq!(
            account.buckets().iter().next().unwrap().remaining(NOW),
            BURST - out
        );
    });
}
