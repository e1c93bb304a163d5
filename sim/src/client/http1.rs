//! A client that speaks HTTP/1.1: keep-alive, pipelining, bodies in pieces, slow reading.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use codecs::http::h1::emit;
use runtime::{Received, Socket};

use super::response::Reader;
use super::{Work, connect};
use crate::ask::{Ask, Verb};
use crate::ledger::Outcome;
use crate::message::ID;
use crate::pattern;
use crate::stage::{Pace, Stage};

/// Bytes queued above which a client waits.
const QUEUED_BYTES_MAX: usize = 64 * 1024;
/// An exchange that takes longer than this has hung, ms.
const PATIENCE_MS: u64 = 600_000;

/// How a batch ended for its connection.
enum After {
    /// It can carry another.
    Open,
    /// The server has ended it, as it had said it would, or as it may between exchanges.
    Over,
}

pub(crate) async fn run(mut stage: Stage, mut work: Work) {
    while work.exchanges > 0 {
        let Some(socket) = connect(&mut stage, work.listener).await else {
            work.give_up(&mut stage);
            break;
        };
        loop {
            let wanted = stage.random.between(1, work.at_once);
            let batch: VecDeque<Ask> = (0..wanted).map_while(|_| work.next(&mut stage)).collect();
            if batch.is_empty() {
                break;
            }
            let mut exchange = Batch::new(&mut stage, &work, &socket, batch);
            let after = exchange.run().await;
            let over = matches!(after, After::Over);
            let abandons = exchange.abandons;
            if over {
                if abandons {
                    socket.reset();
                }
                break;
            }
            let pause_ms = if stage.random.chance(200) { stage.random.size(3_000) } else { stage.pause_ms() };
            if pause_ms > 0 {
                stage.core.sleep_ms(pause_ms).await;
            }
            if socket.has_input() {
                // Between exchanges the server may end a connection, and nothing else.
                match socket.try_recv() {
                    Some(Received::Data(slice)) => {
                        let text = String::from_utf8_lossy(&slice).into_owned();
                        stage.ledger.violation(format!("unasked for: {text}"));
                    }
                    _ => break,
                }
            }
        }
    }
    stage.ledger.clients.set(stage.ledger.clients.get() - 1);
}

/// Requests that are sent one behind the other, and what comes back.
struct Batch<'a> {
    stage: &'a mut Stage,
    work: &'a Work,
    socket: &'a Socket,
    /// Not ended yet, in order.
    waiting: VecDeque<Ask>,
    mates: Vec<u64>,
    /// All requests' bytes, where each begins, and how much is gone.
    wire: Vec<u8>,
    begins: VecDeque<(usize, u64)>,
    sent: usize,
    writing: Pace,
    reading: Pace,
    reader: Reader,
    /// The client gives up after this many bytes.
    gives_up_at: usize,
    abandons: bool,
    last: bool,
}

