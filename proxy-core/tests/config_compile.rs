//! What a model compiles to, field by field.

#[allow(unreachable_pub, reason = "shared by several test binaries")]
mod common;

use std::collections::HashMap;

use codecs::http::h2;
use common::{compiled, compiled_with};
use corelane::config::{self, Model};
use corelane::snapshot::{Action, Balance, Http, PathMatch, ProxyVersion, Serve, Snapshot, ValueMatch};

fn model(text: &str) -> Model {
    config::parse("test.yaml", text).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
}

/// The file of the product's first description, word for word.
const FIRST: &str = "\
admin: { address: 127.0.0.1:9901 }
listeners:
  - name: web
    address: 0.0.0.0:8080
    http:
      routes:
        - match: { host: api.example.com, prefix: /v1, headers: [{ name: x-env, exact: prod }] }
          cluster: api
          timeout: 15s
        - match: { prefix: / }
          cluster: app
  - name: raw
    address: 0.0.0.0:9000
    tcp: { cluster: app }
clusters:
  - name: app
    endpoints: ['127.0.0.1:9001', { address: '127.0.0.1:9002', weight: 2 }]
  - name: api
    balance: least_request
    endpoints: ['127.0.0.1:9003']
";

#[test]
fn the_first_files_listeners_are_what_it_says() {
    let model = model(FIRST);
    assert!(model.warnings().is_empty(), "{}", model.warnings());
    assert_eq!(model.admin.address.0, "127.0.0.1:9901".parse().unwrap());
    assert!(config::hostnames(&model).is_empty());
    let snapshot = compiled(&model);
    assert_eq!((snapshot.version, snapshot.drain_timeout_ms), (7, 600_000));
    assert!(snapshot.logs.is_empty());

    let [web, raw] = snapshot.listeners.as_slice() else { panic!("two listeners") };
    assert_eq!((web.name.as_str(), web.address), ("web", "0.0.0.0:8080".parse().unwrap()));
    assert_eq!((web.backlog, web.connections_max, web.proxy_protocol), (4096, 0, false));
    assert_eq!(web.first_bytes_timeout_ms, 15_000);
    assert_eq!((raw.name.as_str(), raw.address), ("raw", "0.0.0.0:9000".parse().unwrap()));

    let Serve::Http(http) = &web.serve else { panic!("web is HTTP") };
    let timeouts = [
        http.idle_timeout_ms,
        http.header_timeout_ms,
        http.request_timeout_ms,
        http.stream_idle_timeout_ms,
        http.connection_duration_max_ms,
    ];
    assert_eq!(timeouts, [3_600_000, 60_000, 0, 300_000, 0]);
    let limits = &http.limits;
    assert_eq!((limits.head_bytes_max, limits.fields_max, limits.request_line_bytes_max), (61_440, 100, 8192));
    assert_eq!((limits.chunk_line_bytes_max, limits.trailer_bytes_max), (4096, 8192));
    // The file's defaults are the codec's.
    assert_eq!((http.http2.limits, http.http2.settings_timeout_ms), (h2::Limits::default(), 20_000));
    let forwarding = &http.forwarding;
    assert_eq!((forwarding.use_remote_address, forwarding.trusted_hops), (true, 0));
    assert!(!forwarding.skip_xff_append && forwarding.generate_request_id);
    assert!(!forwarding.preserve_external_request_id && forwarding.via.is_none());
    assert!(http.http10 && !http.connect && http.server_name.is_none() && http.access_logs.is_empty());
    assert_eq!((http.upgrades.as_slice(), http.requests_per_connection_max), (&["websocket".to_string()][..], 0));

    let Serve::Tcp(tcp) = &raw.serve else { panic!("raw is TCP") };
    assert_eq!((tcp.cluster, tcp.idle_timeout_ms, tcp.connect_attempts_max), (0, 3_600_000, 1));
    assert!(tcp.access_logs.is_empty());
}

#[test]
fn the_first_files_routes_are_what_it_says() {
    let snapshot = compiled(&model(FIRST));
    let table = &http(&snapshot, 0).routes;
    assert_eq!(&*table.exact["api.example.com"], [0, 1]);
    assert_eq!(table.exact.len(), 1);
    assert!(table.suffix.is_empty());
    assert_eq!(&*table.any, [1]);
    let [api, app] = table.routes.as_slice() else { panic!("two routes") };
    assert!(matches!(&api.path, PathMatch::Prefix(prefix) if prefix == "/v1"));
    assert!(api.methods.is_empty() && api.query.is_empty() && api.name.is_empty());
    assert_eq!((api.headers[0].name.as_str(), api.headers[0].invert), ("x-env", false));
    assert!(matches!(&api.headers[0].value, ValueMatch::Exact(value) if value == "prod"));
    let Action::Forward(forward) = &api.action else { panic!("api forwards") };
    assert_eq!((forward.cluster, forward.timeout_ms, forward.idle_timeout_ms), (1, 15_000, None));
    assert!(forward.prefix_rewrite.is_none() && forward.host_rewrite.is_none());
    assert!(matches!(&app.path, PathMatch::Prefix(prefix) if prefix == "/"));
    assert!(matches!(&app.action, Action::Forward(forward) if forward.cluster == 0));
}

