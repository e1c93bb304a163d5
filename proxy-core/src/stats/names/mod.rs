//! The one table of every metric: a row is an enum variant, its dotted name, its kind and one sentence of help.
//!
//! A scope (one listener, one cluster, …) owns one run of cells on a counter page; a row's place in that run is known
//! at compile time, so counting is an index and an add. Names and meanings equal Envoy's; rows that Envoy doesn't have
//! say so in their help with "(own)".
//!
//! Rows that are counted together stand together and the busiest stand first: a run of cells is cut into cache lines in
//! the order of the rows.

mod cluster;
pub mod codes;
mod downstream;
mod overload;
mod server;

use std::sync::LazyLock;

pub use cluster::{ClusterStat, EndpointStat};
pub use downstream::{HttpStat, ListenerStat, TcpStat};
pub use overload::OverloadStat;
pub use server::ServerStat;

use super::histogram;

/// What a run of cells belongs to. The order is the order of the exposition.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    Cluster,
    /// One endpoint of one cluster; listed by `/clusters`, not by `/stats`.
    Endpoint,
    Http,
    Listener,
    Overload,
    Server,
    Tcp,
}

impl Scope {
    pub const ALL: [Scope; 7] =
        [Scope::Cluster, Scope::Endpoint, Scope::Http, Scope::Listener, Scope::Overload, Scope::Server, Scope::Tcp];

    /// First part of the dotted name.
    pub fn prefix(self) -> &'static str {
        match self {
            Scope::Cluster => "cluster",
            Scope::Endpoint => "endpoint",
            Scope::Http => "http",
            Scope::Listener => "listener",
            Scope::Overload => "overload",
            Scope::Server => "server",
            Scope::Tcp => "tcp",
        }
    }

    /// Prometheus label that carries the scope's name; `None` for those of which there is one.
    pub fn label(self) -> Option<&'static str> {
        match self {
            Scope::Cluster => Some("envoy_cluster_name"),
            Scope::Endpoint => Some("envoy_cluster_endpoint"),
            Scope::Http => Some("envoy_http_conn_manager_prefix"),
            Scope::Listener => Some("envoy_listener_address"),
            Scope::Overload | Scope::Server => None,
            Scope::Tcp => Some("envoy_tcp_prefix"),
        }
    }

    /// Rows of this scope, in cell order, without response codes.
    pub fn rows(self) -> &'static [Row] {
        match self {
            Scope::Cluster => ClusterStat::ROWS,
            Scope::Endpoint => EndpointStat::ROWS,
            Scope::Http => HttpStat::ROWS,
            Scope::Listener => ListenerStat::ROWS,
            Scope::Overload => OverloadStat::ROWS,
            Scope::Server => ServerStat::ROWS,
            Scope::Tcp => TcpStat::ROWS,
        }
    }

    /// Name of the counters by response status: `upstream_rq` gives `upstream_rq_2xx` and `upstream_rq_200`.
    pub(super) fn status_stem(self) -> Option<&'static str> {
        match self {
            Scope::Cluster => Some("upstream_rq"),
            Scope::Http => Some("downstream_rq"),
            _ => None,
        }
    }

    /// First of the five cells of status classes, or `None` where statuses aren't counted.
    pub(super) fn class_cells(self) -> Option<usize> {
        self.status_stem().map(|_| rows_width(self.rows()))
    }

    /// First of the cells of single status codes. Envoy counts those for clusters alone.
    pub(super) fn code_cells(self) -> Option<usize> {
        match self {
            Scope::Cluster => self.class_cells().map(|first| first + codes::CLASSES),
            _ => None,
        }
    }

    /// Cells that one scope takes on each lane.
    pub fn cells(self) -> usize {
        let classes = if self.class_cells().is_some() { codes::CLASSES } else { 0 };
        let single = if self.code_cells().is_some() { codes::REGISTERED.len() } else { 0 };
        rows_width(self.rows()) + classes + single
    }

    /// The same by Prometheus family, sorted by its name.
    pub(super) fn families(self) -> &'static [Vec<&'static Entry>] {
        static FAMILIES: LazyLock<[Vec<Vec<&'static Entry>>; 7]> = LazyLock::new(|| {
            Scope::ALL.map(|scope| {
                let mut entries: Vec<&Entry> = scope.entries().iter().collect();
                entries.sort_by(|a, b| (&a.family, &a.label).cmp(&(&b.family, &b.label)));
                entries.chunk_by(|a, b| a.family == b.family).map(<[_]>::to_vec).collect()
            })
        });
        &FAMILIES[self as usize]
    }

    /// Everything that readers show of this scope, sorted by name.
    pub fn entries(self) -> &'static [Entry] {
        static ENTRIES: LazyLock<[Vec<Entry>; 7]> = LazyLock::new(|| Scope::ALL.map(entries_of));
        &ENTRIES[self as usize]
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    /// Milliseconds over the fixed bounds of [`histogram::BOUNDS_US`].
    Histogram,
}

