//! The admin API end to end, as scripts and dashboards use it.

mod ops;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use ops::client::{self, Client};
use ops::free_address;
use ops::load::{Load, Reuse};
use ops::origin::Origin;
use ops::proxy::{Proxy, simple};
use serde_json::Value;

struct Setting {
    origin: Origin,
    listen: SocketAddr,
    proxy: Proxy,
}

/// A proxy that has answered three requests.
fn setting() -> Setting {
    let origin = Origin::start("origin");
    let listen = free_address();
    let proxy = Proxy::start("auto", &simple(listen, &[origin.address]));
    let mut client = Client::connect(listen).expect("connects");
    for _ in 0..3 {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    Setting { origin, listen, proxy }
}

fn json(proxy: &Proxy, path: &str) -> Value {
    let response = proxy.get(path);
    assert_eq!(response.header("content-type"), Some("application/json"), "{path}");
    serde_json::from_str(&response.text()).unwrap_or_else(|error| panic!("{path}: {error}: {}", response.text()))
}

#[test]
fn every_endpoint_that_reads_answers_get() {
    let Setting { proxy, .. } = setting();
    for path in [
        "/",
        "/help",
        "/ready",
        "/stats",
        "/stats?format=json",
        "/stats?format=prometheus",
        "/stats/prometheus",
        "/clusters",
        "/clusters?format=json",
        "/certs",
        "/listeners",
        "/listeners?format=json",
        "/config_dump",
        "/server_info",
        "/memory",
    ] {
        let response = proxy.get(path);
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        assert_eq!(response.header("cache-control"), Some("no-cache, max-age=0"), "{path}");
        assert!(!response.body.is_empty(), "{path}");
    }
    assert_eq!(proxy.get("/ready").text(), "LIVE\n");
    let unknown = proxy.get("/nowhere");
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("/config_dump"), "it says what there is: {}", unknown.text());
}

#[test]
fn what_changes_something_wants_post() {
    let Setting { mut proxy, .. } = setting();
    for path in [
        "/drain_listeners",
        "/quitquitquit",
        "/logging",
        "/logging?level=debug",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/config/reload",
        "/reset_counters",
        "/reopen_logs",
    ] {
        let response = proxy.get(path);
        assert_eq!(
            (response.status, response.text().as_str()),
            (400, "Method GET not allowed, POST required.\n"),
            "{path}"
        );
    }
    for method in ["PUT", "DELETE", "PATCH"] {
        assert_eq!(client::once(proxy.admin, method, "/stats").expect("a response").status, 400, "{method}");
    }
    assert!(proxy.running());
    assert_eq!(proxy.get("/ready").status, 200);
    for path in ["/logging", "/healthcheck/ok", "/config/reload", "/reset_counters", "/reopen_logs"] {
        assert_eq!(proxy.post(path).status, 200, "{path}");
    }
}

#[test]
fn a_failed_health_check_takes_readiness_and_nothing_else() {
    let Setting { proxy, listen, .. } = setting();
    assert_eq!(proxy.post("/healthcheck/fail").text(), "OK\n");
    let ready = proxy.get("/ready");
    assert_eq!((ready.status, ready.text().as_str()), (503, "DRAINING\n"));
    assert_eq!(proxy.stat("server.live"), 0);
    assert_eq!(client::once(listen, "GET", "/").expect("a response").status, 200, "requests are still served");
    assert_eq!(proxy.post("/healthcheck/ok").text(), "OK\n");
    assert_eq!(proxy.get("/ready").status, 200);
    assert_eq!(proxy.stat("server.live"), 1);
}

#[test]
fn stats_tell_what_has_happened_under_envoys_names() {
    let Setting { proxy, listen, .. } = setting();
    for (name, value) in [
        ("http.web.downstream_rq_total", 3),
        ("http.web.downstream_rq_2xx", 3),
        ("http.web.downstream_cx_total", 1),
        ("cluster.app.upstream_rq_total", 3),
        ("cluster.app.upstream_rq_200", 3),
        ("cluster.app.upstream_cx_total", 1),
        ("cluster.app.membership_total", 1),
        ("server.live", 1),
        ("server.concurrency", 1),
    ] {
        assert_eq!(proxy.stat(name), value, "{name}");
    }
    let listener = listen.to_string().replace(':', "_");
    assert_eq!(proxy.stat(&format!("listener.{listener}.downstream_cx_total")), 1);
    assert_eq!(proxy.stat(&format!("listener.{listener}.worker_0.downstream_cx_total")), 1);

    let filtered = proxy.get("/stats?filter=^cluster\\.app\\.upstream_rq_total$").text();
    assert_eq!(filtered, "cluster.app.upstream_rq_total: 3\n");
    let used = proxy.get("/stats?usedonly").text();
    assert!(used.contains("http.web.downstream_rq_2xx: 3") && !used.contains("upstream_cx_connect_timeout"), "{used}");
    assert_eq!(proxy.get("/stats?filter=(").status, 400);
    assert_eq!(proxy.get("/stats?format=xml").status, 400);

    let stats = json(&proxy, "/stats?format=json");
    let stats = stats["stats"].as_array().expect("a list");
    let total = stats.iter().find(|stat| stat["name"] == "cluster.app.upstream_rq_total");
    assert_eq!(total.map(|total| &total["value"]), Some(&Value::from(3)));
    let histograms = stats.iter().find_map(|stat| stat.get("histograms")).expect("histograms");
    let quantiles = histograms["supported_quantiles"].as_array().expect("a list").len();
    for histogram in histograms["computed_quantiles"].as_array().expect("a list") {
        assert_eq!(histogram["values"].as_array().expect("a list").len(), quantiles);
    }

    assert_eq!(proxy.post("/reset_counters").text(), "OK\n");
    assert_eq!(proxy.stat("http.web.downstream_rq_total"), 0);
    assert_eq!(proxy.stat("cluster.app.membership_total"), 1, "gauges stay");
}

