//! A disk for journals that fails when told to, and whose power can be cut.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What of a journal's files is on the disk for sure: what the journal forced there. Given to
/// [`Journal::disk`](crate::Journal::disk); clones are one disk.
///
/// The files themselves are real. What the process wrote into them is kept by the operating system, and a loss of power takes
/// it away, unless it was forced to the disk before. [`TestDisk::after_power_cut`] shows the directory as it would be found.
#[derive(Clone, Debug, Default)]
pub struct TestDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    is_failing: bool,
    forced: u64,
    /// What is in each file that was forced.
    contents: BTreeMap<PathBuf, Vec<u8>>,
    /// The files in the directory when it was forced, and how long they were.
    names: BTreeMap<OsString, u64>,
}

impl TestDisk {
    /// A disk that works.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on nothing can be forced to it: the system answers with an error.
    pub fn fail(&self) {
        self.state().is_failing = true;
    }

    /// It works again.
    pub fn recover(&self) {
        self.state().is_failing = false;
    }

    /// How often a file was forced to it. Names of files don't count.
    #[must_use]
    pub fn forced(&self) -> u64 {
        self.state().forced
    }

    /// Writes into the directory `to` what would be there if the power were cut now. Of files that are there and were never
    /// forced, only the length is.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn after_power_cut(&self, to: &Path) -> io::Result<()> {
        let state = self.state();
        for (name, length) in &state.names {
            let content = state
                .contents
                .iter()
                .find(|(path, _)| path.file_name() == Some(name));
            match content {
                Some((_, content)) => fs::write(to.join(name), content)?,
                None => fs::File::create(to.join(name))?.set_len(*length)?,
            }
        }
        Ok(())
    }

    /// Does `force`, unless it fails, and remembers what was at `path` before.
    pub(crate) fn force(&self, path: &Path, force: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if self.state().is_failing {
            return Err(io::Error::other("the disk does not take it"));
        }
        // What is written meanwhile may be on the disk or not, so it does not count.
        if path.is_dir() {
            let names = listing(path)?;
            force()?;
            self.state().note_names(path, names);
        } else {
            let content = fs::read(path)?;
            force()?;
            let mut state = self.state();
            state.contents.insert(path.to_owned(), content);
            state.forced += 1;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Files that were written as `NAME.part` and given their names since are known by those.
    fn note_names(&mut self, directory: &Path, names: BTreeMap<OsString, u64>) {
        for name in names.keys() {
            let path = directory.join(name);
            let mut part = path.clone().into_os_string();
            part.push(".part");
            if let Some(content) = self.contents.remove(Path::new(&part)) {
                self.contents.insert(path, content);
            }
        }
        self.names = names;
    }
}

fn listing(directory: &Path) -> io::Result<BTreeMap<OsString, u64>> {
    fs::read_dir(directory)?
        .map(|entry| {
            let entry = entry?;
            Ok((entry.file_name(), entry.metadata()?.len()))
        })
        .collect()
}

/// Whether both are one disk.
impl PartialEq for TestDisk {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TestDisk {}
