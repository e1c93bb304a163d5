//! A config that changes under load: nothing is lost, and what is refused changes nothing.
#![allow(clippy::print_stdout, reason = "figures for `--nocapture`")]

mod ops;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ops::client::{self, Client, Response};
use ops::load::{Load, Reuse};
use ops::origin::Origin;
use ops::proxy::{Proxy, simple, two_cpus};
use ops::{free_address, wait_until};

on_both_drivers!(
    a_changed_route_counts_from_the_next_request_of_an_open_connection,
    an_untouched_cluster_keeps_its_connections,
    a_cluster_that_changes_its_protocol_is_connected_to_anew,
    a_removed_listener_answers_what_it_has_accepted,
    a_request_that_began_before_its_cluster_was_removed_is_answered,
    endpoints_come_and_go,
    a_listener_changes_from_http_to_tcp,
    reloads_under_load_lose_nothing,
);

fn body(client: &mut Client, path: &str) -> String {
    let response = client.get(path).expect("a response");
    assert_eq!(response.status, 200, "{response:?}");
    response.text()
}

/// Sends the beginning of a request, and returns when it has been read.
fn begin_request(proxy: &Proxy, client: &mut Client, listener: &str) {
    client.send("GET /began HTTP/1.1\r\nhost:").expect("sent");
    // The loop takes in what has arrived before it looks at what arrives later, such as this connection.
    let listeners = proxy.get("/listeners").text();
    let address =
        listeners.lines().find_map(|line| line.strip_prefix(listener)?.strip_prefix("::")).expect("an address");
    assert!(client::once(address.parse().expect("an address"), "GET", "/").is_ok());
}

fn end_request(client: &mut Client) -> Response {
    client.send(" test\r\n\r\n").expect("sent");
    client.receive().expect("a response to a request that had begun")
}

/// Two listeners' worth of config in which everything that can change does, `flip` by `flip`.
struct Alternating {
    web: SocketAddr,
    extra: SocketAddr,
    stable: SocketAddr,
    one: SocketAddr,
    two: SocketAddr,
}

impl Alternating {
    /// From one reload to the next: a listener's options, a route, a cluster's endpoints, weights, policy and bounds.
    /// Every other time: a listener with its cluster that is there or not.
    fn config(&self, reloads: u32) -> String {
        let Alternating { web, extra, stable, one, two } = self;
        let (options, header, route, cluster) = if reloads % 2 == 1 {
            (
                "backlog: 1024\n    connections_max: 5000",
                "header: 30s",
                "changing",
                format!("endpoints: [{{ address: '{one}', weight: 3 }}, '{two}'], balance: least_request"),
            )
        } else {
            let cluster = format!("endpoints: ['{two}'], idle_connections_max: 8");
            ("backlog: 2048", "header: 20s", "stable", cluster)
        };
        let (listener, passing) = if reloads % 4 >= 2 {
            let route = "{ match: { prefix: / }, cluster: passing }";
            (
                format!("  - {{ name: extra, address: '{extra}', http: {{ routes: [{route}] }} }}\n"),
                format!("  - {{ name: passing, endpoints: ['{one}'] }}\n"),
            )
        } else {
            (String::new(), String::new())
        };
        format!(
            "listeners:\n  - name: web\n    address: '{web}'\n    {options}\n    http:\n      timeouts: {{ {header} }}\n      \
             routes:\n        - {{ match: {{ prefix: /stable }}, cluster: stable }}\n        \
             - {{ match: {{ prefix: /changing }}, cluster: changing }}\n        \
             - {{ match: {{ prefix: / }}, cluster: {route} }}\n{listener}\
             clusters:\n  - {{ name: stable, endpoints: ['{stable}'] }}\n  - {{ name: changing, {cluster} }}\n{passing}"
        )
    }
}

fn a_changed_route_counts_from_the_next_request_of_an_open_connection(driver: &str) {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let listen = free_address();
    let proxy = Proxy::start(driver, &simple(listen, &[one.address]));
    let mut client = Client::connect(listen).expect("connects");
    assert_eq!(body(&mut client, "/"), "one");
    let response = proxy.reload(&simple(listen, &[two.address]).replace("app", "other"));
    assert_eq!((response.status, response.text().as_str()), (200, "config version 2 is in use\n"));
    assert_eq!(body(&mut client, "/"), "two");
    assert_eq!(proxy.stat("cluster.app.upstream_cx_active"), 0, "the removed cluster's connections are closed");
    assert_eq!(proxy.stat("server.config_version"), 2);
}

