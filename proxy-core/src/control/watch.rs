//! Notices that a file has changed, however it was changed: written in place, replaced by an editor's rename, or through
//! a symbolic link that now leads elsewhere (as Kubernetes swaps mounted config maps).

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the file is looked at.
pub(super) const POLL: Duration = Duration::from_millis(500);
/// A change is taken up when the file has looked the same for this long: whoever writes has finished.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// What tells one state of a file from another. Links are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    /// `None` when there is no such file (for a moment: an editor is replacing it).
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let found = std::fs::metadata(path).ok()?;
        Some(Stamp {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

/// Calls back with the new stamp after each change since `seen`, for ever.
pub(super) async fn watch(path: PathBuf, mut seen: Option<Stamp>, mut changed: impl FnMut(Stamp)) {
    loop {
        tokio::time::sleep(POLL).await;
        let mut now = Stamp::of(&path);
        while now.is_some() && now != seen {
            tokio::time::sleep(SETTLE).await;
            let later = Stamp::of(&path);
            if later == now {
                seen = now;
                now.map(&mut changed);
            }
            now = later;
        }
    }
}
