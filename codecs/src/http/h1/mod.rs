//! HTTP/1.1 and HTTP/1.0 (RFC 9112).
//!
//! Life cycle of a connection, either side: keep what has been received and not consumed; call [`parse_request`] (or
//! [`parse_response`]) with all of it until it says `Complete(n)`; use the head, whose spans refer to that input; drop
//! those `n` bytes; feed what follows to a [`BodyDecoder`] made from `head.body` until it says `End`; begin again if
//! `head.keep_alive` allows. An interim response (`head.is_interim()`) is followed by another response head at once.
//! After an error the connection can't be used any more.
//!
//! A head passes three checks: the scan for its end ([`HeadScanner`]: line ends, sizes), the lines (characters of
//! each part), and the validator that all versions share (lengths, Host, hop-by-hop fields). Limits are in
//! [`HeadLimits`](super::HeadLimits).

mod body;
mod classify;
pub mod emit;
mod lines;
mod parse;
mod scan;
mod trailers;

pub use super::{Error, ErrorKind, Side};
pub use crate::Status;
pub use body::{BodyDecoder, BodyEvent, BodyPart};
pub use parse::{RequestOptions, parse_request, parse_request_resumed, parse_response, parse_response_resumed};
pub use scan::{HeadScanner, LEADING_CRLF_MAX};
pub use trailers::Trailers;
