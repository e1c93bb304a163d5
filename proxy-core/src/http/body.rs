//! Bodies as exchanges see them, whatever version of HTTP carries them: pieces of payload, an end, trailers.

use codecs::http::h1::{BodyDecoder, BodyPart, Trailers, emit};
use codecs::http::{BodyLength, ErrorKind, HeadLimits};
use runtime::{Received, Slice};

use crate::transport::Transport;

/// What comes next of a body that is being received.
pub(super) enum Piece {
    /// Payload, and the bytes that it took on the wire with what was around it.
    Data(Slice, u64),
    /// The body is complete.
    End(u64),
    /// Nothing more has arrived.
    Nothing,
    /// The peer ended its direction; with HTTP/1 that may be the body's end.
    Ended,
    /// The connection or the stream failed before the body was complete.
    Failed,
    Bad(ErrorKind),
}

/// A body that HTTP/1 carries: its decoder, and what has arrived and isn't decoded.
pub(crate) struct Http1Body {
    decoder: BodyDecoder,
    rest: Option<Slice>,
    /// Bytes that were consumed since the last piece.
    uncounted: u64,
}

impl Http1Body {
    pub(super) fn none() -> Http1Body {
        Http1Body::of_request(BodyLength::None, &HeadLimits::default())
    }

    pub(super) fn of_request(length: BodyLength, limits: &HeadLimits) -> Http1Body {
        Http1Body { decoder: BodyDecoder::new(length, limits), rest: None, uncounted: 0 }
    }

    pub(super) fn of_response(length: BodyLength, limits: &HeadLimits) -> Http1Body {
        Http1Body { decoder: BodyDecoder::for_response(length, limits), rest: None, uncounted: 0 }
    }

    /// Takes the next piece from the connection; what follows the body goes back to it.
    pub(super) fn next(&mut self, from: &Transport) -> Piece {
        loop {
            let slice = match &mut self.rest {
                Some(slice) => slice,
                None => match from.try_recv() {
                    None => return Piece::Nothing,
                    Some(Received::Data(slice)) => self.rest.insert(slice),
                    Some(Received::End) => return Piece::Ended,
                    Some(Received::Failed(_)) => return Piece::Failed,
                },
            };
            let event = match self.decoder.decode(slice) {
                Ok(event) => event,
                Err(error) => return Piece::Bad(error.kind),
            };
            self.uncounted += event.consumed as u64;
            match event.part {
                BodyPart::Data(range) => {
                    let payload = slice.slice(range);
                    slice.advance(event.consumed);
                    return Piece::Data(payload, std::mem::take(&mut self.uncounted));
                }
                BodyPart::NeedMore => self.rest = None,
                BodyPart::End => {
                    if let Some(mut rest) = self.rest.take() {
                        rest.advance(event.consumed);
                        if !rest.is_empty() {
                            from.unrecv(rest);
                        }
                    }
                    return Piece::End(std::mem::take(&mut self.uncounted));
                }
            }
        }
    }

    /// Whether the body may end with the connection here.
    pub(super) fn ends_with_connection(&mut self) -> bool {
        self.decoder.on_eof().is_ok()
    }

    pub(super) fn trailers(&self) -> Option<Trailers<'_>> {
        self.decoder.trailers()
    }

    /// Holds no buffer any more.
    pub(super) fn clear(&mut self) {
        self.rest = None;
    }
}

/// Sends payload over HTTP/1, as a chunk if asked; returns the bytes on the wire.
pub(super) fn send_payload(to: &Transport, payload: Slice, chunked: bool, out: &mut Vec<u8>) -> u64 {
    let mut wire = payload.len() as u64;
    if chunked {
        out.clear();
        emit::chunk_head(out, wire);
        wire += out.len() as u64 + 2;
        to.send(out);
    }
    to.send_slice(payload);
    if chunked {
        to.send(b"\r\n");
    }
    wire
}

/// Ends a body over HTTP/1; returns the bytes on the wire.
pub(super) fn send_end(to: &Transport, trailers: Option<Trailers<'_>>, chunked: bool, out: &mut Vec<u8>) -> u64 {
    if !chunked {
        return 0;
    }
    out.clear();
    emit::last_chunk(out, trailers);
    to.send(out);
    out.len() as u64
}
