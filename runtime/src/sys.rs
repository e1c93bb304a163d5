//! The socket system calls that aren't worth a trip through a ring: rare, and never blocking.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;
use std::ptr;

use crate::descriptor::Descriptor;

/// A socket address in the kernel's form.
#[derive(Clone, Copy)]
pub(crate) struct RawAddress {
    pub(crate) storage: libc::sockaddr_storage,
    pub(crate) len: libc::socklen_t,
}

impl RawAddress {
    pub(crate) fn new(address: SocketAddr) -> RawAddress {
        // SAFETY: all-zero bytes are a valid sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                // SAFETY: sockaddr_storage is large enough and aligned for every address family.
                unsafe { std::ptr::from_mut(&mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { std::ptr::from_mut(&mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        RawAddress { storage, len: len as libc::socklen_t }
    }

    pub(crate) fn parse(&self) -> Option<SocketAddr> {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which struct the kernel wrote.
                let raw = unsafe { std::ptr::from_ref(&self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddr::V4(SocketAddrV4::new(ip, u16::from_be(raw.sin_port))))
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let raw = unsafe { std::ptr::from_ref(&self.storage).cast::<libc::sockaddr_in6>().read() };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                let v6 = SocketAddrV6::new(ip, u16::from_be(raw.sin6_port), raw.sin6_flowinfo, raw.sin6_scope_id);
                Some(SocketAddr::V6(v6))
            }
            _ => None,
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn set_option(fd: RawFd, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer and length describe a local integer.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(&value).cast(), len) }).map(drop)
}

/// A stream socket for `address`'s family, with TCP_NODELAY. `nonblocking` is for epoll only: on a non-blocking
/// descriptor the ring would report EAGAIN instead of waiting.
pub(crate) fn stream_socket(address: SocketAddr, nonblocking: bool) -> io::Result<Descriptor> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let flags = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(family, flags, 0) })?;
    // SAFETY: a fresh descriptor.
    let socket = unsafe { Descriptor::from_kernel(fd) };
    set_option(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1)?;
    Ok(socket)
}

/// A listening socket with SO_REUSEADDR and SO_REUSEPORT (one a core shares the port) and TCP_NODELAY, which accepted
/// sockets inherit on Linux.
pub(crate) fn listen(address: SocketAddr, backlog: u32, nonblocking: bool) -> io::Result<Descriptor> {
    let socket = stream_socket(address, nonblocking)?;
    let fd = socket.number();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    if address.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let raw = RawAddress::new(address);
    // SAFETY: pointer and length describe a valid address.
    check(unsafe { libc::bind(fd, std::ptr::from_ref(&raw.storage).cast(), raw.len) })?;
    // SAFETY: no pointers.
    check(unsafe { libc::listen(fd, backlog.min(i32::MAX as u32) as i32) })?;
    Ok(socket)
}

/// Raises the process's bound on open descriptors as far as it may go, and returns it: every connection takes one or
/// two, and the usual bound of 1024 is there for programs that use select(2).
pub fn raise_descriptors_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes a local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return 0;
    }
    let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
    // SAFETY: reads a local.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) } == 0;
    if done { raised.rlim_cur } else { limit.rlim_cur }
}

/// The process's bound on open descriptors.
pub fn descriptors_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes a local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 { limit.rlim_cur } else { u64::MAX }
}

/// Whether a socket could listen on `address` alone: somebody who listens there is an error, even one who shares the
/// port. Binds and lets go without ever listening, so that no connection is made meanwhile.
///
/// # Errors
/// The system's: the address is in use, isn't this host's, or is not allowed.
pub fn try_address(address: SocketAddr) -> io::Result<()> {
    let socket = stream_socket(address, false)?;
    let fd = socket.number();
    set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    if address.is_ipv6() {
        set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
    }
    let raw = RawAddress::new(address);
    // SAFETY: pointer and length describe a valid address.
    check(unsafe { libc::bind(fd, std::ptr::from_ref(&raw.storage).cast(), raw.len) }).map(drop)
}

/// O_NONBLOCK of the open file, and so of all its descriptors.
pub(crate) fn set_nonblocking(fd: RawFd, nonblocking: bool) {
    // SAFETY: no pointers; a failure leaves the flags as they were.
    unsafe {
        let flags = libc::fcntl(fd, libc::F_GETFL);
        let others = flags & !libc::O_NONBLOCK;
        libc::fcntl(fd, libc::F_SETFL, if nonblocking { others | libc::O_NONBLOCK } else { others });
    }
}

/// Another descriptor of the same open file; closed by `exec`.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<Descriptor> {
    // SAFETY: no pointers.
    let duplicate = check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) })?;
    // SAFETY: a fresh descriptor.
    Ok(unsafe { Descriptor::from_kernel(duplicate) })
}

/// Lets `exec` close a descriptor that this process got from the one before.
///
/// # Errors
/// There is no such descriptor.
pub(crate) fn close_on_exec(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) }).map(drop)
}