#[test]
fn the_first_files_clusters_are_what_it_says() {
    let snapshot = compiled(&model(FIRST));
    let [app, api] = snapshot.clusters.as_slice() else { panic!("two clusters") };
    assert_eq!((app.name.as_str(), app.balance), ("app", Balance::RoundRobin));
    let endpoints: Vec<_> = app.endpoints.iter().map(|e| (e.name.as_str(), e.address.port(), e.weight)).collect();
    assert_eq!(endpoints, [("127.0.0.1:9001", 9001, 1), ("127.0.0.1:9002", 9002, 2)]);
    assert_eq!((api.name.as_str(), api.balance), ("api", Balance::LeastRequest { choices: 2 }));
    assert_eq!((app.connect_timeout_ms, app.idle_timeout_ms), (5000, 3_600_000));
    assert_eq!((app.idle_connections_max, app.requests_per_connection_max), (1024, 0));
    let breaker = &app.breaker;
    assert_eq!((breaker.connections_max, breaker.pending_max, breaker.requests_max), (10_000, 100_000, 100_000));
    assert!(app.proxy_protocol.is_none());
    assert_eq!((app.limits.head_bytes_max, app.limits.fields_max), (61_440, 100));
}

fn http(snapshot: &Snapshot, listener: usize) -> &Http {
    match &snapshot.listeners[listener].serve {
        Serve::Http(http) => http,
        Serve::Tcp(_) => panic!("listener {listener} is TCP"),
    }
}

/// A file with these routes and a cluster `app`.
fn with_routes(routes: &str) -> Snapshot {
    let text = format!(
        "listeners: [{{ name: web, address: '127.0.0.1:1', http: {{ routes: [{routes}] }} }}]\n\
         clusters: [{{ name: app, endpoints: ['127.0.0.1:2'] }}]\n"
    );
    compiled(&model(&text))
}

#[test]
fn a_hosts_routes_come_before_those_of_its_suffixes_and_of_any_host() {
    let snapshot = with_routes(
        "{ match: {}, cluster: app },
         { match: { host: '*.example.com' }, cluster: app },
         { match: { host: ['*.eu.example.com', 'other.net'] }, cluster: app },
         { match: { host: API.eu.example.com, prefix: /a }, cluster: app },
         { match: { host: ['api.eu.example.com', '*.example.com', '*'], prefix: /b }, cluster: app }",
    );
    let table = &http(&snapshot, 0).routes;
    assert_eq!(&*table.exact["api.eu.example.com"], [3, 4, 2, 1, 0]);
    assert_eq!(&*table.exact["other.net"], [2, 0, 4]);
    let suffixes: Vec<(&str, &[u32])> = table.suffix.iter().map(|(suffix, routes)| (&**suffix, &**routes)).collect();
    assert_eq!(suffixes, [(".eu.example.com", &[2, 1, 4, 0][..]), (".example.com", &[1, 4, 0][..])]);
    assert_eq!(&*table.any, [0, 4]);
}

#[test]
fn matches_of_every_kind_are_kept() {
    let snapshot = with_routes(
        "{ match: { exact: /x, methods: [GET, POST], query: [{ name: q }, { name: p, present: false }] }, cluster: app },
         { match: { regex: '/id/[0-9]+' , headers: [
             { name: X-A, prefix: p }, { name: x-b, suffix: s }, { name: x-c, contains: c }, { name: ':path', regex: 'a|b' },
             { name: x-d, exact: '', invert: true }, { name: x-e, present: true }, { name: x-f, present: false } ] },
           cluster: app }",
    );
    let [first, second] = http(&snapshot, 0).routes.routes.as_slice() else { panic!("two routes") };
    assert!(matches!(&first.path, PathMatch::Exact(path) if path == "/x"));
    assert_eq!(first.methods, ["GET", "POST"]);
    assert!(matches!(first.query[0].value, ValueMatch::Present) && !first.query[0].invert);
    assert!(matches!(first.query[1].value, ValueMatch::Present) && first.query[1].invert);
    let PathMatch::Regex(regex) = &second.path else { panic!("a regex") };
    assert!(regex.is_match(b"/id/17") && !regex.is_match(b"/id/17/x") && !regex.is_match(b"/a/id/17"));
    let headers = &second.headers;
    assert_eq!(headers[0].name, "x-a");
    assert!(matches!(&headers[0].value, ValueMatch::Prefix(text) if text == "p"));
    assert!(matches!(&headers[1].value, ValueMatch::Suffix(text) if text == "s"));
    assert!(matches!(&headers[2].value, ValueMatch::Contains(text) if text == "c"));
    let ValueMatch::Regex(regex) = &headers[3].value else { panic!("a regex") };
    assert!(regex.is_match(b"b") && !regex.is_match(b"bb"));
    assert!(matches!(&headers[4].value, ValueMatch::Exact(text) if text.is_empty()) && headers[4].invert);
    assert!(matches!(headers[5].value, ValueMatch::Present) && !headers[5].invert);
    assert!(matches!(headers[6].value, ValueMatch::Present) && headers[6].invert);
}

