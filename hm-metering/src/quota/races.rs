//! What holds in whatever order requests, renewals and those who clear up do their steps.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shuttle::thread;

use super::{Balance, Counter, Lease, Leases, Owner, Take, Window};
use crate::id::AccountId;
use crate::name::MeterName;
use crate::period::{Period, PeriodRule};
use crate::sync::{AtomicU64, Mutex, explore};
use crate::time::Timestamp;
use crate::units::Units;

const NOW: Timestamp = Timestamp::from_micros(5);

fn owner() -> Owner {
    Owner::account(AccountId::from_uuid(uuid::Uuid::nil()))
}

fn period() -> Period {
    Period {
        start: Timestamp::from_micros(0),
        end: Timestamp::from_micros(10),
    }
}

fn window() -> Arc<Window> {
    Arc::new(Window::new(owner(), Arc::new(MeterName::REQUESTS), period()))
}

fn units(units: u64) -> Units {
    Units::new(units)
}

#[test]
fn units_are_neither_lost_nor_doubled_in_a_window() {
    explore(4_000, || {
        let window = window();
        window.grant(units(3), u64::MAX, 0);
        let requests = [1, 2].map(|need| {
            let window = Arc::clone(&window);
            thread::spawn(move || {
                let mut kept = 0;
                for is_kept in [true, false, true] {
                    if window.take(units(need), 0) != Take::Short {
                        if is_kept {
                            kept += need;
                        } else {
                            window.put_back(units(need));
                        }
                    }
                }
                kept
            })
        });
        let renewal = {
            let window = Arc::clone(&window);
            thread::spawn(move || {
                window.grant(units(2), u64::MAX, 1);
                window.drain(units(1)).get()
            })
        };
        let kept: u64 = requests.map(|request| request.join().unwrap()).iter().sum();
        let drained = renewal.join().unwrap();
        assert_eq!(window.remaining().get() + kept + drained, 5);
        assert_eq!(window.taken_by_all().get(), kept);
    });
}

#[test]
fn what_others_used_is_never_overrated_and_known_in_the_end() {
    explore(4_000, || {
        let (window, used) = (window(), Arc::new(AtomicU64::new(0)));
        let balance = |used: &AtomicU64| Balance {
            used: units(used.load(Ordering::SeqCst)),
            leased: Units::ZERO,
        };
        let settling = {
            let (window, used) = (Arc::clone(&window), Arc::clone(&used));
            thread::spawn(move || {
                for _ in 0..2 {
                    window.note_submitted(units(3));
                    used.fetch_add(3, Ordering::SeqCst);
                }
            })
        };
        let others = {
            let used = Arc::clone(&used);
            thread::spawn(move || {
                for _ in 0..2 {
                    used.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        for _ in 0..2 {
            window.learn(balance(&used));
            assert!(window.taken_by_all() <= units(2));
        }
        settling.join().unwrap();
        others.join().unwrap();
        window.learn(balance(&used));
        assert_eq!(window.taken_by_all(), units(2));
    });
}

/// An account's counter before and after a change of its plan, and the store behind them.
struct Stage {
    counters: [Counter; 2],
    leases: Leases,
    /// What can be leased.
    left: AtomicU64,
    /// Which window each thread holds, as an address, so that being in the list keeps nothing alive.
    held: Mutex<Vec<usize>>,
}

impl Stage {
    fn new(left: u64) -> Arc<Self> {
        Arc::new(Self {
            counters: Default::default(),
            leases: Leases::default(),
            left: AtomicU64::new(left),
            held: Mutex::new(Vec::new()),
        })
    }

    /// A request: takes a unit, after leasing two if none is there, and puts it back unless it is kept. Answers what it kept.
    fn request(&self, counter: &Counter, is_kept: bool) -> u64 {
        let meter = Arc::new(MeterName::REQUESTS);
        let lease = counter.open(&self.leases, (owner(), &meter), NOW, PeriodRule::Day, NOW, false);
        let address = Arc::as_ptr(&lease) as usize;
        {
            let mut held = self.held.lock().unwrap();
            assert!(
                held.iter().all(|other| *other == address),
                "two windows of one period are in use"
            );
            held.push(address);
        }
        let mut taken = self.take(&lease);
        if is_kept {
            lease.window.note_charged(units(taken));
            lease.window.note_recorded(units(taken), false);
        } else {
            lease.window.put_back(units(taken));
            taken = 0;
        }
        let mut held = self.held.lock().unwrap();
        let at = held.iter().position(|other| *other == address).unwrap();
        held.swap_remove(at);
        drop(held);
        taken
    }

    fn take(&self, lease: &Lease) -> u64 {
        for _ in 0..2 {
            if lease.window.take(Units::ONE, 0) != Take::Short {
                return 1;
            }
            let debit = self
                .left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(2));
            if debit.is_ok() {
                lease.window.grant(units(2), u64::MAX, 0);
            }
        }
        0
    }

    /// Gives back what is there, and forgets what nobody uses.
    fn clear_up(&self) {
        for lease in self.leases.looks.take_due(0) {
            let units = lease.window.drain(Units::ZERO);
            self.left.fetch_add(units.get(), Ordering::SeqCst);
            self.counters.iter().for_each(|counter| counter.let_go(&lease));
            if !(lease.is_empty() && self.leases.forget(&lease, NOW)) {
                self.leases.looks.add(lease, 0);
            }
        }
    }
}

#[test]
fn a_window_that_somebody_holds_is_not_forgotten_and_there_is_one_for_each_period() {
    explore(8_000, || {
        let stage = Stage::new(6);
        let requests = [0, 1].map(|which| {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                // The one that was before the change does not live long.
                let before = Counter::default();
                stage.request(&before, which == 0) + stage.request(&stage.counters[which], which == 1)
            })
        });
        let clearing = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                stage.clear_up();
                stage.clear_up();
            })
        };
        let taken: u64 = requests.map(|request| request.join().unwrap()).iter().sum();
        clearing.join().unwrap();
        let leases = stage.leases.all();
        assert!(leases.len() <= 1, "there are two windows for a period");
        let remaining: u64 = leases.iter().map(|lease| lease.window.remaining().get()).sum();
        assert_eq!(stage.left.load(Ordering::SeqCst) + remaining + taken, 6);
        assert_eq!(
            stage.leases.looks.len(),
            leases.len(),
            "it is looked after, once, as long as it is there"
        );
        drop(leases);
        // When all is quiet, everything can be given back and forgotten.
        stage.clear_up();
        assert_eq!(stage.left.load(Ordering::SeqCst) + taken, 6);
        assert_eq!((stage.leases.len(), stage.leases.looks.len()), (0, 0));
    });
}