fn an_untouched_cluster_keeps_its_connections(driver: &str) {
    let origin = Origin::start("kept");
    let (listen, added) = (free_address(), free_address());
    let config = simple(listen, &[origin.address]);
    let proxy = Proxy::start(driver, &config);
    let mut client = Client::connect(listen).expect("connects");
    body(&mut client, "/");
    let more = format!(
        "{}  - {{ name: new, endpoints: ['127.0.0.1:1'] }}\n",
        config.replace(
            "clusters:",
            &format!("  - {{ name: added, address: '{added}', http: {{ routes: [{{ match: {{ prefix: / }}, cluster: app }}] }} }}\nclusters:")
        )
    );
    for config in [&more, &config, &more] {
        assert_eq!(proxy.reload(config).status, 200);
        body(&mut client, "/");
    }
    assert_eq!(client::once(added, "GET", "/").expect("the added listener serves").status, 200);
    assert_eq!(origin.connections(), 1, "the pool outlived three reloads");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_total"), 5, "and so did the counters");
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 1);
}

/// The endpoint is a second listener of the same process, which speaks both versions.
fn a_cluster_that_changes_its_protocol_is_connected_to_anew(driver: &str) {
    let origin = Origin::start("origin");
    let (listen, inner) = (free_address(), free_address());
    let config = |protocol: &str| {
        format!(
            "listeners:\n  - {{ name: web, address: '{listen}', http: {{ routes: [{{ match: {{}}, cluster: inner }}] }} }}\n  \
             - {{ name: inner, address: '{inner}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
             clusters:\n  - {{ name: inner, protocol: {protocol}, endpoints: ['{inner}'] }}\n  \
             - {{ name: app, endpoints: ['{}'] }}\n",
            origin.address
        )
    };
    let proxy = Proxy::start(driver, &config("http1"));
    let mut client = Client::connect(listen).expect("connects");
    for (protocol, http1, http2) in [("http1", 1, 0), ("http2", 1, 1), ("http1", 2, 1)] {
        assert_eq!(proxy.reload(&config(protocol)).status, 200);
        for _ in 0..3 {
            assert_eq!(body(&mut client, "/"), "origin");
        }
        let count = |version| proxy.stat(&format!("cluster.inner.upstream_cx_{version}_total"));
        assert_eq!((count("http1"), count("http2")), (http1, http2), "after {protocol}");
    }
    assert_eq!(origin.connections(), 1, "the other cluster's pool was left alone");
}

