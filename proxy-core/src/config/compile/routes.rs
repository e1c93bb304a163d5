//! Routes of one listener → the table that cores look requests up in.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Compiler;
use crate::config::model;
use crate::config::values::{HostPattern, Regex, Words};
use crate::snapshot::{
    Action, Direct, Forward, HeaderEdits, HeaderMatch, PathMatch, QueryMatch, Redirect, Retry, RetryOn, Route,
    RouteTable, ValueMatch,
};

impl Compiler<'_> {
    /// `None` after a mistake, which has been reported.
    pub(super) fn route_table(&mut self, routes: &[model::Route]) -> Option<RouteTable> {
        let compiled: Vec<Option<Arc<Route>>> = routes.iter().map(|route| self.route(route).map(Arc::new)).collect();
        let compiled: Option<Vec<Arc<Route>>> = compiled.into_iter().collect();
        let hosts = Hosts::of(routes);
        Some(RouteTable { routes: compiled?, exact: hosts.exact(), suffix: hosts.suffix(), any: hosts.any() })
    }

    fn route(&mut self, route: &model::Route) -> Option<Route> {
        let m = &route.r#match;
        let path = match (&m.exact, &m.regex) {
            (Some(path), _) => PathMatch::Exact(path.0.clone()),
            (None, Some(regex)) => PathMatch::Regex(regex.compiled.clone()),
            (None, None) => PathMatch::Prefix(m.prefix.as_ref().map_or("/", |prefix| &prefix.0).to_string()),
        };
        Some(Route {
            name: route.name.as_ref().map_or(String::new(), |name| name.0.clone()),
            path,
            methods: m.methods.iter().map(|method| method.0.clone()).collect(),
            headers: m.headers.iter().map(header_match).collect(),
            query: m.query.iter().map(query_match).collect(),
            action: self.action(route)?,
            request_headers: edits(&route.request_headers),
            response_headers: edits(&route.response_headers),
        })
    }

    fn action(&mut self, route: &model::Route) -> Option<Action> {
        match (&route.cluster, &route.redirect, &route.respond) {
            (Some(cluster), ..) => Some(Action::Forward(Forward {
                cluster: self.cluster_id(cluster)?,
                timeout_ms: route.timeout.ms,
                idle_timeout_ms: route.idle_timeout.map(|timeout| timeout.ms),
                prefix_rewrite: route.prefix_rewrite.as_ref().map(|path| path.0.clone()),
                host_rewrite: route.host_rewrite.as_ref().map(|host| host.0.clone()),
                retry: route.retry.as_ref().map(retry),
            })),
            (None, Some(redirect), _) => Some(Action::Redirect(Redirect {
                status: redirect.status.0 as u16,
                scheme: redirect.scheme.map(|scheme| scheme.name().to_string()),
                host: redirect.host.as_ref().map(|host| host.0.clone()),
                port: redirect.port.map(|port| port.0 as u16),
                path: redirect.path.as_ref().map(|path| path.0.clone()),
                prefix_rewrite: redirect.prefix_rewrite.as_ref().map(|path| path.0.clone()),
                strip_query: redirect.strip_query,
            })),
            (None, None, Some(respond)) => Some(Action::Direct(Direct {
                status: respond.status.0 as u16,
                body: respond.body.0.clone().into_bytes(),
                content_type: respond.content_type.0.clone(),
            })),
            (None, None, None) => {
                let message = "a route has none of `cluster`, `redirect` and `respond`";
                self.diagnostics.push(super::Diagnostic::error(route.r#match.span, message));
                None
            }
        }
    }
}

fn retry(retry: &model::Retry) -> Retry {
    use model::{RetryCallStatus as Status, RetryCause as Cause};
    let has = |cause| retry.on.contains(&cause);
    let number = |status: &Status| match status {
        Status::Cancelled => 1,
        Status::DeadlineExceeded => 4,
        Status::ResourceExhausted => 8,
        Status::Internal => 13,
        Status::Unavailable => 14,
    };
    Retry {
        on: RetryOn {
            connect_failure: has(Cause::ConnectFailure),
            refused_stream: has(Cause::RefusedStream),
            reset: has(Cause::Reset),
            gateway_error: has(Cause::GatewayError),
            server_error: has(Cause::ServerError),
        },
        statuses: retry.on_statuses.iter().map(|status| status.0 as u16).collect(),
        call_statuses: retry.on_grpc.iter().fold(0, |bits, status| bits | 1 << number(status)),
        attempts: retry.attempts.u32(),
        per_try_timeout_ms: retry.per_try_timeout.ms,
        buffer_bytes_max: retry.buffer_bytes_max.u32(),
    }
}

fn header_match(header: &model::HeaderMatch) -> HeaderMatch {
    let texts = [&header.exact, &header.prefix, &header.suffix, &header.contains];
    HeaderMatch {
        name: header.name.0.to_ascii_lowercase(),
        value: value_match(texts, header.regex.as_ref()),
        // "isn't there" is "is there", inverted.
        invert: header.invert != (header.present == Some(false)),
    }
}

fn query_match(query: &model::QueryMatch) -> QueryMatch {
    let texts = [&query.exact, &query.prefix, &query.suffix, &query.contains];
    QueryMatch {
        name: query.name.0.clone(),
        value: value_match(texts, query.regex.as_ref()),
        invert: query.invert != (query.present == Some(false)),
    }
}

/// `texts`: exact, prefix, suffix, contains.
fn value_match(texts: [&Option<Words>; 4], regex: Option<&Regex>) -> ValueMatch {
    if let Some(regex) = regex {
        return ValueMatch::Regex(regex.compiled.clone());
    }
    let kinds = [ValueMatch::Exact, ValueMatch::Prefix, ValueMatch::Suffix, ValueMatch::Contains];
    let given = kinds.into_iter().zip(texts).find_map(|(kind, text)| text.as_ref().map(|text| kind(text.0.clone())));
    given.unwrap_or(ValueMatch::Present)
}

fn edits(edits: &model::HeaderEdits) -> HeaderEdits {
    let pairs =
        |fields: &model::Fields| fields.0.iter().map(|(name, value)| (name.0.clone(), value.0.clone())).collect();
    HeaderEdits {
        remove: edits.remove.iter().map(|name| name.0.clone()).collect(),
        set: pairs(&edits.set),
        add: pairs(&edits.add),
    }
}

/// Which routes each host has of its own.
#[derive(Default)]
struct Hosts<'a> {
    exact: HashMap<&'a str, Vec<u32>>,
    suffix: HashMap<&'a str, Vec<u32>>,
    any: Vec<u32>,
}

