//! gRPC through the proxy: calls, faults as their clients understand them, deadlines, retries, gRPC-Web.

mod calls;
mod peer;
mod retries;
mod web;

use crate::harness::{Driver, Proxy, config};
use peer::Server;

/// In front of a server of gRPC, with these fields of the listener's `http`, of the route and of the cluster.
#[track_caller]
fn in_front_of(driver: Driver, server: &Server, http: &str, route: &str, cluster: &str) -> Proxy {
    let http = format!("{http} routes: [{{ match: {{ prefix: /t/ }}, cluster: app, {route} }}]");
    let cluster = format!("{{ name: app, protocol: http2, {cluster} endpoints: ['{}'] }}", server.address);
    Proxy::start(driver, &config(&http, &cluster))
}
