//! The atomics and locks of what threads do with each other without waiting.
//!
//! They are those of the standard library. In this crate's own tests each operation is also a point where [`explore`]
//! may let another thread go on, so that a test meets the orders of events that chance never shows.

#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64};
#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(test)]
pub(crate) use explored::{AtomicBool, AtomicU64, Mutex, MutexGuard, explore};

#[cfg(test)]
mod explored {
    use std::cell::Cell;
    use std::ops::Deref;
    use std::sync::atomic::{self, Ordering};
    use std::sync::{LockResult, TryLockError};
    use std::time::Duration;

    pub(crate) use std::sync::MutexGuard;

    thread_local! {
        static EXPLORES: Cell<bool> = const { Cell::new(false) };
    }

    /// Runs `test` this often, each time in another order of its threads, which it makes by `shuttle::thread`. Half of
    /// the runs change the thread at random, the others at a few well chosen points only.
    ///
    /// Values are seen in the order in which they were written: what weaker orderings allow is not tried.
    pub(crate) fn explore(runs: usize, test: impl Fn() + Send + Sync + Clone + 'static) {
        EXPLORES.set(true);
        let _end = End;
        shuttle::check_random(test.clone(), runs / 2);
        shuttle::check_pct(test, runs / 2, 3);
    }

    struct End;

    impl Drop for End {
        fn drop(&mut self) {
            EXPLORES.set(false);
        }
    }

    fn explores() -> bool {
        EXPLORES.get() && !std::thread::panicking()
    }

    fn point() {
        if explores() {
            // Nothing sleeps there: it only gives others a chance.
            shuttle::thread::sleep(Duration::ZERO);
        }
    }

    /// What is not named here works as well, without a point before it.
    macro_rules! atomic {
        ($name:ident, $of:ty, $($method:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)+) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name(atomic::$name);

            impl $name {
                pub(crate) const fn new(value: $of) -> Self {
                    Self(atomic::$name::new(value))
                }

                $(pub(crate) fn $method(&self, $($argument: $kind),*) -> $answer {
                    point();
                    self.0.$method($($argument),*)
                })+
            }

            impl Deref for $name {
                type Target = atomic::$name;

                fn deref(&self) -> &Self::Target {
                    &self.0
                }
            }
        };
    }

    atomic! {
        AtomicU64, u64,
        load(order: Ordering) -> u64;
        store(value: u64, order: Ordering) -> ();
        fetch_add(value: u64, order: Ordering) -> u64;
        fetch_sub(value: u64, order: Ordering) -> u64;
        fetch_max(value: u64, order: Ordering) -> u64;
        compare_exchange_weak(current: u64, new: u64, good: Ordering, bad: Ordering) -> Result<u64, u64>;
    }

    impl AtomicU64 {
        pub(crate) fn fetch_update(
            &self,
            good: Ordering,
            bad: Ordering,
            mut change: impl FnMut(u64) -> Option<u64>,
        ) -> Result<u64, u64> {
            let mut before = self.load(bad);
            while let Some(after) = change(before) {
                match self.compare_exchange_weak(before, after, good, bad) {
                    Ok(before) => return Ok(before),
                    Err(changed) => before = changed,
                }
            }
            Err(before)
        }
    }

    atomic! {
        AtomicBool, bool,
        load(order: Ordering) -> bool;
        store(value: bool, order: Ordering) -> ();
        swap(value: bool, order: Ordering) -> bool;
    }

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
            while explores() {
                point();
                match self.0.try_lock() {
                    Ok(guard) => return Ok(guard),
                    Err(TryLockError::Poisoned(poisoned)) => return Err(poisoned),
                    Err(TryLockError::WouldBlock) => shuttle::thread::yield_now(),
                }
            }
            self.0.lock()
        }
    }

    #[test]
    #[should_panic(expected = "an update is lost")]
    fn an_update_that_is_not_atomic_is_found() {
        explore(200, || {
            let number = std::sync::Arc::new(AtomicU64::new(0));
            let threads = [(); 2].map(|()| {
                let number = std::sync::Arc::clone(&number);
                shuttle::thread::spawn(move || {
                    let before = number.load(Ordering::SeqCst);
                    number.store(before + 1, Ordering::SeqCst);
                })
            });
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(number.load(Ordering::SeqCst), 2, "an update is lost");
        });
    }
}