impl<'a> Hosts<'a> {
    fn of(routes: &'a [model::Route]) -> Hosts<'a> {
        let mut hosts = Hosts::default();
        for (index, route) in routes.iter().enumerate() {
            let patterns: HashSet<&HostPattern> = route.r#match.host.iter().collect();
            if patterns.is_empty() {
                hosts.any.push(index as u32);
            }
            for pattern in patterns {
                match pattern {
                    HostPattern::Any => hosts.any.push(index as u32),
                    HostPattern::Exact(host) => hosts.exact.entry(host).or_default().push(index as u32),
                    HostPattern::Suffix(suffix) => hosts.suffix.entry(suffix).or_default().push(index as u32),
                }
            }
        }
        hosts
    }

    /// Own routes, then those of ever shorter suffixes of `host`, then those for any host, each route once.
    fn merged(&self, own: &[u32], host: &str) -> Box<[u32]> {
        let mut seen: HashSet<u32> = HashSet::new();
        let mut merged: Vec<u32> = Vec::new();
        let dots = host.char_indices().skip(1).filter(|(_, c)| *c == '.').map(|(at, _)| at);
        let suffixes = dots.filter_map(|at| self.suffix.get(&host[at..])).flatten();
        for &index in own.iter().chain(suffixes).chain(&self.any) {
            if seen.insert(index) {
                merged.push(index);
            }
        }
        merged.into()
    }

    fn exact(&self) -> HashMap<Box<str>, Box<[u32]>> {
        self.exact.iter().map(|(host, own)| ((*host).into(), self.merged(own, host))).collect()
    }

    fn suffix(&self) -> Vec<(Box<str>, Box<[u32]>)> {
        let mut table: Vec<(Box<str>, Box<[u32]>)> =
            self.suffix.iter().map(|(suffix, own)| ((*suffix).into(), self.merged(own, suffix))).collect();
        table.sort_unstable_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        table
    }

    fn any(&self) -> Box<[u32]> {
        self.any.clone().into()
    }
}
