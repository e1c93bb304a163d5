use super::*;
use crate::stats::{ClusterStat, EndpointStat};

#[test]
fn reads_answer_get_and_changes_want_post() {
    let process = Process::start(&config(APP), Vec::new());
    let help = process.get("/help");
    for line in help.lines().skip(1) {
        let command = line.trim().split(':').next().unwrap();
        let Some(path) = command.strip_suffix(" (POST)") else {
            assert_eq!(process.ask("GET", command).0, 200, "{command}");
            continue;
        };
        let (status, body) = process.ask("GET", path);
        assert_eq!((status, body.as_str()), (400, "Method GET not allowed, POST required.\n"), "{path}");
    }
    assert_eq!(process.ask("DELETE", "/stats").0, 400);
    let (status, body) = process.ask("GET", "/nowhere");
    assert_eq!(status, 404);
    assert!(body.starts_with("invalid path. admin commands are:\n"), "{body}");
    assert!(process.get("/").contains("<form action=\"/quitquitquit\" method=\"post\">"));
    let told = process.told();
    assert!(!told.stopped && told.drains.is_empty());
}

#[test]
fn readiness_follows_the_health_check_and_the_drain() {
    let process = Process::start(&config(APP), Vec::new());
    assert_eq!(process.ask("GET", "/ready"), (200, "LIVE\n".into()));
    assert_eq!(process.ask("POST", "/healthcheck/fail"), (200, "OK\n".into()));
    assert_eq!(process.ask("GET", "/ready"), (503, "DRAINING\n".into()));
    assert!(process.get("/stats?filter=^server.live$").ends_with("server.live: 0\n"));
    assert_eq!(process.ask("POST", "/healthcheck/ok").0, 200);
    assert_eq!(process.ask("GET", "/ready").0, 200);
    assert_eq!(process.ask("POST", "/drain_listeners"), (200, "OK\n".into()));
    wait_for("the drain", || process.ask("GET", "/ready").0 == 503);
    assert_eq!(process.handle.as_ref().unwrap().state(), ServerState::Draining);
    assert_eq!(process.told().drains, [Duration::from_secs(600)]);
    let (status, why) = process.ask("POST", "/config/reload");
    assert_eq!((status, why.as_str()), (400, "the process drains and takes no more configs\n"));
    process.told().draining.clear();
    assert!(!process.told().stopped, "without `graceful` the process stays");
}

#[test]
fn a_graceful_drain_ends_the_process_when_the_cores_are_empty() {
    let mut process = Process::start(&config(APP), Vec::new());
    assert_eq!(process.ask("POST", "/drain_listeners?graceful").0, 200);
    wait_for("the drain", || process.told().draining.len() == 2);
    assert!(!process.told().stopped);
    process.told().draining.drain(..).for_each(Ack::done);
    process.handle.take().unwrap().wait();
    assert!(process.told().stopped);
}

#[test]
fn quitting_ends_at_once() {
    let mut process = Process::start(&config(APP), Vec::new());
    assert_eq!(process.ask("POST", "/quitquitquit"), (200, "OK\n".into()));
    process.handle.take().unwrap().wait();
    assert!(process.told().stopped && process.told().drains.is_empty());
}

#[test]
fn metrics_come_in_three_forms() {
    let process = Process::start(&config(APP), Vec::new());
    let lane = process.registry.cluster("app").lane(0);
    lane.add(ClusterStat::UpstreamRqTotal, 3);
    lane.status(503);
    assert!(process.get("/stats").contains("\ncluster.app.upstream_rq_total: 3\n"));
    assert_eq!(
        process.get("/stats?usedonly&filter=upstream_rq_5"),
        "cluster.app.upstream_rq_503: 1\ncluster.app.upstream_rq_5xx: 1\n"
    );
    assert_eq!(process.get("/stats?type=Gauges&filter=membership_total"), "cluster.app.membership_total: 2\n");
    let json = process.get_json("/stats?format=json&filter=rq_total$");
    assert_eq!(json["stats"][0], serde_json::json!({ "name": "cluster.app.upstream_rq_total", "value": 3 }));
    let (status, head, body) = process.ask_whole("GET", "/stats/prometheus?usedonly");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        body.contains("envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"app\"} 1\n")
    );
    assert!(process.get("/stats/prometheus?types=envoy").contains("# TYPE envoy_cluster_upstream_rq_xx counter\n"));
    assert_eq!(process.ask("GET", "/stats?filter=(").0, 400);
    assert_eq!(process.ask("GET", "/stats?type=Dials").0, 400);
    assert_eq!(process.ask("POST", "/reset_counters").0, 200);
    assert!(process.get("/stats").contains("\ncluster.app.upstream_rq_total: 0\n"));
}

