//! The simulated network: sockets, what is under way between them, and the clock.
//!
//! TCP as programs see it, not as it travels: bytes of a direction arrive in order, in segments, after a delay; a
//! direction holds a bounded number of them; ends, resets and refusals arrive like bytes do. What isn't there: loss
//! (a delay, to a program), urgent data, options of sockets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};

use super::faults::Faults;
use super::random::Random;
use super::trace::Trace;
use crate::buffers::RECEIVE_BUFFER_BYTES;
use crate::table::Key;

/// When the kernel gives up to connect (tcp_syn_retries of 6), and when it first tries again.
const CONNECT_TIMEOUT_US: u64 = 127_000_000;
const SYN_RETRY_US: u64 = 1_000_000;
/// Ports that the system chooses.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;
/// A connection that is torn by time is torn within this.
const TORN_US_MAX: u64 = 20_000_000;
/// A connection that is torn by bytes is torn within this many, counted in both directions.
const TORN_BYTES_MAX: u64 = 400_000;

/// An operation that a core has handed over.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    pub(crate) core: usize,
    pub(crate) key: Key,
    /// A single receive; otherwise it goes on until it is cancelled.
    pub(crate) once: bool,
    pub(crate) cancelled: bool,
    /// Set by the network: which of the socket's operations it is.
    pub(crate) serial: u64,
}

impl Operation {
    pub(crate) fn new(core: usize, key: Key, once: bool) -> Operation {
        Operation { core, key, once, cancelled: false, serial: 0 }
    }
}

/// A send that a core has handed over.
pub(crate) struct Sending {
    pub(crate) core: usize,
    pub(crate) key: Key,
    pub(crate) total: usize,
    pub(crate) taken: usize,
    pub(crate) cancelled: bool,
}

/// What became of a receive.
pub(crate) enum Receipt {
    Data {
        bytes: Vec<u8>,
        more: bool,
    },
    NoBuffer,
    /// 0: the peer's end.
    Ended(i32),
}

/// What became of an accept.
pub(crate) enum Acceptance {
    Connection { socket: u32, more: bool },
    Failed(i32),
}

/// What a send may do next.
pub(crate) enum Passage {
    /// Give this many of its next bytes to `transmit`.
    Take(usize),
    /// It is over, with this result.
    Over(i32),
    Wait,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Connecting,
    Listening,
    Open,
}

/// One direction of a connection, at its receiver.
struct Pipe {
    capacity: usize,
    flying: VecDeque<(u64, Vec<u8>)>,
    flying_bytes: usize,
    arrived: VecDeque<u8>,
    /// When the end arrives.
    end_us: Option<u64>,
    /// When what was sent last arrives: nothing overtakes it.
    last_us: u64,
    /// When the receiver took something last.
    taken_us: u64,
}

struct Socket {
    state: State,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    /// The core whose operations it has.
    core: Option<usize>,
    /// In its core's `due`.
    due: bool,
    peer: Option<u32>,
    incoming: Pipe,
    /// Failure that no operation has reported yet.
    error: i32,
    /// Our direction has ended.
    shut: bool,
    /// Reset by whomever.
    broken: bool,
    /// Sent to a socket that is gone; the answer is on its way.
    reset_due: bool,
    /// Bytes until the network tears the connection.
    torn_after: Option<u64>,
    // Of listeners.
    queue: VecDeque<u32>,
    backlog: usize,
    refusing: bool,
    receive: Option<Operation>,
    send: Option<Sending>,
    connect: Option<Operation>,
}

impl Socket {
    fn new(state: State) -> Socket {
        Socket {
            state,
            local: None,
            remote: None,
            core: None,
            due: false,
            peer: None,
            incoming: Pipe {
                capacity: 0,
                flying: VecDeque::new(),
                flying_bytes: 0,
                arrived: VecDeque::new(),
                end_us: None,
                last_us: 0,
                taken_us: 0,
            },
            error: 0,
            shut: false,
            broken: false,
            reset_due: false,
            torn_after: None,
            queue: VecDeque::new(),
            backlog: 0,
            refusing: false,
            receive: None,
            send: None,
            connect: None,
        }
    }

