//! The directory: one process has it at a time, and it knows whether what the process before wrote
//! is all there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
};

/// How a process leaves the directory if it ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// In good order, everything on the disk.
    Closed,
    /// Each event is on the disk before it is acknowledged.
    Synced,
    /// The end of what is acknowledged may not have reached the disk.
    Unsynced,
    /// Something that was acknowledged may be lost.
    Lost,
}

impl Left {
    const ALL: [(Self, &str); 4] = [
        (Self::Closed, "closed"),
        (Self::Synced, "synced"),
        (Self::Unsynced, "unsynced"),
        (Self::Lost, "lost"),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(left, _)| *left == self).map_or("", |(_, name)| name)
    }
}

#[derive(Debug)]
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// To write to the disk which files there are.
    #[cfg(unix)]
    handle: File,
    /// Locked as long as it is open. It is never written: a copy of it has another time.
    lock: File,
    /// Written in place, for which a full disk has room.
    pub(super) state: File,
}

const LOCK: &str = "lock";
const STATE: &str = "state";
const SEGMENT: &str = "segment";
/// The bytes of a state, no more than a disk writes at once.
const STATE_BYTES: usize = 256;

impl Directory {
    /// Makes it, for its owner alone, if it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let missing: Vec<&Path> = path.ancestors().take_while(|it| !it.exists()).collect();
        builder.create(path)?;
        missing.into_iter().try_for_each(sync_parent)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true);
        let lock = options.open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = "another process uses it; give each server a directory of its own";
                return Err(io::Error::new(ErrorKind::ResourceBusy, text));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self {
            path: path.to_owned(),
            #[cfg(unix)]
            handle: File::open(path)?,
            lock,
            state: options.open(path.join(STATE))?,
        })
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        segment(&self.path, number)
    }

    /// Writes to the disk which files there are.
    #[cfg_attr(not(unix), allow(clippy::unused_self, clippy::unnecessary_wraps))]
    pub(super) fn sync(&self) -> io::Result<()> {
        #[cfg(unix)]
        self.handle.sync_all()?;
        Ok(())
    }

    /// Notes how this process leaves the directory if it ends now.
    pub(super) fn leave(&mut self, left: Left) -> io::Result<()> {
        let (token, run) = (self.token()?, run_of_the_machine());
        let text = format!("{}\n{token}\n{run}\n", left.name());
        self.state.rewind()?;
        self.state.write_all(format!("{text:<STATE_BYTES$}").as_bytes())?;
        self.state.sync_all()
    }

    /// Why what is there may lack something that was acknowledged, if it may.
    pub(super) fn doubt(&mut self) -> io::Result<Option<&'static str>> {
        let mut bytes = Vec::new();
        self.state.rewind()?;
        self.state.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = text.lines();
        let mut line = || lines.next().unwrap_or_default();
        let (left, token, run) = (line(), line(), line());
        let left = Left::ALL.iter().find(|(_, name)| *name == left).map(|(left, _)| *left);
        // What a process that was killed has written, the system writes to the disk later.
        let is_same_run = !run.is_empty() && run == run_of_the_machine();
        Ok(match left {
            None => Some("its file `state` is missing"),
            Some(_) if token != self.token()? => Some("it is a copy"),
            Some(Left::Lost) => Some("the disk did not take all of it"),
            Some(Left::Unsynced) if !is_same_run => {
                Some("the machine went down before all of it was on the disk")
            }
            Some(Left::Closed | Left::Synced | Left::Unsynced) => None,
        })
    }

    /// Names this directory. Files that were put in the place of these have other inodes, or the same
    /// and another time of their last change, which nobody can set.
    fn token(&self) -> io::Result<String> {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            let (lock, state) = (self.lock.metadata()?, self.state.metadata()?);
            let (seconds, nanos) = (lock.ctime(), lock.ctime_nsec());
            Ok(format!("{} {seconds}.{nanos:09} {}", lock.ino(), state.ino()))
        }
        #[cfg(not(unix))]
        self.lock.metadata().map(|_| "-".to_owned())
    }
}

/// Writes to the disk that a directory is in the one above it.
#[cfg_attr(not(unix), allow(unused_variables, clippy::unnecessary_wraps))]
fn sync_parent(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        let is_here = parent.as_os_str().is_empty();
        File::open(if is_here { Path::new(".") } else { parent })?.sync_all()?;
    }
    Ok(())
}

/// The numbers of the files that are segments, in no order.
pub(super) fn segments(directory: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for file in fs::read_dir(directory)? {
        let name = file?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SEGMENT)?.strip_suffix('.'));
        numbers.extend(number.and_then(|number| u64::from_str_radix(number, 16).ok()));
    }
    Ok(numbers)
}

pub(super) fn segment(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08x}.{SEGMENT}"))
}

/// Names the time since the machine was started; empty if the system does not say.
fn run_of_the_machine() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}
