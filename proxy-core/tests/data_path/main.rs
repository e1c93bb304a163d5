//! The real binary between scripted clients and scripted origins: what goes in on one side and what has to come out on
//! the other. Every test runs once with each driver.

#[macro_use]
mod harness;

mod bodies;
mod fields;
mod grpc;
mod http2;
mod messages;
mod pools;
mod proxy_protocol;
mod rough_peers;
mod routing;
mod strictness;
mod tcp;
mod timeouts;
mod tunnels;
