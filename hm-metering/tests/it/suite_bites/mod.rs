//! The conformance suite bites: for each planted fault, the case that is meant to notice it fails.

mod counting;
mod keys;
mod quota;
mod rate;
mod settling;
mod usage;

use hm_metering::conformance::{Case, Fixture};

/// The names of the cases that fail on stores that `make` makes.
async fn failing<S: ?Sized + Send + Sync + 'static>(
    cases: &[Case<S>],
    make: impl Fn() -> Fixture<S> + Send,
) -> Vec<&'static str> {
    let mut failing = Vec::new();
    for case in cases {
        if tokio::spawn(case.run(make())).await.is_err() {
            failing.push(case.name());
        }
    }
    failing
}

/// Demands that a sound store passes every case and that each fault is noticed by the case named beside it.
async fn bites<S: ?Sized + Send + Sync + 'static, F: Copy + std::fmt::Debug + Send + Sync>(
    cases: Vec<Case<S>>,
    make: impl Fn(Option<F>) -> Fixture<S> + Send + Sync,
    faults: &[(F, &str)],
) {
    assert_eq!(failing(&cases, || make(None)).await, Vec::<&str>::new());
    let mut unnoticed = Vec::new();
    for (fault, expected) in faults {
        let failed = failing(&cases, || make(Some(*fault))).await;
        if !failed.contains(expected) {
            unnoticed.push(format!(
                "{fault:?} was not noticed by {expected}, but by {failed:?}"
            ));
        }
    }
    assert!(unnoticed.is_empty(), "{unnoticed:#?}");
}