    fn outstanding(&self) -> usize {
        usize::from(self.receive.is_some()) + usize::from(self.send.is_some()) + usize::from(self.connect.is_some())
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A connect reaches its target for the nth time.
    Syn {
        client: u32,
        tries: u32,
    },
    /// The target's answer reaches the client.
    SynAck {
        client: u32,
        listener: u32,
    },
    /// The client's answer reaches the target: the connection may be accepted.
    Ack {
        server: u32,
        listener: u32,
    },
    /// Something may have arrived, or there may be room.
    Look {
        socket: u32,
    },
    Reset {
        socket: u32,
        errno: i32,
    },
    /// A cancellation takes effect.
    StopReceiving {
        socket: u32,
        serial: u64,
    },
    CancelAll {
        socket: u32,
    },
    GiveUp {
        client: u32,
    },
    Tear {
        socket: u32,
    },
}

/// What the network has done to the programs beyond delays, running totals.
#[derive(Default, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injuries {
    /// Connections torn.
    pub torn: u64,
    pub refused: u64,
    pub hung: u64,
    pub accepts_failed: u64,
}

pub(crate) struct Network {
    pub(crate) now_us: u64,
    pub(crate) random: Random,
    pub(crate) faults: Faults,
    pub(crate) trace: Trace,
    pub(crate) injuries: Injuries,
    sockets: Vec<Option<Box<Socket>>>,
    listeners: BTreeMap<SocketAddr, Vec<u32>>,
    machines: BTreeSet<IpAddr>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    events_made: u64,
    /// By core: sockets that it has to look at.
    due: Vec<Vec<u32>>,
    next_port: u16,
    torn: BTreeSet<SocketAddr>,
}

impl Network {
    pub(crate) fn new(mut random: Random, faults: Faults) -> Network {
        Network {
            now_us: 1_000_000 + random.below(1_000_000_000),
            random,
            faults,
            trace: Trace::new(),
            injuries: Injuries::default(),
            sockets: Vec::new(),
            listeners: BTreeMap::new(),
            machines: BTreeSet::new(),
            events: BinaryHeap::new(),
            events_made: 0,
            due: Vec::new(),
            next_port: *EPHEMERAL.start(),
            torn: BTreeSet::new(),
        }
    }

    /// A core on the machine with this address; returns its number.
    pub(crate) fn add_core(&mut self, machine: IpAddr) -> usize {
        self.machines.insert(machine);
        self.due.push(Vec::new());
        self.due.len() - 1
    }

    fn get(&mut self, number: u32) -> Option<&mut Socket> {
        self.sockets.get_mut(number as usize)?.as_deref_mut()
    }

    fn add(&mut self, socket: Socket) -> u32 {
        self.sockets.push(Some(Box::new(socket)));
        (self.sockets.len() - 1) as u32
    }

    fn schedule(&mut self, at_us: u64, event: Event) {
        self.events_made += 1;
        self.events.push(Reverse((at_us, self.events_made, event)));
    }

    fn latency_us(&mut self) -> u64 {
        let (from, to) = self.faults.latency_us;
        from + self.random.size(to.saturating_sub(from).max(1)) - 1
    }

    fn name(&self, number: u32) -> String {
        let Some(Some(socket)) = self.sockets.get(number as usize) else { return format!("#{number} (gone)") };
        let address = |address: Option<SocketAddr>| address.map_or_else(|| "?".into(), |address| address.to_string());
        match (socket.core, socket.state) {
            (_, State::Listening) => format!("#{number} on {}", address(socket.local)),
            (Some(core), _) => format!("#{number} core {core} {} → {}", address(socket.local), address(socket.remote)),
            (None, _) => format!("#{number} {} → {}", address(socket.local), address(socket.remote)),
        }
    }

    fn note(&mut self, kind: &str, number: u32, what: &[u64], line: impl FnOnce() -> String) {
        let mut facts = [u64::from(number), 0, 0, 0];
        facts[1..=what.len()].copy_from_slice(what);
        let mut trace = std::mem::replace(&mut self.trace, Trace::new());
        trace.note(self.now_us, kind, &facts, || format!("{} {}", self.name(number), line()));
        self.trace = trace;
    }

