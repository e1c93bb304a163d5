//! HTTP/2 (RFC 9113), header compression (RFC 7541) and extended CONNECT (RFC 8441).
//!
//! Life cycle of a connection, either side: make a [`Connection`], which writes its preface and SETTINGS; pass what has been
//! received and not consumed to [`Connection::receive`], which gives one [`Event`] at a time and says how much it consumed;
//! drop that much; go on until it says [`Event::NeedMore`]. Replies that the protocol asks for (acknowledgements,
//! WINDOW_UPDATE, RST_STREAM, GOAWAY) are appended to the `out` that every call takes, in the order in which they must be
//! sent. After an error send `out` and close.
//!
//! A head is decoded to text that looks as it would in HTTP/1, in a [`Message`] that the caller owns, and the same
//! [`RequestHead`](super::RequestHead) and [`ResponseHead`](super::ResponseHead) refer to it: what comes after the codec
//! need not know the version. DATA is never copied: an event names a range of the input, as much as is there. Whoever has
//! consumed it says so by [`Connection::release`], which opens the window again.
//!
//! Sending is `send_…` for heads and trailers, and [`Connection::data_frame`], which writes the nine bytes that go before a
//! payload and says how large that may be.
//!
//! Streams are named by [`StreamRef`]: the identifier and a small number that is free for reuse when the stream is closed,
//! so that the caller can keep its own state in an array. A reference that has become stale does nothing.
//!
//! ```
//! use codecs::http::h2::{Connection, Event, Limits, Message, Role};
//!
//! /// Answers every request on what was `received`; returns how much of it was consumed.
//! fn serve(connection: &mut Connection, received: &[u8], message: &mut Message, out: &mut Vec<u8>) -> usize {
//!     let mut at = 0;
//!     loop {
//!         let Ok(step) = connection.receive(&received[at..], message, out) else { return received.len() };
//!         at += step.consumed;
//!         match step.event {
//!             Event::NeedMore => return at,
//!             Event::Request { stream, .. } => {
//!                 let fields = [(b"content-type".as_slice(), b"text/plain".as_slice(), false)];
//!                 let _ = connection.send_response(stream, 200, fields, false, out);
//!                 if let Ok(granted) = connection.data_frame(stream, 5, true, out) {
//!                     out.extend_from_slice(&b"hello"[..granted.bytes]);
//!                 }
//!             }
//!             Event::Data { stream, range, .. } => connection.release(stream, range.len(), out),
//!             _ => {}
//!         }
//!     }
//! }
//!
//! let (mut out, mut message) = (Vec::new(), Message::default());
//! let mut connection = Connection::new(Role::Server, &Limits::default(), &mut out);
//! assert_eq!(serve(&mut connection, b"PRI * HTTP/2.0\r\n", &mut message, &mut out), 0);
//! ```
//!
//! Every bound is in [`Limits`]. Priorities are ignored (RFC 9113 5.3.2), push is refused.

mod budget;
mod connection;
mod emit;
mod error;
mod flow;
mod frame;
mod head;
mod hpack;
mod limits;
mod settings;
mod streams;

pub use budget::{BudgetLimits, Rate, SMALL_DATA_BYTES, WINDOW_UPDATES_PER_FRAME};
pub use connection::{Connection, Event, Granted, Role, Step};
pub use emit::{FieldLine, FieldRef, NO_FIELDS, RequestLine, field_lines, text_lines};
pub use error::{Error, ErrorCode, ErrorKind, OpenError, SendError};
pub use frame::{FRAME_HEADER_BYTES, MAX_31_BITS, PREFACE};
pub use head::Message;
pub use limits::Limits;
pub use settings::PeerSettings;
pub use streams::StreamRef;

use crate::Status;

/// Whether a connection begins with the client's preface (RFC 9113 3.4); `Partial` while it may still be one.
#[must_use]
pub fn is_preface(input: &[u8]) -> Status<bool> {
    let len = input.len().min(PREFACE.len());
    match (input[..len] == PREFACE[..len], len == PREFACE.len()) {
        (false, _) => Status::Complete(false),
        (true, true) => Status::Complete(true),
        (true, false) => Status::Partial,
    }
}

#[cfg(test)]
mod tests;
