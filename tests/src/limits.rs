//! What the operating system lets a process have.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Lets this process, and those it starts from now on, have so many files open; answers whether it could.
#[must_use]
pub fn allow_open_files(wanted: u64) -> bool {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return true;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
    setrlimit(Resource::Nofile, limit).is_ok() && limit.current >= Some(wanted)
}
