//! The report for people.

use super::{PERCENTILES, Report};
use crate::units::{show_bytes, show_count, show_ms};

pub(super) fn table(report: &Report) -> String {
    let mut lines = vec![row("Target", &report.url), row("Load", &load(report))];
    if report.interrupted {
        lines.push(row("", "interrupted before its end"));
    }
    lines.push(row("Requests", &requests(report)));
    lines.push(row("Rate", &rate(report)));
    let (bytes, per_second) = (show_bytes(report.bytes as f64), show_bytes(report.bytes_per_second));
    lines.push(row("Received", &format!("{bytes}, {per_second}/s")));
    lines.push(row("Connects", &show_count(report.connects)));
    if let Some(tls) = &report.tls {
        let (handshakes, resumed) = (show_count(tls.handshakes), show_count(tls.resumed));
        let text = format!("{} {}, {handshakes} handshakes, {resumed} of them resumed", tls.version, tls.cipher_suite);
        lines.push(row("TLS", &text));
    }
    let statuses = report.statuses.iter().map(|(class, count)| format!("{class} {}", show_count(*count)));
    lines.push(row("Statuses", &list(statuses)));
    if !report.grpc_statuses.is_empty() {
        let statuses = report.grpc_statuses.iter().map(|(status, count)| format!("{status}: {}", show_count(*count)));
        lines.push(row("gRPC", &list(statuses)));
    }
    lines.extend(latency(report));
    lines.extend(errors(report));
    lines.join("\n") + "\n"
}

fn row(name: &str, value: &str) -> String {
    format!("{name:<10} {value}")
}

fn list(items: impl Iterator<Item = String>) -> String {
    let items: Vec<String> = items.collect();
    if items.is_empty() { "none".to_owned() } else { items.join(" · ") }
}

fn load(report: &Report) -> String {
    let loop_kind = match report.target_rate {
        Some(rate) => format!("open loop, {rate} requests/s"),
        None => "closed loop".to_owned(),
    };
    let plural = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let connections = plural(u64::from(report.connections), "connection");
    let connections = match (report.streams, report.protocol) {
        (1, _) => connections,
        (depth, "http/1.1") => format!("{connections}, {depth} requests at once on each"),
        (streams, _) => format!("{connections} of {streams} streams"),
    };
    let cores = plural(report.cores as u64, "core");
    format!("{}, {loop_kind}, {connections}, {cores}, {}, {:.2} s", report.protocol, report.driver, report.seconds)
}

fn requests(report: &Report) -> String {
    let mut text = format!(
        "{}: {} responses, {} failed",
        show_count(report.requests),
        show_count(report.responses),
        show_count(report.failed)
    );
    if report.unfinished > 0 {
        text += &format!(" (and {} unfinished)", show_count(report.unfinished));
    }
    text
}

fn rate(report: &Report) -> String {
    let mut text = match report.rate {
        rate if rate < 1000.0 => format!("{rate:.1} responses/s"),
        rate => format!("{} responses/s", show_count(rate.round() as u64)),
    };
    if let Some(target) = report.target_rate {
        text += &format!(", {:.1} % of what was asked for", report.rate / target * 100.0);
    }
    text
}

fn latency(report: &Report) -> Vec<String> {
    let Some(latency) = &report.latency_ms else { return vec![row("Latency", "no request was answered")] };
    let mut lines = vec![row(
        "Latency",
        &format!(
            "mean {} · stdev {} · min {} · max {}",
            show_ms(latency.mean),
            show_ms(latency.stdev),
            show_ms(latency.min),
            show_ms(latency.max)
        ),
    )];
    for (name, _) in PERCENTILES {
        if let Some(ms) = latency.percentiles.get(name) {
            lines.push(format!("{:>10} % {:>14}", name, show_ms(*ms)));
        }
    }
    lines
}

fn errors(report: &Report) -> Vec<String> {
    let occurred = || report.errors.iter().filter(|(_, count)| **count > 0);
    if occurred().next().is_none() {
        return vec![row("Errors", "none")];
    }
    let mut lines = vec![row("Errors", "")];
    for (kind, count) in occurred() {
        let detail = report.error_details.get(kind).map(|detail| format!("  (first: {detail})")).unwrap_or_default();
        lines.push(format!("  {:<18} {:>12}{detail}", kind.replace('_', " "), show_count(*count)));
    }
    lines
}
