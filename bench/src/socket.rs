//! Sockets as the forwarders want them.

use std::io;
use std::mem::{self, size_of};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Longest queue of connections that wait to be accepted; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: libc::c_int = 4096;

/// Binds and listens with a backlog that survives a thousand clients at once, and with TCP_NODELAY, which
/// accepted sockets inherit on Linux. The socket blocks. Says on standard error which address it got, so that port 0
/// can be asked for.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    // SAFETY: the descriptor is open; listening again only changes the backlog.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    set_nodelay(listener.as_raw_fd())?;
    eprintln!("listening on {}", listener.local_addr()?);
    Ok(listener)
}

/// A socket address in the layout that the kernel reads, with its address family.
#[derive(Clone, Copy)]
pub struct Address {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Address {
    /// The kernel's layout of `address`.
    pub fn new(address: SocketAddr) -> Self {
        // SAFETY: all bits zero is a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let length = match address {
            SocketAddr::V4(v4) => {
                let plain = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large enough and aligned for every address family.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(plain) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let plain = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(plain) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        Self { storage, length: length as libc::socklen_t }
    }

    /// Pointer for a connect call; valid as long as `self` stays where it is.
    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    /// Bytes behind [`Address::as_ptr`].
    pub fn length(&self) -> libc::socklen_t {
        self.length
    }

    /// Opens an unconnected TCP socket of the address's family with TCP_NODELAY; `kind_flags` adds to SOCK_STREAM.
    pub fn socket(&self, kind_flags: libc::c_int) -> io::Result<OwnedFd> {
        let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | kind_flags;
        // SAFETY: a plain system call without pointers.
        let fd = unsafe { libc::socket(i32::from(self.storage.ss_family), kind, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just opened and nobody else knows of it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        set_nodelay(fd)?;
        Ok(socket)
    }
}

fn set_nodelay(fd: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: `on` outlives the call and its size is given.
    let result = unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_NODELAY,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
