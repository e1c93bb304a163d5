//! Clients that show certificates, and what endpoints hear of them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, StreamOwned};

use crate::bodies::dotted;
use crate::certificates::{Ca, Files};
use crate::ops::{free_address, wait_until};
use crate::peers::{Response, TlsStream, echo_origin, get, receive, session, start, tcp, terminating};

on_both_drivers!(
    a_client_must_show_a_certificate_that_is_good,
    a_client_may_show_a_certificate_or_none,
    only_allowed_names_are_let_in,
    the_endpoint_hears_of_the_certificate_and_of_nobody_elses,
);

/// A client that trusts `ca` and shows this certificate.
fn connect_with(web: SocketAddr, ca: &Ca, shown: Option<&Files>) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.pem()).expect("a certificate")).expect("an authority");
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let config = match shown {
        Some(files) => {
            let chain = CertificateDer::pem_file_iter(&files.chain).expect("a file").collect::<Result<_, _>>();
            let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
            builder.with_client_auth_cert(chain.expect("a chain"), key).expect("a certificate")
        }
        None => builder.with_no_client_auth(),
    };
    StreamOwned::new(session(&Arc::new(config), "site.test"), tcp(web))
}

fn ask(web: SocketAddr, ca: &Ca, shown: Option<&Files>) -> std::io::Result<Response> {
    get(&mut connect_with(web, ca, shown), "/")
}

fn a_client_must_show_a_certificate_that_is_good(driver: &str) {
    let (ca, other, web) = (Ca::new(), Ca::new(), free_address());
    let auth = format!("client_auth: {{ ca: '{}' }}", ca.pem().display());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), &auth, "", echo_origin()));
    let stat = |name: &str| proxy.stat(&format!("listener.{}.ssl.{name}", dotted(web)));
    assert_eq!(ask(web, &ca, Some(&ca.issue("good", &["client.test"]))).expect("a response").status, 200);
    assert!(ask(web, &ca, None).is_err());
    wait_until("the missing certificate", || stat("fail_verify_no_cert") == 1);
    assert!(ask(web, &ca, Some(&other.issue("strange", &["client.test"]))).is_err());
    wait_until("the strange certificate", || stat("error.unknown_ca") == 1);
    assert!(ask(web, &ca, Some(&ca.issue_until("old", &["client.test"], 2021))).is_err());
    wait_until("the old certificate", || stat("error.expired") == 1);
    assert_eq!((stat("fail_verify_error"), stat("handshake"), stat("no_certificate")), (2, 1, 0));
}

fn a_client_may_show_a_certificate_or_none(driver: &str) {
    let (ca, other, web) = (Ca::new(), Ca::new(), free_address());
    let auth = format!("client_auth: {{ mode: optional, ca: '{}' }}", ca.pem().display());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), &auth, "", echo_origin()));
    assert_eq!(ask(web, &ca, Some(&ca.issue("good", &["client.test"]))).expect("a response").status, 200);
    assert_eq!(ask(web, &ca, None).expect("a response").status, 200);
    assert!(ask(web, &ca, Some(&other.issue("strange", &["client.test"]))).is_err());
    assert_eq!(proxy.stat(&format!("listener.{}.ssl.no_certificate", dotted(web))), 1);
}

fn only_allowed_names_are_let_in(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let auth = format!(
        "client_auth: {{ ca: '{}', sans: [{{ dns: '*.good.test' }}, {{ uri: 'spiffe://a/*' }}] }}",
        ca.pem().display()
    );
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), &auth, "", echo_origin()));
    for names in [&["a.good.test"][..], &["other.test", "spiffe://a/b"]] {
        assert_eq!(ask(web, &ca, Some(&ca.issue("good", names))).expect("a response").status, 200);
    }
    assert!(ask(web, &ca, Some(&ca.issue("bad", &["a.bad.test", "spiffe://b/b"]))).is_err());
    let stat = format!("listener.{}.ssl.fail_verify_san", dotted(web));
    wait_until("the name to be counted", || proxy.stat(&stat) == 1);
}

/// The lines of `x-forwarded-client-cert` that the endpoint gets, for a client that sends one itself.
fn told(driver: &str, forwarding: &str, shown: bool) -> Vec<String> {
    let (ca, web) = (Ca::new(), free_address());
    let auth = format!("client_auth: {{ mode: optional, ca: '{}' }}", ca.pem().display());
    let http = format!("forwarding: {{ {forwarding} }},");
    let _proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), &auth, &http, echo_origin()));
    let client = ca.issue("client", &["client.test", "spiffe://a/b"]);
    let mut stream = connect_with(web, &ca, shown.then_some(&client));
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\nx-forwarded-client-cert: Hash=forged\r\n\r\n").expect("sent");
    let text = receive(&mut stream).expect("a response").text();
    text.lines().filter_map(|line| line.strip_prefix("x-forwarded-client-cert: ").map(str::to_owned)).collect()
}

fn the_endpoint_hears_of_the_certificate_and_of_nobody_elses(driver: &str) {
    let forged = ["Hash=forged"];
    assert!(told(driver, "", true).is_empty());
    assert!(told(driver, "client_cert: sanitize_set", false).is_empty());
    assert!(told(driver, "client_cert: forward_only", false).is_empty());
    assert!(told(driver, "client_cert: append_forward", false).is_empty());
    assert_eq!(told(driver, "client_cert: forward_only", true), forged);
    assert_eq!(told(driver, "client_cert: always_forward_only", false), forged);
    let details = "client_cert_details: [subject, uri, dns]";
    let set = told(driver, &format!("client_cert: sanitize_set, {details}"), true);
    let [element] = set.as_slice() else { panic!("{set:?}") };
    let (hash, rest) = element.strip_prefix("Hash=").and_then(|rest| rest.split_once(';')).expect("a hash");
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{element}");
    assert_eq!(rest, "Subject=\"CN=client\";URI=spiffe://a/b;DNS=client.test");
    let appended = told(driver, "client_cert: append_forward", true);
    assert!(appended.len() == 1 && appended[0].starts_with("Hash=forged,Hash="), "{appended:?}");
}
