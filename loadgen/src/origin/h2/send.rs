//! What leaves on a connection.

use std::task::Poll;

use codecs::http::h1::emit;
use codecs::http::h2::{FieldLine, StreamRef};

use super::session::Session;
use super::stream::{Echo, EchoKind, State};
use crate::origin::answer::Answer;
use crate::origin::serve::QUEUED_BYTES_MAX;
use crate::origin::stock::PIECE_BYTES;

/// Payloads from this size on are sent from where they are.
const OWNED_BYTES_MIN: usize = 2048;

/// What became of a stream's turn.
enum Turn {
    /// Everything is sent; the state isn't needed any more.
    Done,
    /// More to send.
    Again,
    /// Nothing more until the windows grow.
    Blocked,
    /// Nothing more until the client sends.
    Idle,
}

impl Session<'_> {
    /// Sends a response's head and as much of its body as fits at once.
    #[inline]
    pub(super) fn respond(&mut self, stream: StreamRef, answer: &Answer) {
        let bytes = if answer.head_only { 0 } else { answer.body_bytes };
        let Session { origin, connection, length, out, .. } = self;
        length.clear();
        emit::decimal(length, answer.body_bytes);
        let sent = {
            let mut stock = origin.stock.borrow_mut();
            let fields: [FieldLine<'_>; 4] = [
                (b"server", b"loadgen", false),
                (b"date", stock.date(origin.unix_secs()), false),
                (b"content-type", b"text/plain", false),
                (b"content-length", length, false),
            ];
            let has_length = !answer.chunked && !matches!(answer.status, 204 | 304);
            let fields = &fields[..if has_length { 4 } else { 3 }];
            connection.send_response(stream, answer.status, fields.iter().copied(), bytes == 0, out)
        };
        if sent.is_err() || bytes == 0 {
            self.forget(stream);
        } else {
            self.send_body(stream, bytes);
        }
        if !answer.keep_alive {
            self.close();
        }
    }

    #[inline]
    fn send_body(&mut self, stream: StreamRef, bytes: u64) {
        if bytes < OWNED_BYTES_MIN as u64 {
            let wanted = bytes as usize;
            match self.connection.data_frame(stream, wanted, true, &mut self.out) {
                Ok(granted) => {
                    let stock = self.origin.stock.borrow();
                    self.out.extend_from_slice(&stock.piece[..granted.bytes]);
                    if granted.bytes == wanted {
                        return self.forget(stream);
                    }
                    let sent = granted.bytes as u64;
                    self.streams.insert(stream, State::Sending { sent, left: bytes - sent });
                }
                Err(_) => return self.forget(stream),
            }
        } else {
            self.streams.insert(stream, State::Sending { sent: 0, left: bytes });
        }
        self.sending.push_back(stream);
    }

    /// Sends what the windows and the client's reading allow, a frame of each stream in turn.
    pub(super) fn pump(&mut self) {
        while let Some(stream) = self.sending.pop_front() {
            if self.transport.unsent_bytes() + self.out.len() > QUEUED_BYTES_MAX {
                self.sending.push_front(stream);
                self.flush();
                match self.transport.poll_drained(QUEUED_BYTES_MAX / 2) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(_)) | Poll::Pending => return,
                }
            }
            match self.turn(stream) {
                Turn::Done => self.forget(stream),
                Turn::Again => self.sending.push_back(stream),
                Turn::Blocked => self.blocked.push(stream),
                Turn::Idle => {}
            }
        }
    }

    fn turn(&mut self, stream: StreamRef) -> Turn {
        match self.streams.get(stream) {
            Some(State::Sending { sent, left }) => {
                let at = (*sent % PIECE_BYTES as u64) as usize;
                let wanted = (*left).min((PIECE_BYTES - at) as u64) as usize;
                let last = *left == wanted as u64;
                let Ok(granted) = self.connection.data_frame(stream, wanted, last, &mut self.out) else {
                    return Turn::Done;
                };
                *sent += granted.bytes as u64;
                *left -= granted.bytes as u64;
                if granted.ended {
                    self.send_piece(at, granted.bytes);
                    return Turn::Done;
                }
                self.send_piece(at, granted.bytes);
                if granted.bytes == 0 { Turn::Blocked } else { Turn::Again }
            }
            Some(State::Echo(_)) => self.echo(stream),
            Some(State::Reading(_) | State::Delayed(_)) | None => Turn::Idle,
        }
    }

    fn send_piece(&mut self, at: usize, bytes: usize) {
        let piece = &self.origin.stock.borrow().piece;
        if bytes < OWNED_BYTES_MIN {
            return self.out.extend_from_slice(&piece[at..at + bytes]);
        }
        self.transport.send(&self.out);
        self.out.clear();
        self.transport.send_slice(piece.slice(at..at + bytes));
    }

    fn echo(&mut self, stream: StreamRef) -> Turn {
        let Session { connection, out, streams, .. } = self;
        let Some(State::Echo(echo)) = streams.get(stream) else { return Turn::Idle };
        let is_websocket = matches!(echo.kind, EchoKind::WebSocket(_));
        let wanted = echo.waiting().len();
        let last = echo.complete && is_websocket;
        let mut sent = 0;
        if wanted > 0 || last {
            let Ok(granted) = connection.data_frame(stream, wanted, last, out) else { return Turn::Done };
            sent = granted.bytes;
            out.extend_from_slice(&echo.waiting()[..sent]);
            Echo::advance(echo, sent);
            if granted.ended {
                return Turn::Done;
            }
        }
        if echo.waiting().is_empty() && echo.owed > 0 {
            connection.release(stream, std::mem::take(&mut echo.owed), out);
        }
        match (echo.waiting().is_empty(), echo.complete) {
            (true, true) => {
                let trailers = [(&b"grpc-status"[..], &b"0"[..], false)];
                let _ = connection.send_trailers(stream, trailers, out);
                Turn::Done
            }
            (true, false) => Turn::Idle,
            (false, _) if sent == 0 => Turn::Blocked,
            (false, _) => Turn::Again,
        }
    }

    /// Hands on what was gathered.
    #[inline]
    pub(super) fn flush(&mut self) {
        if !self.out.is_empty() {
            self.transport.send(&self.out);
            self.out.clear();
        }
        self.transport.flush();
    }
}
