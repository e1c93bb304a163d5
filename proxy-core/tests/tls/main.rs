//! TLS on both sides of the real binary: peers are rustls, scripted bytes, and programs that others wrote (a test that
//! needs one has its name in its own).

#[path = "../ops/mod.rs"]
#[macro_use]
mod ops;

mod certificates;
mod peers;

mod bodies;
mod chromium;
mod clients;
mod clock;
mod endpoints;
mod grpc;
mod handshakes;
mod haproxy;
mod passthrough;
mod programs;
mod reloads;
