//! Listening sockets that are there before the cores: bound while the process may still bind their ports, or inherited
//! from whoever started it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::descriptor::Descriptor;
use crate::privileges::Identity;
use crate::sys;

/// Number of the first descriptor that is passed (sd_listen_fds(3)).
const INHERITED_FIRST: RawFd = 3;
/// More descriptors than this are a mistake.
const INHERITED_MAX: RawFd = 4096;

/// A listening socket that a core takes when it is to listen on its address; see `Core::provide`.
pub struct Prepared {
    address: SocketAddr,
    socket: Descriptor,
    /// Whoever passed it may have it, too, and so may other cores: what would change it for them isn't done to it.
    inherited: bool,
}

impl Prepared {
    /// Binds a socket with SO_REUSEPORT for one core.
    ///
    /// # Errors
    /// The system's: the address is in use, isn't this host's, or isn't allowed.
    pub fn bind(address: SocketAddr, backlog: u32) -> io::Result<Prepared> {
        Ok(Prepared { address, socket: sys::listen(address, backlog, false)?, inherited: false })
    }

    /// The same socket for another core.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn share(&self) -> io::Result<Prepared> {
        let socket = sys::duplicate(self.socket.number())?;
        Ok(Prepared { address: self.address, socket, inherited: self.inherited })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes it the socket of who the process is about to become, who may then bind others to its port beside it.
    ///
    /// # Errors
    /// The system's: CAP_CHOWN is missing.
    pub fn give_to(&self, identity: &Identity) -> io::Result<()> {
        sys::give_to(self.socket.number(), identity.user, identity.group)
    }

    /// The socket for listening on `address`, and whether it is an inherited one, of which there is always another
    /// descriptor; `None` if there is none.
    pub(crate) fn take(all: &mut Vec<Prepared>, address: SocketAddr) -> Option<io::Result<(Descriptor, bool)>> {
        let place = all.iter().position(|prepared| prepared.address == address)?;
        if all[place].inherited {
            return Some(sys::duplicate(all[place].socket.number()).map(|socket| (socket, true)));
        }
        Some(Ok((all.swap_remove(place).socket, false)))
    }
}

/// The sockets that whoever started this process passed with it, by the protocol of sd_listen_fds(3): from descriptor 3
/// on, LISTEN_FDS of them, if LISTEN_PID is this process. The names of LISTEN_FDNAMES are for messages alone. To be called
/// before the process opens anything; a second call finds nothing.
///
/// # Errors
/// In words: the variables can't be read, a descriptor is no TCP socket that listens, or two have the same address, of
/// which only one would be accepted from.
pub fn inherited() -> Result<Vec<Prepared>, String> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let variable = |name| std::env::var(name).ok();
    let count = passed(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), std::process::id())?;
    if count == 0 || TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut all: Vec<Prepared> = Vec::new();
    for number in INHERITED_FIRST..INHERITED_FIRST + count {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown");
        let address = match sys::close_on_exec(number) {
            Ok(()) if sys::is_listening_stream(number) => sys::local_address(number),
            _ => None,
        };
        let Some(address) = address else {
            return Err(format!("inherited descriptor {number} (`{name}`) is no TCP socket that listens"));
        };
        if all.iter().any(|other| other.address == address) {
            return Err(format!("inherited descriptor {number} (`{name}`): another one has {address}, too"));
        }
        // SAFETY: it is open, and by the protocol it is ours; nobody has taken it before (`TAKEN`).
        let socket = unsafe { Descriptor::from_kernel(number) };
        all.push(Prepared { address, socket, inherited: true });
    }
    Ok(all)
}

/// How many descriptors were passed to the process `own`.
fn passed(pid: Option<&str>, count: Option<&str>, own: u32) -> Result<RawFd, String> {
    let (Some(pid), Some(count)) = (pid, count) else { return Ok(0) };
    let pid: u32 = pid.parse().map_err(|_| format!("LISTEN_PID is `{pid}`: expected a process's number"))?;
    if pid != own {
        // Meant for the process that started this one.
        return Ok(0);
    }
    match count.parse::<RawFd>() {
        Ok(count) if (0..=INHERITED_MAX).contains(&count) => Ok(count),
        _ => Err(format!("LISTEN_FDS is `{count}`: expected a number of descriptors, at most {INHERITED_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::passed;

    #[test]
    fn descriptors_are_taken_only_by_who_they_are_meant_for() {
        assert_eq!(passed(Some("7"), Some("2"), 7), Ok(2));
        for (pid, count) in [(None, Some("2")), (Some("7"), None), (Some("8"), Some("2")), (Some("7"), Some("0"))] {
            assert_eq!(passed(pid, count, 7), Ok(0), "{pid:?} {count:?}");
        }
        for (pid, count) in [("7", "-1"), ("7", "many"), ("7", "99999"), ("me", "1"), ("7", "")] {
            let refused = passed(Some(pid), Some(count), 7).expect_err("a mistake");
            assert!(refused.contains("expected"), "{refused}");
        }
    }
}
