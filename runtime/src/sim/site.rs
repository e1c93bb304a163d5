//! A core's place in the simulated network.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use super::network::Network;
use crate::descriptor::Descriptor;

/// What the wall clock shows when the simulated clock is at 0: 2026-01-01.
const WALL_START_US: u64 = 1_767_225_600_000_000;

thread_local! {
    /// Sockets whose descriptors were dropped; the simulation closes them before its next turn. A list, because a
    /// descriptor may be dropped while the network is in use.
    static DROPPED: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// A descriptor of the simulated network was dropped.
pub(crate) fn dropped(socket: u32) {
    // At the very end of a thread there is no network any more either.
    let _ = DROPPED.try_with(|dropped| dropped.borrow_mut().push(socket));
}

pub(super) fn take_dropped() -> Vec<u32> {
    DROPPED.with(|dropped| std::mem::take(&mut *dropped.borrow_mut()))
}

pub(super) fn forget_dropped() {
    drop(take_dropped());
}

pub(crate) struct Site {
    network: Rc<RefCell<Network>>,
    machine: IpAddr,
}

impl Site {
    pub(super) fn new(network: Rc<RefCell<Network>>, machine: IpAddr) -> Site {
        Site { network, machine }
    }

    pub(crate) fn monotonic_us(&self) -> u64 {
        self.network.borrow().now_us
    }

    pub(crate) fn wall_us(&self) -> u64 {
        WALL_START_US + self.network.borrow().now_us
    }

    pub(crate) fn random(&self) -> u64 {
        self.network.borrow_mut().random.next()
    }

    pub(crate) fn listen(&self, address: SocketAddr, backlog: u32) -> io::Result<(Descriptor, SocketAddr)> {
        let (socket, bound) = self.network.borrow_mut().listen(self.machine, address, backlog)?;
        Ok((Descriptor::simulated(socket), bound))
    }

    pub(crate) fn stream_socket(&self) -> Descriptor {
        Descriptor::simulated(self.network.borrow_mut().stream_socket(self.machine))
    }

    pub(crate) fn addresses(&self, socket: u32) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.network.borrow_mut().addresses(socket)
    }

    pub(crate) fn refuse_handshakes(&self, socket: u32) {
        self.network.borrow_mut().refuse_handshakes(socket);
    }

    pub(crate) fn accept_waiting(&self, socket: u32) -> Vec<Descriptor> {
        let waiting = self.network.borrow_mut().accept_waiting(socket);
        waiting.into_iter().map(Descriptor::simulated).collect()
    }
}
