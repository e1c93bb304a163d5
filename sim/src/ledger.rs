//! What became of every exchange, as clients and origins saw it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;

use runtime::sim::Recorder;

use crate::ask::Ask;

/// What a client saw of its exchange's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The origin's answer, whole.
    Answer(u16),
    /// An answer of the proxy's own, whole.
    Refused(u16),
    /// A call that the proxy ended with a status of its own, before any response or in its midst.
    Status(u32),
    /// The response broke off; `orderly`: with an end, not a reset.
    Broken { orderly: bool, head: bool },
    /// The connection ended without a byte of the response.
    NoAnswer { orderly: bool },
    /// The connection ended, as it had said, with an earlier response.
    NotTaken,
    /// There was no connection to send it on.
    NotSent,
    /// The client gave up.
    Abandoned,
}

/// A request at an origin.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    /// The end of the connection that is the proxy's, and whether it is one for many requests.
    pub(crate) from: SocketAddr,
    /// The request was read to its end.
    pub(crate) whole: bool,
    /// The answer was given to the connection whole.
    pub(crate) answered: bool,
    /// The origin broke it off.
    pub(crate) breach: bool,
    /// The origin broke off the connection that it came on, for another's sake.
    pub(crate) dragged_along: bool,
    /// It came on a connection on which the origin had said something unasked, which it met on its way.
    pub(crate) spoken_over: bool,
}

pub(crate) struct Entry {
    pub(crate) ask: Ask,
    /// The client's end of its connection.
    pub(crate) client: Option<SocketAddr>,
    /// Something of it was sent.
    pub(crate) sent: bool,
    pub(crate) visits: Vec<Visit>,
    pub(crate) outcome: Option<Outcome>,
    /// Exchanges that were under way on the same connection when it failed.
    pub(crate) mates: Vec<u64>,
    /// The listener that it was sent to was on its way out.
    pub(crate) leaving: bool,
    /// It was sent with HTTP/2.
    pub(crate) http2: bool,
}

#[derive(Default)]
struct Books {
    entries: BTreeMap<u64, Entry>,
    violations: Vec<String>,
    leaving: BTreeSet<SocketAddr>,
    opening: BTreeSet<SocketAddr>,
}

/// Shared by everyone in a run.
#[derive(Clone)]
pub(crate) struct Ledger {
    books: Rc<RefCell<Books>>,
    pub(crate) recorder: Recorder,
    /// Connections that origins ended in an orderly way: idle ones, and over HTTP/2 behind a last answer. What the proxy
    /// sends on one meanwhile isn't taken.
    pub(crate) orderly_closes: Rc<Cell<u64>>,
    /// Streams that origins refused for their number.
    pub(crate) refused_streams: Rc<Cell<u64>>,
    /// Connections for many requests that origins reset; requests may have been on their way.
    pub(crate) breaks: Rc<Cell<u64>>,
    /// Times that origins said something unasked.
    pub(crate) unasked: Rc<Cell<u64>>,
    /// Tunnels and sessions that origins broke off.
    pub(crate) broken_talks: Rc<RefCell<BTreeSet<u64>>>,
    next_id: Rc<Cell<u64>>,
    /// Clients that have not finished.
    pub(crate) clients: Rc<Cell<usize>>,
}

impl Ledger {
    pub(crate) fn new(recorder: Recorder) -> Ledger {
        Ledger {
            books: Rc::default(),
            recorder,
            orderly_closes: Rc::default(),
            refused_streams: Rc::default(),
            breaks: Rc::default(),
            unasked: Rc::default(),
            broken_talks: Rc::default(),
            next_id: Rc::new(Cell::new(1)),
            clients: Rc::default(),
        }
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.replace(self.next_id.get() + 1)
    }

    /// Something that must never happen has happened.
    pub(crate) fn violation(&self, what: String) {
        self.recorder.note("VIOLATION", &what);
        self.books.borrow_mut().violations.push(what);
    }

    pub(crate) fn first_violation(&self) -> Option<String> {
        self.books.borrow().violations.first().cloned()
    }

    /// Connections to this listener may end from now on, and new ones be refused.
    pub(crate) fn leave(&self, listener: SocketAddr) {
        self.books.borrow_mut().leaving.insert(listener);
    }

    pub(crate) fn is_leaving(&self, listener: SocketAddr) -> bool {
        self.books.borrow().leaving.contains(&listener)
    }

    /// This listener is in a config that is on its way: from some time on it is there.
    pub(crate) fn open(&self, listener: SocketAddr) {
        self.books.borrow_mut().opening.insert(listener);
    }

    pub(crate) fn is_opening(&self, listener: SocketAddr) -> bool {
        self.books.borrow().opening.contains(&listener)
    }

    /// All configs have arrived.
    pub(crate) fn all_open(&self) {
        self.books.borrow_mut().opening.clear();
    }

    /// A client is going to send this.
    pub(crate) fn begin(&self, ask: &Ask) {
        self.recorder.note("client", &format!("{} wants {} {}", ask.id, ask.verb.name(), ask.path()));
        let entry = Entry {
            ask: ask.clone(),
            client: None,
            sent: false,
            visits: Vec::new(),
            outcome: None,
            mates: Vec::new(),
            leaving: false,
            http2: false,
        };
        self.books.borrow_mut().entries.insert(ask.id, entry);
    }

    /// The first byte of it leaves.
    pub(crate) fn sent(&self, id: u64, client: Option<SocketAddr>, http2: bool) {
        self.with(id, |entry| {
            entry.sent = true;
            entry.client = client;
            entry.http2 = http2;
        });
    }

    pub(crate) fn end(&self, id: u64, listener: SocketAddr, outcome: Outcome, mates: &[u64]) {
        self.recorder.note("client", &format!("{id} ends: {outcome:?}"));
        let leaving = self.is_leaving(listener);
        let twice = self.with(id, |entry| {
            entry.mates = mates.to_vec();
            entry.leaving = leaving;
            entry.outcome.replace(outcome)
        });
        if let Some(Some(before)) = twice {
            self.violation(format!("exchange {id} ended twice: {before:?}, then {outcome:?}"));
        }
    }

    /// A request's head has reached an origin. Returns which of its visits this is.
    pub(crate) fn visit(&self, ask: &Ask, from: SocketAddr) -> usize {
        self.recorder.note("origin", &format!("{} arrives from {from}", ask.id));
        let visit =
            Visit { from, whole: false, answered: false, breach: false, dragged_along: false, spoken_over: false };
        let known = self.with(ask.id, |entry| {
            entry.visits.push(visit);
            (entry.ask == *ask, entry.sent, entry.visits.len() - 1)
        });
        match known {
            Some((true, true, place)) => place,
            Some((same, _, place)) => {
                let what = if same { "was never sent" } else { "isn't what the client sent" };
                self.violation(format!("request {} at an origin {what}", ask.id));
                place
            }
            None => {
                self.violation(format!("nobody sent request {}", ask.id));
                0
            }
        }
    }

    pub(crate) fn visited(&self, id: u64, place: usize, change: impl FnOnce(&mut Visit)) {
        self.with(id, |entry| entry.visits.get_mut(place).map(change));
    }

    fn with<T>(&self, id: u64, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.books.borrow_mut().entries.get_mut(&id).map(change)
    }

    /// Looks at all exchanges.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&BTreeMap<u64, Entry>) -> T) -> T {
        look(&self.books.borrow().entries)
    }
}