    /// When something happens next.
    pub(crate) fn next_event_us(&self) -> Option<u64> {
        self.events.peek().map(|Reverse((at, ..))| *at)
    }

    pub(crate) fn is_due(&self, core: usize) -> bool {
        !self.due[core].is_empty()
    }

    /// One of the sockets that a core has to look at, any of them.
    pub(crate) fn take_due(&mut self, core: usize) -> Option<u32> {
        let at = self.random.below(self.due[core].len() as u64) as usize;
        if self.due[core].is_empty() {
            return None;
        }
        let number = self.due[core].swap_remove(at);
        if let Some(socket) = self.get(number) {
            socket.due = false;
        }
        Some(number)
    }

    /// The socket's core has to look at it.
    pub(crate) fn look(&mut self, number: u32) {
        if let Some(socket) = self.get(number)
            && let Some(core) = socket.core
            && !std::mem::replace(&mut socket.due, true)
        {
            self.due[core].push(number);
        }
    }

    /// Everything whose time has come.
    pub(crate) fn run_events(&mut self) {
        while let Some(Reverse((at, _, event))) = self.events.peek().copied() {
            if at > self.now_us {
                return;
            }
            self.events.pop();
            match event {
                Event::Syn { client, tries } => self.syn(client, tries),
                Event::SynAck { client, listener } => self.syn_ack(client, listener),
                Event::Ack { server, listener } => self.ack(server, listener),
                Event::Look { socket } => self.look(socket),
                Event::Reset { socket, errno } => self.reset(socket, errno),
                Event::StopReceiving { socket, serial } => {
                    if let Some(receive) = self.get(socket).and_then(|socket| socket.receive.as_mut())
                        && receive.serial == serial
                    {
                        receive.cancelled = true;
                        self.look(socket);
                    }
                }
                Event::CancelAll { socket } => {
                    if let Some(found) = self.get(socket) {
                        found.receive.iter_mut().chain(&mut found.connect).for_each(|op| op.cancelled = true);
                        found.send.iter_mut().for_each(|send| send.cancelled = true);
                        self.look(socket);
                    }
                }
                Event::GiveUp { client } => {
                    if self.get(client).is_some_and(|socket| socket.state == State::Connecting) {
                        self.reset(client, libc::ETIMEDOUT);
                    }
                }
                Event::Tear { socket } => self.tear(socket),
            }
        }
    }

    // Making sockets.

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

