//! The handshake, either end: bounded in time, and told to the peer when it is refused.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use codecs::tls::{ClientConfig, Phase, ServerConfig, Session, TlsError};
use runtime::{Core, Received, Socket};

use super::{Failures, Input, State, TlsTransport};
use crate::tls::TlsFacts;

/// Why there is no TLS connection.
#[derive(Debug)]
pub(crate) enum Refused {
    Tls(TlsError),
    /// The connection failed below TLS.
    Io(io::Error),
    Timeout,
    /// The drain's time is up.
    CutOff,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Tls(error) => error.fmt(f),
            Refused::Io(error) => error.fmt(f),
            Refused::Timeout => f.write_str("the handshake took too long"),
            Refused::CutOff => f.write_str("the process drains"),
        }
    }
}

impl TlsTransport {
    /// The end that waits for a client. `deadline_ms` is of the core's clock.
    pub(crate) async fn accept(
        core: &Core,
        socket: Socket,
        config: &ServerConfig,
        deadline_ms: u64,
        cut_off: impl Fn() -> bool,
        failures: Failures,
    ) -> Result<Box<TlsTransport>, Refused> {
        let session = Session::server(config).map_err(Refused::Tls)?;
        shake(core, socket, session, deadline_ms, cut_off, failures, true).await
    }

    /// The end that begins; `name` is the server's, if the config doesn't say it.
    pub(crate) async fn connect(
        core: &Core,
        socket: Socket,
        config: &ClientConfig,
        name: Option<&str>,
        deadline_ms: u64,
        failures: Failures,
    ) -> Result<Box<TlsTransport>, Refused> {
        let mut hello = Vec::new();
        let session = Session::client(config, name, &mut hello).map_err(Refused::Tls)?;
        socket.send(&hello);
        shake(core, socket, session, deadline_ms, || false, failures, false).await
    }
}

async fn shake(
    core: &Core,
    socket: Socket,
    mut session: Session,
    deadline_ms: u64,
    cut_off: impl Fn() -> bool,
    failures: Failures,
    keeps_chain: bool,
) -> Result<Box<TlsTransport>, Refused> {
    let timer = core.timer();
    if deadline_ms < u64::MAX {
        timer.set(deadline_ms);
    }
    let began_us = core.now_us();
    let (mut input, mut spans, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let received = loop {
        let received = poll_fn(|_| match socket.poll_recv() {
            Poll::Ready(received) => Poll::Ready(Ok(received)),
            Poll::Pending if core.now_ms() >= deadline_ms => Poll::Ready(Err(Refused::Timeout)),
            Poll::Pending if cut_off() => Poll::Ready(Err(Refused::CutOff)),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        match received {
            Received::Data(slice) => input.extend_from_slice(&slice),
            Received::Failed(error) => return Err(Refused::Io(error)),
            Received::End => {
                let error = session.end_of_input().err();
                return Err(error.map_or(Refused::Io(io::ErrorKind::UnexpectedEof.into()), Refused::Tls));
            }
        }
        out.clear();
        let result = session.receive(&mut input, &mut spans, &mut out);
        socket.send(&out);
        match result {
            Err(error) => {
                // The alert is to arrive, whatever the peer goes on to send.
                socket.close_lingering();
                return Err(Refused::Tls(error));
            }
            Ok(received) if received.phase != Phase::Handshaking => break received,
            Ok(received) => drop(input.drain(..received.consumed)),
        }
    };
    let facts = TlsFacts::of(&mut session, core.now_us() - began_us, keeps_chain);
    // Data that came with the end of the handshake, and the beginning of more.
    let plain = spans.iter().map(|span| core.own(input[span.clone()].into())).collect();
    let partial = input[received.consumed..].to_vec();
    let input = if received.phase == Phase::PeerClosed { Input::Ended } else { Input::Open };
    let state = State { session, partial, plain, out: Vec::new(), input, closed: false };
    Ok(Box::new(TlsTransport {
        core: core.clone(),
        state: RefCell::new(state),
        watcher: Cell::new(None),
        facts: Rc::new(facts),
        failures,
        socket,
    }))
}
