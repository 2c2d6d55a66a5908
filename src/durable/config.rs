//! Where the history is kept, and when it is on the disk.

use std::{path::PathBuf, time::Duration};

/// A directory for the history, and how it is used. See the [module](crate::durable).
///
/// ```
/// use std::time::Duration;
/// use websse::durable::{Commit, DurableConfig};
///
/// let each_minute = Commit::Every(Duration::from_secs(60));
/// let config = DurableConfig::new("/var/lib/websse").commit(each_minute);
/// # let _ = config;
/// ```
#[derive(Clone, Debug)]
#[must_use = "a configuration does nothing until it is given to `Builder::durable`"]
pub struct DurableConfig {
    pub(super) path: PathBuf,
    pub(super) commit: Commit,
    pub(super) disk_bytes: u64,
    pub(super) when_disk_fails: WhenDiskFails,
    /// What a segment takes on the disk, unless one record takes more.
    pub(super) segment_bytes: u64,
}

/// When an event that was published is on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Commit {
    /// Before [`publish`](crate::Server::publish) returns, and before a client hears of it. Events
    /// that are published at the same time share one flush. The default.
    #[default]
    Each,
    /// At most this much later. A power cut, or a crash of the system, may cost the events of that
    /// time; clients that come back are told of a gap then. For SD cards, which wear out.
    Every(Duration),
    /// When the system chooses. As `Every`, but nobody knows how much it may cost.
    Never,
}

/// What happens to what is published while the disk is full, or fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenDiskFails {
    /// It is refused with [`PublishError::DiskUnavailable`](crate::PublishError::DiskUnavailable), so
    /// that all that is accepted is on the disk. The default.
    #[default]
    Refuse,
    /// It is accepted and delivered, and written when there is room again. Until then only memory has
    /// it: a kill or a power cut, and a shutdown if there is still no room, costs all of it, and each
    /// client that comes back learns of a gap. At most a quarter of
    /// [`max_disk_bytes`](DurableConfig::max_disk_bytes) waits like this, beside the history; what is
    /// older is not written, and is a gap after a restart. Where it cannot be noted in the directory
    /// that something is missing, events are refused all the same: after a restart nobody would know.
    GoOnInMemory,
}

/// The least that makes sense: a handful of segments.
const LEAST: u64 = 8 << 20;

impl DurableConfig {
    /// The history is kept in this directory, which is made if it is not there, for its owner
    /// alone.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            path: directory.into(),
            commit: Commit::default(),
            disk_bytes: 64 << 20,
            when_disk_fails: WhenDiskFails::default(),
            segment_bytes: 1 << 20,
        }
    }

    /// When events are on the disk; default [`Commit::Each`].
    pub fn commit(self, commit: Commit) -> Self {
        Self { commit, ..self }
    }

    /// The most that the directory takes on the disk, in bytes; default 64 MiB, at least 8 MiB.
    /// Four times what the [history](crate::Builder::history_all_bytes) keeps is enough; with less,
    /// some of it may not be there after a restart.
    pub fn max_disk_bytes(self, bytes: u64) -> Self {
        Self { disk_bytes: bytes.max(LEAST), ..self }
    }

    /// What happens to what is published while the disk is full, or fails; default
    /// [`WhenDiskFails::Refuse`].
    pub fn when_disk_fails(self, when_disk_fails: WhenDiskFails) -> Self {
        Self { when_disk_fails, ..self }
    }
}
