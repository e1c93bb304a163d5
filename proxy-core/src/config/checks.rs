//! What must hold between the parts of a config.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::compile::path_rules;
use super::diagnostics::{Diagnostic, Diagnostics};
use super::model::{File, Http, Route};
use super::source::Span;
use super::values::HostPattern;
use super::yaml::{Node, Shape};

/// Gathers the names of the clusters and reports names that are given twice. Works on the tree, so that a cluster with
/// a mistake in it is known all the same.
pub(crate) fn names(root: &Node, diagnostics: &mut Diagnostics) -> HashMap<String, Span> {
    unique_names(root, "listeners", "listener", diagnostics);
    unique_names(root, "clusters", "cluster", diagnostics)
}

fn unique_names(root: &Node, list: &str, what: &str, diagnostics: &mut Diagnostics) -> HashMap<String, Span> {
    let mut names: HashMap<String, Span> = HashMap::new();
    for item in root.get(list).map(Node::items).unwrap_or_default() {
        let Some(node) = item.get("name") else { continue };
        let Some(name) = node.text().filter(|_| !node.is_null()) else { continue };
        if let Some(first) = names.get(name) {
            let error = Diagnostic::error(node.span, format!("two {what}s are called `{name}`"));
            diagnostics.push(error.expected("names that differ").note("the first is here", *first));
        } else {
            names.insert(name.to_string(), node.span);
        }
    }
    names
}

/// What makes the file as a whole unusable.
pub(crate) fn errors(file: &File, root: &Node, diagnostics: &mut Diagnostics) {
    if let Some(listeners) = root.get("listeners")
        && matches!(&listeners.shape, Shape::Sequence(items) if items.is_empty())
    {
        let error = Diagnostic::error(listeners.span, "there are no listeners");
        diagnostics.push(error.expected("at least one"));
    }
    addresses(file, diagnostics);
}

/// What works but probably isn't meant.
pub(crate) fn warnings(file: &File, diagnostics: &mut Diagnostics) {
    if !file.admin.address.0.ip().is_loopback() {
        let message = format!("the admin API listens on {}, beyond this machine", file.admin.address.0);
        let warning = Diagnostic::warning(file.admin.address.span, message);
        diagnostics.push(warning.help("whoever reaches it can stop the process; `127.0.0.1` keeps it private"));
    }
    unused_clusters(file, diagnostics);
    for listener in &file.listeners {
        if let Some(http) = &listener.http {
            if http.routes.is_empty() {
                let warning = Diagnostic::warning(listener.name.span, "this listener has no routes");
                diagnostics.push(warning.help("every request is answered with 404"));
            }
            paths_that_none_has(http, diagnostics);
            unreachable_routes(http, diagnostics);
        }
    }
}

/// Two sockets can't be bound to one address, nor to one port of all addresses and of a single one.
fn addresses(file: &File, diagnostics: &mut Diagnostics) {
    let mut by_port: HashMap<u16, Vec<(SocketAddr, Span, String)>> = HashMap::new();
    let listeners = file.listeners.iter();
    let listeners = listeners.map(|l| (l.address.0, l.address.span, format!("listener `{}`", l.name.0)));
    let admin = (file.admin.address.0, file.admin.address.span, "the admin API".to_string());
    for (address, span, owner) in std::iter::once(admin).chain(listeners) {
        if address.port() == 0 {
            continue; // The kernel picks a free one.
        }
        let others = by_port.entry(address.port()).or_default();
        let clash = |other: &SocketAddr| {
            let same_family = other.is_ipv4() == address.is_ipv4();
            other.ip() == address.ip() || same_family && (other.ip().is_unspecified() || address.ip().is_unspecified())
        };
        if let Some((other, other_span, other_owner)) = others.iter().find(|(other, ..)| clash(other)) {
            // The admin address may stand nowhere in the file, being the default.
            let (at, first, owner, other_owner) = match span.line {
                0 => (*other_span, span, other_owner, &owner),
                _ => (span, *other_span, &owner, other_owner),
            };
            let message = format!("{owner} listens on {address}, where {other_owner} listens");
            let mut error = Diagnostic::error(at, message).expected("an address of its own");
            if first.line > 0 {
                error = error.note(format!("{other_owner}: {other}"), first);
            }
            diagnostics.push(error);
        }
        others.push((address, span, owner));
    }
}

