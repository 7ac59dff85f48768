//! Forcing what was written to the disk, with a place for tests in between.

use std::io;
use std::path::Path;

#[cfg(feature = "testing")]
use crate::testing::TestDisk;

/// The disk of a journal, as far as something is forced to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Disk {
    #[cfg(feature = "testing")]
    pub(super) test: Option<TestDisk>,
}

impl Disk {
    /// Forces the file or directory at `path` to the disk, by `force`. Blocks.
    pub(super) fn force(&self, path: &Path, force: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        #[cfg(feature = "testing")]
        if let Some(test) = &self.test {
            return test.force(path, force);
        }
        #[cfg(not(feature = "testing"))]
        let _ = path;
        force()
    }
}
