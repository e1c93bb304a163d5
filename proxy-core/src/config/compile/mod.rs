//! Model → snapshot: names become ids, patterns become tables, counters get their places.

mod routes;

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;

use codecs::http::{EscapedSlashes, PathRules, h2};
use codecs::tls::xfcc;

use super::diagnostics::{Diagnostic, Diagnostics};
use super::model::{self, Model};
use super::source::Spanned;
use super::tls::Tls;
use super::values::{ClusterName, EndpointAddress, HostPattern, OneOrMany};
use crate::log;
use crate::snapshot::{
    Balance, Breaker, ClientCert, Cluster, ClusterId, Endpoint, Forwarding, Http, Http2, HttpLimits, Keepalive,
    Listener, LogId, Overload, Protocol, ProxyVersion, Serve, Snapshot, SniTable, Tcp,
};

/// What compiling needs beside the model.
pub struct Inputs<'a> {
    /// Where counters get their places.
    pub registry: &'a crate::stats::Registry,
    /// Addresses of the names that [`hostnames`] asks for, by "name:port". A name that isn't there has none yet.
    pub resolved: &'a HashMap<String, Vec<SocketAddr>>,
    /// The snapshot's number.
    pub version: u64,
}

/// An endpoint name that compiling needs addresses of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hostname {
    /// Lower case.
    pub host: String,
    pub port: u16,
    /// How often to resolve it where DNS names no lifetime: the shortest of the clusters that use it.
    pub refresh_ms: u64,
}

impl Hostname {
    /// "host:port", by which [`Inputs::resolved`] knows it.
    pub fn key(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The endpoint names that compiling the model needs addresses of, each once, sorted.
pub fn hostnames(model: &Model) -> Vec<Hostname> {
    let mut names: BTreeMap<(&str, u16), u64> = BTreeMap::new();
    for cluster in &model.clusters {
        for endpoint in cluster.endpoints.iter() {
            if let EndpointAddress::Name { host, port } = &endpoint.address {
                let refresh_ms = names.entry((host, *port)).or_insert(u64::MAX);
                *refresh_ms = cluster.dns_refresh.ms.min(*refresh_ms);
            }
        }
    }
    names.into_iter().map(|((host, port), refresh_ms)| Hostname { host: host.to_string(), port, refresh_ms }).collect()
}

/// Compiles a model.
///
/// # Errors
/// What [`super::parse`] couldn't know: a model that wasn't made by it may name clusters that it doesn't have.
pub fn compile(model: &Model, inputs: &Inputs<'_>) -> Result<Snapshot, Diagnostics> {
    let ids =
        model.clusters.iter().enumerate().map(|(id, cluster)| (cluster.name.0.clone(), id as ClusterId)).collect();
    let mut compiler = Compiler {
        inputs,
        ids,
        tls: &model.tls,
        logs: Logs::default(),
        diagnostics: Diagnostics::new(model.source.clone()),
    };
    let listeners: Vec<Option<Listener>> =
        model.listeners.iter().map(|listener| compiler.listener(listener, &model.access_log)).collect();
    let clusters = model.clusters.iter().map(|cluster| Arc::new(compiler.cluster(cluster))).collect();
    if compiler.diagnostics.has_errors() {
        return Err(compiler.diagnostics);
    }
    Ok(Snapshot {
        version: inputs.version,
        listeners: listeners.into_iter().flatten().map(Arc::new).collect(),
        clusters,
        logs: compiler.logs.specs,
        drain_timeout_ms: model.drain_timeout.ms,
        connections_max: model.connections_max.u32(),
        overload: Overload {
            memory_max: model.overload.memory_max.map(|bytes| bytes.0),
            disable_keepalive_percent: model.overload.disable_keepalive_percent.u32(),
            stop_accepting_percent: model.overload.stop_accepting_percent.u32(),
            shed_requests_percent: model.overload.shed_requests_percent.u32(),
        },
    })
}

struct Compiler<'a> {
    inputs: &'a Inputs<'a>,
    ids: HashMap<String, ClusterId>,
    tls: &'a Tls,
    logs: Logs,
    diagnostics: Diagnostics,
}

/// Access logs met so far; equal ones are one.
#[derive(Default)]
struct Logs {
    specs: Vec<Arc<log::Spec>>,
    known: Vec<(log::Destination, log::Template)>,
}

impl Compiler<'_> {
    fn cluster_id(&mut self, name: &Spanned<ClusterName>) -> Option<ClusterId> {
        let id = self.ids.get(&name.0).copied();
        if id.is_none() {
            self.diagnostics.push(Diagnostic::error(name.span, format!("there is no cluster `{}`", name.0)));
        }
        id
    }

