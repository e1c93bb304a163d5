//! Files that a config names, each read once.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longer ones are a mistake: a device, a log.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// A file as it was read.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) path: PathBuf,
    pub(super) content: Arc<Vec<u8>>,
}

pub(super) struct Files {
    folder: PathBuf,
    known: HashMap<PathBuf, Arc<Vec<u8>>>,
    /// Since the last `take`.
    read: Vec<Read>,
}

impl Files {
    pub(super) fn new(folder: PathBuf) -> Files {
        Files { folder, known: HashMap::new(), read: Vec::new() }
    }

    pub(super) fn whole(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    pub(super) fn read(&mut self, path: &str) -> io::Result<Vec<u8>> {
        let path = self.whole(path);
        let content = match self.known.get(&path) {
            Some(content) => Arc::clone(content),
            None => {
                let content = Arc::new(read(&path)?);
                self.known.insert(path.clone(), Arc::clone(&content));
                content
            }
        };
        let bytes = content.to_vec();
        if !self.read.iter().any(|read| read.path == path) {
            self.read.push(Read { path, content });
        }
        Ok(bytes)
    }

    /// What has been read since the last call.
    pub(super) fn take(&mut self) -> Vec<Read> {
        std::mem::take(&mut self.read)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let length = std::fs::metadata(path)?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::Error::other(format!("it has {length} bytes, more than {FILE_BYTES_MAX}")));
    }
    std::fs::read(path)
}