fn a_removed_listener_answers_what_it_has_accepted(driver: &str) {
    let origin = Origin::start("origin");
    let (kept, removed) = (free_address(), free_address());
    let listener = |name: &str, address: SocketAddr| {
        format!(
            "  - {{ name: {name}, address: '{address}', http: {{ routes: [{{ match: {{ prefix: / }}, cluster: {name} }}] }} }}\n"
        )
    };
    let cluster = |name: &str| format!("  - {{ name: {name}, endpoints: ['{}'] }}\n", origin.address);
    let (kept_only, both) = (
        format!("listeners:\n{}clusters:\n{}", listener("kept", kept), cluster("kept")),
        format!(
            "listeners:\n{}{}clusters:\n{}{}",
            listener("kept", kept),
            listener("removed", removed),
            cluster("kept"),
            cluster("removed")
        ),
    );
    let proxy = Proxy::start(driver, &both);
    let mut waiting = Client::connect(removed).expect("connects");
    body(&mut waiting, "/");
    begin_request(&proxy, &mut waiting, "removed");
    let mut slow = Client::connect(removed).expect("connects");
    slow.send("GET /delay/700 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    wait_until("the slow request to arrive", || origin.requests() == 3);

    assert_eq!(proxy.reload(&kept_only).status, 200);
    wait_until("the address to be free", || std::net::TcpStream::connect(removed).is_err());
    let last = end_request(&mut waiting);
    assert_eq!((last.status, last.closes()), (200, true), "{last:?}");
    assert!(waiting.ends());
    let slow_response = slow.receive().expect("what was under way is finished");
    assert_eq!((slow_response.status, slow_response.text().as_str()), (200, "origin"));
    assert_eq!(client::once(kept, "GET", "/").expect("the other listener serves").status, 200);

    assert_eq!(proxy.reload(&both).status, 200, "the address can be taken again");
    assert_eq!(client::once(removed, "GET", "/").expect("it serves again").status, 200);
}

fn a_request_that_began_before_its_cluster_was_removed_is_answered(driver: &str) {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let listen = free_address();
    let proxy = Proxy::start(driver, &simple(listen, &[one.address]));
    let mut client = Client::connect(listen).expect("connects");
    body(&mut client, "/");
    begin_request(&proxy, &mut client, "web");
    assert_eq!(proxy.reload(&simple(listen, &[two.address]).replace("app", "other")).status, 200);
    let response = end_request(&mut client);
    assert_eq!((response.status, response.text().as_str()), (200, "one"), "by the config that it began with");
    assert_eq!(body(&mut client, "/next"), "two");
}

fn endpoints_come_and_go(driver: &str) {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let listen = free_address();
    let proxy = Proxy::start(driver, &simple(listen, &[one.address]));
    let mut client = Client::connect(listen).expect("connects");
    assert_eq!(body(&mut client, "/"), "one");
    assert_eq!(proxy.reload(&simple(listen, &[one.address, two.address])).status, 200);
    let mut seen: Vec<String> = (0..8).map(|_| body(&mut client, "/")).collect();
    seen.sort();
    assert_eq!(seen, [["one"; 4], ["two"; 4]].concat());
    assert_eq!(one.connections(), 1, "the endpoint that stayed kept its connection");
    assert_eq!(proxy.stat("cluster.app.membership_total"), 2);
    assert_eq!(proxy.reload(&simple(listen, &[two.address])).status, 200);
    assert!((0..4).all(|_| body(&mut client, "/") == "two"));
    wait_until("the removed endpoint's connections to end", || proxy.stat("cluster.app.upstream_cx_active") == 1);
    assert_eq!(proxy.stat("cluster.app.membership_total"), 1);
}

fn a_listener_changes_from_http_to_tcp(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let http = simple(listen, &[origin.address]);
    let tcp = http.replace("http: { routes: [{ match: { prefix: / }, cluster: app }] }", "tcp: { cluster: app }");
    let proxy = Proxy::start(driver, &http);
    let mut client = Client::connect(listen).expect("connects");
    body(&mut client, "/");
    begin_request(&proxy, &mut client, "web");
    assert_eq!(proxy.reload(&tcp).status, 200);
    // It goes on as what it was.
    let last = end_request(&mut client);
    assert_eq!((last.status, last.closes()), (200, true), "{last:?}");
    wait_until("new connections to be TCP", || {
        let response = client::once(listen, "GET", "/").expect("a response");
        response.header("x-envoy-upstream-service-time").is_none() && proxy.stat("tcp.web.downstream_cx_total") > 0
    });
    let mut tunnel = Client::connect(listen).expect("connects");
    body(&mut tunnel, "/");
    assert_eq!(proxy.reload(&http).status, 200);
    body(&mut tunnel, "/");
    assert_eq!(client::once(listen, "GET", "/").expect("a response").status, 200);
}

/// How long the load test runs; `scripts/reload-under-load` lets it run for a minute.
fn load_time() -> Duration {
    let seconds = std::env::var("OPS_RELOAD_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

fn reloads_under_load_lose_nothing(driver: &str) {
    let (stable, one, two) = (Origin::start("stable"), Origin::start("one"), Origin::start("two"));
    let setting = Alternating {
        web: free_address(),
        extra: free_address(),
        stable: stable.address,
        one: one.address,
        two: two.address,
    };
    let arguments = ["--driver", driver, "--cores", &two_cpus()];
    let proxy = Proxy::start_with(&setting.config(0), &arguments, |_| {});
    let paths = &["/stable", "/changing", "/other", "/changing/x", "/stable/y"];
    let kept = Load::start(setting.web, 8, Reuse::KeepAlive, paths);
    let slow = Load::start(setting.web, 4, Reuse::KeepAlive, &["/delay/30", "/trickle/2", "/large/300000"]);
    let fresh = Load::paced(setting.web, 2, Reuse::Fresh, paths, Duration::from_millis(1));
    let came_and_went = Load::start(setting.extra, 4, Reuse::Fresh, &["/"]);
    let began = Instant::now();
    let mut reloads = 0;
    while began.elapsed() < load_time() {
        reloads += 1;
        let due = Duration::from_millis(100) * reloads;
        std::thread::sleep(due.saturating_sub(began.elapsed()));
        let response = proxy.reload(&setting.config(reloads));
        assert_eq!(response.status, 200, "reload {reloads}: {}", response.text());
    }
    let stable_connections = stable.connections();
    let tallies = [("keep-alive", kept), ("slow", slow), ("fresh", fresh), ("added and removed", came_and_went)]
        .map(|(name, load)| (name, load.stop()));
    for (name, tally) in &tallies {
        println!(
            "{driver}, {reloads} reloads, {name}: {} done, {} failed, {} refused",
            tally.done,
            tally.failures.len(),
            tally.refused
        );
    }
    for (_, tally) in &tallies {
        tally.assert_no_failures();
    }
    println!("{driver}: the untouched cluster used {stable_connections} connections");
    // A core has at most one for each client.
    let most = 14 * proxy.stat("server.concurrency");
    assert!(stable_connections <= most, "an untouched cluster was connected to anew: {stable_connections} connections");
    // When the machine is slow, the file's watch comes in between with reloads of its own.
    assert!(proxy.stat("server.config_reload_success") >= u64::from(reloads));
    assert_eq!(proxy.stat("server.config_reload_failure"), 0);
}

#[test]
fn sighup_reloads() {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let listen = free_address();
    let proxy = Proxy::start("auto", &simple(listen, &[one.address]));
    let mut client = Client::connect(listen).expect("connects");
    assert_eq!(body(&mut client, "/"), "one");
    proxy.replace(&simple(listen, &[two.address]));
    proxy.signal(libc::SIGHUP);
    wait_until("the new endpoint", || body(&mut client, "/") == "two");
    assert_eq!(proxy.stat("server.config_reload_success"), 1);
    // The file's watch has seen the same change and has nothing to do.
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(proxy.stat("server.config_reload_success"), 1);
}

#[test]
fn a_changed_file_is_noticed_however_it_was_changed() {
    let (one, two) = (Origin::start("one"), Origin::start("two"));
    let listen = free_address();
    let proxy = Proxy::start("auto", &simple(listen, &[one.address]));
    let mut client = Client::connect(listen).expect("connects");
    assert_eq!(body(&mut client, "/"), "one");
    proxy.write(&simple(listen, &[two.address]));
    wait_until("the file written in place", || body(&mut client, "/") == "two");
    proxy.replace(&simple(listen, &[one.address]));
    wait_until("the file renamed over", || body(&mut client, "/") == "one");
    assert_eq!(proxy.stat("server.config_reload_success"), 2);
}

#[test]
fn a_refused_config_changes_nothing_and_says_why() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let config = simple(listen, &[origin.address]);
    let proxy = Proxy::start("auto", &config);
    let mut client = Client::connect(listen).expect("connects");
    body(&mut client, "/");

    let response = proxy.reload(&config.replace("cluster: app", "cluster: apq"));
    assert_eq!(response.status, 400);
    let text = response.text();
    assert!(text.contains("corelane.yaml:5:") && text.contains("apq") && text.contains("`app`"), "{text}");
    assert_eq!(proxy.stat("server.config_reload_failure"), 1);
    assert_eq!(proxy.stat("server.config_version"), 1);
    proxy.wait_for_log("config refused (admin API), version 1 stays in use");
    wait_until("the reason in the log", || proxy.log.count("apq") > 0);
    body(&mut client, "/");
    assert!(proxy.get("/config_dump").text().contains("\"cluster\": \"app\""));

    // The watch sees the same file and doesn't refuse it again.
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(proxy.stat("server.config_reload_failure"), 1);

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds").local_addr().expect("an address");
    let holder = std::net::TcpListener::bind(taken).expect("binds");
    let response = proxy.reload(&simple(taken, &[origin.address]));
    assert_eq!(response.status, 400);
    assert!(response.text().contains(&format!("listener web can't have {taken}")), "{}", response.text());
    drop(holder);
    std::fs::remove_file(&proxy.config).expect("removed");
    let response = proxy.post("/config/reload");
    assert_eq!(response.status, 400);
    assert!(response.text().contains("No such file"), "{}", response.text());
    body(&mut client, "/");
    assert_eq!(proxy.stat("server.config_reload_failure"), 3);
    assert_eq!(origin.connections(), 1);
}
