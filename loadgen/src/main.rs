//! `loadgen`: a load generator and a benchmark origin, on the runtime and the codecs of the proxy that they measure.
//!
//! | module | what it does |
//! |---|---|
//! | `cli`, `units` | the command line |
//! | `client` | `loadgen http`, `grpc`, `ws`: connections, the schedule of requests, what is counted |
//! | `report` | the result as a table, as JSON and as a plot |
//! | `origin` | `loadgen origin`: the server |
//! | `transport`, `tls` | bytes of a connection, plain or over TLS |
//! | `h2`, `ws` | limits of HTTP/2, WebSocket frames |
//! | `cores`, `process` | threads, pinning, Ctrl-C |

mod cli;
mod client;
mod cores;
mod h2;
mod origin;
mod process;
mod report;
mod tls;
mod transport;
mod units;
mod ws;

use std::process::ExitCode;

use clap::Parser as _;

#[cfg(not(system_allocator))]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Http(arguments) => client::Job::http(&arguments).and_then(|job| client::run(&job)),
        cli::Command::Grpc(arguments) => client::Job::grpc(&arguments).and_then(|job| client::run(&job)),
        cli::Command::Ws(arguments) => client::Job::ws(&arguments).and_then(|job| client::run(&job)),
        cli::Command::Origin(arguments) => origin::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("loadgen: {message}");
        ExitCode::from(2)
    })
}