#[test]
fn actions_and_edits_are_kept() {
    let snapshot = with_routes(
        "{ match: { prefix: /old/ }, redirect: { status: 308, scheme: https, host: 'new.example:8443', port: 444,
             prefix_rewrite: /new/, strip_query: true } },
         { match: { prefix: /teapot }, respond: { status: 418, body: short, content_type: text/html } },
         { match: {}, name: all, cluster: app, timeout: 0s, idle_timeout: 1m30s, prefix_rewrite: /v2, host_rewrite: app.internal,
           request_headers: { remove: X-Drop, set: { X-Env: prod, x-n: 1 }, add: { x-two: [a, b] } },
           response_headers: { remove: [server, x-powered-by] } }",
    );
    let [redirect, respond, forward] = http(&snapshot, 0).routes.routes.as_slice() else { panic!("three routes") };
    let Action::Redirect(redirect) = &redirect.action else { panic!("a redirect") };
    assert_eq!((redirect.status, redirect.scheme.as_deref(), redirect.port), (308, Some("https"), Some(444)));
    assert_eq!((redirect.host.as_deref(), redirect.path.as_deref()), (Some("new.example:8443"), None));
    assert_eq!((redirect.prefix_rewrite.as_deref(), redirect.strip_query), (Some("/new/"), true));
    let Action::Direct(direct) = &respond.action else { panic!("a direct response") };
    assert_eq!((direct.status, &*direct.body, &*direct.content_type), (418, &b"short"[..], "text/html"));
    assert_eq!(forward.name, "all");
    let pair = |name: &str, value: &str| (name.to_string(), value.to_string());
    assert_eq!(forward.request_headers.remove, ["x-drop"]);
    assert_eq!(forward.request_headers.set, [pair("x-env", "prod"), pair("x-n", "1")]);
    assert_eq!(forward.request_headers.add, [pair("x-two", "a"), pair("x-two", "b")]);
    assert_eq!(forward.response_headers.remove, ["server", "x-powered-by"]);
    let Action::Forward(forward) = &forward.action else { panic!("forwards") };
    assert_eq!((forward.timeout_ms, forward.idle_timeout_ms), (0, Some(90_000)));
    assert_eq!(forward.prefix_rewrite.as_deref(), Some("/v2"));
    assert_eq!(forward.host_rewrite.as_deref(), Some("app.internal"));
}

#[test]
fn names_of_endpoints_become_their_addresses() {
    let model = model(
        "listeners: [{ name: raw, address: '127.0.0.1:1', tcp: { cluster: app } }]
clusters:
  - { name: app, endpoints: ['LocalHost:9001', '10.0.0.1:80', { address: 'gone.internal:1', weight: 3 }],
      proxy_protocol: v2, balance: random }
  # A cluster whose only name has no address yet is no mistake.
  - { name: spare, endpoints: 'gone.internal:1', proxy_protocol: v1, balance: least_request, choices: 3, dns_refresh: 1s }
",
    );
    let names = config::hostnames(&model);
    assert_eq!(names.iter().map(config::Hostname::key).collect::<Vec<_>>(), ["gone.internal:1", "localhost:9001"]);
    assert_eq!(names.iter().map(|name| name.refresh_ms).collect::<Vec<_>>(), [1000, 5000]);
    let addresses = ["127.0.0.1:9001", "[::1]:9001"].map(|address| address.parse().unwrap()).to_vec();
    let resolved = HashMap::from([("localhost:9001".to_string(), addresses)]);
    let snapshot = compiled_with(&model, &resolved);
    let app: Vec<_> = snapshot.clusters[0].endpoints.iter().map(|e| (e.name.as_str(), e.address.to_string())).collect();
    let expected =
        [("localhost:9001", "127.0.0.1:9001"), ("localhost:9001", "[::1]:9001"), ("10.0.0.1:80", "10.0.0.1:80")];
    assert_eq!(app, expected.map(|(name, address)| (name, address.to_string())));
    assert_eq!(
        (snapshot.clusters[0].proxy_protocol, snapshot.clusters[0].balance),
        (Some(ProxyVersion::V2), Balance::Random)
    );
    assert!(snapshot.clusters[1].endpoints.is_empty());
    assert_eq!(snapshot.clusters[1].balance, Balance::LeastRequest { choices: 3 });
}

