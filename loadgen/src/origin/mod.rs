//! `loadgen origin`: a server that costs little and does what it is told, over HTTP/1.1 and HTTP/2.
//!
//! `connection` finds out what a client speaks; `serve` (HTTP/1.1) and `h2` read requests and answer them; `answer` says with what (the command line's
//! settings, or the request's own `?bytes=N&delay_ms=N&status=N`); `stock` holds what doesn't change between requests,
//! ready to send.

mod answer;
mod connection;
mod h2;
mod serve;
mod stock;

use std::io::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc;

use codecs::tls::ServerConfig;
use runtime::{Bell, Core, DriverChoice, Options};

use crate::{cli, cores, process, tls};
use answer::Settings;
use serve::Origin;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;

enum Event {
    Listening(SocketAddr),
    Broken(String),
    Interrupted,
}

/// Serves until SIGINT or SIGTERM. Prints `listening on http://ADDRESS` (or `https`) once it does.
pub(crate) fn run(arguments: &cli::Origin) -> Result<(), String> {
    let driver: DriverChoice = arguments.driver.into();
    let tls = tls::server(arguments)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    cores::probe(driver)?;
    process::raise_files_max();
    let (events, received) = mpsc::channel();
    let interrupts = events.clone();
    process::on_interrupt(move || {
        let _ = interrupts.send(Event::Interrupted);
    })
    .map_err(|error| format!("can't wait for signals: {error}"))?;

    let settings = Settings::new(arguments);
    let mut listen = arguments.listen;
    for (id, cpu) in arguments.cores.places().into_iter().enumerate() {
        start(Options { id, driver, cpu, ..Options::default() }, listen, settings, tls.clone(), &events)?;
        // One after the other: the first finds the port that the others share when 0 was asked for.
        match received.recv() {
            Ok(Event::Listening(address)) => listen = address,
            Ok(Event::Broken(message)) => return Err(message),
            Ok(Event::Interrupted) | Err(_) => return Ok(()),
        }
    }
    let printed = writeln!(std::io::stdout(), "listening on {scheme}://{listen}");
    printed.map_err(|error| format!("can't print the address: {error}"))?;
    match received.recv() {
        Ok(Event::Broken(message)) => Err(message),
        _ => Ok(()),
    }
}

fn start(
    options: Options,
    listen: SocketAddr,
    settings: Settings,
    tls: Option<ServerConfig>,
    events: &mpsc::Sender<Event>,
) -> Result<(), String> {
    let bell = Bell::new().map_err(|error| format!("can't start a core: {error}"))?;
    let (listening, broken) = (events.clone(), events.clone());
    let started = cores::start(
        options,
        bell,
        move |core| accept(core, listen, settings, tls, listening),
        move |result| {
            if let Err(error) = result {
                let _ = broken.send(Event::Broken(format!("a core failed: {error}")));
            }
        },
    );
    started.map(drop).map_err(|error| format!("can't start a thread: {error}"))
}

/// A core's main task.
async fn accept(
    core: Core,
    listen: SocketAddr,
    settings: Settings,
    tls: Option<ServerConfig>,
    events: mpsc::Sender<Event>,
) {
    let listener = match core.listen(listen, BACKLOG) {
        Ok(listener) => listener,
        Err(error) => {
            let _ = events.send(Event::Broken(format!("can't listen on {listen}: {error}")));
            return core.stop();
        }
    };
    let _ = events.send(Event::Listening(listener.address()));
    let origin = Rc::new(Origin::new(core.clone(), settings, tls.map(|config| config.for_core())));
    loop {
        // An error means that descriptors are short; accepting goes on by itself once they aren't.
        if let Ok(accepted) = listener.accept().await {
            core.spawn(connection::serve(origin.clone(), core.adopt(accepted)));
        }
    }
}
