//! What a process holds of the system.

use std::fs;

/// As it is at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// How many files and connections it has open.
    pub open_files: usize,
    /// Its memory in KiB, without files that are mapped into it.
    pub memory_kib: usize,
}

impl Footprint {
    /// Of a process; `None` where there is no such process, or the system does not say.
    #[must_use]
    pub fn of(process: u32) -> Option<Self> {
        let open_files = fs::read_dir(format!("/proc/{process}/fd")).ok()?.count();
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let memory = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        Some(Self {
            open_files,
            memory_kib: memory.split_whitespace().next()?.parse().ok()?,
        })
    }
}
