//! Prometheus text format 0.0.4 with Envoy's names and labels.
//!
//! `promtool check metrics` wants counters to end in `_total`, nothing else to, and no abbreviated units; many of
//! Envoy's names break that. Names are what dashboards and alerts hold on to, so names stay and what promtool objects
//! to is declared `untyped`, which changes no query. Only a unit can't be hidden so: a histogram's `…_ms`
//! becomes `…_time`, still in milliseconds, like Envoy's own `upstream_rq_time`, and `days_until_…` becomes `time_until_…`,
//! still in days. [`Dialect::Envoy`] leaves all as Envoy has it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use super::{Filter, per_core, prefix};
use crate::stats::block::{Block, Reading};
use crate::stats::histogram::{BOUNDS_MS, Summary};
use crate::stats::names::{Entry, Kind, Scope};
use crate::stats::registry::Registry;

/// Whose rules decide where Envoy's names and promtool's contradict each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Dialect {
    /// `promtool check metrics` has nothing to say.
    #[default]
    Promtool,
    /// Names and types exactly as Envoy's.
    Envoy,
}

impl Dialect {
    fn family(self, entry: &Entry) -> Cow<'_, str> {
        match (self, entry.family.strip_suffix("_ms")) {
            (Dialect::Promtool, Some(stem)) if stem.ends_with("_time") => stem.into(),
            (Dialect::Promtool, Some(stem)) => format!("{stem}_time").into(),
            (Dialect::Promtool, None) if entry.family.contains("_days_until_") => {
                entry.family.replacen("_days_until_", "_time_until_", 1).into()
            }
            _ => entry.family.as_str().into(),
        }
    }

    fn type_of(self, entry: &Entry) -> &'static str {
        let total = entry.family.ends_with("_total");
        match entry.kind {
            Kind::Histogram => "histogram",
            Kind::Counter if total || self == Dialect::Envoy => "counter",
            Kind::Gauge if !total || self == Dialect::Envoy => "gauge",
            Kind::Counter | Kind::Gauge => "untyped",
        }
    }
}

/// One scope's block while it is read.
struct Sample<'a> {
    prefix: &'a str,
    /// `envoy_cluster_name="app"`, or nothing.
    label: &'a str,
    reading: Reading<'a>,
}

/// All metrics, family by family.
pub fn prometheus(registry: &Registry, filter: &Filter, dialect: Dialect) -> String {
    let mut out = String::new();
    let blocks = registry.blocks();
    for scope in Scope::ALL.into_iter().filter(|scope| *scope != Scope::Endpoint) {
        let blocks: Vec<(String, String, &Arc<Block>)> = blocks
            .iter()
            .filter(|block| block.scope() == scope)
            .map(|block| (prefix(block), label(block), block))
            .collect();
        let samples: Vec<Sample<'_>> =
            blocks.iter().map(|(prefix, label, block)| Sample { prefix, label, reading: block.reading() }).collect();
        for family in scope.families() {
            append_family(family, &samples, filter, dialect, &mut out);
        }
        if scope == Scope::Listener {
            append_per_core(&blocks, filter, dialect, &mut out);
        }
    }
    out
}

fn append_family(family: &[&Entry], samples: &[Sample<'_>], filter: &Filter, dialect: Dialect, out: &mut String) {
    let Some(first) = family.first() else { return };
    let name = dialect.family(first);
    let mut headed = false;
    let mut dotted = String::new();
    for sample in samples {
        for entry in family {
            if filter.kind.is_some_and(|kind| kind != entry.kind) {
                continue;
            }
            let value = sample.reading.value(entry.cell);
            let summary = (entry.kind == Kind::Histogram).then(|| sample.reading.summary(entry.cell));
            let used = summary.map_or(value > 0, |summary| summary.count() > 0);
            dotted.clear();
            dotted.extend([sample.prefix, &entry.name]);
            if !filter.keeps(entry, used, &dotted) {
                continue;
            }
            if !std::mem::replace(&mut headed, true) {
                // Writing to a String can't fail.
                let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {}", first.help, dialect.type_of(first));
            }
            let own = entry.label.as_deref().unwrap_or_default();
            let labels = [own, sample.label];
            match summary {
                Some(summary) => append_histogram(&name, labels, &summary, out),
                None => {
                    append_name(&name, "", labels, "", out);
                    let _ = writeln!(out, " {value}");
                }
            }
        }
    }
}

/// `envoy_listener_worker_…` with a label for the core.
fn append_per_core(blocks: &[(String, String, &Arc<Block>)], filter: &Filter, dialect: Dialect, out: &mut String) {
    let mut families: BTreeMap<String, (&Entry, String)> = BTreeMap::new();
    for (prefix, label, block) in blocks {
        for (core, entry) in per_core(block) {
            let value = block.part_at(core, entry.cell);
            let dotted = format!("{prefix}worker_{core}.{}", entry.name);
            if !filter.keeps(entry, value > 0, &dotted) {
                continue;
            }
            let name = dialect.family(entry).replacen("envoy_listener_", "envoy_listener_worker_", 1);
            let own = format!("envoy_worker_id=\"{core}\"");
            let (_, lines) = families.entry(name.clone()).or_insert((entry, String::new()));
            append_name(&name, "", [&own, label], "", lines);
            // Writing to a String can't fail.
            let _ = writeln!(lines, " {value}");
        }
    }
    for (name, (entry, lines)) in families {
        let kind = dialect.type_of(entry);
        let _ = write!(out, "# HELP {name} {} By core.\n# TYPE {name} {kind}\n{lines}", entry.help);
    }
}

fn append_histogram(name: &str, labels: [&str; 2], summary: &Summary, out: &mut String) {
    let mut below = 0;
    for (within, bound) in summary.buckets.iter().zip(BOUNDS_MS.into_iter().chain(["+Inf"])) {
        below += within;
        append_name(name, "_bucket", labels, bound, out);
        let _ = writeln!(out, " {below}");
    }
    append_name(name, "_sum", labels, "", out);
    let _ = writeln!(out, " {}", summary.sum_us as f64 / 1_000.0);
    append_name(name, "_count", labels, "", out);
    let _ = writeln!(out, " {below}");
}

/// `name_suffix{labels,le="bound"}`
fn append_name(name: &str, suffix: &str, labels: [&str; 2], bound: &str, out: &mut String) {
    out.extend([name, suffix]);
    let mut separator = '{';
    for label in labels.into_iter().filter(|label| !label.is_empty()) {
        out.push(separator);
        out.push_str(label);
        separator = ',';
    }
    if !bound.is_empty() {
        out.push(separator);
        out.extend(["le=\"", bound, "\""]);
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
}

fn label(block: &Block) -> String {
    let Some(name) = block.scope().label() else { return String::new() };
    let mut label = format!("{name}=\"");
    for letter in block.name().chars() {
        match letter {
            '\\' => label.push_str("\\\\"),
            '"' => label.push_str("\\\""),
            '\n' => label.push_str("\\n"),
            letter => label.push(letter),
        }
    }
    label.push('"');
    label
}
