//! The result of a run: as a table for people, as JSON for programs, as a plot.

mod plot;
pub(crate) mod progress;
mod table;

use std::collections::BTreeMap;
use std::io::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::Load;
use crate::client::failure::Failure;
use crate::client::response::GRPC_STATUS_NONE;
use crate::client::{Job, Merged};

/// Percentiles that are reported.
const PERCENTILES: [(&str, f64); 7] =
    [("50", 0.5), ("75", 0.75), ("90", 0.9), ("95", 0.95), ("99", 0.99), ("99.9", 0.999), ("99.99", 0.9999)];

/// Everything that is reported; `--json` prints it as it is. Latencies are in ms.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) url: String,
    /// Value of `Host` that the URL asks for.
    pub(crate) host: String,
    pub(crate) driver: &'static str,
    pub(crate) cores: usize,
    pub(crate) connections: u32,
    /// Requests under way at once on a connection.
    pub(crate) streams: u32,
    /// `http/1.1`, `h2`, `grpc`, `websocket`, `websocket over h2`.
    pub(crate) protocol: &'static str,
    /// `closed` or `open`.
    pub(crate) mode: &'static str,
    /// Requests a second that were asked for (open loop).
    pub(crate) target_rate: Option<f64>,
    /// The run was stopped before its end.
    pub(crate) interrupted: bool,
    /// What was measured lasted this long.
    pub(crate) seconds: f64,
    /// Requests that have ended: responses and failures.
    pub(crate) requests: u64,
    pub(crate) responses: u64,
    /// Responses with a status below 400; calls with a `grpc-status` of 0.
    pub(crate) succeeded: u64,
    /// Requests without a response.
    pub(crate) failed: u64,
    /// Requests that an interrupt cut off, or that were due and had not started.
    pub(crate) unfinished: u64,
    /// Responses a second, of those that were complete within `seconds`.
    pub(crate) rate: f64,
    /// Received bytes of responses, heads and framing included.
    pub(crate) bytes: u64,
    pub(crate) body_bytes: u64,
    /// As `rate`.
    pub(crate) bytes_per_second: f64,
    /// Connections that were made.
    pub(crate) connects: u64,
    /// `None`: not over TLS, or no handshake was completed.
    pub(crate) tls: Option<Tls>,
    pub(crate) latency_ms: Option<Latency>,
    /// Responses by class.
    pub(crate) statuses: BTreeMap<String, u64>,
    /// Calls by `grpc-status`; `none` for those without.
    pub(crate) grpc_statuses: BTreeMap<String, u64>,
    /// Failures by kind, and responses with an error status by class; kinds that didn't occur are there with 0.
    pub(crate) errors: BTreeMap<String, u64>,
    /// The first error of a kind in words, where there is more to say than its name.
    pub(crate) error_details: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tls {
    pub(crate) version: &'static str,
    pub(crate) cipher_suite: &'static str,
    pub(crate) handshakes: u64,
    pub(crate) resumed: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) stdev: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) percentiles: BTreeMap<&'static str, f64>,
}

impl Report {
    pub(crate) fn new(job: &Job<'_>, host: &str, driver: &'static str, cores: usize, merged: &Merged) -> Report {
        let (tally, load) = (&merged.tally, job.load);
        let seconds = merged.window_us as f64 / 1e6;
        let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let classes = || (1..=9).map(|class| (class, tally.statuses[class])).filter(|(_, count)| *count > 0);
        let mut errors: BTreeMap<String, u64> =
            Failure::ALL.into_iter().map(|kind| (kind.name().to_owned(), tally.failures[kind as usize])).collect();
        errors.insert("status_4xx".into(), tally.statuses[4]);
        errors.insert("status_5xx".into(), tally.statuses[5]);
        errors.insert("grpc_status".into(), tally.grpc_statuses[1..].iter().sum());
        let details = Failure::ALL.into_iter().filter_map(|kind| {
            let detail = tally.details[kind as usize].clone()?;
            Some((kind.name().to_owned(), detail))
        });
        Report {
            url: job.url.to_owned(),
            host: host.to_owned(),
            driver,
            cores,
            connections: load.connections,
            streams: if job.exchange.has_streams() { load.streams } else { job.pipeline },
            protocol: job.exchange.name(),
            mode: if load.rate.is_some() { "open" } else { "closed" },
            target_rate: load.rate,
            interrupted: merged.interrupted,
            seconds,
            requests: tally.responses() + tally.failed_total(),
            responses: tally.responses(),
            succeeded: tally.succeeded(),
            failed: tally.failed_total(),
            unfinished: tally.unfinished,
            rate: per_second(tally.in_time),
            bytes: tally.bytes,
            body_bytes: tally.body_bytes,
            bytes_per_second: per_second(tally.in_time_bytes),
            connects: tally.connects,
            tls: tally.tls.map(|(version, cipher_suite)| Tls {
                version,
                cipher_suite,
                handshakes: tally.handshakes,
                resumed: tally.resumed,
            }),
            latency_ms: Latency::of(&tally.latency_us),
            statuses: classes().map(|(class, count)| (format!("{class}xx"), count)).collect(),
            grpc_statuses: grpc_statuses(&tally.grpc_statuses),
            errors,
            error_details: details.collect(),
        }
    }
}

/// Those that occurred.
fn grpc_statuses(counts: &[u64]) -> BTreeMap<String, u64> {
    let name = |status: usize| if status == usize::from(GRPC_STATUS_NONE) { "none".into() } else { status.to_string() };
    let occurred = counts.iter().enumerate().filter(|(_, count)| **count > 0);
    occurred.map(|(status, count)| (name(status), *count)).collect()
}

impl Latency {
    fn of(latency_us: &Histogram<u64>) -> Option<Latency> {
        let ms = |us: u64| us as f64 / 1e3;
        let percentile = |(name, share): (&'static str, f64)| (name, ms(latency_us.value_at_quantile(share)));
        (!latency_us.is_empty()).then(|| Latency {
            count: latency_us.len(),
            mean: latency_us.mean() / 1e3,
            stdev: latency_us.stdev() / 1e3,
            min: ms(latency_us.min()),
            max: ms(latency_us.max()),
            percentiles: PERCENTILES.into_iter().map(percentile).collect(),
        })
    }
}

/// Prints the report as was asked for, and draws the plot.
pub(crate) fn print(load: &Load, report: &Report, latency_us: &Histogram<u64>) -> Result<(), String> {
    let text = match load.json {
        true => {
            serde_json::to_string_pretty(report).map_err(|error| format!("can't print the result: {error}"))? + "\n"
        }
        false => table::table(report),
    };
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| format!("can't print the result: {error}"))?;
    if let Some(path) = &load.plot {
        let svg = plot::svg(report, latency_us);
        std::fs::write(path, svg).map_err(|error| format!("can't write {}: {error}", path.display()))?;
    }
    Ok(())
}
