//! Certificates and configs that change under connections.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, StreamOwned};

use crate::bodies::dotted;
use crate::certificates::Ca;
use crate::ops::client::once;
use crate::ops::{free_address, wait_until};
use crate::peers::{TlsStream, client_config, connect, echo_origin, get, session, start, tcp, terminating};

on_both_drivers!(
    processes_with_the_same_keys_know_each_others_sessions,
    a_certificate_that_changes_is_taken_up_and_connections_live_on,
    a_key_that_does_not_fit_changes_nothing,
    sessions_survive_a_reload,
    a_cluster_takes_to_tls,
);

fn shown(stream: &TlsStream) -> Vec<u8> {
    stream.conn.peer_certificates().expect("certificates")[0].to_vec()
}

fn a_certificate_that_changes_is_taken_up_and_connections_live_on(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let mut old = connect(web, &ca, "site.test");
    get(&mut old, "/").expect("a response");
    // The same files.
    ca.issue_until("site", &["site.test"], 2035);
    wait_until("the reload", || proxy.stat("server.config_reload_success") == 1);
    wait_until("the new certificate", || {
        let mut new = connect(web, &ca, "site.test");
        get(&mut new, "/").expect("a response");
        shown(&new) != shown(&old)
    });
    assert_eq!(get(&mut old, "/").expect("a response on the old connection").status, 200);
    let expires = format!("listener.{}.ssl.certificate.expiration_unix_time_seconds", dotted(web));
    assert_eq!(proxy.stat(&expires), 2_051_222_400);
    let certificates = proxy.get("/certs").text();
    for said in ["\"listener\": \"web\"", "\"dns\": \"site.test\"", "Mon, 01 Jan 2035 00:00:00 GMT"] {
        assert!(certificates.contains(said), "{said}: {certificates}");
    }
}

fn a_key_that_does_not_fit_changes_nothing(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    let proxy = start(driver, &terminating(web, &site, "", "", echo_origin()));
    let other = ca.issue("other", &["site.test"]);
    std::fs::copy(&other.key, &site.key).expect("copied");
    wait_until("the refusal", || proxy.stat("server.config_reload_failure") > 0);
    proxy.wait_for_log("the private key does not belong to the certificate");
    assert_eq!(get(&mut connect(web, &ca, "site.test"), "/").expect("a response").status, 200);
    // The certificate follows, and all is well.
    std::fs::copy(&other.chain, &site.chain).expect("copied");
    wait_until("the reload", || proxy.stat("server.config_reload_success") > 0);
}

fn sessions_survive_a_reload(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let config = terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin());
    let proxy = start(driver, &config);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.pem()).expect("a certificate")).expect("an authority");
    let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let again = || {
        let mut stream = StreamOwned::new(session(&client, "site.test"), tcp(web));
        get(&mut stream, "/").expect("a response");
        stream.conn.handshake_kind()
    };
    assert_eq!(again(), Some(HandshakeKind::Full));
    assert_eq!(again(), Some(HandshakeKind::Resumed));
    // Another definition of the listener, with the same keys for tickets.
    let changed = config.replace("certificates:", "post_quantum: true, certificates:");
    assert_eq!(proxy.reload(&changed).status, 200);
    assert_eq!(again(), Some(HandshakeKind::Resumed));
    assert_eq!(proxy.stat(&format!("listener.{}.ssl.session_reused", dotted(web))), 2);
}

fn processes_with_the_same_keys_know_each_others_sessions(driver: &str) {
    let ca = Ca::new();
    let site = ca.issue("site", &["site.test"]);
    for (name, byte) in [("old", 1u8), ("new", 2), ("other", 3)] {
        std::fs::write(ca.path(name), [byte; 80]).expect("written");
    }
    let keys = |names: &[&str]| {
        let files: Vec<String> = names.iter().map(|name| format!("'{}'", ca.path(name).display())).collect();
        format!("ticket_keys: [{}]", files.join(", "))
    };
    let config = |web, names: &[&str]| terminating(web, &site, &keys(names), "", echo_origin());
    let (first, second) = (free_address(), free_address());
    let _first = start(driver, &config(first, &["old"]));
    let proxy = start(driver, &config(second, &["old"]));
    let client = client_config(&ca, &rustls::version::TLS13);
    let again = |web| {
        let mut stream = StreamOwned::new(session(&client, "site.test"), tcp(web));
        get(&mut stream, "/").expect("a response");
        stream.conn.handshake_kind()
    };
    assert_eq!(again(first), Some(HandshakeKind::Full));
    assert_eq!(again(second), Some(HandshakeKind::Resumed));
    // The old key opens while the new one seals.
    assert_eq!(proxy.reload(&config(second, &["new", "old"])).status, 200);
    assert_eq!(again(first), Some(HandshakeKind::Resumed));
    assert_eq!(again(second), Some(HandshakeKind::Resumed));
    assert_eq!(again(first), Some(HandshakeKind::Full), "the first doesn't know the new one");
    assert_eq!(proxy.reload(&config(second, &["other"])).status, 200);
    assert_eq!(again(second), Some(HandshakeKind::Full));
    // The same file with another content is another key.
    std::fs::write(ca.path("other"), [4; 80]).expect("written");
    wait_until("the reload", || again(second) == Some(HandshakeKind::Full));
}

fn a_cluster_takes_to_tls(driver: &str) {
    let (ca, web, inner) = (Ca::new(), free_address(), free_address());
    let certificate = ca.issue("site", &["site.test"]).config();
    let origin = echo_origin();
    let config = |tls: &str| {
        format!(
            "listeners:\n  - {{ name: web, address: '{web}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n  - {{ \
             name: inner, address: '{inner}', tls: {{ allow_plain: true, certificates: {certificate} }},\n      http: {{ \
             routes: [{{ match: {{}}, cluster: origin }}] }} }}\nclusters:\n  - {{ name: app, endpoints: ['{inner}'] {tls} \
             }}\n  - {{ name: origin, endpoints: ['{origin}'] }}\n"
        )
    };
    let proxy = start(driver, &config(""));
    let sent = |scheme: &str| {
        let response = once(web, "GET", "/").expect("a response");
        // What the inner listener says of its own connection is the last word of a proxy that trusts nobody.
        assert!(response.text().contains(&format!("x-forwarded-proto: {scheme}\r\n")), "{}", response.text());
    };
    sent("http");
    let tls = format!(", tls: {{ ca: '{}', sni: site.test }}", ca.pem().display());
    assert_eq!(proxy.reload(&config(&tls)).status, 200);
    // The kept plain connection isn't used.
    sent("https");
    assert_eq!(proxy.reload(&config("")).status, 200);
    sent("http");
}
