//! Handshakes that fail, that take too long, that never were any; and what an idle connection costs.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use rustls::StreamOwned;

use crate::bodies::dotted;
use crate::certificates::Ca;
use crate::ops::proxy::Proxy;
use crate::ops::{free_address, wait_until};
use crate::peers::{client_config, connect, echo_origin, get, receive, session, start, tcp, terminating};

on_both_drivers!(
    an_idle_client_is_watched_whatever_it_says,
    a_client_that_agreed_on_http2_has_to_begin_it,
    a_handshake_may_take_only_so_long,
    what_is_not_tls_is_refused_and_counted,
    a_client_that_leaves_is_counted,
    plain_and_tls_share_a_port_if_they_may,
    the_first_bytes_may_take_only_so_long,
    the_endpoint_hears_of_https,
    handshakes_and_versions_are_counted_and_logged,
    an_idle_connection_is_small,
);

/// Reads to the end; what came.
fn rest(mut stream: impl Read) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest
}

fn a_handshake_may_take_only_so_long(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    let proxy = start(driver, &terminating(web, &site, "handshake_timeout: 200ms", "", echo_origin()));
    let silent = tcp(web);
    let mut half = tcp(web);
    // The beginning of a hello.
    half.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).expect("sent");
    assert_eq!((rest(silent), rest(half)), (vec![], vec![]));
    let stat = |name: &str| proxy.stat(&format!("listener.{}.{name}", dotted(web)));
    assert_eq!((stat("ssl.handshake_timeout"), stat("downstream_cx_transport_socket_connect_timeout")), (2, 2));
    assert_eq!(stat("downstream_cx_active"), 0);
}

fn what_is_not_tls_is_refused_and_counted(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let stat = |name: &str| proxy.stat(&format!("listener.{}.{name}", dotted(web)));
    for bytes in [&b"GET / HTTP/1.1\r\nhost: test\r\n\r\n"[..], b"\x00\x01\x02\x03", &[0xff; 70_000]] {
        let mut stream = tcp(web);
        let _ = stream.write_all(bytes);
        rest(stream);
    }
    assert_eq!((stat("ssl.error.not_tls"), stat("ssl.connection_error")), (3, 3));
    // A record that is none inside of a handshake: the client is told by an alert.
    let mut stream = tcp(web);
    stream.write_all(&[22, 3, 1, 0, 4, 0xff, 0, 0, 0]).expect("sent");
    assert_eq!(rest(stream).first(), Some(&21));
    assert_eq!(stat("ssl.connection_error"), 4);
    proxy.wait_for_log("TLS handshake failed: tls.not_tls: plain HTTP");
}

fn a_client_that_leaves_is_counted(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    drop(tcp(web));
    let stat = format!("listener.{}.ssl.error.handshake_eof", dotted(web));
    wait_until("the end to be counted", || proxy.stat(&stat) == 1);
}

fn plain_and_tls_share_a_port_if_they_may(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    let proxy = start(driver, &terminating(web, &site, "allow_plain: true", "", echo_origin()));
    let secure = get(&mut connect(web, &ca, "site.test"), "/").expect("a response");
    assert!(secure.text().contains("x-forwarded-proto: https\r\n"), "{secure:?}");
    let plain = get(&mut tcp(web), "/").expect("a response");
    assert!(plain.text().contains("x-forwarded-proto: http\r\n"), "{plain:?}");
    // One byte that may be either, and the rest.
    let mut stream = tcp(web);
    for byte in b"GET / HTTP/1.1\r\nhost: test\r\n\r\n" {
        stream.write_all(&[*byte]).expect("sent");
    }
    assert_eq!(receive(&mut stream).expect("a response").status, 200);
    assert_eq!(proxy.stat(&format!("listener.{}.plain_on_tls", dotted(web))), 2);
}

fn the_first_bytes_may_take_only_so_long(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let config = terminating(web, &ca.issue("site", &["site.test"]), "allow_plain: true", "", echo_origin());
    let proxy = start(driver, &config.replace("name: web,", "name: web, first_bytes_timeout: 100ms,"));
    let mut stream = tcp(web);
    stream.write_all(&[22, 3]).expect("sent");
    assert_eq!(rest(stream), []);
    assert_eq!(proxy.stat(&format!("listener.{}.downstream_pre_cx_timeout", dotted(web))), 1);
}