#[test]
fn promtool_accepts_the_exposition() {
    let Setting { proxy, .. } = setting();
    let text = proxy.get("/stats/prometheus").text();
    assert!(
        text.contains("envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"app\"} 3"),
        "{text}"
    );
    assert!(text.contains("envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"+Inf\"} 3"), "{text}");
    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) => return eprintln!("promtool isn't installed, its opinion isn't asked: {error}"),
    };
    promtool.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("written");
    let output = promtool.wait_with_output().expect("output");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn clusters_and_listeners_tell_their_addresses() {
    let Setting { proxy, origin, listen, .. } = setting();
    let text = proxy.get("/clusters").text();
    let endpoint = origin.address;
    for line in [
        format!("app::{endpoint}::rq_total::3"),
        format!("app::{endpoint}::cx_active::1"),
        format!("app::{endpoint}::health_flags::healthy"),
        "app::default_priority::max_connections::10000".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    let clusters = json(&proxy, "/clusters?format=json");
    let host = &clusters["cluster_statuses"][0]["host_statuses"][0];
    assert_eq!(host["address"]["socket_address"]["port_value"], endpoint.port());
    assert_eq!(proxy.get("/listeners").text(), format!("web::{listen}\n"));
    let listeners = json(&proxy, "/listeners?format=json");
    assert_eq!(listeners["listener_statuses"][0]["name"], "web");
}

#[test]
fn the_config_in_use_and_the_server_describe_themselves() {
    let Setting { proxy, origin, listen, .. } = setting();
    let dump = json(&proxy, "/config_dump");
    assert_eq!(dump["version"], 1);
    assert_eq!(dump["config"]["listeners"][0]["address"], listen.to_string());
    assert_eq!(dump["resolved_endpoints"]["app"][0], origin.address.to_string());
    let server = json(&proxy, "/server_info");
    assert_eq!(server["state"], "LIVE");
    assert!(server["version"].as_str().expect("a text").starts_with("corelane/"));
    let memory = json(&proxy, "/memory");
    assert!(memory["total_physical_bytes"].as_str().and_then(|text| text.parse::<u64>().ok()).is_some_and(|n| n > 0));
}

#[test]
fn the_log_level_changes_while_it_runs() {
    let Setting { proxy, .. } = setting();
    assert!(proxy.post("/logging").text().contains("info"));
    assert!(proxy.post("/logging?level=error").text().contains("error"));
    let before = proxy.log.all().len();
    assert_eq!(proxy.post("/config/reload").status, 200);
    assert_eq!(proxy.post("/logging?level=info").status, 200);
    assert_eq!(proxy.post("/config/reload").status, 200);
    proxy.wait_for_log("version=3");
    assert_eq!(proxy.log.all().len(), before + 1, "the reload before said nothing: {:#?}", proxy.log.all());
    assert_eq!(proxy.post("/logging?level=loud").status, 400);
}

#[test]
fn scrapes_during_load_disturb_nothing() {
    let Setting { proxy, listen, .. } = setting();
    let load = Load::start(listen, 8, Reuse::KeepAlive, &["/"]);
    let begun = std::time::Instant::now();
    let mut scrapes = 0;
    while begun.elapsed() < Duration::from_secs(1) {
        for path in ["/stats", "/stats/prometheus", "/clusters?format=json", "/config_dump"] {
            assert_eq!(proxy.get(path).status, 200, "{path}");
            scrapes += 1;
        }
    }
    let tally = load.stop();
    tally.assert_no_failures();
    assert!(scrapes >= 4);
    assert_eq!(proxy.stat("http.web.downstream_rq_2xx"), tally.done + 3, "nothing counted twice or lost");
}
