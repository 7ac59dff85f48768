//! A file that stops being read in the middle of a record that doesn't end.

use std::io::{self, Read};

/// Gives what `inner` has, but no more than so many bytes for one record.
///
/// Whoever reads it reads ahead, so a record may be longer by what was read before it began.
pub(super) struct Bounded<R> {
    inner: R,
    most: u64,
    left: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("a record is too long")]
struct TooLong;

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, most: u64) -> Self {
        Self {
            inner,
            most,
            left: most,
        }
    }

    /// The next record begins.
    pub(super) fn begin(&mut self) {
        self.left = self.most;
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::other(TooLong));
        }
        let room = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.inner.read(&mut buffer[..room])?;
        self.left -= read as u64;
        Ok(read)
    }
}

/// Whether that is why a record couldn't be read.
pub(super) fn is_too_long(error: &csv::Error) -> bool {
    match error.kind() {
        csv::ErrorKind::Io(error) => error.get_ref().is_some_and(|cause| cause.is::<TooLong>()),
        _ => false,
    }
}
