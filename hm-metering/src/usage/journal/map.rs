//! The bytes of a segment: words in memory, or a file mapped into memory.
//!
//! This is the only module with `unsafe`; `docs/decisions/0007-a-mapped-journal.md` says which figures ask for it. What
//! makes it sound is all in [`Words::as_slice`].

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::atomic::AtomicU64;

use memmap2::{MmapOptions, MmapRaw};

/// Words that many threads write and read at once. They are all zero at first.
pub(super) enum Words {
    Memory(Box<[AtomicU64]>),
    File(MmapRaw),
}

impl Words {
    /// `bytes` of memory, rounded down to whole words.
    pub(super) fn memory(bytes: usize) -> Self {
        Self::Memory((0..bytes / 8).map(|_| AtomicU64::new(0)).collect())
    }

    /// The first `bytes` of `file`, which must be allocated on its disk: writing to a hole of a full disk would end the
    /// process.
    ///
    /// # Errors
    /// When the file is shorter than that, or the system can't map it.
    pub(super) fn of_file(file: &File, bytes: usize) -> io::Result<Self> {
        if file.metadata()?.len() < bytes as u64 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file is too short",
            ));
        }
        MmapOptions::new().len(bytes).map_raw(file).map(Self::File)
    }

    #[expect(
        unsafe_code,
        reason = "a mapped file can be shared between threads as atomic words in no other way"
    )]
    pub(super) fn as_slice(&self) -> &[AtomicU64] {
        match self {
            Self::Memory(words) => words,
            Self::File(map) => {
                // SAFETY:
                // * The pointer is not null and aligned to a page, so to a word; `len / 8` words lie inside the map, which
                //   lives as long as `self`, and the slice is borrowed from `self`.
                // * All bits are a valid word. `AtomicU64` has the layout of `u64` and allows writes through shared
                //   references, so nothing about concurrent access in this process is left to promise: there is no other
                //   view of the map than this one.
                // * Another process that changes the file changes words under us as another thread would. That can give
                //   wrong words, which their checksums reveal, but nothing undefined. A process that shortens the file
                //   would end this one by a signal; the directory's lock keeps our own processes from each other.
                unsafe { std::slice::from_raw_parts(map.as_mut_ptr().cast::<AtomicU64>(), map.len() / 8) }
            }
        }
    }

    /// Waits until everything written so far is on the disk.
    ///
    /// # Errors
    /// When the system says that it can't be.
    pub(super) fn sync(&self) -> io::Result<()> {
        match self {
            Self::Memory(_) => Ok(()),
            Self::File(map) => map.flush(),
        }
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Memory(_) => "Memory",
            Self::File(_) => "File",
        };
        write!(f, "Words::{kind}({} words)", self.as_slice().len())
    }
}
