//! Bytes in both directions between two sockets: TCP sessions, and HTTP connections that became tunnels.

use std::future::poll_fn;
use std::task::{Context, Poll};

use runtime::{Core, Received};

use crate::http::h2::{Inbound, Stream};
use crate::transport::Transport;

/// One side of a tunnel.
pub(crate) enum Pipe<'a> {
    Transport(&'a Transport),
    Stream(&'a Stream),
}

impl Pipe<'_> {
    fn try_recv(&self) -> Option<Received> {
        let stream = match self {
            Pipe::Transport(transport) => return transport.try_recv(),
            Pipe::Stream(stream) => stream,
        };
        loop {
            return match stream.try_recv()? {
                Inbound::Data(slice) => Some(Received::Data(slice)),
                Inbound::End => Some(Received::End),
                Inbound::Failed => Some(Received::Failed(std::io::ErrorKind::ConnectionReset.into())),
                Inbound::Head(_) | Inbound::Interim(_) | Inbound::Trailers(_) => continue,
            };
        }
    }

    fn poll_drained(&self, below: usize) -> Poll<std::io::Result<()>> {
        match self {
            Pipe::Transport(transport) => transport.poll_drained(below),
            Pipe::Stream(stream) if stream.failure().is_some() => {
                Poll::Ready(Err(std::io::ErrorKind::ConnectionReset.into()))
            }
            Pipe::Stream(stream) => stream.poll_drained(below).map(Ok),
        }
    }

    fn send_slice(&self, slice: runtime::Slice) {
        match self {
            Pipe::Transport(transport) => transport.send_slice(slice),
            Pipe::Stream(stream) => stream.send_slice(slice),
        }
    }

    fn shutdown_write(&self) {
        match self {
            Pipe::Transport(transport) => transport.shutdown_write(),
            Pipe::Stream(stream) => stream.finish(None),
        }
    }

    /// Whether it can be let go without loss. A connection's queue outlives it; a stream's doesn't.
    fn is_flushed(&self) -> bool {
        match self {
            Pipe::Transport(_) => true,
            Pipe::Stream(stream) => {
                stream.failure().is_some() || (stream.poll_drained(0).is_ready() && stream.is_finished())
            }
        }
    }

    fn watch(&self, context: &Context<'_>) {
        match self {
            Pipe::Transport(transport) => transport.watch(),
            Pipe::Stream(stream) => stream.watch(context),
        }
    }
}

/// Bytes queued to a side above which its other side isn't read.
pub(crate) const QUEUED_BYTES_MAX: usize = 256 * 1024;
/// How often those of whom a side takes nothing are looked at.
pub(crate) const HOARDING_CHECK_MS: u64 = 1_000;

/// How long a side may take nothing of what is queued to it; then the connection is cut off. Otherwise a thousand that
/// read nothing would hold every receive buffer until their idle timeouts, and everybody else would wait for one.
pub(crate) fn hoarding_ms_max(core: &Core) -> u64 {
    match core.receive_buffers_percent() {
        ..=50 => u64::MAX,
        51..=85 => 5_000,
        _ => HOARDING_CHECK_MS,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Both sides ended their direction.
    Complete,
    /// A side failed.
    ClientFailed,
    UpstreamFailed,
    Idle,
    /// A side took nothing for too long, and the core is short of buffers.
    Hoarding,
    /// The drain's time is up.
    CutOff,
}

/// What went through, and how it ended.
pub(crate) struct Relayed {
    /// Client to upstream.
    pub(crate) up_bytes: u64,
    pub(crate) down_bytes: u64,
    /// Times that a side was not read because the other was slow.
    pub(crate) up_pauses: u64,
    pub(crate) down_pauses: u64,
    /// The client ended first.
    pub(crate) client_first: bool,
    pub(crate) end: End,
}

/// Relays until both directions have ended, one side fails, nothing moves for `idle_ms` (0 = for ever), or `cut_off`
/// says so. Half-closed connections go on in the other direction.
pub(crate) async fn relay(
    core: &Core,
    client: &Pipe<'_>,
    upstream: &Pipe<'_>,
    idle_ms: u64,
    cut_off: impl Fn() -> bool,
) -> Relayed {
    let timer = core.timer();
    let mut relayed =
        Relayed { up_bytes: 0, down_bytes: 0, up_pauses: 0, down_pauses: 0, client_first: false, end: End::Complete };
    let mut active_ms = core.now_ms();
    let (mut up_open, mut down_open) = (true, true);
    if idle_ms > 0 {
        timer.set(active_ms + idle_ms);
    }
    relayed.end = poll_fn(|context| {
        let before = relayed.up_bytes + relayed.down_bytes;
        let pauses = relayed.up_pauses + relayed.down_pauses;
        let up = pump(client, upstream, &mut up_open, &mut relayed.up_bytes, &mut relayed.up_pauses);
        let down = pump(upstream, client, &mut down_open, &mut relayed.down_bytes, &mut relayed.down_pauses);
        relayed.client_first |= !up_open && down_open;
        match (up, down) {
            // A pump tells of its source (`Err(true)`) or its target.
            (Err(true), _) | (_, Err(false)) => return Poll::Ready(End::ClientFailed),
            (Err(false), _) | (_, Err(true)) => return Poll::Ready(End::UpstreamFailed),
            (Ok(()), Ok(())) => {}
        }
        if !up_open && !down_open && client.is_flushed() && upstream.is_flushed() {
            return Poll::Ready(End::Complete);
        }
        if cut_off() {
            return Poll::Ready(End::CutOff);
        }
        if relayed.up_bytes + relayed.down_bytes != before {
            active_ms = core.now_ms();
        }
        let now_ms = core.now_ms();
        let mut until_ms = if idle_ms > 0 { active_ms + idle_ms } else { u64::MAX };
        if now_ms >= until_ms {
            return Poll::Ready(End::Idle);
        }
        if relayed.up_pauses + relayed.down_pauses > pauses {
            if now_ms - active_ms >= hoarding_ms_max(core) {
                return Poll::Ready(End::Hoarding);
            }
            until_ms = until_ms.min(now_ms + HOARDING_CHECK_MS);
        }
        if until_ms < u64::MAX {
            timer.set(until_ms);
        }
        client.watch(context);
        upstream.watch(context);
        Poll::Pending
    })
    .await;
    relayed
}

/// Moves what there is from one side to the other. The error says whether it was the source that failed.
fn pump(from: &Pipe<'_>, to: &Pipe<'_>, open: &mut bool, bytes: &mut u64, pauses: &mut u64) -> Result<(), bool> {
    while *open {
        match to.poll_drained(QUEUED_BYTES_MAX) {
            Poll::Pending => {
                *pauses += 1;
                return Ok(());
            }
            Poll::Ready(Err(_)) => return Err(false),
            Poll::Ready(Ok(())) => {}
        }
        match from.try_recv() {
            None => return Ok(()),
            Some(Received::Data(slice)) => {
                *bytes += slice.len() as u64;
                to.send_slice(slice);
            }
            Some(Received::End) => {
                to.shutdown_write();
                *open = false;
            }
            Some(Received::Failed(_)) => return Err(true),
        }
    }
    Ok(())
}
