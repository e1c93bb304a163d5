//! The floor: bytes from client to upstream and back over one io_uring, nothing parsed, no tasks, no timers.
//!
//! Multishot accept, multishot receive from a ring of provided buffers, one send in flight a socket (gathered if
//! several buffers wait), one `io_uring_enter` a turn. What a proxy on the same machine costs above this is its own doing.

mod buffers;
mod forwarder;
mod pair;
mod ring;

use std::process::ExitCode;

use bench::Options;
use clap::Parser;

fn main() -> ExitCode {
    let options = Options::parse();
    match forwarder::Forwarder::new(&options).and_then(|mut forwarder| forwarder.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("forward-null: {error}");
            ExitCode::FAILURE
        }
    }
}