impl<'a> Batch<'a> {
    fn new(stage: &'a mut Stage, work: &'a Work, socket: &'a Socket, waiting: VecDeque<Ask>) -> Batch<'a> {
        let mut wire = Vec::new();
        let mut begins = VecDeque::new();
        for ask in &waiting {
            begins.push_back((wire.len(), ask.id));
            emit_request(&mut wire, ask, stage);
        }
        let gives_up = stage.random.chance(stage.profile.aborts);
        let gives_up_at = if gives_up { stage.random.below(wire.len() as u64) as usize } else { usize::MAX };
        Batch {
            mates: waiting.iter().map(|ask| ask.id).collect(),
            stage,
            work,
            socket,
            waiting,
            wire,
            begins,
            sent: 0,
            writing: Pace::default(),
            reading: Pace::default(),
            reader: Reader::default(),
            gives_up_at,
            abandons: false,
            last: false,
        }
    }

    async fn run(&mut self) -> After {
        let timer = self.stage.core.timer();
        let deadline_ms = self.stage.core.now_ms() + PATIENCE_MS;
        poll_fn(|_| {
            self.write();
            if self.abandons {
                self.end_all(|_| Outcome::Abandoned);
                return Poll::Ready(After::Over);
            }
            if let Poll::Ready(after) = self.read() {
                return Poll::Ready(after);
            }
            if self.stage.core.now_ms() >= deadline_ms {
                let what = format!("exchange {} hangs", self.mates[0]);
                self.stage.ledger.violation(what);
                return Poll::Ready(After::Over);
            }
            let core = &self.stage.core;
            timer.set(deadline_ms.min(self.writing.due_ms(core)).min(self.reading.due_ms(core)));
            Poll::Pending
        })
        .await
    }

    fn write(&mut self) {
        while self.sent < self.wire.len() && self.writing.may(&self.stage.core) {
            if !matches!(self.socket.poll_drained(QUEUED_BYTES_MAX), Poll::Ready(Ok(()))) {
                return;
            }
            let left = (self.wire.len() - self.sent) as u64;
            let n = if self.stage.random.chance(300) { self.stage.random.size(left) } else { left };
            let until = self.sent + n as usize;
            while let Some((begin, id)) = self.begins.pop_front_if(|(begin, _)| *begin < until) {
                debug_assert!(begin >= self.sent);
                self.stage.ledger.sent(id, self.socket.local_address(), false);
            }
            self.socket.send(&self.wire[self.sent..until]);
            self.sent = until;
            self.abandons = self.sent >= self.gives_up_at;
            self.writing.step(self.stage);
        }
    }

    fn read(&mut self) -> Poll<After> {
        while self.reading.may(&self.stage.core) {
            let received = match self.socket.poll_recv() {
                Poll::Ready(received) => received,
                Poll::Pending => return Poll::Pending,
            };
            self.reading.step(self.stage);
            match received {
                Received::Data(slice) => {
                    self.reader.feed(&slice);
                    if let Poll::Ready(after) = self.answers() {
                        return Poll::Ready(after);
                    }
                }
                Received::End => {
                    let ended = self.waiting.front().map(|ask| self.reader.end(ask));
                    match ended {
                        Some(Ok(Some(answer))) => {
                            self.end_first(answer.status, answer.is_origins);
                            self.end_all(|_| Outcome::NotTaken);
                        }
                        Some(Err(what)) => self.stage.ledger.violation(what),
                        _ => self.fail(true),
                    }
                    return Poll::Ready(After::Over);
                }
                Received::Failed(_) => {
                    self.fail(false);
                    return Poll::Ready(After::Over);
                }
            }
        }
        Poll::Pending
    }

    /// Takes all answers that are there.
    fn answers(&mut self) -> Poll<After> {
        while let Some(ask) = self.waiting.front() {
            match self.reader.next(ask) {
                Ok(Some(answer)) => {
                    self.end_first(answer.status, answer.is_origins);
                    if !answer.keep_alive {
                        // Requests behind it were not taken.
                        self.end_all(|_| Outcome::NotTaken);
                        return Poll::Ready(After::Over);
                    }
                }
                Ok(None) => return Poll::Pending,
                Err(what) => {
                    self.stage.ledger.violation(what);
                    return Poll::Ready(After::Over);
                }
            }
        }
        if self.reader.has_more() {
            self.stage.ledger.violation("bytes behind the last answer".into());
        }
        // An answer may come before the request was sent whole; then the rest is still to be sent.
        match self.sent == self.wire.len() {
            true => Poll::Ready(After::Open),
            false => {
                self.last = true;
                Poll::Ready(After::Over)
            }
        }
    }

    fn end_first(&mut self, status: u16, is_origins: bool) {
        if let Some(ask) = self.waiting.pop_front() {
            let outcome = if is_origins { Outcome::Answer(status) } else { Outcome::Refused(status) };
            self.stage.ledger.end(ask.id, self.work.listener, outcome, &self.mates);
        }
    }

    fn end_all(&mut self, outcome: impl Fn(&Ask) -> Outcome) {
        for ask in std::mem::take(&mut self.waiting) {
            self.stage.ledger.end(ask.id, self.work.listener, outcome(&ask), &self.mates);
        }
    }

    /// The connection has ended although answers are due.
    fn fail(&mut self, orderly: bool) {
        let first = self.waiting.front().map(|ask| ask.id);
        let progress = self.reader.progress();
        self.end_all(|ask| match progress {
            Some(head) if Some(ask.id) == first => Outcome::Broken { orderly, head },
            _ => Outcome::NoAnswer { orderly },
        });
    }
}

fn emit_request(out: &mut Vec<u8>, ask: &Ask, stage: &mut Stage) {
    emit::request_line(out, ask.verb.name().as_bytes(), ask.path().as_bytes());
    emit::field(out, b"host", b"sim.example");
    emit::field(out, ID.as_bytes(), ask.id.to_string().as_bytes());
    if stage.random.chance(100) {
        // Heads of all sizes.
        let filling = vec![b'f'; stage.random.size(3_000) as usize];
        emit::field(out, b"x-filling", &filling);
    }
    if ask.chunked {
        emit::transfer_encoding_chunked(out);
    } else if matches!(ask.verb, Verb::Put | Verb::Post) {
        emit::content_length(out, ask.body);
    }
    emit::end_of_head(out);
    emit_body(out, ask.id, ask.body, ask.chunked, stage);
}

/// A body, in chunks of any size or plain.
pub(crate) fn emit_body(out: &mut Vec<u8>, id: u64, len: u64, chunked: bool, stage: &mut Stage) {
    if !chunked {
        return pattern::fill(out, id, 0, len);
    }
    let mut at = 0;
    while at < len {
        let n = stage.random.size(len - at);
        emit::chunk_head(out, n);
        pattern::fill(out, id, at, n);
        emit::chunk_end(out);
        at += n;
    }
    emit::last_chunk(out, None);
}
