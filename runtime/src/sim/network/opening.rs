//! Listeners and handshakes: how connections come to be.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::{Acceptance, EPHEMERAL, Event, Network, Operation, Socket, State, errno_name};
use crate::table::Key;

/// When the kernel gives up to connect (tcp_syn_retries of 6), and when it first tries again.
const CONNECT_TIMEOUT_US: u64 = 127_000_000;
const SYN_RETRY_US: u64 = 1_000_000;
/// A connection that is torn by time is torn within this.
const TORN_US_MAX: u64 = 20_000_000;
/// A connection that is torn by bytes is torn within this many, counted in both directions.
const TORN_BYTES_MAX: u64 = 400_000;

impl Network {
    pub(crate) fn stream_socket(&mut self, machine: IpAddr) -> u32 {
        let mut socket = Socket::new(State::Fresh);
        socket.local = Some(SocketAddr::new(machine, self.port()));
        self.add(socket)
    }

    pub(crate) fn listen(
        &mut self,
        machine: IpAddr,
        address: SocketAddr,
        backlog: u32,
    ) -> io::Result<(u32, SocketAddr)> {
        if address.ip() != machine && !address.ip().is_unspecified() {
            return Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL));
        }
        let port = if address.port() == 0 { self.port() } else { address.port() };
        let address = SocketAddr::new(machine, port);
        let mut socket = Socket::new(State::Listening);
        socket.local = Some(address);
        socket.backlog = backlog.max(1) as usize;
        let number = self.add(socket);
        self.listeners.entry(address).or_default().push(number);
        self.note("listens", number, &[], String::new);
        Ok((number, address))
    }

    pub(super) fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == *EPHEMERAL.end() { *EPHEMERAL.start() } else { port + 1 };
        port
    }

    pub(crate) fn addresses(&mut self, number: u32) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.get(number).map_or((None, None), |socket| (socket.local, socket.remote))
    }

    // Connecting.

    pub(crate) fn connect(&mut self, number: u32, remote: SocketAddr, operation: Operation) {
        let Some(socket) = self.get(number) else { return };
        socket.state = State::Connecting;
        socket.remote = Some(remote);
        socket.core = Some(operation.core);
        socket.connect = Some(operation);
        self.note("connects", number, &[], String::new);
        self.schedule(self.now_us + CONNECT_TIMEOUT_US, Event::GiveUp { client: number });
        let arrives = self.now_us + self.latency_us();
        if self.random.chance(self.faults.hangs) || !self.machines.contains(&remote.ip()) {
            self.injuries.hung += 1;
            self.note("hangs", number, &[], String::new);
        } else if self.random.chance(self.faults.refused) {
            self.injuries.refused += 1;
            self.schedule(arrives, Event::Reset { socket: number, errno: libc::ECONNREFUSED });
        } else {
            self.schedule(arrives, Event::Syn { client: number, tries: 0 });
        }
    }

    pub(super) fn syn(&mut self, client: u32, tries: u32) {
        let Some(remote) = self.get(client).filter(|socket| socket.state == State::Connecting).and_then(|s| s.remote)
        else {
            return;
        };
        let back = self.now_us + self.latency_us();
        let listeners = self.listeners.get(&remote).map_or(&[][..], Vec::as_slice);
        if listeners.is_empty() {
            return self.schedule(back, Event::Reset { socket: client, errno: libc::ECONNREFUSED });
        }
        // SO_REUSEPORT: any of them.
        let listener = self.random.pick(listeners);
        let open = self.get(listener).is_some_and(|socket| !socket.refusing && socket.queue.len() < socket.backlog);
        if open {
            self.schedule(back, Event::SynAck { client, listener });
        } else {
            self.schedule(self.now_us + (SYN_RETRY_US << tries.min(6)), Event::Syn { client, tries: tries + 1 });
        }
    }

    pub(super) fn syn_ack(&mut self, client: u32, listener: u32) {
        let (from, to) = self.faults.pipe_bytes;
        let (forth, back) = (self.random.between(from, to) as usize, self.random.between(from, to) as usize);
        let torn_after =
            (self.random.chance(self.faults.torn) && self.random.chance(500)).then(|| self.random.size(TORN_BYTES_MAX));
        let torn_us =
            (torn_after.is_none() && self.random.chance(self.faults.torn)).then(|| self.random.size(TORN_US_MAX));
        let Some(socket) = self.get(client).filter(|socket| socket.state == State::Connecting) else { return };
        let (local, remote) = (socket.remote, socket.local);
        socket.state = State::Open;
        socket.incoming.capacity = back;
        socket.torn_after = torn_after;
        let mut server = Socket::new(State::Open);
        (server.local, server.remote) = (local, remote);
        server.incoming.capacity = forth;
        server.torn_after = torn_after;
        server.peer = Some(client);
        let server = self.add(server);
        if let Some(socket) = self.get(client) {
            socket.peer = Some(server);
        }
        self.note("connected", client, &[u64::from(server)], || format!("with #{server}"));
        self.look(client);
        let arrives = self.now_us + self.latency_us();
        if let Some(socket) = self.get(server) {
            socket.incoming.last_us = arrives;
        }
        self.schedule(arrives, Event::Ack { server, listener });
        if let Some(torn_us) = torn_us {
            self.schedule(arrives + torn_us, Event::Tear { socket: server });
        }
    }

    pub(super) fn ack(&mut self, server: u32, listener: u32) {
        match self.get(listener) {
            Some(socket) => {
                socket.queue.push_back(server);
                self.look(listener);
            }
            None => self.close(server, true),
        }
    }

    /// The result of a connect: 0 or an errno.
    pub(crate) fn connected(&mut self, number: u32) -> Option<(Key, i32)> {
        let socket = self.get(number)?;
        let operation = socket.connect?;
        let result = match socket.state {
            State::Open => 0,
            _ if socket.error != 0 => std::mem::take(&mut socket.error),
            _ if operation.cancelled => libc::ECANCELED,
            _ => return None,
        };
        socket.connect = None;
        Some((operation.key, result))
    }

    // Listening.

    pub(crate) fn refuse_handshakes(&mut self, number: u32) {
        if let Some(socket) = self.get(number) {
            socket.refusing = true;
            self.note("refuses", number, &[], || "handshakes".into());
        }
    }

    pub(crate) fn accept_waiting(&mut self, number: u32) -> Vec<u32> {
        self.get(number).map(|socket| std::mem::take(&mut socket.queue).into()).unwrap_or_default()
    }

    /// What an accept gives next.
    pub(crate) fn accepted(&mut self, number: u32) -> Option<(Key, Acceptance)> {
        let fails = self.random.chance(self.faults.accept_fails);
        let ends = self.random.chance(self.faults.multishot_ends);
        let errno = self.random.pick(&[libc::ECONNABORTED, libc::EMFILE, libc::ENFILE, libc::EINTR]);
        let socket = self.get(number).filter(|socket| socket.state == State::Listening)?;
        let operation = socket.receive?;
        if operation.cancelled {
            socket.receive = None;
            return Some((operation.key, Acceptance::Failed(libc::ECANCELED)));
        }
        let accepted = *socket.queue.front()?;
        if fails {
            socket.receive = None;
            self.injuries.accepts_failed += 1;
            self.note("accept", number, &[errno as u64], || format!("fails: {}", errno_name(errno)));
            return Some((operation.key, Acceptance::Failed(errno)));
        }
        socket.queue.pop_front();
        if ends {
            socket.receive = None;
        }
        self.note("accept", number, &[u64::from(accepted), u64::from(ends)], || format!("gives #{accepted}"));
        Some((operation.key, Acceptance::Connection { socket: accepted, more: !ends }))
    }

    // Receiving.
}
