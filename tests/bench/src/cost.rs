//! How the cost of something is taken: processor time of this thread, and allocations of this process.

use std::alloc::System;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use stats_alloc::StatsAlloc;

/// The allocator of a program that counts what it is asked for.
pub type CountingAllocator = StatsAlloc<System>;

/// The processor time that this thread has used.
///
/// Not the time on the wall: what else runs on the machine is left out, and so is sleep. A warm request never sleeps; who
/// measures counts the ones that were not warm and says so.
#[must_use]
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Does `work`, and adds the processor time that it took to `sum`.
pub fn timed<T>(sum: &mut Duration, work: impl FnOnce() -> T) -> T {
    let began = processor_time();
    let done = work();
    *sum += processor_time() - began;
    done
}
