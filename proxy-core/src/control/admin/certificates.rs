//! `/certs`: the certificates in use.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use codecs::http::h1::emit;
use codecs::tls::CertificateFacts;
use serde_json::{Value, json};

use super::{json_pretty, text};
use crate::config::unix_s;
use crate::control::Shared;

const DAY_S: i64 = 24 * 3600;

pub(super) async fn certificates(State(shared): State<Arc<Shared>>) -> Response {
    let Some(current) = shared.current() else { return text(StatusCode::OK, "") };
    let listeners = current.snapshot.listeners.iter().flat_map(|listener| {
        let tls = listener.tls.as_ref().map(|tls| tls.config.certificates()).unwrap_or_default();
        tls.iter().map(|facts| certificate("listener", &listener.name, facts))
    });
    let clusters = current.snapshot.clusters.iter().filter_map(|cluster| {
        let facts = cluster.tls.as_ref()?.config.certificate()?;
        Some(certificate("cluster", &cluster.name, facts))
    });
    let all: Vec<Value> = listeners.chain(clusters).collect();
    json_pretty(&json!({ "certificates": all }))
}

/// One certificate; with Envoy's fields, and whose it is.
fn certificate(owner: &str, name: &str, facts: &CertificateFacts) -> Value {
    let left_days = (facts.not_after_s - unix_s() as i64).max(0) / DAY_S;
    let dns = facts.dns.iter().map(|name| json!({ "dns": name }));
    let uris = facts.uris.iter().map(|uri| json!({ "uri": uri }));
    let ips = facts.ips.iter().map(|ip: &IpAddr| json!({ "ip_address": ip.to_string() }));
    let names: Vec<Value> = dns.chain(uris).chain(ips).collect();
    json!({
        owner: name,
        "cert_chain": [{
            "serial_number": facts.serial,
            "subject": facts.subject,
            "issuer": facts.issuer,
            "fingerprint_sha256": facts.sha256_hex(),
            "subject_alt_names": names,
            // 64-bit numbers are strings, as protobuf's JSON has them.
            "days_until_expiration": left_days.to_string(),
            "valid_from": date(facts.not_before_s),
            "expiration_time": date(facts.not_after_s),
        }],
    })
}

fn date(unix_s: i64) -> String {
    let mut date = Vec::new();
    emit::date(&mut date, unix_s.max(0) as u64);
    String::from_utf8_lossy(&date).into_owned()
}