#[test]
fn the_servers_gauges_are_current() {
    let process = Process::start(&config(APP), Vec::new());
    let value = |name: &str| {
        let line = process.get(&format!("/stats?filter=^server.{name}$"));
        line.trim().rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    assert_eq!((value("concurrency"), value("config_version"), value("active_clusters")), (2, 1, 1));
    assert!(value("memory_physical_size") > 1 << 20);
    assert!(value("admin.requests") > 0);
}

#[test]
fn clusters_and_listeners_show_the_snapshot() {
    let process = Process::start(&config(APP), Vec::new());
    let address = "127.0.0.1:9002".parse().unwrap();
    process.registry.endpoint("app", address).lane(1).add(EndpointStat::RqTotal, 4);
    let text = process.get("/clusters");
    let connections_max = process.told().snapshots[0].clusters[0].breaker.connections_max;
    let bound = format!("app::default_priority::max_connections::{connections_max}");
    for line in [
        "app::observability_name::app",
        bound.as_str(),
        "app::added_via_api::false",
        "app::127.0.0.1:9001::rq_total::0",
        "app::127.0.0.1:9002::rq_total::4",
        "app::127.0.0.1:9002::weight::2",
        "app::127.0.0.1:9002::health_flags::healthy",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let json = process.get_json("/clusters?format=json");
    let host = &json["cluster_statuses"][0]["host_statuses"][1];
    assert_eq!(host["address"]["socket_address"], serde_json::json!({ "address": "127.0.0.1", "port_value": 9002 }));
    let stats = host["stats"].as_array().unwrap();
    assert!(stats.contains(&serde_json::json!({ "name": "rq_total", "value": "4", "type": "COUNTER" })));
    assert_eq!(process.get("/listeners"), "web::127.0.0.1:0\n");
    assert_eq!(process.get_json("/listeners?format=json")["listener_statuses"][0]["name"], "web");
}

#[test]
fn the_config_and_the_process_describe_themselves() {
    let process = Process::start(&config(APP), Vec::new());
    let dump = process.get_json("/config_dump");
    assert_eq!((&dump["version"], &dump["config"]["clusters"][0]["name"]), (&1.into(), &"app".into()));
    assert_eq!(dump["resolved_endpoints"]["app"], serde_json::json!(["127.0.0.1:9001", "127.0.0.1:9002"]));
    let info = process.get_json("/server_info");
    assert_eq!((&info["state"], &info["command_line_options"]["driver"]), (&"LIVE".into(), &"auto".into()));
    assert!(process.get_json("/memory")["total_physical_bytes"].is_string());
}

#[test]
fn the_log_level_changes() {
    let process = Process::start(&config(APP), Vec::new());
    assert_eq!(process.ask("POST", "/logging"), (200, "active loggers:\n  info\n".into()));
    assert_eq!(process.ask("POST", "/logging?level=warning"), (200, "active loggers:\n  warn\n".into()));
    let (status, body) = process.ask("POST", "/logging?corelane::control=debug");
    assert_eq!((status, body.as_str()), (200, "active loggers:\n  corelane::control=debug\n  warn\n"));
    let (status, body) = process.ask("POST", "/logging?level=loud");
    assert_eq!(status, 400);
    assert!(body.starts_with("unknown level `loud`"), "{body}");
}

#[test]
fn logs_are_reopened() {
    let process = Process::start(&config(APP), Vec::new());
    assert_eq!(process.ask("POST", "/reopen_logs"), (200, "OK\n".into()));
    let control = process._logs.0.control();
    wait_for("reopening", || control.reopened());
}
