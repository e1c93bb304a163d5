//! A session through a stream of HTTP/2 that extended CONNECT (RFC 8441) has made a tunnel.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::Poll;

use codecs::http::h2::{FieldLine, RequestLine, Role, StreamRef};
use runtime::Socket;

use super::broke_http2;
use super::tcp::{PATIENCE_MS, Talk};
use crate::http2::{Got, Link, Then};
use crate::pattern;
use crate::stage::Stage;

struct Session<'a> {
    stage: &'a mut Stage,
    link: Link,
    listener: SocketAddr,
    path: &'static str,
    talk: Talk,
    stream: Option<StreamRef>,
    is_tunnel: bool,
    got: u64,
}

/// Bytes that came, and then the end of the stream.
///
/// # Errors
/// What else became of it.
pub(super) async fn session(
    stage: &mut Stage,
    socket: Socket,
    listener: SocketAddr,
    path: &'static str,
    talk: Talk,
) -> Result<u64, String> {
    let link = Link::new(Role::Client, socket, &mut stage.random);
    let timer = stage.core.timer();
    let deadline_ms = stage.core.now_ms() + PATIENCE_MS;
    let mut session = Session { stage, link, listener, path, talk, stream: None, is_tunnel: false, got: 0 };
    let result = poll_fn(|_| {
        if let Poll::Ready(result) = session.read() {
            return Poll::Ready(result);
        }
        if session.stream.is_none() && session.link.connection.is_established() {
            session.open();
        }
        let due_ms = session.link.pump(session.stage);
        if session.stage.core.now_ms() >= deadline_ms {
            return Poll::Ready(Err("it hangs".into()));
        }
        timer.set(deadline_ms.min(due_ms));
        Poll::Pending
    })
    .await;
    session.link.go_away();
    session.link.pump(session.stage);
    result
}

impl Session<'_> {
    fn open(&mut self) {
        if !self.link.connection.peer().connect_protocol {
            return self.stage.ledger.violation("extended CONNECT isn't offered".into());
        }
        let line = RequestLine {
            method: b"CONNECT",
            scheme: b"http",
            authority: b"sim.example",
            path: self.path.as_bytes(),
            protocol: Some(b"websocket"),
        };
        let fields: [FieldLine<'_>; 1] = [(b"sec-websocket-version", b"13", false)];
        let link = &mut self.link;
        // Without room for a stream it is tried again: there will be.
        self.stream = link.connection.send_request(&line, fields, false, &mut link.out).ok();
    }

    fn read(&mut self) -> Poll<Result<u64, String>> {
        while let Some(got) = self.link.next(self.stage) {
            match got {
                Got::Response { stream, end, head, .. } => {
                    if head.status != 200 || end {
                        return Poll::Ready(Err(format!("CONNECT is answered with {}", head.status)));
                    }
                    self.is_tunnel = true;
                    self.link.send_body(stream, self.talk.wire(), Then::End);
                }
                Got::Data { bytes, end, .. } => {
                    if let Err(what) = pattern::check(!self.talk.id, self.got, &bytes) {
                        self.stage.ledger.violation(what);
                    }
                    self.got += bytes.len() as u64;
                    if end {
                        return Poll::Ready(Ok(self.got));
                    }
                }
                Got::Trailers { .. } => self.stage.ledger.violation("trailers in a tunnel".into()),
                Got::Reset { code, .. } => return Poll::Ready(Err(format!("a reset: {code:?}"))),
                Got::Broken(what) => {
                    broke_http2(self.stage, self.listener, &self.link.connection, &what);
                    return Poll::Ready(Err(what));
                }
                Got::Over { .. } => return Poll::Ready(Err("the connection ends".into())),
                Got::GoAway { last_stream } if self.stream.is_none_or(|stream| stream.id > last_stream) => {
                    return Poll::Ready(Err("it isn't taken".into()));
                }
                Got::GoAway { .. } | Got::Refused => {}
                Got::Request { .. } => self.stage.ledger.violation("the proxy asks a client".into()),
            }
        }
        Poll::Pending
    }
}
