//! The directory that a log is kept in: its lock, its replica's identity, its segments and marks.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use thiserror::Error;

use super::disk::Disk;
use super::map::Words;
use super::mark::MARK_BYTES;
use super::segment::{Segment, SegmentId};
use crate::id::ReplicaId;

/// Segments are called `NUMBER-EPOCH.hmj1`, in decimal and hexadecimal; the last digit is the format's version.
const EXTENSION: &str = "hmj1";
const EXTENSION_OF_ANY: &str = "hmj";

/// Why a journal can't be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another meter, most likely in another process, uses the directory.
    #[error("the journal at {0} is in use by another process")]
    InUse(PathBuf),
    /// The directory belongs to another replica than [`MeterBuilder::replica`](crate::MeterBuilder::replica) says.
    #[error("the journal at {0} belongs to replica {1}")]
    OtherReplica(PathBuf, ReplicaId),
    /// The directory has a file that a later version of this crate wrote. Start that version once, so that it sends what
    /// is in there.
    #[error("{0} was written by another version")]
    OtherVersion(PathBuf),
    /// The file that says which replica this is can't be understood.
    #[error("{0} does not hold a replica's id")]
    NoReplica(PathBuf),
    /// The system refuses to read or write there.
    #[error("the journal at {path} can't be used")]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl JournalError {
    pub(super) fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    disk: Disk,
    /// Held open as long as the directory is in use.
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be, and takes it for this process.
    pub(super) fn open(path: &Path, disk: Disk) -> Result<Self, JournalError> {
        fs::create_dir_all(path).map_err(JournalError::io(path))?;
        let lock_path = path.join("lock");
        let lock = open_or_create(&lock_path).map_err(JournalError::io(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(JournalError::InUse(path.to_owned())),
            Err(fs::TryLockError::Error(source)) => return Err(JournalError::io(&lock_path)(source)),
        }
        Ok(Self {
            path: path.to_owned(),
            disk,
            _lock: lock,
        })
    }

    /// Whose journal it is. A new one becomes `told`'s, or that of the replica that `make` makes.
    pub(super) fn replica(
        &self,
        told: Option<ReplicaId>,
        make: impl FnOnce() -> ReplicaId,
    ) -> Result<ReplicaId, JournalError> {
        let path = self.path.join("replica");
        match fs::read_to_string(&path) {
            Ok(text) => {
                let found: ReplicaId = text
                    .trim()
                    .parse()
                    .map_err(|_| JournalError::NoReplica(path.clone()))?;
                match told {
                    Some(told) if told != found => Err(JournalError::OtherReplica(self.path.clone(), found)),
                    _ => Ok(found),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let replica = told.unwrap_or_else(make);
                self.write_whole("replica", &format!("{replica}\n"))
                    .map_err(JournalError::io(&path))?;
                Ok(replica)
            }
            Err(error) => Err(JournalError::io(&path)(error)),
        }
    }

    /// Writes a file so that it is there whole or not at all.
    fn write_whole(&self, name: &str, text: &str) -> io::Result<()> {
        let part = self.path.join(format!("{name}.part"));
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        self.disk.force(&part, || file.sync_all())?;
        fs::rename(&part, self.path.join(name))?;
        self.sync()
    }

    /// The segments that earlier runs left, oldest first.
    pub(super) fn segments(&self) -> Result<Vec<Segment>, JournalError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(JournalError::io(&self.path))? {
            let path = entry.map_err(JournalError::io(&self.path))?.path();
            let Some(extension) = path.extension().and_then(|extension| extension.to_str()) else {
                continue;
            };
            if extension == EXTENSION {
                if let Some(id) = path.file_stem().and_then(|stem| parse_name(stem.to_str()?)) {
                    found.push((id, path));
                }
            } else if extension.starts_with(EXTENSION_OF_ANY) {
                return Err(JournalError::OtherVersion(path));
            }
        }
        found.sort_by_key(|(id, _)| id.number);
        let mut segments = Vec::new();
        for (id, path) in found {
            let open = || -> io::Result<Option<Words>> {
                let file = OpenOptions::new().read(true).write(true).open(&path)?;
                let whole_words = file.metadata()?.len() / 8 * 8;
                let bytes = usize::try_from(whole_words).unwrap_or(usize::MAX);
                (bytes > 0).then(|| Words::of_file(&file, bytes)).transpose()
            };
            match open().map_err(JournalError::io(&path))? {
                Some(words) => segments.push(Segment::earlier(id, words, path)),
                None => fs::remove_file(&path).map_err(JournalError::io(&path))?,
            }
        }
        Ok(segments)
    }

    /// Makes a segment's file, with all of its bytes allocated on the disk.
    pub(super) fn create(&self, id: SegmentId, bytes: u64) -> io::Result<Segment> {
        let name = format!("{:010}-{:016x}.{EXTENSION}", id.number, id.epoch);
        let path = self.path.join(name);
        let made = allocate(&path, bytes);
        if made.is_err() {
            // Half a file is of no use, and the disk may be full.
            let _ = fs::remove_file(&path);
        }
        let words = Words::of_file(&made?, usize::try_from(bytes).unwrap_or(usize::MAX))?;
        Ok(Segment::new(id, words, Some(path)))
    }

    /// The words that a sink's progress is kept in, and their file.
    pub(super) fn mark(&self, sink: &str) -> Result<(PathBuf, Words), JournalError> {
        let path = self.path.join(format!("{sink}.mark"));
        let open = || {
            let file = open_or_create(&path)?;
            reserve(&file, MARK_BYTES as u64)?;
            Words::of_file(&file, MARK_BYTES)
        };
        let words = open().map_err(JournalError::io(&path))?;
        Ok((path, words))
    }

    /// Forces the words of the file at `path` to the disk.
    pub(super) fn force(&self, path: &Path, words: &Words) -> io::Result<()> {
        self.disk.force(path, || words.sync())
    }

    /// Forces names of new files to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.disk.force(&self.path, || File::open(&self.path)?.sync_all())
    }
}

fn parse_name(stem: &str) -> Option<SegmentId> {
    let (number, epoch) = stem.split_once('-')?;
    Some(SegmentId {
        number: number.parse().ok()?,
        epoch: u64::from_str_radix(epoch, 16).ok()?,
    })
}

fn open_or_create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn allocate(path: &Path, bytes: u64) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    reserve(&file, bytes)?;
    Ok(file)
}

/// Allocates the first `bytes` of a file for real. Where a file system can't do that, zeros are written.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            let has = file.metadata()?.len();
            let mut writer = io::BufWriter::new(file);
            io::Seek::seek(&mut writer, io::SeekFrom::Start(has))?;
            io::copy(
                &mut io::Read::take(io::repeat(0), bytes.saturating_sub(has)),
                &mut writer,
            )?;
            writer.flush()
        }
        Err(error) => Err(error.into()),
    }
}
