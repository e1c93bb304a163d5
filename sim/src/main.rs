//! `corelane-sim`: runs seeds of the simulation for as long as one likes, or one of them again.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use corelane_sim::Run;

/// Runs whole proxy lanes on a simulated network, a seed at a time.
#[derive(Parser)]
#[command(name = "corelane-sim", version)]
struct Arguments {
    /// Run this many seeds, from `--first` on.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run this one only.
    #[arg(long)]
    seed: Option<u64>,
    /// Print everything that happens.
    #[arg(long)]
    story: bool,
    /// Go on after a seed that fails.
    #[arg(long)]
    keep_going: bool,
}

#[expect(clippy::print_stdout, reason = "what the program is for")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let run = Run { teller: arguments.story.then_some(|line| println!("{line}")) };
    let (first, count) = match arguments.seed {
        Some(seed) => (seed, 1),
        None => (arguments.first, arguments.seeds),
    };
    let (start, mut failed, mut virtual_us, mut exchanges) = (Instant::now(), 0, 0, 0);
    for seed in first..first.saturating_add(count) {
        // A release build aborts when something panics: then this is the last that is said.
        announce(seed);
        match run.seed(seed) {
            Ok(report) => {
                virtual_us += report.virtual_us;
                exchanges += report.exchanges;
                if count == 1 {
                    println!("{report:?}");
                }
            }
            Err(failure) => {
                failed += 1;
                println!("{failure}");
                if !arguments.keep_going {
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{count} seeds, {failed} failed; {exchanges} exchanges; {:.0} simulated seconds in {seconds:.1}",
        virtual_us as f64 / 1e6
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Makes a panic say which seed it belongs to.
fn announce(seed: u64) {
    let default = std::panic::take_hook();
    // The hook before it is the standard one, or ours for the seed before, which would pile up.
    drop(default);
    std::panic::set_hook(Box::new(move |panic| {
        eprintln!("seed {seed}: {panic}\n  replay: cargo run -p corelane-sim -- --seed {seed} --story");
    }));
}