/// Whether a descriptor is a stream socket that listens.
pub(crate) fn is_listening_stream(fd: RawFd) -> bool {
    let option = |name| {
        let (mut value, mut len) = (0i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the pointers describe a local integer and its length.
        let done = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut len) };
        (done == 0).then_some(value)
    };
    option(libc::SO_TYPE) == Some(libc::SOCK_STREAM) && option(libc::SO_ACCEPTCONN) == Some(1)
}

/// Makes a socket another user's, as if that one had made it: sockets that share a port must have one owner.
pub(crate) fn give_to(fd: RawFd, user: u32, group: u32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::fchown(fd, user, group) }).map(drop)
}

/// Lets no further handshake begin on a listening socket; those under way end, and their connections can be accepted.
/// A client that tries meanwhile tries again a second later.
pub(crate) fn refuse_handshakes(fd: RawFd) {
    /// Where the flags are in a TCP header, with which a segment begins for a socket's filter.
    const FLAGS_AT: u32 = 13;
    const SYN: u32 = 2;
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 1, k };
    let mut drop_syn = [
        statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, FLAGS_AT),
        statement(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, SYN),
        statement(libc::BPF_RET | libc::BPF_K, 0),
        statement(libc::BPF_RET | libc::BPF_K, u32::MAX),
    ];
    let program = libc::sock_fprog { len: drop_syn.len() as u16, filter: drop_syn.as_mut_ptr() };
    let len = size_of::<libc::sock_fprog>() as libc::socklen_t;
    // SAFETY: pointer and length describe locals; the kernel copies the program. A failure leaves the socket as it was.
    unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, std::ptr::from_ref(&program).cast(), len);
    }
}

/// Accepts every connection that waits on a listening socket, without blocking.
pub(crate) fn accept_waiting(fd: RawFd, nonblocking: bool) -> Vec<Descriptor> {
    // The flag belongs to the open file, which is about to be closed.
    set_nonblocking(fd, true);
    let flags = libc::SOCK_CLOEXEC | if nonblocking { libc::SOCK_NONBLOCK } else { 0 };
    std::iter::from_fn(|| {
        // SAFETY: null pointers: the address isn't wanted.
        let accepted = unsafe { libc::accept4(fd, std::ptr::null_mut(), std::ptr::null_mut(), flags) };
        // SAFETY: a fresh descriptor.
        (accepted >= 0).then(|| unsafe { Descriptor::from_kernel(accepted) })
    })
    .collect()
}

fn address_by(
    fd: RawFd,
    call: unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int,
) -> Option<SocketAddr> {
    // SAFETY: all-zero bytes are a valid sockaddr_storage.
    let storage: libc::sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
    let mut raw = RawAddress { storage, len: size_of::<libc::sockaddr_storage>() as libc::socklen_t };
    // SAFETY: the pointers describe a local with room for every address.
    let result = unsafe { call(fd, std::ptr::from_mut(&mut raw.storage).cast(), &raw mut raw.len) };
    if result < 0 { None } else { raw.parse() }
}

pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    address_by(fd, libc::getpeername)
}

pub(crate) fn local_address(fd: RawFd) -> Option<SocketAddr> {
    address_by(fd, libc::getsockname)
}

/// Makes the close of this socket send a reset and drop what is unsent.
pub(crate) fn reset_on_close(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = size_of::<libc::linger>() as libc::socklen_t;
    // SAFETY: pointer and length describe a local. A failure leaves an ordinary close.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_LINGER, std::ptr::from_ref(&linger).cast(), len) };
}

/// `how`: libc::SHUT_WR or SHUT_RDWR. A socket that the peer has reset already is no error.
pub(crate) fn shutdown(fd: RawFd, how: i32) {
    // SAFETY: no pointers.
    unsafe { libc::shutdown(fd, how) };
}

pub(crate) fn close(fd: RawFd) {
    // SAFETY: the caller gives up the descriptor (`Descriptor::into_number` earlier).
    unsafe { libc::close(fd) };
}

/// Microseconds of the monotonic clock.
pub fn monotonic_us() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Bytes that are prefetched at most at once.
const PREFETCHED_BYTES_MAX: usize = 2048;

/// Asks the processor to bring memory closer; a hint that changes nothing else, whatever is at the address.
#[inline]
pub(crate) fn prefetch(address: usize, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for offset in (0..bytes.min(PREFETCHED_BYTES_MAX)).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let line = ptr::without_provenance::<i8>(address.wrapping_add(offset));
        // SAFETY: a prefetch reads nothing and doesn't fault.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (address, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_kernel_form() {
        for text in ["127.0.0.1:80", "[::1]:443", "[fe80::1%3]:9"] {
            let address: SocketAddr = text.parse().expect("an address");
            assert_eq!(RawAddress::new(address).parse(), Some(address));
        }
    }
}
