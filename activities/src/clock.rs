//! A time that goes on.

use std::time::Instant;

/// A clock that was read once and goes on by itself: what is signed with the time at which a long work began is refused
/// when the venue's receive window is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    read_ms: i64,
    read: Instant,
}

impl Clock {
    /// One that says `now_ms` (since 1970) at this moment.
    pub(crate) fn from(now_ms: i64) -> Self {
        Self { read_ms: now_ms, read: Instant::now() }
    }

    /// What it says now. For signing: by how much it has drifted from the books' clock since, nobody knows, and what
    /// proves an absence is the time that was read.
    pub(crate) fn now_ms(&self) -> i64 {
        self.read_ms + i64::try_from(self.read.elapsed().as_millis()).unwrap_or_default()
    }
}
