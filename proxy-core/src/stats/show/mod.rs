//! Exposition: all values as text, JSON or for Prometheus.

mod json;
mod prometheus;
mod text;

use std::fmt::Write as _;
use std::sync::Arc;

use regex::Regex;

use super::block::Block;
use super::histogram::Summary;
use super::names::{Entry, Kind, ListenerStat, Scope, Stat as _};
use super::registry::Registry;

pub use json::json;
pub use prometheus::{Dialect, prometheus};
pub use text::text;

/// What to leave out.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only names that match somewhere.
    pub name: Option<Regex>,
    /// Only what has counted.
    pub used_only: bool,
    /// Only this kind.
    pub kind: Option<Kind>,
}

impl Filter {
    /// Whether a metric of this kind and value is shown; `name` is the whole dotted name.
    fn keeps(&self, entry: &Entry, used: bool, name: &str) -> bool {
        (used || !self.used_only && !entry.lazy)
            && self.kind.is_none_or(|kind| kind == entry.kind)
            && self.name.as_ref().is_none_or(|regex| regex.is_match(name))
    }
}

/// A metric's value.
#[derive(Clone, Copy)]
enum Shown<'a> {
    Value(u64),
    Histogram { interval: &'a Summary, total: &'a Summary },
}

/// Calls back for every metric that the filter keeps, sorted by name: first the plain values, then the histograms.
fn each(registry: &Registry, filter: &Filter, mut show: impl FnMut(&str, Shown<'_>)) {
    let mut blocks = registry.blocks();
    blocks.retain(|block| block.scope() != Scope::Endpoint);
    let prefixed: Vec<(String, Arc<Block>)> = blocks.into_iter().map(|block| (prefix(&block), block)).collect();
    for histograms in [false, true] {
        let mut rest = &prefixed[..];
        while let Some(((outer, _), inner)) = rest.split_first() {
            // A name may contain dots: `cluster.a.` and `cluster.a.b.` are sorted together, line by line.
            let nested = inner.iter().take_while(|(prefix, _)| prefix.starts_with(outer)).count();
            let (group, after) = rest.split_at(1 + nested);
            rest = after;
            each_of(group, filter, histograms, &mut show);
        }
    }
}

fn each_of(group: &[(String, Arc<Block>)], filter: &Filter, histograms: bool, show: &mut impl FnMut(&str, Shown<'_>)) {
    let readings: Vec<_> = group.iter().map(|(_, block)| block.reading()).collect();
    let entries = |at: usize| group[at].1.scope().entries().iter().map(move |entry| (at, entry));
    let mut lines: Vec<(usize, &'static Entry)> =
        (0..group.len()).flat_map(entries).filter(|(_, entry)| (entry.kind == Kind::Histogram) == histograms).collect();
    if group.len() > 1 {
        let name = |(at, entry): &(usize, &'static Entry)| group[*at].0.bytes().chain(entry.name.bytes());
        lines.sort_by(|a, b| name(a).cmp(name(b)));
    }
    let mut name = String::new();
    for (at, entry) in lines {
        name.clear();
        name.extend([group[at].0.as_str(), entry.name.as_str()]);
        if histograms {
            let total = readings[at].summary(entry.cell);
            if filter.keeps(entry, total.count() > 0, &name) {
                show(&name, Shown::Histogram { interval: &group[at].1.interval(entry), total: &total });
            }
        } else {
            let value = readings[at].value(entry.cell);
            if filter.keeps(entry, value > 0, &name) {
                show(&name, Shown::Value(value));
            }
        }
    }
    if histograms {
        return;
    }
    for (prefix, block) in group.iter().filter(|(_, block)| block.scope() == Scope::Listener) {
        for (core, entry) in per_core(block) {
            let value = block.part_at(core, entry.cell);
            name.clear();
            // Writing to a String can't fail.
            let _ = write!(name, "{prefix}worker_{core}.{}", entry.name);
            if filter.keeps(entry, value > 0, &name) {
                show(&name, Shown::Value(value));
            }
        }
    }
}

/// What a listener shows for each core too, as Envoy does for its workers: how connections spread.
fn per_core(listener: &Block) -> impl Iterator<Item = (usize, &'static Entry)> {
    let shown = [ListenerStat::DownstreamCxActive.cell(), ListenerStat::DownstreamCxTotal.cell()];
    let entries = move || Scope::Listener.entries().iter().filter(move |entry| shown.contains(&entry.cell));
    (0..listener.cores()).flat_map(move |core| entries().map(move |entry| (core, entry)))
}

/// `cluster.app.`
fn prefix(block: &Block) -> String {
    match block.name() {
        "" => format!("{}.", block.scope().prefix()),
        name => format!("{}.{name}.", block.scope().prefix()),
    }
}

/// Thousandths at most, no trailing zeros.
fn milliseconds(value_ms: f64) -> f64 {
    (value_ms * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests;
