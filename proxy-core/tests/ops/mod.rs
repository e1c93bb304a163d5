//! The binary as a process under an operator's hands: config files that change, signals, the admin API, load meanwhile.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod client;
pub mod load;
pub mod load_http2;
pub mod origin;
pub mod program;
pub mod proxy;
pub mod shim;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything takes, even on a machine that does other things.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// One test a driver: `on_both_drivers!(name, function)` where the function takes the driver's name.
#[macro_export]
macro_rules! on_both_drivers {
    ($($name:ident),+ $(,)?) => {
        mod uring {
            $(#[test] fn $name() { super::$name("uring"); })+
        }
        mod epoll {
            $(#[test] fn $name() { super::$name("epoll"); })+
        }
    };
}

/// Waits for a condition; `what` is told when it doesn't come.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    wait_within(DEADLINE, what, &mut condition);
}

pub fn wait_within(time: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < time, "waited {time:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An address that nobody has. Ports that the kernel hands to connecting sockets are avoided: one could come first.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(97);
    loop {
        let port = 10_000 + (start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000) as u16;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A directory for one test, removed at its end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        Folder::within(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// One that every user can look into, wherever the workspace lies.
    pub fn public() -> Folder {
        let folder = Folder::within(&std::env::temp_dir());
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&folder.0, readable).expect("opened");
        folder
    }

    fn within(place: &Path) -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ops-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = place.join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Folder(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
