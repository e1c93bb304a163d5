//! What a core asks its host beside what goes through the driver: the clocks, and sockets' making and names.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::descriptor::{Descriptor, simulated_socket};
use crate::prepared::Prepared;
use crate::{sim, sys};

pub(crate) enum Host {
    /// `nonblocking`: the driver wants sockets that way.
    Kernel {
        nonblocking: bool,
        /// Sockets to listen with before any is made.
        prepared: RefCell<Vec<Prepared>>,
    },
    Simulated(sim::Site),
}

/// A socket that listens.
pub(crate) struct Listening {
    pub(crate) socket: Descriptor,
    /// With the real port when 0 was asked for.
    pub(crate) address: SocketAddr,
    /// Others have it, too.
    pub(crate) inherited: bool,
}

impl Host {
    /// Microseconds of the monotonic clock.
    #[inline]
    pub(crate) fn monotonic_us(&self) -> u64 {
        match self {
            Host::Kernel { .. } => sys::monotonic_us(),
            Host::Simulated(site) => site.monotonic_us(),
        }
    }

    /// Microseconds since 1970.
    pub(crate) fn wall_us(&self) -> u64 {
        match self {
            Host::Kernel { .. } => SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_micros() as u64),
            Host::Simulated(site) => site.wall_us(),
        }
    }

    /// Where a core's pseudo-random numbers begin: different for each core and start; not for secrets. Never 0.
    pub(crate) fn random_seed(&self, id: usize) -> u64 {
        match self {
            Host::Kernel { .. } => {
                use std::hash::{BuildHasher, Hasher};
                let mut hasher = std::hash::RandomState::new().build_hasher();
                hasher.write_u64(self.monotonic_us() ^ id as u64);
                hasher.finish() | 1
            }
            Host::Simulated(site) => site.random() | 1,
        }
    }

    /// Sockets to take before any is made; none in a simulation.
    pub(crate) fn provide(&self, sockets: Vec<Prepared>) {
        if let Host::Kernel { prepared, .. } = self {
            prepared.borrow_mut().extend(sockets);
        }
    }

    pub(crate) fn listen(&self, address: SocketAddr, backlog: u32) -> io::Result<Listening> {
        match self {
            Host::Kernel { nonblocking, prepared } => {
                let (socket, inherited) = match Prepared::take(&mut prepared.borrow_mut(), address) {
                    Some(taken) => {
                        let taken = taken?;
                        // Whoever made it didn't know the driver.
                        sys::set_nonblocking(taken.0.number(), *nonblocking);
                        taken
                    }
                    None => (sys::listen(address, backlog, *nonblocking)?, false),
                };
                let address = sys::local_address(socket.number()).unwrap_or(address);
                Ok(Listening { socket, address, inherited })
            }
            Host::Simulated(site) => {
                let (socket, address) = site.listen(address, backlog)?;
                Ok(Listening { socket, address, inherited: false })
            }
        }
    }

    /// A stream socket that could connect to `address`.
    pub(crate) fn stream_socket(&self, address: SocketAddr) -> io::Result<Descriptor> {
        match self {
            Host::Kernel { nonblocking, .. } => sys::stream_socket(address, *nonblocking),
            Host::Simulated(site) => Ok(site.stream_socket()),
        }
    }

    pub(crate) fn peer_address(&self, fd: RawFd) -> Option<SocketAddr> {
        match self {
            Host::Kernel { .. } => sys::peer_address(fd),
            Host::Simulated(site) => site.addresses(simulated_socket(fd)).1,
        }
    }

    pub(crate) fn local_address(&self, fd: RawFd) -> Option<SocketAddr> {
        match self {
            Host::Kernel { .. } => sys::local_address(fd),
            Host::Simulated(site) => site.addresses(simulated_socket(fd)).0,
        }
    }

    /// Lets no further handshake begin on a listening socket.
    pub(crate) fn refuse_handshakes(&self, fd: RawFd) {
        match self {
            Host::Kernel { .. } => sys::refuse_handshakes(fd),
            Host::Simulated(site) => site.refuse_handshakes(simulated_socket(fd)),
        }
    }

    /// Accepts every connection that waits on a listening socket, without blocking.
    pub(crate) fn accept_waiting(&self, fd: RawFd) -> Vec<Descriptor> {
        match self {
            Host::Kernel { nonblocking, .. } => sys::accept_waiting(fd, *nonblocking),
            Host::Simulated(site) => site.accept_waiting(simulated_socket(fd)),
        }
    }
}