    fn listener(&mut self, listener: &model::Listener, default_logs: &[model::AccessLog]) -> Option<Listener> {
        let serve = match (&listener.http, &listener.tcp) {
            (Some(http), _) => Serve::Http(self.http(listener, http, default_logs)?),
            (None, Some(tcp)) => Serve::Tcp(self.tcp(listener, tcp, default_logs)?),
            (None, None) => {
                let message = format!("listener `{}` has neither `http` nor `tcp`", listener.name.0);
                self.diagnostics.push(Diagnostic::error(listener.name.span, message));
                return None;
            }
        };
        let tls = self.tls.listener(&listener.name.0);
        if tls.is_none() && listener.tls.is_some() {
            let message = format!("listener `{}` has `tls` whose files weren't read", listener.name.0);
            self.diagnostics.push(Diagnostic::error(listener.name.span, message));
            return None;
        }
        Some(Listener {
            tls,
            name: listener.name.0.clone(),
            address: listener.address.0,
            backlog: listener.backlog.u32(),
            connections_max: listener.connections_max.u32(),
            proxy_protocol: listener.proxy_protocol,
            first_bytes_timeout_ms: listener.first_bytes_timeout.ms,
            stats: self.inputs.registry.listener(listener.address.0),
            serve,
        })
    }

    fn tcp(&mut self, listener: &model::Listener, tcp: &model::Tcp, default_logs: &[model::AccessLog]) -> Option<Tcp> {
        Some(Tcp {
            cluster: self.cluster_id(&tcp.cluster)?,
            sni: self.sni(&tcp.sni)?,
            idle_timeout_ms: tcp.idle_timeout.ms,
            connect_attempts_max: tcp.connect_attempts_max.u32(),
            access_logs: self.logs(&tcp.access_log, default_logs, listener, log::TEXT_DEFAULT_TCP)?,
            stats: self.inputs.registry.tcp(&listener.name.0),
        })
    }