    fn port(&mut self) -> u16 {
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

    fn syn(&mut self, client: u32, tries: u32) {
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

    fn syn_ack(&mut self, client: u32, listener: u32) {
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

    fn ack(&mut self, server: u32, listener: u32) {
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

    /// Arms a receive or an accept.
    pub(crate) fn arm(&mut self, number: u32, mut operation: Operation) {
        self.events_made += 1;
        operation.serial = self.events_made;
        let Some(socket) = self.get(number) else { return };
        assert!(socket.receive.is_none(), "two receives of socket #{number} at once");
        socket.core = Some(operation.core);
        socket.receive = Some(operation);
        self.look(number);
    }

    fn arrivals(&mut self, number: u32) {
        let now_us = self.now_us;
        let Some(socket) = self.get(number) else { return };
        let pipe = &mut socket.incoming;
        while let Some((_, bytes)) = pipe.flying.pop_front_if(|(at, _)| *at <= now_us) {
            pipe.flying_bytes -= bytes.len();
            pipe.arrived.extend(bytes);
        }
    }

    /// What a receive gives next; `buffers`: whether one is lent.
    pub(crate) fn received(&mut self, number: u32, buffers: bool) -> Option<(Key, Receipt)> {
        self.arrivals(number);
        let split = self.random.chance(self.faults.split);
        let ends = self.random.chance(self.faults.multishot_ends);
        let starves = self.random.chance(self.faults.no_buffer);
        let now_us = self.now_us;
        let socket = self.get(number).filter(|socket| socket.state == State::Open)?;
        let operation = socket.receive?;
        let key = operation.key;
        if operation.cancelled {
            socket.receive = None;
            return Some((key, Receipt::Ended(libc::ECANCELED)));
        }
        let there = socket.incoming.arrived.len();
        if there == 0 {
            let errno = if socket.error != 0 {
                std::mem::take(&mut socket.error)
            } else if socket.broken || socket.incoming.end_us.is_some_and(|at| at <= now_us) {
                0
            } else {
                return None;
            };
            socket.receive = None;
            self.note("receive", number, &[errno as u64], || match errno {
                0 => "the end".into(),
                errno => format!("fails: {}", errno_name(errno)),
            });
            return Some((key, Receipt::Ended(errno)));
        }
        if !buffers || starves {
            socket.receive = None;
            self.note("receive", number, &[there as u64], || format!("finds no buffer for {there} bytes"));
            return Some((key, Receipt::NoBuffer));
        }
        let most = there.min(RECEIVE_BUFFER_BYTES);
        let n = if split { self.random.size(most as u64) as usize } else { most };
        let socket = self.get(number)?;
        let bytes: Vec<u8> = socket.incoming.arrived.drain(..n).collect();
        socket.incoming.taken_us = now_us;
        let more = !operation.once && !ends;
        if !more {
            socket.receive = None;
        }
        let peer = socket.peer;
        // Room for more: the sender hears of it a moment later.
        if let Some(peer) = peer
            && self.get(peer).is_some_and(|peer| peer.send.is_some())
        {
            let at = self.now_us + self.latency_us();
            self.schedule(at, Event::Look { socket: peer });
        }
        self.trace.bytes(&bytes);
        self.note("receive", number, &[n as u64, u64::from(more)], || format!("{n} bytes of {there}"));
        self.look(number);
        Some((key, Receipt::Data { bytes, more }))
    }

    /// Cancels a receive or an accept, in a moment.
    pub(crate) fn stop_receiving(&mut self, number: u32) {
        let at = self.now_us + self.random.below(self.faults.completion_us + 1);
        if let Some(receive) = self.get(number).and_then(|socket| socket.receive) {
            self.schedule(at, Event::StopReceiving { socket: number, serial: receive.serial });
        }
    }

    /// Cancels everything of a socket, in a moment.
    pub(crate) fn cancel_all(&mut self, number: u32) {
        let at = self.now_us + self.random.below(self.faults.completion_us + 1);
        self.schedule(at, Event::CancelAll { socket: number });
    }

    // Sending.

    pub(crate) fn arm_send(&mut self, number: u32, send: Sending) {
        let Some(socket) = self.get(number) else { return };
        assert!(socket.send.is_none(), "two sends of socket #{number} at once");
        assert!(!socket.shut, "a send of socket #{number} after its end");
        socket.core = Some(send.core);
        socket.send = Some(send);
        self.look(number);
    }

    /// The send of a socket: its key, and how much of it is gone and how much there was.
    pub(crate) fn sending(&mut self, number: u32) -> Option<(Key, usize, usize)> {
        self.get(number)?.send.as_ref().map(|send| (send.key, send.taken, send.total))
    }

    /// What the send of a socket may do.
    pub(crate) fn passage(&mut self, number: u32) -> Passage {
        let short = self.random.chance(self.faults.short_send);
        let split = self.random.chance(self.faults.split);
        let Some(socket) = self.get(number) else { return Passage::Wait };
        let Some(send) = &socket.send else { return Passage::Wait };
        let (left, taken) = (send.total - send.taken, send.taken);
        let over = if socket.error != 0 || socket.broken || socket.shut {
            let errno = std::mem::take(&mut socket.error);
            Some(if errno != 0 { -errno } else { -libc::EPIPE })
        } else if left == 0 || (short && taken > 0) {
            Some(taken as i32)
        } else if send.cancelled {
            Some(if taken > 0 { taken as i32 } else { -libc::ECANCELED })
        } else if short {
            Some(-libc::EINTR)
        } else {
            None
        };
        if let Some(result) = over {
            socket.send = None;
            self.note("send", number, &[result as u64], || match result {
                0.. => format!("{result} bytes done"),
                errno => format!("fails: {}", errno_name(-errno)),
            });
            return Passage::Over(result);
        }
        let Some(peer) = socket.peer else { return Passage::Wait };
        self.arrivals(peer);
        // Into the void, until the answer to it arrives.
        let room = self.get(peer).map_or(left, |peer| {
            let pipe = &peer.incoming;
            pipe.capacity.saturating_sub(pipe.flying_bytes + pipe.arrived.len())
        });
        match room.min(left) {
            0 => Passage::Wait,
            most if split => Passage::Take(self.random.size(most as u64) as usize),
            most => Passage::Take(most),
        }
    }

    /// Bytes of a send leave.
    pub(crate) fn transmit(&mut self, number: u32, bytes: &[u8]) {
        let Some(socket) = self.get(number) else { return };
        if let Some(send) = &mut socket.send {
            send.taken += bytes.len();
        }
        let Some(peer) = socket.peer else { return };
        let torn = match &mut socket.torn_after {
            Some(left) => {
                *left = left.saturating_sub(bytes.len() as u64);
                *left == 0
            }
            None => false,
        };
        self.trace.bytes(bytes);
        self.note("send", number, &[bytes.len() as u64], || format!("{} bytes leave", bytes.len()));
        self.look(number);
        if self.get(peer).is_none() {
            return self.sent_to_nobody(number);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let n = if self.random.chance(self.faults.split) {
                self.random.size(rest.len() as u64) as usize
            } else {
                rest.len()
            };
            let (segment, others) = rest.split_at(n);
            rest = others;
            let at = self.arrival_at(peer);
            // To a socket that has been reset nothing arrives any more: a hole would follow what it has.
            let Some(target) = self.get(peer).filter(|target| !target.broken) else { break };
            target.incoming.flying.push_back((at, segment.to_vec()));
            target.incoming.flying_bytes += segment.len();
            self.schedule(at, Event::Look { socket: peer });
        }
        if torn {
            self.tear(number);
        }
    }

    /// When what is sent to a socket now arrives there.
    fn arrival_at(&mut self, number: u32) -> u64 {
        let at = self.now_us + self.latency_us();
        let Some(socket) = self.get(number) else { return at };
        socket.incoming.last_us = socket.incoming.last_us.max(at);
        socket.incoming.last_us
    }

    fn sent_to_nobody(&mut self, number: u32) {
        let at = self.now_us + self.latency_us() + self.latency_us();
        if let Some(socket) = self.get(number)
            && !std::mem::replace(&mut socket.reset_due, true)
        {
            self.schedule(at, Event::Reset { socket: number, errno: libc::ECONNRESET });
        }
    }

    pub(crate) fn shutdown(&mut self, number: u32) {
        let Some(socket) = self.get(number) else { return };
        assert!(socket.send.is_none(), "socket #{number} ends while it sends");
        if !std::mem::replace(&mut socket.shut, true) {
            self.note("shuts", number, &[], String::new);
            self.send_end(number);
        }
    }

    fn send_end(&mut self, number: u32) {
        let Some(peer) = self.get(number).and_then(|socket| socket.peer) else { return };
        let at = self.arrival_at(peer);
        match self.get(peer) {
            Some(target) => {
                target.incoming.end_us = Some(at);
                self.schedule(at, Event::Look { socket: peer });
            }
            None => self.sent_to_nobody(number),
        }
    }

    // Ending.

    /// A socket's last owner lets it go.
    pub(crate) fn close(&mut self, number: u32, reset: bool) {
        self.arrivals(number);
        self.note(if reset { "resets" } else { "closes" }, number, &[], String::new);
        let Some(socket) = self.sockets.get_mut(number as usize).and_then(Option::take) else { return };
        assert!(socket.outstanding() == 0, "socket #{number} is closed with operations outstanding");
        if let (State::Listening, Some(address)) = (socket.state, socket.local) {
            if let Some(group) = self.listeners.get_mut(&address) {
                group.retain(|listener| *listener != number);
            }
            self.listeners.retain(|_, group| !group.is_empty());
            // Nobody will accept them.
            socket.queue.iter().for_each(|waiting| self.close(*waiting, true));
            return;
        }
        let Some(peer) = socket.peer.filter(|_| !socket.broken) else { return };
        let overtakes = self.random.chance(self.faults.reset_overtakes);
        if reset || !socket.incoming.arrived.is_empty() {
            let at = if overtakes { self.now_us + self.latency_us() } else { self.arrival_at(peer) };
            return self.schedule(at, Event::Reset { socket: peer, errno: libc::ECONNRESET });
        }
        if !socket.shut {
            let at = self.arrival_at(peer);
            if let Some(target) = self.get(peer) {
                target.incoming.end_us = Some(at);
            }
            self.schedule(at, Event::Look { socket: peer });
        }
        // What arrives from now on is answered with a reset.
        if socket.incoming.flying_bytes > 0 {
            let at = socket.incoming.last_us + self.latency_us();
            self.schedule(at, Event::Reset { socket: peer, errno: libc::ECONNRESET });
        }
    }

    /// A reset or a refusal arrives. What has arrived before it can still be received.
    fn reset(&mut self, number: u32, errno: i32) {
        self.arrivals(number);
        let now_us = self.now_us;
        let Some(socket) = self.get(number).filter(|socket| !socket.broken) else { return };
        socket.broken = true;
        socket.incoming.flying.clear();
        socket.incoming.flying_bytes = 0;
        let ended = socket.incoming.end_us.is_some_and(|at| at <= now_us);
        // Linux: after the peer's end a reset is a broken pipe.
        socket.error = if ended && errno == libc::ECONNRESET { libc::EPIPE } else { errno };
        self.note("is reset", number, &[errno as u64], || errno_name(errno));
        self.look(number);
    }

    /// Something on the way resets both ends.
    fn tear(&mut self, number: u32) {
        let Some(socket) = self.get(number).filter(|socket| !socket.broken) else { return };
        let (peer, local) = (socket.peer, socket.local);
        self.injuries.torn += 1;
        self.note("is torn", number, &[], String::new);
        self.torn.extend(local);
        self.reset(number, libc::ECONNRESET);
        if let Some(peer) = peer {
            let at = self.now_us + self.latency_us();
            let far = self.get(peer).and_then(|socket| socket.local);
            self.torn.extend(far);
            self.schedule(at, Event::Reset { socket: peer, errno: libc::ECONNRESET });
        }
    }

    /// Whether the network itself has broken the connection with this local address.
    pub(crate) fn was_torn(&self, local: SocketAddr) -> bool {
        self.torn.contains(&local)
    }

    /// Since when the end of a connection with these addresses has taken all that was sent to it; `None` if it hasn't.
    pub(crate) fn heard_us(&self, local: SocketAddr, remote: SocketAddr) -> Option<u64> {
        let is_it = |socket: &&Socket| socket.local == Some(local) && socket.remote == Some(remote);
        let pipe = &self.sockets.iter().flatten().map(|socket| &**socket).find(is_it)?.incoming;
        (pipe.flying.is_empty() && pipe.arrived.is_empty()).then_some(pipe.taken_us)
    }

    /// Operations that the network holds of a core.
    pub(crate) fn outstanding(&self, core: usize) -> usize {
        self.sockets
            .iter()
            .flatten()
            .filter(|socket| socket.core == Some(core))
            .map(|socket| socket.outstanding())
            .sum()
    }

    /// Sockets that exist.
    pub(crate) fn open(&self) -> usize {
        self.sockets.iter().flatten().count()
    }
}

fn errno_name(errno: i32) -> String {
    match errno {
        libc::ECANCELED => "ECANCELED".into(),
        libc::ECONNABORTED => "ECONNABORTED".into(),
        libc::ECONNREFUSED => "ECONNREFUSED".into(),
        libc::ECONNRESET => "ECONNRESET".into(),
        libc::EINTR => "EINTR".into(),
        libc::EMFILE => "EMFILE".into(),
        libc::ENFILE => "ENFILE".into(),
        libc::EPIPE => "EPIPE".into(),
        libc::ETIMEDOUT => "ETIMEDOUT".into(),
        errno => format!("errno {errno}"),
    }
}
