//! What the forwarders under `src/bin` share: their command line and their listening socket.
//!
//! A forwarder copies the bytes of each client connection to one upstream connection and back, and looks at none of
//! them. The four differ only in how they talk to the kernel, so side by side they show what each way costs:
//! `forward-null` (io_uring by hand: the floor), `forward-epoll`, `forward-monoio` and `forward-glommio`. A fifth,
//! `forward-runtime`, is the same on Corelane's own event loop.

mod options;
mod socket;

pub use options::Options;
pub use socket::{Address, listen};
