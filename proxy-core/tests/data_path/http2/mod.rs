//! HTTP/2 on both sides, against peers made of the `h2` crate and of frames written by hand: neither knows our codec.

mod client;
mod hostile;
mod keepalive;
mod matrix;
mod multiplexing;
mod origin;
mod raw;
mod secrets;
mod tunnels;
mod world;
