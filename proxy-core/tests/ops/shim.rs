//! A library that is preloaded into the proxy: it moves the proxy's wall clock and nobody else's, and counts what is done
//! to rings. It's made by the C compiler that the build needs anyway.

use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::Folder;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ops/shim.c");

pub struct Shim {
    /// It stays as long as the process may open it.
    folder: Folder,
    shared: std::fs::File,
}

impl Shim {
    pub fn new() -> Shim {
        let folder = Folder::new();
        let mut command = Command::new("cc");
        command.args(["-shared", "-fPIC", "-O1", SOURCE, "-ldl", "-o"]).arg(folder.path("shim.so"));
        let output = command.output().expect("a C compiler");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut options = std::fs::OpenOptions::new();
        let shared =
            options.read(true).write(true).create(true).truncate(true).open(folder.path("shared")).expect("a file");
        shared.set_len(24).expect("room");
        Shim { folder, shared }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path(name)
    }

    /// Has a command preload it.
    pub fn preload(&self, command: &mut Command) {
        command.env("LD_PRELOAD", self.path("shim.so")).env("SHIM_FILE", self.path("shared"));
    }

    /// So many seconds off the machine's clock, from now on.
    pub fn set_clock(&self, offset_s: i64) {
        self.shared.write_all_at(&offset_s.to_ne_bytes(), 0).expect("written");
    }

    /// Seconds since 1970 by the moved clock.
    pub fn unix_s(&self) -> i64 {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        now.as_secs() as i64 + self.number(0) as i64
    }

    fn number(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.shared.read_exact_at(&mut bytes, at * 8).expect("read");
        u64::from_ne_bytes(bytes)
    }

    /// Rings that were restricted, and those that were enabled.
    pub fn rings(&self) -> (u64, u64) {
        (self.number(1), self.number(2))
    }
}
