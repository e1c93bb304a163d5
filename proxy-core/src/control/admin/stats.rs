//! `/stats` and its forms.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::{json, ok, text};
use crate::control::Shared;
use crate::stats::Kind;
use crate::stats::show::{self, Dialect, Filter};

type Parameters = Query<HashMap<String, String>>;

/// Patterns come from outside: a compiled one may take this much memory.
const PATTERN_BYTES_MAX: usize = 1 << 20;

fn filter(parameters: &HashMap<String, String>) -> Result<Filter, String> {
    let name = parameters.get("filter").filter(|pattern| !pattern.is_empty());
    let compile = |pattern: &String| regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
    let name = name.map(compile).transpose().map_err(|error| format!("Invalid regex: {error}\n"))?;
    let kind = match parameters.get("type").map(String::as_str) {
        None | Some("" | "All") => None,
        Some("Counters") => Some(Kind::Counter),
        Some("Gauges") => Some(Kind::Gauge),
        Some("Histograms") => Some(Kind::Histogram),
        Some(other) => return Err(format!("invalid type `{other}`: All, Counters, Gauges and Histograms are known\n")),
    };
    Ok(Filter { name, used_only: parameters.contains_key("usedonly"), kind })
}

pub(super) async fn stats(State(shared): State<Arc<Shared>>, Query(parameters): Parameters) -> Response {
    let filter = match filter(&parameters) {
        Ok(filter) => filter,
        Err(why) => return text(StatusCode::BAD_REQUEST, why),
    };
    shared.refresh_gauges();
    match parameters.get("format").map(String::as_str) {
        None | Some("" | "text") => text(StatusCode::OK, show::text(&shared.registry, &filter)),
        Some("json") => json(show::json(&shared.registry, &filter)),
        Some("prometheus") => exposition(&shared, &filter, &parameters),
        Some(_) => text(StatusCode::BAD_REQUEST, "usage: /stats?format=json or /stats?format=prometheus\n"),
    }
}

pub(super) async fn prometheus(State(shared): State<Arc<Shared>>, Query(parameters): Parameters) -> Response {
    match filter(&parameters) {
        Ok(filter) => {
            shared.refresh_gauges();
            exposition(&shared, &filter, &parameters)
        }
        Err(why) => text(StatusCode::BAD_REQUEST, why),
    }
}

fn exposition(shared: &Shared, filter: &Filter, parameters: &HashMap<String, String>) -> Response {
    let envoy = parameters.get("types").is_some_and(|types| types == "envoy");
    let dialect = if envoy { Dialect::Envoy } else { Dialect::Promtool };
    let body = show::prometheus(&shared.registry, filter, dialect);
    (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body).into_response()
}

pub(super) async fn reset_counters(State(shared): State<Arc<Shared>>) -> Response {
    shared.registry.reset_counters();
    ok()
}
