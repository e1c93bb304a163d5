//! A connection as those see it who move its bytes, plain or encrypted.

use std::io;
use std::task::Poll;

use crate::snapshot::Protocol;
use runtime::{Received, Slice, Socket, Watcher};

/// One connection of this core; see [`Socket`] for what each call does.
pub(crate) enum Transport {
    Plain(Socket),
}

impl Transport {
    fn socket(&self) -> &Socket {
        match self {
            Transport::Plain(socket) => socket,
        }
    }

    fn into_socket(self) -> Socket {
        match self {
            Transport::Plain(socket) => socket,
        }
    }

    #[inline]
    pub(crate) fn poll_recv(&self) -> Poll<Received> {
        match self {
            Transport::Plain(socket) => socket.poll_recv(),
        }
    }

    #[inline]
    pub(crate) fn try_recv(&self) -> Option<Received> {
        match self {
            Transport::Plain(socket) => socket.try_recv(),
        }
    }

    /// Whether input, an end or a failure waits; registers the running task if not.
    pub(crate) fn poll_readable(&self) -> Poll<()> {
        match self {
            Transport::Plain(socket) => socket.poll_readable(),
        }
    }

    /// Puts bytes back to the front of the queue.
    pub(crate) fn unrecv(&self, slice: Slice) {
        match self {
            Transport::Plain(socket) => socket.unrecv(slice),
        }
    }

    /// Whether HTTP/2 is spoken on a connection to an endpoint of which this is configured.
    pub(crate) fn is_http2(&self, protocol: Protocol) -> bool {
        match self {
            Transport::Plain(_) => protocol == Protocol::Http2,
        }
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
        }
    }

    /// Whether what is sent may wait until the connection's task waits.
    pub(crate) fn is_deferred(&self) -> bool {
        match self {
            Transport::Plain(_) => false,
        }
    }

    /// Bytes queued and not yet taken by the kernel.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.socket().unsent_bytes()
    }

    pub(crate) fn has_input(&self) -> bool {
        self.socket().has_input()
    }

    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) {
        match self {
            Transport::Plain(socket) => socket.send(bytes),
        }
    }

    #[inline]
    pub(crate) fn send_slice(&self, slice: Slice) {
        match self {
            Transport::Plain(socket) => socket.send_slice(slice),
        }
    }

    #[inline]
    pub(crate) fn poll_drained(&self, below: usize) -> Poll<io::Result<()>> {
        self.socket().poll_drained(below)
    }

    /// Registers the running task for whatever happens next.
    #[inline]
    pub(crate) fn watch(&self) {
        self.socket().watch();
    }

    pub(crate) fn watch_by(&self, watcher: Watcher) {
        self.socket().watch_by(watcher);
    }

    pub(crate) fn error(&self) -> Option<io::Error> {
        self.socket().error()
    }

    pub(crate) fn shutdown_write(&self) {
        self.socket().shutdown_write();
    }

    pub(crate) fn close_lingering(self) {
        self.into_socket().close_lingering();
    }

    pub(crate) fn reset(self) {
        self.into_socket().reset();
    }
}
