//! Load that takes every failed request seriously.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::client::{Client, Response};
use super::wait_until;

/// A listener that closes lets handshakes wait instead of failing; a client that waited for the kernel's next try, a
/// second later, would hardly load it.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);

/// How connections are used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// As long as the server lets them live.
    KeepAlive,
    /// A new one for every request.
    Fresh,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    refused: AtomicU64,
    told_to_close: AtomicU64,
    failures: Mutex<Vec<String>>,
}

/// Clients, each with a connection and a thread, that send request after request.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What came of it.
#[derive(Debug)]
pub struct Tally {
    pub done: u64,
    /// Connections that nobody accepted: no request has failed.
    pub refused: u64,
    pub told_to_close: u64,
    /// Requests on accepted connections without a whole, right response.
    pub failures: Vec<String>,
}

impl Load {
    pub fn start(address: SocketAddr, connections: usize, reuse: Reuse, paths: &'static [&'static str]) -> Load {
        Load::paced(address, connections, reuse, paths, Duration::ZERO)
    }

    /// With a pause after each response.
    pub fn paced(
        address: SocketAddr,
        connections: usize,
        reuse: Reuse,
        paths: &'static [&'static str],
        pause: Duration,
    ) -> Load {
        let shared = Arc::new(Shared::default());
        let client = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let mut requests = (number..).map(|at| paths[at % paths.len()]);
                while !shared.stop.load(Ordering::Relaxed) {
                    connection(&shared, address, reuse, &mut requests, pause);
                }
            })
        };
        let threads = (0..connections).map(client).collect();
        Load { shared, threads }
    }

    pub fn done(&self) -> u64 {
        self.shared.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests have been answered.
    pub fn wait_for(&self, requests: u64) {
        let until = self.done() + requests;
        wait_until("requests to be answered", || self.done() >= until);
    }

    pub fn stop(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a client");
        }
        let shared = &self.shared;
        let failures = std::mem::take(&mut *shared.failures.lock().expect("a lock"));
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (done, refused) = (number(&shared.done), number(&shared.refused));
        Tally { done, refused, told_to_close: number(&shared.told_to_close), failures }
    }
}

impl Tally {
    pub fn assert_no_failures(&self) {
        let shown = &self.failures[..self.failures.len().min(10)];
        assert!(self.failures.is_empty(), "{} of {} requests failed: {shown:#?}", self.failures.len(), self.done);
        assert!(self.done > 0, "nothing was tried");
    }
}

fn connection(
    shared: &Shared,
    address: SocketAddr,
    reuse: Reuse,
    paths: &mut impl Iterator<Item = &'static str>,
    pause: Duration,
) {
    let connected = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).and_then(Client::over);
    let Ok(mut client) = connected else {
        shared.refused.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(2));
        return;
    };
    for number in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        let path = paths.next().unwrap_or("/");
        match check(client.get(path)) {
            Ok(response) => {
                shared.done.fetch_add(1, Ordering::Relaxed);
                if response.closes() {
                    shared.told_to_close.fetch_add(1, Ordering::Relaxed);
                    return;
                }
            }
            Err(error) => {
                let failure = format!("{path}, request {number} of its connection: {error}");
                shared.failures.lock().expect("a lock").push(failure);
                return;
            }
        }
        if reuse == Reuse::Fresh {
            return;
        }
        std::thread::sleep(pause);
    }
}

fn check(response: io::Result<Response>) -> io::Result<Response> {
    let response = response?;
    match response.status {
        200 => Ok(response),
        status => Err(io::Error::other(format!("status {status}: {}", response.text()))),
    }
}
