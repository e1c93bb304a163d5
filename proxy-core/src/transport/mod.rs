//! A connection as those see it who move its bytes, plain or encrypted.

mod tls;

use std::io;
use std::rc::Rc;
use std::task::Poll;

use runtime::{Received, Slice, Socket, Watcher};

pub(crate) use tls::{Failures, Refused, TlsTransport};

use crate::snapshot::Protocol;
use crate::tls::TlsFacts;

/// One connection of this core; see [`Socket`] for what each call does.
pub(crate) enum Transport {
    Plain(Socket),
    Tls(Box<TlsTransport>),
}

impl Transport {
    /// What the handshake led to; `None` on a plain connection.
    pub(crate) fn tls(&self) -> Option<&Rc<TlsFacts>> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls(tls) => Some(tls.facts()),
        }
    }

    /// Whether HTTP/2 is spoken on a connection to an endpoint of which this is configured.
    pub(crate) fn is_http2(&self, protocol: Protocol) -> bool {
        match protocol {
            Protocol::Http1 => false,
            Protocol::Http2 => true,
            Protocol::Auto => self.tls().and_then(|facts| facts.alpn.as_deref()) == Some(b"h2"),
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    /// Whether what is sent waits until the connection's task waits, so that it shares a record.
    pub(crate) fn is_deferred(&self) -> bool {
        self.is_encrypted()
    }

    /// Bytes queued and not yet taken by the kernel.
    pub(crate) fn unsent_bytes(&self) -> usize {
        match self {
            Transport::Plain(socket) => socket.unsent_bytes(),
            Transport::Tls(tls) => tls.unsent_bytes(),
        }
    }

    /// Whether input, an end or a failure waits; registers the running task if not.
    pub(crate) fn poll_readable(&self) -> Poll<()> {
        match self {
            Transport::Plain(socket) => socket.poll_readable(),
            Transport::Tls(tls) => tls.poll_readable(),
        }
    }

    /// How requests on this connection are addressed.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Transport::Plain(_) => "http",
            Transport::Tls(_) => "https",
        }
    }

    #[inline]
    pub(crate) fn poll_recv(&self) -> Poll<Received> {
        match self {
            Transport::Plain(socket) => socket.poll_recv(),
            Transport::Tls(tls) => tls.poll_recv(),
        }
    }

    #[inline]
    pub(crate) fn try_recv(&self) -> Option<Received> {
        match self {
            Transport::Plain(socket) => socket.try_recv(),
            Transport::Tls(tls) => tls.try_recv(),
        }
    }

    /// Puts bytes back to the front of the queue.
    pub(crate) fn unrecv(&self, slice: Slice) {
        match self {
            Transport::Plain(socket) => socket.unrecv(slice),
            Transport::Tls(tls) => tls.unrecv(slice),
        }
    }

    pub(crate) fn has_input(&self) -> bool {
        match self {
            Transport::Plain(socket) => socket.has_input(),
            Transport::Tls(tls) => tls.has_input(),
        }
    }

    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) {
        match self {
            Transport::Plain(socket) => socket.send(bytes),
            Transport::Tls(tls) => tls.send(bytes),
        }
    }

    #[inline]
    pub(crate) fn send_slice(&self, slice: Slice) {
        match self {
            Transport::Plain(socket) => socket.send_slice(slice),
            Transport::Tls(tls) => tls.send(&slice),
        }
    }

    #[inline]
    pub(crate) fn poll_drained(&self, below: usize) -> Poll<io::Result<()>> {
        match self {
            Transport::Plain(socket) => socket.poll_drained(below),
            Transport::Tls(tls) => tls.poll_drained(below),
        }
    }

    /// Registers the running task for whatever happens next.
    #[inline]
    pub(crate) fn watch(&self) {
        match self {
            Transport::Plain(socket) => socket.watch(),
            Transport::Tls(tls) => tls.watch(),
        }
    }

    pub(crate) fn watch_by(&self, watcher: Watcher) {
        match self {
            Transport::Plain(socket) => socket.watch_by(watcher),
            Transport::Tls(tls) => tls.watch_by(watcher),
        }
    }

    pub(crate) fn error(&self) -> Option<io::Error> {
        match self {
            Transport::Plain(socket) => socket.error(),
            Transport::Tls(tls) => tls.error(),
        }
    }

    pub(crate) fn shutdown_write(&self) {
        match self {
            Transport::Plain(socket) => socket.shutdown_write(),
            Transport::Tls(tls) => tls.shutdown_write(),
        }
    }

    pub(crate) fn close_lingering(self) {
        match self {
            Transport::Plain(socket) => socket.close_lingering(),
            Transport::Tls(tls) => tls.close_lingering(),
        }
    }

    pub(crate) fn reset(self) {
        match self {
            Transport::Plain(socket) => socket.reset(),
            Transport::Tls(tls) => tls.reset(),
        }
    }
}
