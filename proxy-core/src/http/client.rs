//! The client's side of an exchange: an HTTP/1 connection that it has to itself for now, or a stream of an HTTP/2 one.

use std::task::Context;

use codecs::http::h1::Trailers;
use runtime::Slice;

use super::body::{self, Piece};
use super::exchange::Exchange;
use super::h2::{Inbound, Stream};

pub(super) enum Client {
    Http1,
    Http2(Stream),
}

impl Exchange<'_> {
    pub(super) fn stream(&self) -> Option<&Stream> {
        match &self.client {
            Client::Http1 => None,
            Client::Http2(stream) => Some(stream),
        }
    }

    /// The client's connection or stream has failed.
    pub(super) fn client_failed(&self) -> bool {
        match &self.client {
            Client::Http1 => self.downstream.socket.error().is_some(),
            Client::Http2(stream) => stream.failure().is_some(),
        }
    }

    /// Registers the running task for whatever the client does next.
    pub(super) fn watch_client(&self, context: &Context<'_>) {
        match &self.client {
            Client::Http1 => self.downstream.socket.watch(),
            Client::Http2(stream) => stream.watch(context),
        }
    }

    /// What comes next of the request's body.
    pub(super) fn next_of_request(&mut self) -> Piece {
        let Client::Http2(stream) = &self.client else {
            return self.scratch.request_body.next(&self.downstream.socket);
        };
        loop {
            return match stream.try_recv() {
                None => Piece::Nothing,
                Some(Inbound::Data(slice)) => {
                    let len = slice.len() as u64;
                    Piece::Data(slice, len)
                }
                Some(Inbound::Trailers(message)) => {
                    self.scratch.request_trailers = Some(message);
                    continue;
                }
                Some(Inbound::End) => Piece::End(0),
                Some(Inbound::Failed) => Piece::Failed,
                Some(Inbound::Head(message) | Inbound::Interim(message)) => {
                    stream.recycle(message);
                    continue;
                }
            };
        }
    }

    /// Whether more of the response may be queued; `Err` when the client is gone.
    pub(super) fn poll_client_drained(&self, below: usize) -> Result<bool, ()> {
        match &self.client {
            Client::Http1 => match self.downstream.socket.poll_drained(below) {
                std::task::Poll::Pending => Ok(false),
                std::task::Poll::Ready(Ok(())) => Ok(true),
                std::task::Poll::Ready(Err(_)) => Err(()),
            },
            Client::Http2(stream) if stream.failure().is_some() => Err(()),
            Client::Http2(stream) => Ok(stream.poll_drained(below).is_ready()),
        }
    }

    /// Sends payload of the response down; returns the bytes on the wire.
    pub(super) fn send_down(&mut self, payload: Slice, chunked: bool) -> u64 {
        match &self.client {
            Client::Http1 => body::send_payload(&self.downstream.socket, payload, chunked, &mut self.scratch.out),
            Client::Http2(stream) => {
                let len = payload.len() as u64;
                stream.send_slice(payload);
                len
            }
        }
    }

    /// Ends the response's body.
    pub(super) fn end_down(&mut self, chunked: bool) {
        let scratch = &mut *self.scratch;
        let trailers: Option<Trailers<'_>> = match &scratch.response_trailers {
            Some(message) => Some(message.trailers()),
            None => scratch.response_body.trailers(),
        };
        let (trailers, frame) = match self.grpc.web.as_ref().and_then(|web| web.end_of_response(trailers)) {
            Some(frame) => (None, Some(self.downstream.world.core.own(frame.into_boxed_slice()))),
            None => (trailers, None),
        };
        match &self.client {
            Client::Http1 => {
                let socket = &self.downstream.socket;
                if let Some(frame) = frame {
                    self.seen.sent_bytes += body::send_payload(socket, frame, chunked, &mut scratch.out);
                }
                self.seen.sent_bytes += body::send_end(socket, trailers, chunked, &mut scratch.out);
            }
            Client::Http2(stream) => {
                if let Some(frame) = frame {
                    self.seen.sent_bytes += frame.len() as u64;
                    stream.send_slice(frame);
                }
                stream.finish(trailers.filter(|trailers| !trailers.fields.is_empty()));
            }
        }
    }
}