    /// `None` after a mistake, which has been reported.
    fn sni(&mut self, routes: &[model::SniRoute]) -> Option<Option<SniTable>> {
        if routes.is_empty() {
            return Some(None);
        }
        let mut table = SniTable::default();
        for route in routes {
            let cluster = self.cluster_id(&route.cluster)?;
            // Of two routes for one name the first wins.
            for name in route.r#match.iter() {
                match name {
                    HostPattern::Any => _ = table.any.get_or_insert(cluster),
                    HostPattern::Exact(name) => _ = table.exact.entry(name.as_str().into()).or_insert(cluster),
                    HostPattern::Suffix(name) if table.suffix.iter().any(|(known, _)| **known == **name) => {}
                    HostPattern::Suffix(name) => table.suffix.push((name.as_str().into(), cluster)),
                }
            }
        }
        table.suffix.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        Some(Some(table))
    }

    fn http(
        &mut self,
        listener: &model::Listener,
        http: &model::Http,
        default_logs: &[model::AccessLog],
    ) -> Option<Http> {
        let (timeouts, limits, forwarding) = (&http.timeouts, &http.limits, &http.forwarding);
        Some(Http {
            routes: self.route_table(&http.routes)?,
            limits: HttpLimits {
                head_bytes_max: limits.head_bytes_max.u32(),
                fields_max: limits.fields_max.u32(),
                request_line_bytes_max: limits.request_line_bytes_max.u32(),
                chunk_line_bytes_max: limits.chunk_line_bytes_max.u32(),
                trailer_bytes_max: limits.trailer_bytes_max.u32(),
            },
            idle_timeout_ms: timeouts.idle.ms,
            header_timeout_ms: timeouts.header.ms,
            request_timeout_ms: timeouts.request.ms,
            stream_idle_timeout_ms: timeouts.stream_idle.ms,
            connection_duration_max_ms: timeouts.connection_duration_max.ms,
            requests_per_connection_max: http.requests_per_connection_max.0,
            forwarding: Forwarding {
                use_remote_address: forwarding.use_remote_address,
                trusted_hops: forwarding.trusted_hops.u32(),
                skip_xff_append: forwarding.skip_xff_append,
                generate_request_id: forwarding.request_id != model::RequestId::Pass,
                preserve_external_request_id: forwarding.request_id != model::RequestId::Generate,
                via: forwarding.via.as_ref().map(|via| via.0.clone()),
                client_cert: client_cert(forwarding.client_cert),
                client_cert_details: client_cert_details(&forwarding.client_cert_details),
            },
            http2: Http2 {
                enabled: http.http2.enabled,
                keepalive: Keepalive {
                    interval_ms: http.http2.keepalive_interval.ms,
                    timeout_ms: http.http2.keepalive_timeout.ms,
                },
                settings_timeout_ms: http.http2.settings_timeout.ms,
                limits: http2_limits(http),
            },
            paths: path_rules(&http.paths),
            grpc_web: http.grpc_web,
            http10: http.http10,
            connect: http.connect,
            upgrades: http.upgrades.iter().map(|protocol| protocol.0.to_ascii_lowercase()).collect(),
            server_name: http.server_name.as_ref().map(|name| name.0.clone()),
            access_logs: self.logs(&http.access_log, default_logs, listener, log::TEXT_DEFAULT)?,
            stats: self.inputs.registry.http(&listener.name.0),
        })
    }

    /// A listener's logs: its own or the file's.
    fn logs(
        &mut self,
        own: &Option<OneOrMany<model::AccessLog>>,
        default_logs: &[model::AccessLog],
        listener: &model::Listener,
        default_format: &'static str,
    ) -> Option<Vec<LogId>> {
        let logs = own.as_ref().map_or(default_logs, |own| own);
        let ids = logs.iter().map(|log| self.logs.id(log, default_format));
        match ids.collect() {
            Ok(ids) => Some(ids),
            Err(error) => {
                let message = format!("access log of listener `{}`: {error}", listener.name.0);
                self.diagnostics.push(Diagnostic::error(listener.name.span, message));
                None
            }
        }
    }

    fn cluster(&mut self, cluster: &model::Cluster) -> Cluster {
        let (name, limits, breaker) = (&cluster.name.0, &cluster.limits, &cluster.breaker);
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for endpoint in cluster.endpoints.iter() {
            let written = endpoint.address.to_string();
            let addresses = match &endpoint.address {
                EndpointAddress::Ip(address) => std::slice::from_ref(address),
                EndpointAddress::Name { .. } => self.inputs.resolved.get(&written).map_or(&[][..], Vec::as_slice),
            };
            for address in addresses {
                endpoints.push(Arc::new(Endpoint {
                    name: written.clone(),
                    address: *address,
                    weight: endpoint.weight,
                    stats: self.inputs.registry.endpoint(name, *address),
                }));
            }
        }
        Cluster {
            name: name.clone(),
            balance: match cluster.balance {
                model::BalancePolicy::RoundRobin => Balance::RoundRobin,
                model::BalancePolicy::LeastRequest => Balance::LeastRequest { choices: cluster.choices.u32() },
                model::BalancePolicy::Random => Balance::Random,
            },
            endpoints,
            connect_timeout_ms: cluster.connect_timeout.ms,
            idle_timeout_ms: cluster.idle_timeout.ms,
            idle_connections_max: cluster.idle_connections_max.u32(),
            requests_per_connection_max: cluster.requests_per_connection_max.0,
            protocol: match cluster.protocol {
                model::UpstreamProtocol::Http1 => Protocol::Http1,
                model::UpstreamProtocol::Http2 => Protocol::Http2,
                model::UpstreamProtocol::Auto => Protocol::Auto,
            },
            keepalive: Keepalive {
                interval_ms: cluster.keepalive_interval.ms,
                timeout_ms: cluster.keepalive_timeout.ms,
            },
            concurrent_streams_max: cluster.concurrent_streams_max.u32(),
            http2_settings_timeout_ms: cluster.http2.settings_timeout.ms,
            http2_limits: upstream_http2_limits(cluster),
            breaker: Breaker {
                connections_max: breaker.connections_max.u32(),
                pending_max: breaker.pending_max.u32(),
                requests_max: breaker.requests_max.u32(),
                retries_max: breaker.retries_max.u32(),
            },
            tls: self.tls.cluster(name),
            proxy_protocol: cluster.proxy_protocol.map(|version| match version {
                model::ProxyHeader::V1 => ProxyVersion::V1,
                model::ProxyHeader::V2 => ProxyVersion::V2,
            }),
            limits: HttpLimits {
                head_bytes_max: limits.head_bytes_max.u32(),
                fields_max: limits.fields_max.u32(),
                // A status line has no bound of its own.
                request_line_bytes_max: limits.head_bytes_max.u32(),
                chunk_line_bytes_max: limits.chunk_line_bytes_max.u32(),
                trailer_bytes_max: limits.trailer_bytes_max.u32(),
            },
            stats: self.inputs.registry.cluster(name),
        }
    }
}

/// What is done to paths.
pub(crate) fn path_rules(paths: &model::Paths) -> PathRules {
    PathRules {
        normalize: paths.normalize,
        merge_slashes: paths.merge_slashes,
        escaped_slashes: match paths.escaped_slashes {
            model::EscapedSlashes::Keep => EscapedSlashes::Keep,
            model::EscapedSlashes::Reject => EscapedSlashes::Refuse,
            model::EscapedSlashes::Unescape => EscapedSlashes::Decode,
            model::EscapedSlashes::Redirect => EscapedSlashes::Redirect,
        },
        refuse_parameters: paths.parameters == model::PathParameters::Reject,
    }
}