#[test]
fn request_ids_and_logs_are_what_the_file_says() {
    let model = model(
        "access_log: stdout
listeners:
  - { name: a, address: '127.0.0.1:1', http: { routes: [{ match: {}, respond: { status: 200 } }],
      forwarding: { request_id: preserve, via: edge }, upgrades: [] } }
  - { name: b, address: '127.0.0.1:2', http: { routes: [{ match: {}, respond: { status: 200 } }],
      forwarding: { request_id: pass }, access_log: [] } }
  - { name: c, address: '127.0.0.1:3', tcp: { cluster: app, access_log: [stdout, { path: /tmp/c.log, format: '%DURATION%' }] } }
clusters: [{ name: app, endpoints: 'localhost:1' }]
",
    );
    let snapshot = compiled(&model);
    let (a, b) = (http(&snapshot, 0), http(&snapshot, 1));
    assert!(a.forwarding.generate_request_id && a.forwarding.preserve_external_request_id);
    assert_eq!(a.forwarding.via.as_deref(), Some("edge"));
    assert!(!b.forwarding.generate_request_id);
    assert!(a.upgrades.is_empty());
    let Serve::Tcp(c) = &snapshot.listeners[2].serve else { panic!("c is TCP") };
    assert_eq!((a.access_logs.as_slice(), b.access_logs.as_slice()), (&[0][..], &[][..]));
    assert_eq!((c.access_logs.as_slice(), snapshot.logs.len()), (&[1, 2][..], 3));
}

#[test]
fn anchors_and_merge_keys_save_repetition() {
    let snapshot = compiled(&model(
        "listeners: [{ name: raw, address: '127.0.0.1:1', tcp: { cluster: a } }, { name: r2, address: '127.0.0.1:2', tcp: { cluster: b } }]
clusters:
  - &base { name: a, endpoints: ['127.0.0.1:2'], connect_timeout: 1s }
  - { <<: *base, name: b, idle_timeout: 2s }
",
    ));
    let b = &snapshot.clusters[1];
    assert_eq!((b.name.as_str(), b.connect_timeout_ms, b.idle_timeout_ms), ("b", 1000, 2000));
    assert_eq!(snapshot.clusters[0].idle_timeout_ms, 3_600_000);
}

#[test]
fn what_http2_peers_may_do_is_what_the_file_says() {
    let text = "\
listeners:
  - name: web
    address: 0.0.0.0:8080
    http:
      http2:
        concurrent_streams_max: 10
        stream_window: 100KiB
        header_block_bytes_max: 20KiB
        budgets: { small_data: { burst: 7, per_sec: 0 } }
      routes: [{ match: {}, cluster: app }]
clusters:
  - name: app
    endpoints: ['127.0.0.1:9001']
    http2: { stream_window: 1MiB, settings_timeout: 0s, replies_max: 20, budgets: { pings: { burst: 3, per_sec: 1 } } }
";
    let snapshot = compiled(&model(text));
    let Serve::Http(http) = &snapshot.listeners[0].serve else { panic!("web is HTTP") };
    let (default, limits) = (h2::Limits::default(), http.http2.limits);
    assert_eq!((limits.stream_window_bytes, limits.connection_window_bytes), (102_400, 1_024_000));
    assert_eq!((limits.header_block_bytes_max, limits.continuation_frames_max), (20_480, 32));
    assert_eq!(limits.budgets, h2::BudgetLimits { small_data: h2::Rate { burst: 7, per_sec: 0 }, ..default.budgets });
    let app = &snapshot.clusters[0];
    assert_eq!((app.http2_limits.stream_window_bytes, app.http2_settings_timeout_ms), (1 << 20, 0));
    assert_eq!((app.http2_limits.connection_window_bytes, app.http2_limits.pending_replies_max), ((1 << 31) - 1, 20));
    assert_eq!(
        app.http2_limits.budgets,
        h2::BudgetLimits { pings: h2::Rate { burst: 3, per_sec: 1 }, ..default.budgets }
    );
}
