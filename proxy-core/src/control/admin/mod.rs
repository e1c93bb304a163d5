//! The admin API: Envoy's endpoints over HTTP, on the control thread. What it reads are counters and the snapshot; what
//! it changes goes through the same doors as a signal.

mod certificates;
mod clusters;
mod server;
mod stats;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use tokio::net::TcpListener;

use super::Shared;
use crate::stats::ServerStat;

/// Path, whether it changes something (and so wants POST), and what it does, for `/help`.
const ENDPOINTS: [(&str, bool, &str); 20] = [
    ("/", false, "this list, with links"),
    ("/certs", false, "certificates in use, and when they expire"),
    ("/clusters", false, "clusters and their endpoints (format=json)"),
    ("/config/reload", true, "load the config file again"),
    ("/config_dump", false, "the config in use"),
    ("/drain_listeners", true, "accept no more connections (graceful: then end; skip_exit: don't)"),
    ("/healthcheck/fail", true, "let /ready fail"),
    ("/healthcheck/ok", true, "let /ready succeed again"),
    ("/help", false, "this list"),
    ("/listeners", false, "listeners and their addresses (format=json)"),
    ("/logging", true, "what the process logs (level=debug, or filter=info,corelane::control=debug)"),
    ("/memory", false, "memory in use"),
    ("/quitquitquit", true, "end the process at once"),
    ("/ready", false, "LIVE with 200 while the process serves, else its state with 503"),
    ("/reopen_logs", true, "close and open the access logs (after rotation)"),
    ("/reset_counters", true, "count from zero again"),
    ("/server_info", false, "version, state and command line"),
    ("/stats", false, "all metrics (filter=REGEX, usedonly, type=Counters|Gauges|Histograms, format=json|prometheus)"),
    ("/stats/prometheus", false, "all metrics for Prometheus (filter, usedonly, types=envoy)"),
    ("/stats?format=json", false, "all metrics as JSON"),
];

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    if let Err(error) = axum::serve(listener, router(shared)).await {
        tracing::error!(%error, "the admin API has ended");
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/", any(home))
        .route("/help", any(help))
        .route("/ready", any(server::ready))
        .route("/server_info", any(server::server_info))
        .route("/memory", any(server::memory))
        .route("/config_dump", any(server::config_dump))
        .route("/config/reload", any(server::config_reload))
        .route("/drain_listeners", any(server::drain_listeners))
        .route("/quitquitquit", any(server::quit))
        .route("/healthcheck/fail", any(server::healthcheck_fail))
        .route("/healthcheck/ok", any(server::healthcheck_ok))
        .route("/logging", any(server::logging))
        .route("/reopen_logs", any(server::reopen_logs))
        .route("/certs", any(certificates::certificates))
        .route("/clusters", any(clusters::clusters))
        .route("/listeners", any(clusters::listeners))
        .route("/stats", any(stats::stats))
        .route("/stats/prometheus", any(stats::prometheus))
        .route("/reset_counters", any(stats::reset_counters))
        .fallback(unknown)
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), admit))
        .with_state(shared)
}

/// Lets through what may be: GET for everything that changes nothing, POST for the rest (and, as in Envoy, for all).
async fn admit(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    shared.lane.inc(ServerStat::AdminRequests);
    let path = request.uri().path();
    let changes = ENDPOINTS.iter().any(|(known, changes, _)| *changes && *known == path);
    match *request.method() {
        Method::POST => {}
        Method::GET | Method::HEAD if !changes => {}
        ref method => {
            let message = format!("Method {method} not allowed, POST required.\n");
            return text(StatusCode::BAD_REQUEST, message);
        }
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-cache, max-age=0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}

fn text(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")], body.into()).into_response()
}

fn ok() -> Response {
    text(StatusCode::OK, "OK\n")
}

fn json(body: String) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn json_pretty(body: &serde_json::Value) -> Response {
    json(format!("{body:#}\n"))
}

fn help_text() -> String {
    let line = |(path, changes, what): &(&str, bool, &str)| {
        format!("  {path}{}: {what}\n", if *changes { " (POST)" } else { "" })
    };
    ENDPOINTS.iter().map(line).fold("admin commands are:\n".to_owned(), |all, line| all + &line)
}

async fn help() -> Response {
    text(StatusCode::OK, help_text())
}

async fn unknown() -> Response {
    text(StatusCode::NOT_FOUND, format!("invalid path. {}", help_text()))
}

async fn home() -> Response {
    let mut page = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Corelane admin</title>\n<style>\
         body{font-family:sans-serif;margin:2em}td{padding:.2em 1em .2em 0}form{display:inline}</style></head>\n\
         <body>\n<h1>Corelane</h1>\n<table>\n",
    );
    for (path, changes, what) in ENDPOINTS {
        let way = if changes {
            format!("<form action=\"{path}\" method=\"post\"><button>{path}</button></form>")
        } else {
            format!("<a href=\"{path}\">{path}</a>")
        };
        page += &format!("<tr><td>{way}</td><td>{what}</td></tr>\n");
    }
    page += "</table>\n</body>\n</html>\n";
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/html; charset=UTF-8")], page).into_response()
}
