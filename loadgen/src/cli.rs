//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use codecs::tls::Version;
use runtime::DriverChoice;

use crate::cores::Cores;
use crate::units;

/// Measures HTTP servers without flattering them, and serves as a fast origin behind a proxy under test.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Load an HTTP server, of version 1.1 or 2, and report rate, latency percentiles and errors.
    Http(Http),
    /// Load a gRPC server with unary calls.
    Grpc(Grpc),
    /// Send messages to a WebSocket server that echoes them, and report the latency of round trips.
    Ws(Ws),
    /// Serve HTTP/1.1, HTTP/2, gRPC and WebSocket with a body, delay, status and error rate of your choice.
    Origin(Origin),
}

/// Most connections that a run may open.
const CONNECTIONS_MAX: u32 = 1_000_000;
/// Most requests under way on one connection of HTTP/1.1.
const PIPELINE_MAX: u32 = 1024;
/// Most streams of one connection of HTTP/2.
const STREAMS_MAX: u32 = 65_536;

/// What all kinds of load have in common.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// Connections, over all cores.
    #[arg(short, long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    pub(crate) connections: u32,

    /// Requests under way at once on each connection of HTTP/2, each on a stream of its own.
    #[arg(short = 'm', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(STREAMS_MAX)))]
    pub(crate) streams: u32,

    /// How long to send requests; those under way at the end are waited for. Default 10s unless --requests is given.
    #[arg(short, long, value_parser = units::duration)]
    pub(crate) duration: Option<Duration>,

    /// How many requests to send.
    #[arg(short = 'n', long, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests: Option<u64>,

    /// Start this many requests a second, on a schedule, whatever the server does (open loop). Latency counts from the
    /// time at which a request was due. Without it each connection sends as soon as it has its answer (closed loop).
    #[arg(long, value_parser = positive)]
    pub(crate) rate: Option<f64>,

    /// With --rate: space requests to the microsecond by never sleeping, which takes whole cores. Otherwise they start on
    /// a grid of 1 ms.
    #[arg(long, requires = "rate")]
    pub(crate) spin: bool,

    /// A header field to add, `Name: value`; replaces a default of the same name.
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub(crate) headers: Vec<String>,

    /// Send a body (a message) of this many bytes with every request.
    #[arg(long, value_name = "N", value_parser = units::bytes)]
    pub(crate) body_bytes: Option<u64>,

    /// Load the server this long before anything is counted.
    #[arg(long, default_value = "0s", value_parser = units::duration)]
    pub(crate) warmup: Duration,

    /// After this long a request has failed.
    #[arg(long, default_value = "10s", value_parser = units::duration)]
    pub(crate) timeout: Duration,

    /// Event loops to run: a number, a list of CPUs to pin them to such as `0,2-3` (`1,` is CPU 1 alone), or `auto` for
    /// one a CPU.
    #[arg(long, default_value = "1")]
    pub(crate) cores: Cores,

    #[arg(long, default_value = "auto")]
    pub(crate) driver: Driver,

    /// Print the result as JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,

    /// Draw the latency curve into this SVG file.
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tls: Tls,
}

/// TLS to the server, with `https://` and `wss://`.
#[derive(Debug, Args)]
pub(crate) struct Tls {
    /// Don't verify the server's certificate.
    #[arg(long, conflicts_with = "ca")]
    pub(crate) insecure: bool,

    /// The authorities (PEM) that the server's certificate must come from, in place of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// The name to ask for and to verify, if not the URL's host.
    #[arg(long, value_name = "NAME")]
    pub(crate) sni: Option<String>,

    /// The highest version to offer: 1.2 or 1.3.
    #[arg(long, value_name = "VERSION", value_parser = tls_version)]
    pub(crate) tls_max: Option<Version>,

