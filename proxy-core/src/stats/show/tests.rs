use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::*;
use crate::stats::{ClusterStat, HttpStat, ListenerStat, ServerStat};

/// Two clusters, one listener and what they count.
fn registry() -> Arc<Registry> {
    let registry = Registry::new(2);
    let app = registry.cluster("app");
    for core in 0..2 {
        let lane = app.lane(core);
        lane.add(ClusterStat::UpstreamRqTotal, 5);
        lane.status(200);
        lane.status(503);
        lane.observe_us(ClusterStat::UpstreamRqTime, 700);
        lane.observe_us(ClusterStat::UpstreamCxConnectMs, 1_500);
    }
    registry.cluster("app.v2").lane(0).inc(ClusterStat::UpstreamCxConnectFail);
    registry.http("web").lane(0).status(204);
    registry.http("web").lane(0).inc(HttpStat::DownstreamRqTotal);
    let address = "0.0.0.0:8080".parse().expect("address");
    registry.listener(address).lane(1).gauge_inc(ListenerStat::DownstreamCxActive);
    registry.server().control_lane().set(ServerStat::Live, 1);
    registry.endpoint("app", address).lane(0).inc(crate::stats::EndpointStat::RqTotal);
    registry
}

fn used() -> Filter {
    Filter { used_only: true, ..Filter::default() }
}

#[test]
fn text_is_sorted_values_then_histograms() {
    let registry = registry();
    assert_eq!(
        text(&registry, &used()),
        concat!(
            "cluster.app.upstream_rq_200: 2\n",
            "cluster.app.upstream_rq_2xx: 2\n",
            "cluster.app.upstream_rq_503: 2\n",
            "cluster.app.upstream_rq_5xx: 2\n",
            "cluster.app.upstream_rq_total: 10\n",
            "cluster.app.v2.upstream_cx_connect_fail: 1\n",
            "http.web.downstream_rq_2xx: 1\n",
            "http.web.downstream_rq_total: 1\n",
            "listener.0.0.0.0_8080.downstream_cx_active: 1\n",
            "listener.0.0.0.0_8080.worker_1.downstream_cx_active: 1\n",
            "server.live: 1\n",
            "cluster.app.upstream_cx_connect_ms: P0(nan,1) P25(nan,2) P50(nan,3) P75(nan,4) P90(nan,4.6) P95(nan,4.8) ",
            "P99(nan,4.96) P99.5(nan,4.98) P99.9(nan,4.996) P100(nan,5)\n",
            "cluster.app.upstream_rq_time: P0(nan,0.5) P25(nan,0.625) P50(nan,0.75) P75(nan,0.875) P90(nan,0.95) ",
            "P95(nan,0.975) P99(nan,0.995) P99.5(nan,0.998) P99.9(nan,1) P100(nan,1)\n",
        )
    );
    let whole = text(&registry, &Filter::default());
    let (values, _): (Vec<_>, Vec<_>) =
        whole.lines().partition(|line| line.ends_with(|end: char| end.is_ascii_digit()));
    let names: Vec<_> = values.iter().map(|line| line.split(": ").next().expect("name")).collect();
    assert!(names.is_sorted(), "also where one cluster's name begins with another's");
    assert!(whole.contains("cluster.app.v2.upstream_rq_time: No recorded values\n"));
    assert!(!whole.contains("upstream_rq_404"), "codes appear when they occur");
    assert!(!whole.contains("endpoint"), "endpoints are listed by /clusters");
}

#[test]
fn an_interval_shows_what_came_since_the_one_before() {
    let registry = registry();
    registry.flush();
    let filter = Filter { name: Regex::new("app.upstream_rq_time").ok(), ..used() };
    assert!(text(&registry, &filter).contains(" P50(0.75,0.75) "));
    registry.cluster("app").lane(0).observe_us(ClusterStat::UpstreamRqTime, 40_000);
    registry.flush();
    assert!(text(&registry, &filter).contains(" P100(50,50)\n"), "{}", text(&registry, &filter));
    assert!(text(&registry, &filter).contains(" P0(25,0.5) "), "{}", text(&registry, &filter));
    registry.flush();
    assert!(text(&registry, &filter).contains(" P0(nan,0.5) "));
}

