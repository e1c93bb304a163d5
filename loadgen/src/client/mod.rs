//! `loadgen http`, `grpc` and `ws`: what happens in a run.
//!
//! A [`Job`] is what the command line asks for. The main thread works out a [`Plan`] of it, starts the cores and waits. Each
//! core opens its connections (`connection` for HTTP/1, `h2`, `websocket`; `connect` is what they share), and when all are open on all cores their schedules begin: tickets say which request is due when (`schedule`). Answers (`response`) and
//! failures (`failure`) go into the core's `tally`; when the last connection has nothing more to do, the core hands its
//! tally over and ends. The main thread merges the tallies and reports.

mod connect;
mod connection;
pub(crate) mod failure;
mod h2;
mod job;
mod lane;
mod plan;
mod request;
pub(crate) mod response;
mod schedule;
pub(crate) mod tally;
mod target;
mod websocket;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Instant;

use runtime::counters::Page;
use runtime::mailbox::{self, Sender};
use runtime::{Bell, DriverChoice, Options};

use crate::report::progress::Progress;
use crate::report::{self, Report};
use crate::{cores, process};
pub(crate) use job::Job;
pub(crate) use lane::cell;
use lane::{Command, Event, Outcome};
use plan::Plan;
use tally::Tally;
use target::Target;

/// Runs the load and prints the result. The exit code is a failure when not one request succeeded.
pub(crate) fn run(job: &Job<'_>) -> Result<ExitCode, String> {
    let target = Target::parse(job.url, job.exchange.schemes())?;
    let places = job.load.cores.places();
    let plan = Arc::new(Plan::new(job, &target, places.len())?);
    let driver: DriverChoice = job.load.driver.into();
    let driver_name = cores::probe(driver)?;
    process::raise_files_max();

    let (events, received) = mpsc::channel();
    let interrupts = events.clone();
    process::on_interrupt(move || {
        let _ = interrupts.send(Event::Interrupted);
    })
    .map_err(|error| format!("can't wait for signals: {error}"))?;

    let page = Page::new(plan.shares.len(), cell::COUNT);
    let mut cores = start(&plan, driver, &places, &page, &events)?;
    let merged = collect(&received, &mut cores, Progress::new(page, plan.duration_us.map(|us| us + plan.warmup_us)))?;

    let report = Report::new(job, &target.authority, driver_name, plan.shares.len(), &merged);
    report::print(job.load, &report, &merged.tally.latency_us)?;
    Ok(if report.succeeded > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Commands that a core's mailbox holds: one to begin, and one to stop.
const COMMANDS_MAX: usize = 2;

/// The cores' results together.
pub(crate) struct Merged {
    pub(crate) tally: Tally,
    /// From the first core's start to the last one's end, µs.
    pub(crate) window_us: u64,
    pub(crate) interrupted: bool,
}

fn start(
    plan: &Arc<Plan>,
    driver: DriverChoice,
    places: &[Option<usize>],
    page: &Arc<Page>,
    events: &mpsc::Sender<Event>,
) -> Result<Vec<Sender<Command>>, String> {
    let mut cores = Vec::new();
    for (id, cpu) in places.iter().enumerate().take(plan.shares.len()) {
        let bell = Bell::new().map_err(|error| format!("can't start a core: {error}"))?;
        let (sender, commands) = mailbox::channel(&bell, COMMANDS_MAX);
        cores.push(sender);
        let (plan, page, done, broken) = (plan.clone(), page.clone(), events.clone(), events.clone());
        let options = Options { id, driver, cpu: *cpu, ..Options::default() };
        cores::start(
            options,
            bell,
            move |core| lane::run(core, plan, page, done, commands),
            move |result| {
                if let Err(error) = result {
                    let _ = broken.send(Event::Broken(format!("a core failed: {error}")));
                }
            },
        )
        .map_err(|error| format!("can't start a thread: {error}"))?;
    }
    Ok(cores)
}

/// Waits for every core's result; an interrupt asks for them at once.
fn collect(
    events: &mpsc::Receiver<Event>,
    cores: &mut [Sender<Command>],
    mut progress: Progress,
) -> Result<Merged, String> {
    let mut outcomes: Vec<Outcome> = Vec::new();
    let (mut ready, mut interrupted) = (0, false);
    let mut drawn = Instant::now();
    while outcomes.len() < cores.len() {
        let event = match progress.interval() {
            Some(interval) => match events.recv_timeout(interval.saturating_sub(drawn.elapsed())) {
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    drawn = Instant::now();
                    progress.draw();
                    continue;
                }
                event => event.ok(),
            },
            None => events.recv().ok(),
        };
        match event {
            Some(Event::Ready) => {
                ready += 1;
                if ready == cores.len() {
                    cores.iter_mut().for_each(|core| drop(core.send(Command::Begin)));
                }
            }
            Some(Event::Done(outcome)) => outcomes.push(*outcome),
            Some(Event::Broken(message)) => return Err(message),
            Some(Event::Interrupted) => {
                interrupted = true;
                // A mailbox that is full has the message already.
                cores.iter_mut().for_each(|core| drop(core.send(Command::Stop)));
            }
            None => return Err("the cores ended without a result".into()),
        }
    }
    progress.clear();
    let windows = || outcomes.iter().filter_map(|outcome| outcome.window_us);
    let from_us = windows().map(|(from, _)| from).min().unwrap_or(0);
    let end_us = windows().map(|(_, end)| end).max().unwrap_or(0);
    let mut tally = Tally::new();
    outcomes.iter().for_each(|outcome| tally.merge(&outcome.tally));
    Ok(Merged { tally, window_us: end_us - from_us, interrupted })
}