    /// Resume sessions where the server allows it, instead of a full handshake for every connection.
    #[arg(long)]
    pub(crate) resume: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Http {
    /// What to request: http[s]://host[:port][/path[?query]]
    pub(crate) url: String,

    /// HTTP/2: at once on http://, by ALPN on https://.
    #[arg(long)]
    pub(crate) h2: bool,

    /// Unary gRPC calls, as `loadgen grpc`.
    #[arg(long, conflicts_with_all = ["method", "body", "pipeline"])]
    pub(crate) grpc: bool,

    #[arg(long, default_value = "GET", value_parser = method)]
    pub(crate) method: String,

    /// Send this file as the body of every request.
    #[arg(long, value_name = "FILE", conflicts_with = "body_bytes")]
    pub(crate) body: Option<PathBuf>,

    /// A new connection for every request; connecting counts as part of the latency, handshakes included.
    #[arg(long)]
    pub(crate) new_connections: bool,

    /// Send this many requests at once on each connection of HTTP/1.1 before reading their answers.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=i64::from(PIPELINE_MAX)),
          conflicts_with_all = ["rate", "new_connections", "h2"])]
    pub(crate) pipeline: u32,

    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Grpc {
    /// What to call: http[s]://host[:port]/package.Service/Method
    pub(crate) url: String,

    /// A new connection for every call; connecting counts as part of the latency, handshakes included.
    #[arg(long)]
    pub(crate) new_connections: bool,

    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Ws {
    /// Where the echo is: ws[s]://host[:port][/path[?query]]
    pub(crate) url: String,

    /// WebSocket over HTTP/2 (RFC 8441), a stream each.
    #[arg(long)]
    pub(crate) h2: bool,

    #[command(flatten)]
    pub(crate) load: Load,
}

#[derive(Debug, Args)]
pub(crate) struct Origin {
    /// Address to listen on; port 0 takes a free one and prints it.
    #[arg(long, default_value = "127.0.0.1:9001")]
    pub(crate) listen: SocketAddr,

    /// Bytes of the response's body.
    #[arg(long, default_value = "100", value_parser = units::bytes)]
    pub(crate) body_bytes: u64,

    /// Wait this long before answering.
    #[arg(long, default_value = "0ms", value_parser = units::duration)]
    pub(crate) delay: Duration,

    /// Status of responses.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) status: u16,

    /// Share of requests, 0 to 1, that is answered with --error-status instead.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    pub(crate) error_rate: f64,

    #[arg(long, default_value_t = 503, value_parser = clap::value_parser!(u16).range(200..=599))]
    pub(crate) error_status: u16,

    /// Send bodies in the chunked coding; in HTTP/2, without a length.
    #[arg(long)]
    pub(crate) chunked: bool,

    /// Close every connection after its first response.
    #[arg(long)]
    pub(crate) close: bool,

    /// Serve over TLS: the certificate (PEM), then those that lead to its authority.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The certificate's key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Event loops to run: a number, a list of CPUs to pin them to such as `0,2-3` (`1,` is CPU 1 alone), or `auto` for
    /// one a CPU.
    #[arg(long, default_value = "auto")]
    pub(crate) cores: Cores,

    #[arg(long, default_value = "auto")]
    pub(crate) driver: Driver,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Driver {
    Uring,
    Epoll,
    Auto,
}

impl From<Driver> for DriverChoice {
    fn from(driver: Driver) -> DriverChoice {
        match driver {
            Driver::Uring => DriverChoice::Uring,
            Driver::Epoll => DriverChoice::Epoll,
            Driver::Auto => DriverChoice::Auto,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err(format!("`{text}` is no rate; expected a number above 0, of requests a second")),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is no share; expected a number from 0 to 1")),
    }
}

fn tls_version(text: &str) -> Result<Version, String> {
    match text {
        "1.2" => Ok(Version::Tls12),
        "1.3" => Ok(Version::Tls13),
        _ => Err(format!("`{text}` is no version of TLS; expected 1.2 or 1.3")),
    }
}

fn method(text: &str) -> Result<String, String> {
    match text {
        "CONNECT" => Err("CONNECT opens a tunnel, which isn't measured".into()),
        _ if codecs::http::is_token(text.as_bytes()) => Ok(text.into()),
        _ => Err(format!("`{text}` is no method")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        for (line, reason) in [
            ("loadgen http", "<URL>"),
            ("loadgen http u -c 0", "0 is not in"),
            ("loadgen http u --rate 0", "above 0"),
            ("loadgen http u --spin", "--rate"),
            ("loadgen http u --method CONNECT", "tunnel"),
            ("loadgen http u --body f --body-bytes 1", "cannot be used with"),
            ("loadgen http u --pipeline 2 --rate 1", "cannot be used with"),
            ("loadgen http u --pipeline 2 --h2", "cannot be used with"),
            ("loadgen http u --grpc --method PUT", "cannot be used with"),
            ("loadgen http u --insecure --ca f", "cannot be used with"),
            ("loadgen http u --tls-max 1.1", "1.2 or 1.3"),
            ("loadgen ws", "<URL>"),
            ("loadgen origin --tls-cert f", "--tls-key"),
            ("loadgen http u -d 10", "needs a unit"),
            ("loadgen origin --error-rate 1.5", "from 0 to 1"),
            ("loadgen origin --status 101", "101 is not in"),
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).map(|_| ()).expect_err(line).to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