/// What a listener grants its HTTP/2 clients.
fn http2_limits(http: &model::Http) -> h2::Limits {
    let (settings, limits, budgets) = (&http.http2, &http.limits, &http.http2.budgets);
    let streams_max = settings.concurrent_streams_max.u32();
    let stream_window_bytes = settings.stream_window.u32();
    h2::Limits {
        concurrent_streams_max: streams_max,
        stream_window_bytes,
        connection_window_bytes: match settings.connection_window {
            Some(window) => window.u32(),
            None => streams_max.saturating_mul(stream_window_bytes).min(h2::MAX_31_BITS),
        },
        header_list_bytes_max: limits.head_bytes_max.u32(),
        fields_max: limits.fields_max.u32(),
        path_bytes_max: limits.request_line_bytes_max.u32(),
        header_block_bytes_max: settings.header_block_bytes_max.u32(),
        continuation_frames_max: settings.continuation_frames_max.u32(),
        pending_replies_max: settings.replies_max.u32(),
        connect_protocol: !http.upgrades.is_empty(),
        budgets: h2::BudgetLimits {
            resets: rate(&budgets.resets),
            stream_errors: rate(&budgets.stream_errors),
            settings: rate(&budgets.settings),
            pings: rate(&budgets.pings),
            empty_data: rate(&budgets.empty_data),
            small_data: rate(&budgets.small_data),
            priorities: rate(&budgets.priorities),
            window_updates: rate(&budgets.window_updates),
            ignored: rate(&budgets.ignored),
        },
        ..h2::Limits::default()
    }
}

/// What a cluster grants its HTTP/2 endpoints.
fn upstream_http2_limits(cluster: &model::Cluster) -> h2::Limits {
    let (settings, budgets) = (&cluster.http2, &cluster.http2.budgets);
    h2::Limits {
        stream_window_bytes: settings.stream_window.u32(),
        // Streams bound what is held; a bound for all of them would let those that nobody reads stop the others.
        connection_window_bytes: h2::MAX_31_BITS,
        header_list_bytes_max: cluster.limits.head_bytes_max.u32(),
        fields_max: cluster.limits.fields_max.u32(),
        header_block_bytes_max: settings.header_block_bytes_max.u32(),
        continuation_frames_max: settings.continuation_frames_max.u32(),
        pending_replies_max: settings.replies_max.u32(),
        budgets: h2::BudgetLimits {
            stream_errors: rate(&budgets.stream_errors),
            settings: rate(&budgets.settings),
            pings: rate(&budgets.pings),
            empty_data: rate(&budgets.empty_data),
            priorities: rate(&budgets.priorities),
            window_updates: rate(&budgets.window_updates),
            ignored: rate(&budgets.ignored),
            ..h2::BudgetLimits::default()
        },
        ..h2::Limits::default()
    }
}

fn rate(rate: &model::Rate) -> h2::Rate {
    h2::Rate { burst: rate.burst.u32(), per_sec: rate.per_sec.u32() }
}

const fn client_cert(header: model::ClientCertHeader) -> ClientCert {
    use model::ClientCertHeader as Header;
    match header {
        Header::Sanitize => ClientCert::Sanitize,
        Header::ForwardOnly => ClientCert::ForwardOnly,
        Header::AppendForward => ClientCert::AppendForward,
        Header::SanitizeSet => ClientCert::SanitizeSet,
        Header::AlwaysForwardOnly => ClientCert::AlwaysForwardOnly,
    }
}

fn client_cert_details(details: &[model::ClientCertDetail]) -> xfcc::Details {
    use model::ClientCertDetail as Detail;
    let has = |detail| details.contains(&detail);
    xfcc::Details {
        subject: has(Detail::Subject),
        uri: has(Detail::Uri),
        dns: has(Detail::Dns),
        cert: has(Detail::Cert),
        chain: has(Detail::Chain),
    }
}

impl Logs {
    fn id(&mut self, log: &model::AccessLog, default_format: &'static str) -> Result<LogId, log::FormatError> {
        let destination = log::Destination::parse(&log.path);
        let template = match &log.format {
            Some(format) => format.template(),
            None => log::Template::Text(default_format.to_string()),
        };
        let known = self.known.iter().position(|known| known.0 == destination && known.1 == template);
        if let Some(id) = known {
            return Ok(id as LogId);
        }
        self.specs.push(Arc::new(log::Spec::new(destination.clone(), &template)?));
        self.known.push((destination, template));
        Ok(self.specs.len() as LogId - 1)
    }
}
