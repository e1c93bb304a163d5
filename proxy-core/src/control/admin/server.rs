//! The process: readiness, state, config, log level, end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::{json_pretty, ok, text};
use crate::control::lifecycle::Order;
use crate::control::rollout::Cause;
use crate::control::{ServerState, Shared, memory as process_memory};

type Parameters = Query<HashMap<String, String>>;

pub(super) async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let state = shared.state();
    let status = if state == ServerState::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    text(status, format!("{}\n", state.name()))
}

pub(super) async fn server_info(State(shared): State<Arc<Shared>>) -> Response {
    let uptime = format!("{}s", shared.started.elapsed().as_secs());
    let options: Map<String, Value> =
        shared.command_line.iter().map(|(option, value)| (option.clone(), value.clone().into())).collect();
    json_pretty(&json!({
        "version": concat!("corelane/", env!("CARGO_PKG_VERSION")),
        "state": shared.state().name(),
        "hot_restart_version": "disabled",
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "concurrency": shared.registry.cores(),
        "config_version": shared.current().map(|current| current.snapshot.version),
        "command_line_options": options,
    }))
}

pub(super) async fn memory() -> Response {
    let memory = process_memory::read();
    json_pretty(&json!({
        "allocated": memory.anonymous_bytes.to_string(),
        "heap_size": memory.heap_bytes.to_string(),
        "total_physical_bytes": memory.resident_bytes.to_string(),
    }))
}

pub(super) async fn config_dump(State(shared): State<Arc<Shared>>) -> Response {
    let Some(current) = shared.current() else { return json_pretty(&json!({})) };
    let endpoints: Map<String, Value> = current
        .snapshot
        .clusters
        .iter()
        .map(|cluster| {
            let addresses: Vec<String> =
                cluster.endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect();
            (cluster.name.clone(), addresses.into())
        })
        .collect();
    let since = current.since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let config = match serde_json::to_value(&*current.model) {
        Ok(config) => config,
        Err(error) => {
            return text(StatusCode::INTERNAL_SERVER_ERROR, format!("the config has no JSON form: {error}\n"));
        }
    };
    json_pretty(&json!({
        "version": current.snapshot.version,
        "in_use_since_unix_ms": since.as_millis() as u64,
        "file": shared.config_path,
        "config": config,
        "resolved_endpoints": endpoints,
    }))
}

pub(super) async fn config_reload(State(shared): State<Arc<Shared>>) -> Response {
    match shared.reload(Cause::Admin).await {
        Ok(Ok(version)) => text(StatusCode::OK, format!("config version {version} is in use\n")),
        Ok(Err(why)) => text(StatusCode::BAD_REQUEST, format!("{}\n", why.trim_end())),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "the process is ending\n"),
    }
}

/// With `graceful` the process ends when it is drained, unless `skip_exit` says otherwise; without, it stays.
pub(super) async fn drain_listeners(State(shared): State<Arc<Shared>>, Query(parameters): Parameters) -> Response {
    let exit = parameters.contains_key("graceful") && !parameters.contains_key("skip_exit");
    shared.order(Order::Drain { exit });
    ok()
}

pub(super) async fn quit(State(shared): State<Arc<Shared>>) -> Response {
    // The answer gets out before the process ends.
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        shared.order(Order::Quit);
    });
    ok()
}

pub(super) async fn healthcheck_fail(State(shared): State<Arc<Shared>>) -> Response {
    shared.health_failed.store(true, Ordering::Relaxed);
    ok()
}

pub(super) async fn healthcheck_ok(State(shared): State<Arc<Shared>>) -> Response {
    shared.health_failed.store(false, Ordering::Relaxed);
    ok()
}

pub(super) async fn reopen_logs(State(shared): State<Arc<Shared>>) -> Response {
    shared.logs.reopen();
    ok()
}

/// `level=` for everything, `filter=` for parts, a module's path with a level for that one; without any, what is logged.
pub(super) async fn logging(State(shared): State<Arc<Shared>>, Query(parameters): Parameters) -> Response {
    let log = &shared.process_log;
    let mut changed = Ok(());
    for (name, value) in &parameters {
        changed = changed.and_then(|()| match name.as_str() {
            "level" => log.set_level(value),
            "filter" => log.set_filter(value),
            module => log.set_filter(&format!("{},{module}={value}", log.filter())),
        });
    }
    match changed {
        Ok(()) => {
            let lines: Vec<String> = log.filter().split(',').map(|part| format!("  {part}\n")).collect();
            text(StatusCode::OK, format!("active loggers:\n{}", lines.concat()))
        }
        Err(why) => text(StatusCode::BAD_REQUEST, format!("{why}\n")),
    }
}
