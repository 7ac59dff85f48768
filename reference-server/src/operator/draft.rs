//! A file that is made beside its place, and gets its name when it is whole and on the disk.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::backup::{BackupError, beside, must_be_free};
use crate::secrets::create_private_file;

/// The unfinished file. When it is dropped before it is published, nothing of it is left.
pub(super) struct Draft {
    to: PathBuf,
    path: PathBuf,
    lock: PathBuf,
    /// Holds the lock until it is closed, however the process ends.
    _held: File,
}

impl Draft {
    /// Begins one for the file `to`, named like it with `ending` behind. What a run that was killed left is removed.
    ///
    /// # Errors
    ///
    /// [`BackupError::IsBusy`] while another run makes one, and when the folder can't be written to.
    pub(super) fn begin(to: &Path, ending: &str) -> Result<Self, BackupError> {
        let path = beside(to, ending);
        let lock = beside(&path, "-lock");
        let held = File::options()
            .create(true)
            .append(true)
            .open(&lock)
            .map_err(BackupError::file(&lock))?;
        match held.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(BackupError::IsBusy(to.to_path_buf())),
            // There are no locks here, so nobody can tell whether what is there is being made.
            Err(TryLockError::Error(_)) => must_be_free(&path)?,
        }
        let draft = Self {
            to: to.to_path_buf(),
            path,
            lock,
            _held: held,
        };
        draft.remove().map_err(BackupError::file(&draft.path))?;
        Ok(draft)
    }

    /// Where it is made.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name once all of it is on the disk. A name that was taken in the meantime is not given away.
    ///
    /// # Errors
    ///
    /// [`BackupError::IsThere`] when it was, and when the disk fails.
    pub(super) fn publish(self) -> Result<(), BackupError> {
        File::open(&self.path)
            .and_then(|file| file.sync_all())
            .map_err(BackupError::file(&self.path))?;
        give(&self.path, &self.to, |path, to| fs::hard_link(path, to))?;
        sync_folder(&self.to)
    }

    /// Removes it, and what SQLite may have beside it.
    fn remove(&self) -> io::Result<()> {
        for file in ["", "-journal", "-wal", "-shm"].map(|ending| beside(&self.path, ending)) {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // What can't be removed now, the next run removes.
        let _ = self.remove();
        let _ = fs::remove_file(&self.lock);
    }
}

/// Moves `path` to `to`, unless there is something: by a second name, or where file systems have none, into an empty file
/// that takes the name first.
fn give(
    path: &Path,
    to: &Path,
    link: impl FnOnce(&Path, &Path) -> io::Result<()>,
) -> Result<(), BackupError> {
    let there = |error: io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::IsThere(to.to_path_buf()),
        _ => BackupError::file(to)(error),
    };
    match link(path, to) {
        Ok(()) => fs::remove_file(path).map_err(BackupError::file(path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(there(error)),
        Err(_) => {
            create_private_file(to).map_err(there)?;
            fs::rename(path, to).map_err(|error| {
                let _ = fs::remove_file(to);
                BackupError::file(to)(error)
            })
        }
    }
}

/// Sees to it that the name survives a power failure, where folders can be forced to the disk.
#[cfg(unix)]
fn sync_folder(file: &Path) -> Result<(), BackupError> {
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        Err(error)
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
            ) =>
        {
            Err(BackupError::file(folder)(error))
        }
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> Result<(), BackupError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once_where_there_are_no_links_as_well() {
        let no_links = |_: &Path, _: &Path| Err(io::ErrorKind::PermissionDenied.into());
        let folder = tempfile::tempdir().unwrap();
        let (path, to) = (folder.path().join("draft"), folder.path().join("file"));
        fs::write(&path, "first").unwrap();
        give(&path, &to, no_links).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "first");
        assert!(!path.exists());
        fs::write(&path, "second").unwrap();
        let refused = give(&path, &to, no_links).unwrap_err();
        assert!(matches!(refused, BackupError::IsThere(_)), "{refused}");
        let refused = give(&path, &to, |path, to| fs::hard_link(path, to)).unwrap_err();
        assert!(matches!(refused, BackupError::IsThere(_)), "{refused}");
        assert_eq!(fs::read_to_string(&to).unwrap(), "first");
    }
}
