//! What every core does in a run, worked out once.

use std::net::SocketAddr;
use std::time::Duration;

use codecs::http::h1::emit;
use codecs::http::{Method, is_field_name, is_field_value};

use super::target::Target;
use crate::cli::Http;

/// Duration of a run that is bounded by nothing else.
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
/// Largest request body: every core keeps a copy of it.
const BODY_BYTES_MAX: u64 = 1 << 30;

pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) method: Method,
    /// A whole request, ready to send.
    pub(crate) request: Vec<u8>,
    /// `None`: as long as it takes to send the requests asked for.
    pub(crate) duration_us: Option<u64>,
    pub(crate) warmup_us: u64,
    pub(crate) timeout_us: u64,
    pub(crate) new_connections: bool,
    pub(crate) pipeline: u32,
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
    pub(crate) fn new(arguments: &Http, target: &Target, cores: usize) -> Result<Plan, String> {
        let duration = match (arguments.duration, arguments.requests) {
            (None, None) => Some(DURATION_DEFAULT),
            (duration, _) => duration,
        };
        if duration == Some(Duration::ZERO) || arguments.timeout.is_zero() {
            return Err("a duration or timeout of zero leaves no time for a request".into());
        }
        Ok(Plan {
            address: target.resolve()?,
            method: Method::of(arguments.method.as_bytes()),
            request: request(arguments, target)?,
            duration_us: duration.map(micros),
            warmup_us: micros(arguments.warmup),
            timeout_us: micros(arguments.timeout),
            new_connections: arguments.new_connections,
            pipeline: arguments.pipeline,
            rate: arguments.rate,
            spin: arguments.spin,
            shares: shares(cores, arguments.connections as usize, arguments.requests),
        })
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

fn request(arguments: &Http, target: &Target) -> Result<Vec<u8>, String> {
    let body = body(arguments)?;
    let fields = arguments.headers.iter().map(|line| parse_field(line)).collect::<Result<Vec<_>, _>>()?;
    let given = |name: &str| fields.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if given("content-length") || given("transfer-encoding") {
        return Err("the body's length is --body's or --body-bytes' business, not a header's".into());
    }
    let mut out = Vec::with_capacity(256 + body.as_ref().map_or(0, Vec::len));
    emit::request_line(&mut out, arguments.method.as_bytes(), target.path.as_bytes());
    if !given("host") {
        emit::field(&mut out, b"host", target.authority.as_bytes());
    }
    if !given("user-agent") {
        emit::field(&mut out, b"user-agent", concat!("loadgen/", env!("CARGO_PKG_VERSION")).as_bytes());
    }
    if !given("accept") {
        emit::field(&mut out, b"accept", b"*/*");
    }
    if arguments.new_connections && !given("connection") {
        emit::field(&mut out, b"connection", b"close");
    }
    for (name, value) in &fields {
        emit::field(&mut out, name.as_bytes(), value.as_bytes());
    }
    if let Some(body) = &body {
        emit::content_length(&mut out, body.len() as u64);
    }
    emit::end_of_head(&mut out);
    out.extend_from_slice(body.as_deref().unwrap_or_default());
    Ok(out)
}

fn parse_field(line: &str) -> Result<(&str, &str), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("`{line}` is no header; expected `Name: value`"))?;
    let value = value.trim();
    if !is_field_name(name.as_bytes()) || !is_field_value(value.as_bytes()) {
        return Err(format!("`{line}` is no header; expected `Name: value`"));
    }
    Ok((name, value))
}

fn body(arguments: &Http) -> Result<Option<Vec<u8>>, String> {
    let too_large = |bytes: u64| match bytes > BODY_BYTES_MAX {
        true => Err(format!("a body of {bytes} bytes is too large; at most {BODY_BYTES_MAX}")),
        false => Ok(()),
    };
    if let Some(path) = &arguments.body {
        let unreadable = |error| format!("can't read {}: {error}", path.display());
        too_large(std::fs::metadata(path).map_err(unreadable)?.len())?;
        let body = std::fs::read(path).map_err(unreadable)?;
        too_large(body.len() as u64)?;
        return Ok(Some(body));
    }
    arguments.body_bytes.map(|bytes| too_large(bytes).map(|()| vec![b'x'; bytes as usize])).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn built(line: &str) -> Result<String, String> {
        let Command::Http(arguments) = Cli::parse_from(line.split('|')).command else { panic!("not http") };
        let target = Target::parse(&arguments.url).expect("a target");
        request(&arguments, &target).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn a_request_has_what_servers_need_and_fields_of_the_user_replace_defaults() {
        let request = built("loadgen|http|http://h:1/p?q|-H|Host: other|-H|X-A:  b ").expect("a request");
        let version = env!("CARGO_PKG_VERSION");
        let fields = format!("user-agent: loadgen/{version}\r\naccept: */*\r\nHost: other\r\nX-A: b\r\n\r\n");
        assert_eq!(request, format!("GET /p?q HTTP/1.1\r\n{fields}"));
        let request =
            built("loadgen|http|http://h:1|--method|POST|--body-bytes|3|--new-connections").expect("a request");
        assert!(request.starts_with("POST / HTTP/1.1\r\nhost: h:1\r\n"), "{request}");
        assert!(request.ends_with("connection: close\r\ncontent-length: 3\r\n\r\nxxx"), "{request}");
    }

    #[test]
    fn fields_that_would_break_the_request_are_refused() {
        for field in ["no colon", "a b: c", "a: b\r\nc: d", "Content-Length: 3", "transfer-encoding: chunked"] {
            assert!(built(&format!("loadgen|http|http://h|-H|{field}")).is_err(), "{field}");
        }
        assert!(built("loadgen|http|http://h|--body|/nonexistent/file").is_err());
        assert!(built("loadgen|http|http://h|--body-bytes|2G").is_err());
    }

    #[test]
    fn shares_add_up_and_no_core_is_without_a_connection() {
        let parts = shares(3, 8, Some(10));
        assert_eq!(parts.iter().map(|share| share.connections).collect::<Vec<_>>(), [3, 3, 2]);
        assert_eq!(parts.iter().map(|share| share.requests).collect::<Vec<_>>(), [4, 3, 3]);
        assert_eq!(shares(8, 2, None).len(), 2);
    }
}
