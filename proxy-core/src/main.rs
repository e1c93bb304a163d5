//! The `corelane` command: reads the command line and the config, starts the cores and the control thread, waits.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use corelane::cli::{self, Cli, Command, Cores, Process};
use corelane::config::{self, Diagnostics, Model};
use corelane::control::{self, Notifier, ProcessLog, process_log};
use corelane::early::{self, Early};
use corelane::lanes::{Lanes, Plan};
use corelane::{log, stats};
use runtime::DriverChoice;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Exit statuses: a refused config or command line, and a start or run that failed.
const REFUSED: u8 = 2;
const FAILED: u8 = 1;

fn main() -> ExitCode {
    runtime::disable_huge_pages();
    match Cli::parse().command {
        None => match config::parse("(built-in example)", config::DEFAULT) {
            Ok(model) => run(model, None, &Process::default(), true),
            Err(mistakes) => refuse(&mistakes),
        },
        Some(Command::Run(options)) => match config::load(&options.config) {
            Ok(model) => run(model, Some(options.config), &options.process, false),
            Err(mistakes) => refuse(&mistakes),
        },
        Some(Command::Check(options)) => match config::load(&options.config) {
            Ok(model) => {
                eprint!("{}", model.warnings());
                print(&format!("{}: ok\n", options.config.display()))
            }
            Err(mistakes) => refuse(&mistakes),
        },
        Some(Command::Schema) => print(&format!("{:#}\n", config::schema())),
    }
}

fn refuse(mistakes: &Diagnostics) -> ExitCode {
    eprint!("{mistakes}");
    ExitCode::from(REFUSED)
}

/// A reader that closed the pipe early is no failure.
fn print(text: &str) -> ExitCode {
    let _ = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn run(model: Model, path: Option<PathBuf>, process: &Process, example: bool) -> ExitCode {
    match try_run(model, path, process, example) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("corelane: {why}");
            ExitCode::from(FAILED)
        }
    }
}

fn try_run(model: Model, config_path: Option<PathBuf>, process: &Process, example: bool) -> Result<(), String> {
    let cpus = choose_cpus(&process.cores)?;
    // Before there is another thread.
    let early = early::begin(model, config_path.as_deref(), process, cpus.len())?;
    let process_log = process_log::start(process.log_level.name())?;
    let ended = serve(early, config_path, process, &cpus, example, process_log);
    process_log::flush();
    ended
}

fn serve(
    early: Early,
    config_path: Option<PathBuf>,
    process: &Process,
    cpus: &[usize],
    example: bool,
    process_log: ProcessLog,
) -> Result<(), String> {
    let Early { model, sockets, held } = early;
    let descriptors_max = runtime::raise_descriptors_max();
    let restrict_ring = !process.unrestricted_ring;
    let driver = choose_driver(process.driver, restrict_ring)?;
    for address in held.inherited.iter().filter(|address| !has_listener(&model, **address)) {
        tracing::warn!("no listener has the address of the inherited socket {address}: nobody accepts there");
    }
    let pinned = cpus.len();
    let registry = stats::Registry::new(cpus.len());
    let (writer, sinks) = log::Writer::start(&registry).map_err(|error| format!("no access log thread: {error}"))?;
    let plan = Plan { cpus: cpus.iter().copied().map(Some).collect(), driver, restrict_ring };
    let (lanes, threads) = Lanes::start(&plan, registry.server(), sinks, sockets)
        .map_err(|error| format!("cannot start the cores: {error}"))?;
    let listeners: Vec<String> =
        model.listeners.iter().map(|listener| format!("{} on {}", listener.name.0, listener.address.0)).collect();
    let handle = control::start(control::Inputs {
        model,
        config_path,
        drain_timeout: process.drain_timeout.map(|timeout| Duration::from_millis(timeout.ms)),
        registry,
        cores: Box::new(lanes),
        logs: writer.control(),
        process_log,
        pinned,
        command_line: command_line(process, cpus),
        name_servers: Vec::new(),
        held,
        notifier: Notifier::from_environment(),
    })?;
    let driver_name = if driver == DriverChoice::Epoll { "epoll" } else { "uring" };
    tracing::info!(
        driver = driver_name,
        cores = ?cpus,
        admin = %handle.admin(),
        descriptors_max,
        "listening: {}",
        listeners.join(", ")
    );
    if example {
        print(EXAMPLE);
    }
    handle.wait();
    let ended = threads.join().map_err(|error| format!("a core failed: {error}"));
    writer.stop();
    ended
}

const EXAMPLE: &str = "\
This is the built-in example: a balancer on 127.0.0.1:8080 in front of two built-in origins. Try

  curl http://127.0.0.1:8080/                        the origins answer in turn
  curl http://127.0.0.1:9901/stats?usedonly          counters
  curl http://127.0.0.1:9901/clusters                endpoints
  curl http://127.0.0.1:9901/config_dump             this config

A config of your own: corelane run -c FILE (corelane check -c FILE finds its mistakes). Ctrl-C ends it.
";

fn has_listener(model: &Model, address: SocketAddr) -> bool {
    model.listeners.iter().any(|listener| listener.address.0 == address)
}

/// Tries the kernel once, so that every core runs the same driver, and says why it isn't io_uring.
fn choose_driver(choice: cli::DriverChoice, restrict_ring: bool) -> Result<DriverChoice, String> {
    let wanted = match choice {
        cli::DriverChoice::Uring => DriverChoice::Uring,
        cli::DriverChoice::Epoll => DriverChoice::Epoll,
        cli::DriverChoice::Auto => DriverChoice::Auto,
    };
    let chosen = wanted.probe(restrict_ring).map_err(|error| format!("--driver uring: {error}"))?;
    if let Some(reason) = chosen.fallback_reason {
        tracing::warn!("using epoll instead of io_uring: {reason}");
    }
    Ok(if chosen.name == "epoll" { DriverChoice::Epoll } else { DriverChoice::Uring })
}

fn choose_cpus(cores: &Cores) -> Result<Vec<usize>, String> {
    let allowed = runtime::allowed_cpus();
    match cores {
        Cores::Auto => Ok(allowed.into_iter().take(runtime::core_count()).collect()),
        Cores::List(list) => match list.iter().find(|cpu| !allowed.contains(cpu)) {
            Some(cpu) => Err(format!("--cores: this process may not run on CPU {cpu}; it may on {allowed:?}")),
            None => Ok(list.clone()),
        },
    }
}

fn command_line(process: &Process, cpus: &[usize]) -> Vec<(String, String)> {
    vec![
        ("cores".into(), cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        ("driver".into(), format!("{:?}", process.driver).to_lowercase()),
        ("log_level".into(), process.log_level.name().into()),
    ]
}
