//! `/clusters` and `/listeners`: the snapshot in use with what its endpoints have counted.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::{json_pretty, text};
use crate::control::Shared;
use crate::snapshot::{Cluster, Endpoint, Snapshot};
use crate::stats::{EndpointStat, Kind};

fn wants_json(parameters: &HashMap<String, String>) -> bool {
    parameters.get("format").is_some_and(|format| format == "json")
}

/// Counters and gauges of an endpoint, by name.
fn stats(endpoint: &Endpoint) -> impl Iterator<Item = (&'static str, Kind, u64)> {
    let mut all: Vec<_> = EndpointStat::ALL
        .iter()
        .zip(EndpointStat::ROWS)
        .map(|(stat, row)| (row.name, row.kind, endpoint.stats.sum(*stat)))
        .collect();
    all.sort_unstable_by_key(|(name, ..)| *name);
    all.into_iter()
}

/// What an endpoint is called in the config, if that isn't its address.
fn hostname(endpoint: &Endpoint) -> &str {
    if endpoint.name.parse::<SocketAddr>().is_ok() {
        return "";
    }
    endpoint.name.rsplit_once(':').map_or(endpoint.name.as_str(), |(host, _)| host)
}

fn bounds(cluster: &Cluster) -> [(&'static str, u32); 4] {
    let breaker = &cluster.breaker;
    [
        ("max_connections", breaker.connections_max),
        ("max_pending_requests", breaker.pending_max),
        ("max_requests", breaker.requests_max),
        ("max_retries", breaker.retries_max),
    ]
}

pub(super) async fn clusters(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let Some(current) = shared.current() else { return text(StatusCode::OK, "") };
    if wants_json(&parameters) {
        let statuses: Vec<Value> = current.snapshot.clusters.iter().map(|cluster| cluster_json(cluster)).collect();
        return json_pretty(&json!({ "cluster_statuses": statuses }));
    }
    text(StatusCode::OK, clusters_text(&current.snapshot))
}

fn clusters_text(snapshot: &Snapshot) -> String {
    let mut out = String::new();
    // Writing to a String can't fail.
    for cluster in &snapshot.clusters {
        let name = &cluster.name;
        let _ = writeln!(out, "{name}::observability_name::{name}");
        for (bound, value) in bounds(cluster) {
            let _ = writeln!(out, "{name}::default_priority::{bound}::{value}");
        }
        let _ = writeln!(out, "{name}::added_via_api::false");
        for endpoint in &cluster.endpoints {
            let address = endpoint.address;
            for (stat, _, value) in stats(endpoint) {
                let _ = writeln!(out, "{name}::{address}::{stat}::{value}");
            }
            let weight = endpoint.weight.to_string();
            for (key, value) in [
                ("hostname", hostname(endpoint)),
                ("health_flags", "healthy"),
                ("weight", weight.as_str()),
                ("region", ""),
                ("zone", ""),
                ("sub_zone", ""),
                ("canary", "false"),
                ("priority", "0"),
                ("success_rate", "-1"),
                ("local_origin_success_rate", "-1"),
            ] {
                let _ = writeln!(out, "{name}::{address}::{key}::{value}");
            }
        }
    }
    out
}

fn address_json(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

fn cluster_json(cluster: &Cluster) -> Value {
    let hosts: Vec<Value> = cluster
        .endpoints
        .iter()
        .map(|endpoint| {
            // 64-bit numbers are strings, as protobuf's JSON has them.
            let stat = |(name, kind, value): (&str, Kind, u64)| {
                let kind = if kind == Kind::Gauge { "GAUGE" } else { "COUNTER" };
                json!({ "name": name, "value": value.to_string(), "type": kind })
            };
            json!({
                "address": address_json(endpoint.address),
                "stats": stats(endpoint).map(stat).collect::<Vec<_>>(),
                "health_status": { "eds_health_status": "HEALTHY" },
                "weight": endpoint.weight,
                "hostname": hostname(endpoint),
                "locality": {},
            })
        })
        .collect();
    let mut threshold = json!({ "priority": "DEFAULT" });
    for (bound, value) in bounds(cluster) {
        threshold[bound] = value.into();
    }
    json!({
        "name": cluster.name,
        "observability_name": cluster.name,
        "added_via_api": false,
        "host_statuses": hosts,
        "circuit_breakers": { "thresholds": [threshold] },
    })
}

pub(super) async fn listeners(
    State(shared): State<Arc<Shared>>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    let Some(current) = shared.current() else { return text(StatusCode::OK, "") };
    let listeners = &current.snapshot.listeners;
    if wants_json(&parameters) {
        let statuses: Vec<Value> = listeners
            .iter()
            .map(|listener| json!({ "name": listener.name, "local_address": address_json(listener.address) }))
            .collect();
        return json_pretty(&json!({ "listener_statuses": statuses }));
    }
    let line = |listener: &Arc<crate::snapshot::Listener>| format!("{}::{}\n", listener.name, listener.address);
    text(StatusCode::OK, listeners.iter().map(line).collect::<String>())
}
