//! What every core does in a run, worked out once.

use std::net::SocketAddr;
use std::time::Duration;

use codecs::http::Method;
use codecs::tls::ClientConfig;

use super::job::{Exchange, Job};
use super::request::{self, Head};
use super::target::Target;
use crate::tls;

/// Duration of a run that is bounded by nothing else.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);

pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) exchange: Exchange,
    pub(crate) method: Method,
    /// TLS, and the name that the server has to prove.
    pub(crate) tls: Option<(ClientConfig, String)>,
    pub(crate) head: Head,
    /// HTTP/1: a whole request, ready to send. HTTP/2: the body. WebSocket: the request to begin with.
    pub(crate) request: Vec<u8>,
    /// WebSocket: the payload of a message.
    pub(crate) message: Vec<u8>,
    /// `None`: as long as it takes to send the requests asked for.
    pub(crate) duration_us: Option<u64>,
    pub(crate) warmup_us: u64,
    pub(crate) timeout_us: u64,
    pub(crate) new_connections: bool,
    pub(crate) pipeline: u32,
    /// Requests under way at once on a connection of HTTP/2.
    pub(crate) streams: u32,
    /// Requests a second over all cores; `None` is the closed loop.
    pub(crate) rate: Option<f64>,
    pub(crate) spin: bool,
    /// One a core.
    pub(crate) shares: Vec<Share>,
}

/// A core's part of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    pub(crate) connections: usize,
    /// Requests to count; MAX when only time bounds the run.
    pub(crate) requests: u64,
}

impl Plan {
    pub(crate) fn new(job: &Job<'_>, target: &Target, cores: usize) -> Result<Plan, String> {
        let load = job.load;
        let duration = match (load.duration, load.requests) {
            (None, None) => Some(DURATION_DEFAULT),
            (duration, _) => duration,
        };
        if duration == Some(Duration::ZERO) || load.timeout.is_zero() {
            return Err("a duration or timeout of zero leaves no time for a request".into());
        }
        let request = request::build(job, target)?;
        Ok(Plan {
            tls: tls_to(job, target)?,
            address: target.resolve()?,
            exchange: job.exchange,
            method: Method::of(job.method.as_bytes()),
            head: request.head,
            request: request.bytes,
            message: request.message,
            duration_us: duration.map(micros),
            warmup_us: micros(load.warmup),
            timeout_us: micros(load.timeout),
            new_connections: job.new_connections,
            pipeline: job.pipeline,
            streams: load.streams,
            rate: load.rate,
            spin: load.spin,
            shares: shares(cores, load.connections as usize, load.requests),
        })
    }
}

fn tls_to(job: &Job<'_>, target: &Target) -> Result<Option<(ClientConfig, String)>, String> {
    let arguments = &job.load.tls;
    if target.tls {
        let name = arguments.sni.clone().unwrap_or_else(|| target.host.clone());
        return Ok(Some((tls::client(arguments, job.exchange.alpn())?, name)));
    }
    let given = [
        ("--insecure", arguments.insecure),
        ("--ca", arguments.ca.is_some()),
        ("--sni", arguments.sni.is_some()),
        ("--tls-max", arguments.tls_max.is_some()),
        ("--resume", arguments.resume),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(format!("{name} is for TLS, which {}:// has none of", job.exchange.schemes()[0])),
        None => Ok(None),
    }
}

/// Bounded, so that sums of times can't overflow.
fn micros(duration: Duration) -> u64 {
    const YEAR_US: u64 = 366 * 86_400 * 1_000_000;
    u64::try_from(duration.as_micros()).unwrap_or(YEAR_US).min(YEAR_US)
}

/// Connections and requests spread over the cores; no core without a connection.
fn shares(cores: usize, connections: usize, requests: Option<u64>) -> Vec<Share> {
    let cores = cores.clamp(1, connections);
    let part = |total: u64, core: usize| {
        let (each, rest) = (total / cores as u64, total % cores as u64);
        each + u64::from((core as u64) < rest)
    };
    let share = |core| Share {
        connections: part(connections as u64, core) as usize,
        requests: requests.map_or(u64::MAX, |requests| part(requests, core)),
    };
    (0..cores).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_no_core_is_without_a_connection() {
        let parts = shares(3, 8, Some(10));
        assert_eq!(parts.iter().map(|share| share.connections).collect::<Vec<_>>(), [3, 3, 2]);
        assert_eq!(parts.iter().map(|share| share.requests).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(shares(8, 2, None).len(), 2);
    }
}