fn unused_clusters(file: &File, diagnostics: &mut Diagnostics) {
    let mut used: HashSet<&str> = HashSet::new();
    for listener in &file.listeners {
        used.extend(listener.tcp.iter().map(|tcp| tcp.cluster.0.as_str()));
        used.extend(listener.tcp.iter().flat_map(|tcp| &tcp.sni).map(|route| route.cluster.0.as_str()));
        let routes = listener.http.iter().flat_map(|http| &http.routes);
        used.extend(routes.filter_map(|route| route.cluster.as_ref()).map(|cluster| cluster.0.as_str()));
    }
    for cluster in file.clusters.iter().filter(|cluster| !used.contains(cluster.name.0.as_str())) {
        let message = format!("cluster `{}` is used by no route and no listener", cluster.name.0);
        diagnostics.push(Diagnostic::warning(cluster.name.span, message));
    }
}

/// Warns of routes for paths that the listener's rules for paths change or refuse.
fn paths_that_none_has(http: &Http, diagnostics: &mut Diagnostics) {
    let rules = path_rules(&http.paths);
    let mut becomes = Vec::new();
    for route in &http.routes {
        let (prefix, exact) = paths(route);
        // The last segment of a prefix may go on.
        let path = exact.map(str::to_string).or_else(|| prefix.map(|prefix| format!("{prefix}x")));
        let Some(path) = path.filter(|path| !rules.leave(path.as_bytes())) else { continue };
        if rules.apply(path.as_bytes(), &mut becomes) == Ok(false) && becomes == path.as_bytes() {
            continue;
        }
        let message =
            format!("no request has the path `{}` by the time that routes see it", exact.or(prefix).unwrap_or("/"));
        let warning = Diagnostic::warning(route.r#match.span, message);
        diagnostics
            .push(warning.help("`paths` of the listener changes or refuses such paths; write what it makes of them"));
    }
}

/// Warns of routes that never see a request, because an earlier one with no further conditions takes all theirs.
fn unreachable_routes(http: &Http, diagnostics: &mut Diagnostics) {
    // For each host, the paths that are taken whole by then and by which route.
    let mut prefixes: HashMap<(&HostPattern, &str), Span> = HashMap::new();
    let mut exacts: HashMap<(&HostPattern, &str), Span> = HashMap::new();
    for route in &http.routes {
        let hosts: &[HostPattern] =
            if route.r#match.host.is_empty() { &[HostPattern::Any] } else { &route.r#match.host };
        let (prefix, exact) = paths(route);
        let taken_by = |host: &HostPattern| -> Option<Span> {
            let path = exact.or(prefix).unwrap_or("/");
            let by_exact = exact.and_then(|path| exacts.get(&(host, path)));
            let ends = path.char_indices().map(|(at, c)| at + c.len_utf8());
            by_exact.or_else(|| ends.filter_map(|end| prefixes.get(&(host, &path[..end]))).next()).copied()
        };
        let taken: Vec<Option<Span>> = hosts.iter().map(taken_by).collect();
        if let Some(Some(first)) = taken.first()
            && taken.iter().all(Option::is_some)
        {
            let warning = Diagnostic::warning(route.r#match.span, "no request ever gets to this route");
            diagnostics.push(warning.note("this one takes them all before it", *first));
        }
        let m = &route.r#match;
        if m.methods.is_empty() && m.headers.is_empty() && m.query.is_empty() && m.regex.is_none() {
            for host in hosts {
                match exact {
                    Some(path) => exacts.entry((host, path)).or_insert(m.span),
                    None => prefixes.entry((host, prefix.unwrap_or("/"))).or_insert(m.span),
                };
            }
        }
    }
}

fn paths(route: &Route) -> (Option<&str>, Option<&str>) {
    let [prefix, exact] = [&route.r#match.prefix, &route.r#match.exact].map(|path| path.as_ref().map(|p| p.0.as_str()));
    (prefix, exact)
}