/// Whatever it says, or doesn't, in place of the preface.
fn a_client_that_agreed_on_http2_has_to_begin_it(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let timeouts = "timeouts: { header: 300ms },";
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", timeouts, echo_origin()));
    let mut config = (*client_config(&ca, &rustls::version::TLS13)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    for (at, beginning) in ["", "PRI * HTTP/2.0\r\n\r\nS"].iter().enumerate() {
        let mut stream = StreamOwned::new(session(&config, "site.test"), tcp(web));
        let began = Instant::now();
        stream.write_all(beginning.as_bytes()).expect("sent");
        stream.flush().expect("sent");
        let said = rest(stream);
        let took = began.elapsed();
        // GOAWAY, ENHANCE_YOUR_CALM.
        assert!(
            said.windows(4).any(|bytes| bytes == [7, 0, 0, 0]) && said.windows(4).any(|bytes| bytes == [0, 0, 0, 11])
        );
        assert!((290..5000).contains(&took.as_millis()), "{took:?}");
        wait_until("it is counted", || proxy.stat("http.web.downstream_rq_header_timeout") == at as u64 + 1);
    }
}

fn the_endpoint_hears_of_https(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let config = terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin());
    let moved = "routes: [{ match: { prefix: /moved }, redirect: { path: / } }, ";
    let _proxy = start(driver, &config.replace("routes: [", moved));
    let mut stream = connect(web, &ca, "site.test");
    assert!(get(&mut stream, "/").expect("a response").text().contains("x-forwarded-proto: https\r\n"));
    let redirect = get(&mut stream, "/moved").expect("a response");
    assert!(redirect.head.contains("location: https://test/\r\n"), "{redirect:?}");
}

fn handshakes_and_versions_are_counted_and_logged(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let log = "access_log: { path: stdout, format: '%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% \
               %REQUESTED_SERVER_NAME% %REQ(:SCHEME)% %DOWNSTREAM_PEER_SUBJECT%' },";
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", log, echo_origin()));
    get(&mut connect(web, &ca, "site.test"), "/").expect("a response");
    wait_until("the line", || proxy.out.count("TLSv1.3 TLS_AES_256_GCM_SHA384 site.test https -") == 1);
    let stat = |name: &str| proxy.stat(&format!("listener.{}.ssl.{name}", dotted(web)));
    assert_eq!((stat("handshake"), stat("versions.TLSv1.3"), stat("versions.TLSv1.2")), (1, 1, 0));
    assert_eq!((stat("ciphers.TLS_AES_256_GCM_SHA384"), stat("ciphers.TLS_AES_128_GCM_SHA256")), (1, 0));
    assert_eq!(stat("curves.X25519MLKEM768") + stat("curves.X25519"), 1);
    assert_eq!((stat("no_certificate"), stat("session_reused"), stat("connection_error")), (1, 0, 0));
    assert_eq!(stat("certificate.expiration_unix_time_seconds"), 2_208_988_800);
    assert!(proxy.stat("server.days_until_first_cert_expiring") > 0);
}

/// The promise is 12 KiB for an idle connection, everything included.
fn an_idle_connection_is_small(driver: &str) {
    const CONNECTIONS: usize = 100;
    const BYTES_MAX: u64 = 12 * 1024;
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let open = |proxy: &Proxy, count: usize| {
        let streams: Vec<_> = (0..count)
            .map(|_| {
                let mut stream = connect(web, &ca, "site.test");
                get(&mut stream, "/").expect("a response");
                stream
            })
            .collect();
        (proxy.resident_bytes(), streams)
    };
    let (before, _first) = open(&proxy, CONNECTIONS);
    let (after, _second) = open(&proxy, CONNECTIONS);
    let each = after.saturating_sub(before) / CONNECTIONS as u64;
    assert!(each <= BYTES_MAX, "{each} bytes for an idle connection");
}

fn an_idle_client_is_watched_whatever_it_says(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let active = format!("listener.{}.downstream_cx_active", dotted(web));
    for before in [true, false] {
        let mut stream = connect(web, &ca, "site.test");
        if before {
            get(&mut stream, "/").expect("a response");
        } else {
            while stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).expect("a handshake");
            }
        }
        for _ in 0..3 {
            stream.conn.refresh_traffic_keys().expect("new keys");
            stream.flush().expect("sent");
            // Taken in before the next: each of them wakes.
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        get(&mut stream, "/").expect("a response");
        stream.conn.refresh_traffic_keys().expect("new keys");
        stream.flush().expect("sent");
        assert_eq!(proxy.stat(&active), 1);
        drop(stream);
        wait_until("it is noticed", || proxy.stat(&active) == 0);
    }
    assert_eq!(proxy.stat(&format!("listener.{}.ssl.error.protocol", dotted(web))), 0);
}