impl Kind {
    pub(super) const fn width(self) -> usize {
        match self {
            Kind::Counter | Kind::Gauge => 1,
            Kind::Histogram => histogram::CELLS,
        }
    }
}

/// One metric of a scope.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Dotted, without the scope's prefix.
    pub name: &'static str,
    pub kind: Kind,
    pub help: &'static str,
}

/// A metric as readers see it: a row, a status class or a status code.
#[derive(Debug)]
pub struct Entry {
    /// Dotted, without the scope's prefix.
    pub name: String,
    pub kind: Kind,
    pub help: &'static str,
    /// First cell.
    pub cell: usize,
    /// Name of the Prometheus family, `envoy_cluster_upstream_rq_xx`.
    pub family: String,
    /// Label that tells metrics of one family apart, `envoy_response_code_class="2"`.
    pub label: Option<String>,
    /// Shown only once it has counted (Envoy makes counters of single codes when they first occur).
    pub lazy: bool,
}

/// A metric that a [`Lane`](super::Lane) can count: which scope, which cell.
pub trait Stat: Copy {
    const SCOPE: Scope;
    fn cell(self) -> usize;
}

/// The tables of docs/stats.md.
pub fn markdown() -> String {
    let mut page = String::new();
    for (scope, title) in [
        (Scope::Http, "http.&lt;listener&gt;"),
        (Scope::Tcp, "tcp.&lt;listener&gt;"),
        (Scope::Listener, "listener.&lt;address&gt;"),
        (Scope::Cluster, "cluster.&lt;name&gt;"),
        (Scope::Overload, "overload"),
        (Scope::Server, "server"),
    ] {
        page += &format!("### {title}\n\n| name | kind | meaning |\n|---|---|---|\n");
        for entry in scope.entries().iter().filter(|entry| !entry.lazy) {
            let kind = format!("{:?}", entry.kind).to_lowercase();
            page += &format!("| `{}` | {kind} | {} |\n", entry.name, entry.help);
        }
        page.push('\n');
    }
    page
}

const fn rows_width(rows: &[Row]) -> usize {
    let (mut at, mut width) = (0, 0);
    while at < rows.len() {
        width += rows[at].kind.width();
        at += 1;
    }
    width
}

/// First cell of each row.
const fn cells_of<const N: usize>(rows: &[Row; N]) -> [u16; N] {
    let mut cells = [0; N];
    let (mut at, mut next) = (0, 0);
    while at < N {
        cells[at] = next as u16;
        next += rows[at].kind.width();
        at += 1;
    }
    cells
}

fn entries_of(scope: Scope) -> Vec<Entry> {
    let family = |name: &str| format!("envoy_{}_{}", scope.prefix(), name.replace(['.', '-'], "_"));
    let mut cell = 0;
    let mut entries = Vec::new();
    for row in scope.rows() {
        let Row { name, kind, help } = *row;
        entries.push(Entry { name: name.into(), kind, help, cell, family: family(name), label: None, lazy: false });
        cell += kind.width();
    }
    if let (Some(stem), Some(first)) = (scope.status_stem(), scope.class_cells()) {
        entries.extend((0..codes::CLASSES).map(|class| Entry {
            name: format!("{stem}_{}xx", class + 1),
            kind: Kind::Counter,
            help: "Responses by class of status.",
            cell: first + class,
            family: family(&format!("{stem}_xx")),
            label: Some(format!("envoy_response_code_class=\"{}\"", class + 1)),
            lazy: false,
        }));
    }
    if let (Some(stem), Some(first)) = (scope.status_stem(), scope.code_cells()) {
        entries.extend(codes::REGISTERED.iter().enumerate().map(|(at, code)| Entry {
            name: format!("{stem}_{code}"),
            kind: Kind::Counter,
            help: "Responses by status.",
            cell: first + at,
            family: family(stem),
            label: Some(format!("envoy_response_code=\"{code}\"")),
            lazy: true,
        }));
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries
}

/// Writes one scope's enum and its rows.
macro_rules! stats {
    ($(#[$meta:meta])* $stat:ident in $scope:ident { $($variant:ident $kind:ident $name:literal $help:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u16)]
        pub enum $stat { $(#[doc = $help] $variant,)+ }

        impl $stat {
            pub const ALL: &'static [$stat] = &[$($stat::$variant,)+];
            const TABLE: [$crate::stats::names::Row; Self::ALL.len()] = [
                $($crate::stats::names::Row { name: $name, kind: $crate::stats::names::Kind::$kind, help: $help },)+
            ];
            const CELLS: [u16; Self::ALL.len()] = $crate::stats::names::cells_of(&Self::TABLE);
            pub const ROWS: &'static [$crate::stats::names::Row] = &Self::TABLE;
        }

        impl $crate::stats::names::Stat for $stat {
            const SCOPE: $crate::stats::names::Scope = $crate::stats::names::Scope::$scope;

            #[inline]
            fn cell(self) -> usize {
                Self::CELLS[self as usize] as usize
            }
        }
    };
}
use stats;

#[cfg(test)]
mod tests;
