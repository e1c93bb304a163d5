//! `loadgen`: a load generator and a benchmark origin, on the runtime and the codecs of the proxy that they measure.
//!
//! | module | what it does |
//! |---|---|
//! | `cli`, `units` | the command line |
//! | `client` | `loadgen http`: connections, the schedule of requests, what is counted |
//! | `report` | the result as a table, as JSON and as a plot |
//! | `origin` | `loadgen origin`: the server |
//! | `cores`, `process` | threads, pinning, Ctrl-C |

mod cli;
mod client;
mod cores;
mod origin;
mod process;
mod report;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Http(arguments) => client::run(&arguments),
        cli::Command::Origin(arguments) => origin::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|message| {
        eprintln!("loadgen: {message}");
        ExitCode::from(2)
    })
}
