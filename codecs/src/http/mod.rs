//! The neutral model of HTTP that all versions parse into and emit from.
//!
//! A head is a set of [`Span`]s into the bytes that it was parsed from, plus what the one validator (`validate.rs`)
//! concluded from them: how long the body is, whether the connection persists, which fields end at this hop. Heads are
//! made once a connection and filled again for every message, so that a steady state allocates nothing.
//!
//! Specifications: RFC 9110 (semantics), RFC 9112 (HTTP/1.1), RFC 9113 (HTTP/2), RFC 3986 (targets).

mod authority;
mod error;
mod field;
mod field_id;
pub mod h1;
pub mod h2;
mod head;
mod method;
mod path;
mod reason;
mod span;
mod syntax;
mod target;
mod validate;

pub use error::{Error, ErrorKind, Side};
pub use field::{Field, FieldSet};
pub use field_id::FieldId;
pub use head::{BodyLength, HeadLimits, RequestHead, ResponseHead, Scheme, TargetForm, Version};
pub use method::Method;
pub use path::{EscapedSlashes, PathError, PathRules, has_dot_segment};
pub use reason::standard_reason;
pub use span::Span;
pub use syntax::{is_field_name, is_field_value, is_token};
pub use validate::CONNECTION_OPTIONS_MAX;
