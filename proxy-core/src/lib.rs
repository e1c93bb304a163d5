//! Corelane's trunk: what to do with a message. The two leaves, `runtime` (tasks and the kernel) and `codecs`
//! (bytes and messages), don't know each other; everything that joins them is here.
#![forbid(unsafe_code)]

pub mod cli;
mod cluster;
pub mod config;
pub mod control;
pub mod core;
pub mod early;
mod fault;
mod first_bytes;
mod http;
pub mod lanes;
mod listener;
pub mod log;
pub mod overload;
mod relay;
pub mod snapshot;
pub mod stats;
mod tcp;
mod tls;
mod transport;
