//! Corelane's protocol codecs: bytes in, messages out.
//!
//! A codec takes `&[u8]`, refers to it by [`Span`](http::Span)s and appends what it emits to a buffer that the caller
//! passes. It knows no socket, no clock and no thread. "Not enough bytes yet" is [`Status::Partial`], not an error; an
//! error says whose [`Fault`] it is and how much of the connection it spoils ([`Scope`]). Any chunking of the same input
//! gives the same messages.
#![forbid(unsafe_code)]

pub mod base64;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod grpc;
pub mod http;
pub mod proxy_protocol;
pub mod tls;
pub mod websocket;

/// What a parser made of the bytes that there are so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status<T> {
    /// A whole message was there.
    Complete(T),
    /// Call again with the same bytes and more behind them.
    Partial,
}

/// Who is to blame for an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The peer sent something that the protocol or our limits forbid.
    Peer,
    /// Our own code asked for something impossible.
    Local,
}

/// How much is lost with an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// This message alone: its end is known, so the next one can still be read.
    Message,
    /// One stream of a multiplexed connection.
    Stream,
    /// The whole connection: where the next message begins is no longer known or no longer to be trusted.
    Connection,
}
