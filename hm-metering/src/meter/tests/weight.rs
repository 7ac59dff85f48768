//! What an account and its key take of memory: there may be millions. The benchmarks measure the whole.

use std::mem::size_of;

use crate::meter::account::Account;
use crate::meter::directory::Caller;
use crate::quota::Lease;

/// The counts of an `Arc`.
const COUNTS: usize = 2 * size_of::<usize>();

#[test]
fn a_key_an_account_and_a_lease_are_small() {
    // Allocators keep blocks of 8 bytes more than a multiple of 16: these fit without a rest.
    assert!(COUNTS + size_of::<Caller>() <= 104, "{}", size_of::<Caller>());
    assert!(COUNTS + size_of::<Account>() <= 120, "{}", size_of::<Account>());
    assert!(COUNTS + size_of::<Lease>() <= 184, "{}", size_of::<Lease>());
}
