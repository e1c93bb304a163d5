//! TLS on the data path: what a handshake led to, how it is counted, and how a client's connection gets there.

mod begin;
mod counts;
mod facts;
mod upstream;

pub(crate) use begin::{CoreTls, secure, server_name};
pub(crate) use counts::{DOWNSTREAM, UPSTREAM};
pub(crate) use facts::TlsFacts;
pub(crate) use upstream::{UpstreamTls, host};
