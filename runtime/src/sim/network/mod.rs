//! The simulated network: sockets, what is under way between them, and the clock.
//!
//! TCP as programs see it, not as it travels: bytes of a direction arrive in order, in segments, after a delay; a
//! direction holds a bounded number of them; ends, resets and refusals arrive like bytes do. What isn't there: loss
//! (a delay, to a program), urgent data, options of sockets.

mod closing;
mod opening;
mod receiving;
mod sending;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use super::faults::Faults;
use super::random::Random;
use super::trace::Trace;
use crate::table::Key;

/// Ports that the system chooses.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

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