#[test]
fn filters_narrow_by_name_and_kind() {
    let registry = registry();
    let filter = Filter { name: Regex::new(r"^cluster\.app\..*_cx_connect_fail$").ok(), ..Filter::default() };
    assert_eq!(
        text(&registry, &filter),
        "cluster.app.upstream_cx_connect_fail: 0\ncluster.app.v2.upstream_cx_connect_fail: 1\n"
    );
    let filter = Filter { kind: Some(Kind::Gauge), ..used() };
    assert_eq!(
        text(&registry, &filter),
        "listener.0.0.0.0_8080.downstream_cx_active: 1\nlistener.0.0.0.0_8080.worker_1.downstream_cx_active: 1\nserver.live: 1\n"
    );
}

#[test]
fn json_has_envoys_shape() {
    let parsed: serde_json::Value = serde_json::from_str(&json(&registry(), &used())).expect("JSON");
    let stats = parsed["stats"].as_array().expect("array");
    assert_eq!(stats[0], serde_json::json!({ "name": "cluster.app.upstream_rq_200", "value": 2 }));
    let histograms = &stats.last().expect("histograms")["histograms"];
    assert_eq!(histograms["supported_quantiles"][7], 99.5);
    assert_eq!(histograms["computed_quantiles"][1]["name"], "cluster.app.upstream_rq_time");
    assert_eq!(
        histograms["computed_quantiles"][1]["values"][2],
        serde_json::json!({ "interval": null, "cumulative": 0.75 })
    );
}

#[test]
fn prometheus_has_envoys_names_and_labels() {
    let out = prometheus(&registry(), &used(), Dialect::Promtool);
    for line in [
        "# TYPE envoy_cluster_upstream_rq untyped",
        "envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"app\"} 2",
        "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"app\"} 2",
        "# HELP envoy_cluster_upstream_rq_total Requests sent to the cluster, tries included.",
        "# TYPE envoy_cluster_upstream_rq_total counter",
        "envoy_cluster_upstream_rq_total{envoy_cluster_name=\"app\"} 10",
        "# TYPE envoy_cluster_upstream_rq_time histogram",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"0.5\"} 0",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"1\"} 2",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"+Inf\"} 2",
        "envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"app\"} 1.4",
        "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"app\"} 2",
        "envoy_cluster_upstream_cx_connect_time_count{envoy_cluster_name=\"app\"} 2",
        "envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\",envoy_http_conn_manager_prefix=\"web\"} 1",
        "envoy_listener_downstream_cx_active{envoy_listener_address=\"0.0.0.0_8080\"} 1",
        "envoy_server_live 1",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}\n{out}");
    }
    let exact = prometheus(&registry(), &used(), Dialect::Envoy);
    assert!(exact.contains("# TYPE envoy_cluster_upstream_rq counter\n"));
    assert!(exact.contains("envoy_cluster_upstream_cx_connect_ms_count{envoy_cluster_name=\"app\"} 2\n"));
}

#[test]
fn every_family_is_declared_once() {
    let out = prometheus(&registry(), &Filter::default(), Dialect::Promtool);
    let mut declared = std::collections::HashSet::new();
    for line in out.lines().filter(|line| line.starts_with("# TYPE ")) {
        assert!(declared.insert(line), "{line}");
    }
    assert!(declared.len() > 150);
}

#[test]
fn promtool_accepts_every_metric() {
    let found =
        Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let Ok(mut promtool) = found else {
        eprintln!("promtool is not installed: skipped");
        return;
    };
    let registry = registry();
    for code in crate::stats::names::codes::REGISTERED {
        registry.cluster("quote\" and \\").lane(0).status(code);
    }
    let out = prometheus(&registry, &Filter::default(), Dialect::Promtool);
    promtool.stdin.take().expect("stdin").write_all(out.as_bytes()).expect("write");
    let result = promtool.wait_with_output().expect("promtool");
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
}

#[test]
fn thousands_of_clusters_are_rendered_quickly() {
    let registry = Registry::new(2);
    for n in 0..2_000 {
        registry.cluster(&format!("cluster-{n}")).lane(0).inc(ClusterStat::UpstreamRqTotal);
    }
    let start = std::time::Instant::now();
    let out = text(&registry, &used());
    assert_eq!(out.lines().count(), 2_000);
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
}
