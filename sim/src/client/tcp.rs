//! A client of a TCP listener, or of a tunnel through an HTTP one: a head that says what follows, bytes up, an end, and
//! bytes down until the other end.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use codecs::Status;
use codecs::http::h1::{emit, parse_response};
use codecs::http::{HeadLimits, Method, ResponseHead};
use runtime::{Received, Socket};

use super::{connect, tunnel};
use crate::pattern;
use crate::stage::{Pace, Stage};

/// Bytes of the head: id, bytes up, bytes down.
pub(crate) const HEAD_BYTES: usize = 24;
/// A session that takes longer has hung, ms.
pub(super) const PATIENCE_MS: u64 = 600_000;
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// What a session is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Talk {
    pub(crate) id: u64,
    pub(crate) up: u64,
    pub(crate) down: u64,
}

impl Talk {
    pub(crate) fn of_head(head: &[u8]) -> Option<Talk> {
        let number = |at: usize| Some(u64::from_be_bytes(head.get(at..at + 8)?.try_into().ok()?));
        Some(Talk { id: number(0)?, up: number(8)?, down: number(16)? })
    }
}

/// Paths of requests that become tunnels, to endpoints of HTTP/1.1 and of HTTP/2.
pub(crate) const TUNNEL_PATH: &str = "/plain/tunnel";
pub(crate) const SECOND_TUNNEL_PATH: &str = "/second/tunnel";

/// What carries a session to the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Via {
    /// The connection as it is.
    Tcp,
    /// An upgrade in HTTP/1.1, of a request for this path.
    Upgrade(&'static str),
    /// Extended CONNECT in HTTP/2 (RFC 8441).
    Connect(&'static str),
}

pub(crate) async fn run(mut stage: Stage, listener: SocketAddr, sessions: u32, via: Via) {
    for _ in 0..sessions {
        let Some(socket) = connect(&mut stage, listener).await else { break };
        let most = stage.profile.body_bytes_max;
        let talk = Talk { id: stage.ledger.next_id(), up: stage.random.size(most), down: stage.random.size(most) };
        stage.ledger.recorder.note("client", &format!("{talk:?} by {via:?}"));
        let result = match via {
            Via::Tcp => session(&mut stage, &socket, talk).await,
            Via::Upgrade(path) => match upgrade(&socket, path).await {
                Ok(()) => session(&mut stage, &socket, talk).await,
                Err(what) => Err(what),
            },
            Via::Connect(path) => tunnel::session(&mut stage, socket, listener, path, talk).await,
        };
        stage.ledger.recorder.note("client", &format!("{} ends: {result:?}", talk.id));
        judge(&stage, listener, via, talk, result);
    }
    stage.ledger.clients.set(stage.ledger.clients.get() - 1);
}

/// Bytes that came before an orderly end, or what else ended a session.
fn judge(stage: &Stage, listener: SocketAddr, via: Via, talk: Talk, result: Result<u64, String>) {
    let ledger = &stage.ledger;
    let injuries = ledger.recorder.injuries();
    // A session to an endpoint that can't be had is closed; so is one that is cut off. Both are ends before any
    // byte of the other side: an end behind some of them would look whole.
    let hurt = injuries.torn + injuries.refused + injuries.hung > 0 || ledger.is_leaving(listener);
    // What asks for a tunnel may meet the end of the connection that it shares, and isn't sent again.
    let (closes, refused, breaks) = (&ledger.orderly_closes, &ledger.refused_streams, &ledger.breaks);
    let turned_away = via != Via::Tcp && closes.get() + refused.get() + breaks.get() + ledger.unasked.get() > 0;
    let excuse = hurt || turned_away || ledger.broken_talks.borrow().contains(&talk.id);
    match result {
        Ok(got) if got == talk.down => {}
        Ok(0) if hurt => {}
        Ok(got) => ledger.violation(format!("{got} bytes of {talk:?} and an orderly end")),
        Err(_) if excuse => {}
        Err(what) => ledger.violation(format!("{talk:?}: {what}")),
    }
}

impl Talk {
    /// All that the client sends.
    pub(super) fn wire(self) -> Vec<u8> {
        let mut wire: Vec<u8> = [self.id, self.up, self.down].iter().flat_map(|number| number.to_be_bytes()).collect();
        pattern::fill(&mut wire, self.id, 0, self.up);
        wire
    }
}

/// Makes the connection a tunnel; bytes behind the response go back to the socket.
///
/// # Errors
/// It is none.
async fn upgrade(socket: &Socket, path: &str) -> Result<(), String> {
    let mut out = Vec::new();
    emit::request_line(&mut out, b"GET", path.as_bytes());
    emit::field(&mut out, b"host", b"sim.example");
    emit::field(&mut out, b"connection", b"upgrade");
    emit::field(&mut out, b"upgrade", b"websocket");
    emit::field(&mut out, b"sec-websocket-version", b"13");
    emit::field(&mut out, b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==");
    emit::end_of_head(&mut out);
    socket.send(&out);
    let (mut input, mut head) = (Vec::new(), ResponseHead::default());
    loop {
        let mut slice = match socket.recv().await {
            Received::Data(slice) => slice,
            Received::End => return Err("no answer to the upgrade".into()),
            Received::Failed(error) => return Err(error.to_string()),
        };
        let before = input.len();
        input.extend_from_slice(&slice);
        let parsed = parse_response(&input, &HeadLimits::default(), Method::Get, &mut head);
        if let Status::Complete(n) = parsed.map_err(|error| error.to_string())? {
            if head.status != 101 {
                return Err(format!("the upgrade is answered with {}", head.status));
            }
            slice.advance(n - before);
            socket.unrecv(slice);
            return Ok(());
        }
    }
}

/// Bytes that came, and then an end.
///
/// # Errors
/// The connection failed.
async fn session(stage: &mut Stage, socket: &Socket, talk: Talk) -> Result<u64, String> {
    let wire = talk.wire();
    let (mut sent, mut got) = (0, 0);
    let (mut writing, mut reading) = (Pace::default(), Pace::default());
    let timer = stage.core.timer();
    let deadline_ms = stage.core.now_ms() + PATIENCE_MS;
    poll_fn(|_| {
        while sent < wire.len() && writing.may(&stage.core) {
            if !matches!(socket.poll_drained(QUEUED_BYTES_MAX), Poll::Ready(Ok(()))) {
                break;
            }
            let left = (wire.len() - sent) as u64;
            let n = if stage.random.chance(300) { stage.random.size(left) } else { left } as usize;
            socket.send(&wire[sent..sent + n]);
            sent += n;
            writing.step(stage);
            if sent == wire.len() {
                socket.shutdown_write();
            }
        }
        while reading.may(&stage.core) {
            match socket.poll_recv() {
                Poll::Pending => break,
                Poll::Ready(Received::Data(slice)) => {
                    if let Err(what) = pattern::check(!talk.id, got, &slice) {
                        stage.ledger.violation(what);
                    }
                    got += slice.len() as u64;
                    reading.step(stage);
                }
                Poll::Ready(Received::End) => return Poll::Ready(Ok(got)),
                Poll::Ready(Received::Failed(error)) => return Poll::Ready(Err(error.to_string())),
            }
        }
        if stage.core.now_ms() >= deadline_ms {
            return Poll::Ready(Err("it hangs".into()));
        }
        timer.set(deadline_ms.min(writing.due_ms(&stage.core)).min(reading.due_ms(&stage.core)));
        Poll::Pending
    })
    .await
}
