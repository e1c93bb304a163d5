//! Reloads and drains while HTTP/2 connections carry streams: nothing is lost.

mod ops;

use std::net::SocketAddr;

use ops::free_address;
use ops::load_http2::{Http2Load, http2_origin};
use ops::proxy::{Proxy, two_cpus};

on_both_drivers!(reloads_under_http2_load_fail_no_request, sigterm_under_http2_load_fails_no_request);

fn config(listen: SocketAddr, endpoints: &[SocketAddr], seconds: u32) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|endpoint| format!("'{endpoint}'")).collect();
    format!(
        "listeners:\n  - name: web\n    address: '{listen}'\n    http: {{ routes: [{{ match: {{ prefix: / }}, cluster: app, timeout: {seconds}s }}] }}\n\
         clusters:\n  - {{ name: app, protocol: http2, endpoints: [{}] }}\n",
        endpoints.join(", ")
    )
}

fn reloads_under_http2_load_fail_no_request(driver: &str) {
    let (one, two) = (http2_origin(), http2_origin());
    let listen = free_address();
    let arguments = ["--driver", driver, "--cores", &two_cpus()];
    let proxy = Proxy::start_with(&config(listen, &[one], 15), &arguments, |_| {});
    let load = Http2Load::start(listen, 4, 16, "/");
    load.wait_for(200);
    for round in 0..12 {
        // Endpoints come and go: their connections end when their streams have.
        let endpoints = [vec![one], vec![one, two], vec![two]];
        assert_eq!(proxy.reload(&config(listen, &endpoints[round % 3], 15 + round as u32)).status, 200);
        load.wait_for(100);
    }
    assert_eq!(load.connections(), 4, "a reload ends no client's connection");
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
    assert_eq!(proxy.stat("http.web.downstream_rq_5xx"), 0);
}

fn sigterm_under_http2_load_fails_no_request(driver: &str) {
    let origin = http2_origin();
    let listen = free_address();
    let arguments = ["--driver", driver, "--cores", &two_cpus()];
    let mut proxy = Proxy::start_with(&config(listen, &[origin], 15), &arguments, |_| {});
    let load = Http2Load::start(listen, 8, 16, "/");
    load.wait_for(500);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.exit().code(), Some(0), "{:#?}", proxy.log.all());
    let failures = load.stop();
    assert!(failures.is_empty(), "{failures:#?}");
}
