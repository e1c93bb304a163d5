//! A connection's bytes, plain or over TLS, for both ends.
//!
//! What is sent over TLS is gathered first, so that small writes share a record, and sealed when the task is about to wait:
//! `poll_recv`, `poll_drained` and `flush` do that. What arrives is decrypted in the buffer that it was received in (`sealed`).

mod sealed;

use std::cell::Ref;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use codecs::tls::{ClientConfig, Negotiated, ServerConfig, Session, TlsError};
use runtime::{Core, Received, Slice, Socket};

use sealed::Tls;

/// What a connection has to say.
pub(crate) enum Input {
    Data(Slice),
    End,
    Failed(Fault),
}

/// How a connection failed.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    Tls(TlsError),
}

pub(crate) struct Transport {
    socket: Socket,
    tls: Option<Box<Tls>>,
}

impl Transport {
    pub(crate) fn plain(socket: Socket) -> Transport {
        Transport { socket, tls: None }
    }

    /// Begins a handshake with a server that has to prove that it is `name`.
    pub(crate) fn client(
        core: &Core,
        socket: Socket,
        config: &ClientConfig,
        name: &str,
    ) -> Result<Transport, TlsError> {
        let mut hello = Vec::new();
        let session = Session::client(config, Some(name), &mut hello)?;
        socket.send(&hello);
        Ok(Transport { socket, tls: Some(Box::new(Tls::new(core, session))) })
    }

    /// Waits for a client's handshake.
    pub(crate) fn server(core: &Core, socket: Socket, config: &ServerConfig) -> Result<Transport, TlsError> {
        let session = Session::server(config)?;
        Ok(Transport { socket, tls: Some(Box::new(Tls::new(core, session))) })
    }

    /// Ready once bytes can be exchanged.
    pub(crate) fn poll_handshake(&self) -> Poll<Result<(), Fault>> {
        match &self.tls {
            None => Poll::Ready(Ok(())),
            Some(tls) => tls.poll_handshake(&self.socket),
        }
    }

    /// What was agreed on, if this is TLS and the handshake is done.
    pub(crate) fn negotiated(&self) -> Option<Ref<'_, Negotiated>> {
        self.tls.as_ref()?.negotiated()
    }

    /// The protocol that ALPN decided on is HTTP/2.
    pub(crate) fn is_h2(&self) -> bool {
        self.negotiated().is_some_and(|negotiated| negotiated.alpn.as_deref() == Some(b"h2"))
    }

    /// The next bytes, the end, or the failure; registers the running task if there is none of them yet.
    #[inline]
    pub(crate) fn poll_recv(&self) -> Poll<Input> {
        match &self.tls {
            None => self.socket.poll_recv().map(|received| match received {
                Received::Data(slice) => Input::Data(slice),
                Received::End => Input::End,
                Received::Failed(error) => Input::Failed(Fault::Io(error)),
            }),
            Some(tls) => tls.poll_recv(&self.socket),
        }
    }

    pub(crate) async fn recv(&self) -> Input {
        poll_fn(|_| self.poll_recv()).await
    }

    /// Puts bytes back to the front of the queue.
    pub(crate) fn unrecv(&self, slice: Slice) {
        match &self.tls {
            None => self.socket.unrecv(slice),
            Some(tls) => tls.unrecv(slice),
        }
    }

    /// Whether the connection has shown an end, a failure or input.
    #[inline]
    pub(crate) fn has_input(&self) -> bool {
        match &self.tls {
            None => self.socket.has_input(),
            Some(tls) => tls.has_input(&self.socket),
        }
    }

    #[inline]
    pub(crate) fn send(&self, bytes: &[u8]) {
        match &self.tls {
            None => self.socket.send(bytes),
            Some(tls) => tls.send(&self.socket, bytes),
        }
    }

    /// Queues a slice; a large one isn't copied.
    #[inline]
    pub(crate) fn send_slice(&self, slice: Slice) {
        match &self.tls {
            None => self.socket.send_slice(slice),
            Some(tls) => tls.send(&self.socket, &slice),
        }
    }

    /// Hands on what was gathered: before waiting for anything but this connection.
    #[inline]
    pub(crate) fn flush(&self) {
        if let Some(tls) = &self.tls {
            tls.flush(&self.socket);
        }
    }

    /// Bytes queued and not yet taken by the kernel.
    #[inline]
    pub(crate) fn unsent_bytes(&self) -> usize {
        let pending = self.tls.as_ref().map_or(0, |tls| tls.pending_bytes());
        self.socket.unsent_bytes() + pending
    }

    /// Ready once at most `below` bytes are queued, or the connection has failed.
    #[inline]
    pub(crate) fn poll_drained(&self, below: usize) -> Poll<io::Result<()>> {
        self.flush();
        self.socket.poll_drained(below)
    }

    pub(crate) async fn drained(&self, below: usize) -> io::Result<()> {
        poll_fn(|_| self.poll_drained(below)).await
    }

    /// Sends what is queued and ends in order.
    pub(crate) fn close_lingering(self) {
        self.say_goodbye();
        self.socket.close_lingering();
    }

    /// As dropping it, with TLS's word that this was all.
    pub(crate) fn close(self) {
        self.say_goodbye();
    }

    /// Drops what is queued and resets the connection.
    pub(crate) fn reset(self) {
        self.socket.reset();
    }

    fn say_goodbye(&self) {
        if let Some(tls) = &self.tls {
            tls.say_goodbye(&self.socket);
        }
    }
}
