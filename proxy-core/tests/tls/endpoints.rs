//! Endpoints that speak TLS, well or badly.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use codecs::tls::CertificateFacts;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ServerConnection, StreamOwned};

use crate::certificates::{Ca, Files};
use crate::ops::client::{Client, once};
use crate::ops::proxy::Proxy;
use crate::ops::{free_address, wait_until};
use crate::peers::{echo_origin, receive, server_config, start, tcp, tls_origin};

on_both_drivers!(
    requests_share_http2_connections_with_those_for_their_server_only,
    each_request_names_its_server_and_shares_no_connection_with_others,
    an_idle_connection_is_watched_whatever_its_endpoint_says,
    the_log_tells_of_the_endpoints_tls,
    a_proxy_header_goes_before_tls_in_the_clear,
    an_endpoint_is_verified_unless_told_otherwise,
    a_kept_connection_takes_new_keys_and_serves_on,
    the_name_of_an_endpoint_is_asked_for_and_verified,
    sessions_are_resumed,
    an_endpoint_that_is_not_tls_or_silent_is_a_failed_connection,
);

/// Answers each request with `ok`.
fn origin(certificate: &Files) -> SocketAddr {
    tls_origin(certificate, |stream| {
        let mut buffer = [0; 4096];
        while let Ok(1..) = stream.read(&mut buffer) {
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").is_err() || stream.flush().is_err() {
                return;
            }
        }
    })
}

/// A plain listener in front of an endpoint; `tls` are the fields of the cluster's `tls`.
fn in_front_of(driver: &str, endpoint: &str, tls: &str) -> (Proxy, SocketAddr) {
    let web = free_address();
    let config = format!(
        "access_log: {{ path: stdout, format: '%RESPONSE_CODE% %RESPONSE_FLAGS%' }}\n\
         listeners:\n  - {{ name: web, address: '{web}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{endpoint}'], connect_timeout: 500ms, tls: {{ {tls} }} }}\n"
    );
    (start(driver, &config), web)
}

fn an_endpoint_is_verified_unless_told_otherwise(driver: &str) {
    let (ca, other) = (Ca::new(), Ca::new());
    let files = ca.issue("good", &["127.0.0.1", "app.test"]);
    let certificate = CertificateDer::from_pem_file(&files.chain).expect("a certificate");
    let hash = CertificateFacts::from_der(&certificate).expect("a certificate").sha256_hex();
    let good = origin(&files).to_string();
    let expired = origin(&ca.issue_until("expired", &["127.0.0.1"], 2021)).to_string();
    let pem = format!("ca: '{}'", ca.pem().display());
    let strange = format!("ca: '{}'", other.pem().display());
    for (endpoint, tls, cause) in [
        (&good, pem.clone(), None),
        (&good, format!("{pem}, sni: app.test"), None),
        (&good, format!("{pem}, sni: other.test"), Some("error.bad_name")),
        (&good, format!("{pem}, sni: other.test, sans: [{{ dns: app.test }}]"), None),
        (&good, format!("{pem}, sans: [{{ dns: other.test }}]"), Some("fail_verify_san")),
        (&good, strange, Some("error.unknown_ca")),
        (&good, format!("{pem}, pinned: '{}'", hash.to_uppercase()), None),
        (&good, format!("{pem}, pinned: '{}'", "07".repeat(32)), Some("fail_verify_cert_hash")),
        (&good, format!("verify: false, pinned: '{hash}'"), None),
        // The system's authorities know nothing of ours.
        (&good, String::new(), Some("error.unknown_ca")),
        (&good, "verify: false".to_owned(), None),
        (&expired, pem.clone(), Some("error.expired")),
        (&expired, "verify: false".to_owned(), None),
    ] {
        let (proxy, web) = in_front_of(driver, endpoint, &tls);
        let response = once(web, "GET", "/").expect("a response");
        match cause {
            None => assert_eq!((response.status, proxy.stat("cluster.app.ssl.handshake")), (200, 1), "{tls}"),
            Some(cause) => {
                assert_eq!(response.status, 503, "{tls}");
                assert!(proxy.stat(&format!("cluster.app.ssl.{cause}")) > 0, "{tls}: {cause}");
                assert!(proxy.stat("cluster.app.upstream_cx_connect_fail") > 0, "{tls}");
                wait_until("the flag", || proxy.out.count("503 UF") == 1);
            }
        }
        assert_eq!(proxy.stat("cluster.app.upstream_cx_active"), u64::from(cause.is_none()), "{tls}");
    }
}

/// An endpoint may say things behind a response that are no data: tickets, new keys.
fn a_kept_connection_takes_new_keys_and_serves_on(driver: &str) {
    let ca = Ca::new();
    let (answered, wait) = channel();
    let (done, keys) = channel();
    let wait = Mutex::new(wait);
    let endpoint = tls_origin(&ca.issue("good", &["127.0.0.1"]), move |stream| {
        let mut buffer = [0; 4096];
        while let Ok(1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            let _ = stream.flush();
            let _ = wait.lock().expect("a lock").recv();
            stream.conn.refresh_traffic_keys().expect("new keys");
            let _ = stream.flush();
            let _ = done.send(());
        }
    });
    let (proxy, web) = in_front_of(driver, &endpoint.to_string(), &format!("ca: '{}'", ca.pem().display()));
    let mut client = Client::connect(web).expect("connects");
    for _ in 0..5 {
        assert_eq!(client.get("/").expect("a response").text(), "ok");
        answered.send(()).expect("sent");
        keys.recv().expect("sent");
        assert_eq!(proxy.stat("cluster.app.upstream_cx_idle"), 1);
    }
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 1);
    assert_eq!(proxy.stat("cluster.app.ssl.error.protocol"), 0);
}

fn the_name_of_an_endpoint_is_asked_for_and_verified(driver: &str) {
    let ca = Ca::new();
    let address = tls_origin(&ca.issue("good", &["localhost"]), |stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let name = stream.conn.server_name().unwrap_or_default().to_owned();
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        let _ = stream.flush();
    });
    let tls = format!("ca: '{}'", ca.pem().display());
    let (_proxy, web) = in_front_of(driver, &format!("localhost:{}", address.port()), &tls);
    assert_eq!(once(web, "GET", "/").expect("a response").text(), "localhost");
}

fn sessions_are_resumed(driver: &str) {
    let ca = Ca::new();
    let endpoint = tls_origin(&ca.issue("good", &["127.0.0.1"]), |stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok");
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    for (fields, resumed) in [("", 2), (", session_resumption: false", 0)] {
        let tls = format!("ca: '{}'{fields}", ca.pem().display());
        let (proxy, web) = in_front_of(driver, &endpoint.to_string(), &tls);
        for _ in 0..3 {
            assert_eq!(once(web, "GET", "/").expect("a response").text(), "ok");
        }
        assert_eq!(proxy.stat("cluster.app.ssl.session_reused"), resumed);
    }
}

fn an_endpoint_that_is_not_tls_or_silent_is_a_failed_connection(driver: &str) {
    let (proxy, web) = in_front_of(driver, &echo_origin().to_string(), "verify: false");
    // It waits for the end of a line that never comes.
    assert_eq!(once(web, "GET", "/").expect("a response").status, 503);
    assert!(proxy.stat("cluster.app.ssl.handshake_timeout") > 0);
    assert!(proxy.stat("cluster.app.upstream_cx_connect_timeout") > 0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = BufReader::new(&stream).read(&mut [0; 100]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let (proxy, web) = in_front_of(driver, &address.to_string(), "verify: false");
    assert_eq!(once(web, "GET", "/").expect("a response").status, 503);
    assert!(proxy.stat("cluster.app.ssl.connection_error") > 0);
}

/// As HAProxy's `send-proxy` with `ssl` and nginx's `proxy_protocol` with `proxy_ssl` do.
fn a_proxy_header_goes_before_tls_in_the_clear(driver: &str) {
    let ca = Ca::new();
    let config = Arc::new(server_config(&ca.issue("good", &["127.0.0.1"])));
    for (version, length) in [("v1", None), ("v2", Some(28))] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let endpoint = listener.local_addr().expect("an address");
        let config = config.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let config = config.clone();
                std::thread::spawn(move || {
                    let mut header = Vec::new();
                    while length.map_or(!header.ends_with(b"\r\n"), |length| header.len() < length) {
                        let mut byte = [0];
                        if stream.read_exact(&mut byte).is_err() {
                            return;
                        }
                        header.extend(byte);
                    }
                    let mut stream = StreamOwned::new(ServerConnection::new(config).expect("a server"), stream);
                    let mut buffer = [0; 4096];
                    while let Ok(1..) = stream.read(&mut buffer) {
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", header.len());
                        let _ = stream.write_all(&[head.as_bytes(), &header].concat());
                        let _ = stream.flush();
                    }
                });
            }
        });
        let web = free_address();
        let config = format!(
            "listeners:\n  - {{ name: web, address: '{web}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
             clusters:\n  - {{ name: app, endpoints: ['{endpoint}'], proxy_protocol: {version}, tls: {{ ca: '{}' }} }}\n",
            ca.pem().display()
        );
        let proxy = start(driver, &config);
        for connections in 1..=2 {
            let response = once(web, "GET", "/").expect("a response");
            let header = &response.body;
            if version == "v1" {
                let line = String::from_utf8_lossy(header).into_owned();
                let words: Vec<&str> = line.trim_end().split(' ').collect();
                assert_eq!(
                    (&words[..4], words[5]),
                    (&["PROXY", "TCP4", "127.0.0.1", "127.0.0.1"][..], &*web.port().to_string())
                );
            } else {
                assert!(header.starts_with(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"), "{header:?}");
                assert_eq!(header[26..28], web.port().to_be_bytes());
            }
            assert_eq!(proxy.stat("cluster.app.ssl.handshake"), connections, "none is shared");
        }
    }
}

fn the_log_tells_of_the_endpoints_tls(driver: &str) {
    let (ca, other) = (Ca::new(), Ca::new());
    let good = origin(&ca.issue("good", &["127.0.0.1", "app.test"]));
    let (web, raw, strange, closed) = (free_address(), free_address(), free_address(), free_address());
    let nobody = free_address();
    let format = "%UPSTREAM_TLS_VERSION% %UPSTREAM_TLS_CIPHER% %UPSTREAM_TLS_SESSION_ID% %UPSTREAM_PEER_SUBJECT% \
                  %UPSTREAM_PEER_DNS_SAN% %UPSTREAM_PEER_CERT_V_START(%Y)% %UPSTREAM_PEER_CERT_V_END% \
                  [%UPSTREAM_TRANSPORT_FAILURE_REASON%]";
    let http = "http: { routes: [{ match: {}, cluster: CLUSTER }] }";
    let listeners = [("web", web, "app"), ("strange", strange, "strange"), ("closed", closed, "closed")].map(
        |(name, address, cluster)| {
            format!("  - {{ name: {name}, address: '{address}', {} }}\n", http.replace("CLUSTER", cluster))
        },
    );
    let config = format!(
        "access_log: {{ path: stdout, format: '%LISTENER_NAME% {format}' }}\nlisteners:\n{}  \
         - {{ name: raw, address: '{raw}', tcp: {{ cluster: app }} }}\nclusters:\n  \
         - {{ name: app, endpoints: ['{good}'], tls: {{ ca: '{}' }} }}\n  \
         - {{ name: strange, endpoints: ['{good}'], tls: {{ ca: '{}' }} }}\n  \
         - {{ name: closed, endpoints: ['{nobody}'], tls: {{ ca: '{}' }} }}\n",
        listeners.concat(),
        ca.pem().display(),
        other.pem().display(),
        ca.pem().display(),
    );
    let (proxy, facts) = (start(driver, &config), "TLSv1.3 TLS_AES_128_GCM_SHA256 - CN=good");
    let facts = format!("{facts} app.test 2020 2040-01-01T00:00:00.000Z [-]");
    for count in 1..=2 {
        // The second goes out on the first one's connection.
        assert_eq!(once(web, "GET", "/").expect("a response").status, 200);
        wait_until("the line", || proxy.out.count(&format!("web {facts}")) == count);
    }
    assert_eq!(once(raw, "GET", "/").expect("a response").status, 200);
    wait_until("the session's line", || proxy.out.count(&format!("raw {facts}")) == 1);
    assert_eq!(once(strange, "GET", "/").expect("a response").status, 503);
    wait_until("the authority", || proxy.out.count("strange - - - - - - - [tls.unknown_ca") == 1);
    assert_eq!(once(closed, "GET", "/").expect("a response").status, 503);
    wait_until("the refusal", || proxy.out.count("closed - - - - - - - [Connection refused") == 1);
}

/// What carries no data wakes whoever watches the connection: he has to look on, or its end goes unnoticed until the next
/// of the looks that are taken once a second.
fn an_idle_connection_is_watched_whatever_its_endpoint_says(driver: &str) {
    let ca = Ca::new();
    let (said, hear) = channel::<&str>();
    let (done, wait) = channel();
    let hear = Mutex::new(hear);
    let endpoint = tls_origin(&ca.issue("good", &["127.0.0.1"]), move |stream| {
        let mut buffer = [0; 4096];
        let Ok(1..) = stream.read(&mut buffer) else { return };
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        let _ = stream.flush();
        // Tickets went with the handshake's end; new keys can be sent at any time.
        while let Ok("keys") = hear.lock().expect("a lock").recv() {
            stream.conn.refresh_traffic_keys().expect("new keys");
            let _ = stream.flush();
            let _ = done.send(());
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let (proxy, web) = in_front_of(driver, &endpoint.to_string(), &format!("ca: '{}'", ca.pem().display()));
    const ROUNDS: u64 = 12;
    let mut prompt = 0;
    for at in 0..ROUNDS {
        assert_eq!(once(web, "GET", "/").expect("a response").text(), "ok");
        wait_until("it is kept", || proxy.stat("cluster.app.upstream_cx_idle") == 1);
        for _ in 0..1 + at % 3 {
            said.send("keys").expect("sent");
            wait.recv().expect("sent");
            // Taken in before the next: each of them wakes.
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(proxy.stat("cluster.app.upstream_cx_idle"), 1);
        said.send("close").expect("sent");
        let began = Instant::now();
        wait_until("it is dropped", || proxy.stat("cluster.app.upstream_cx_active") == 0);
        prompt += u64::from(began.elapsed() < Duration::from_millis(250));
        assert_eq!(proxy.stat("cluster.app.upstream_cx_idle"), 0);
        assert_eq!(proxy.stat("cluster.app.upstream_cx_destroy_remote"), at + 1);
    }
    // By chance it would be a quarter of them.
    assert!(prompt * 4 >= ROUNDS * 3, "{prompt} of {ROUNDS} were noticed at once");
    assert_eq!(proxy.stat("cluster.app.ssl.error.protocol"), 0);
}

fn each_request_names_its_server_and_shares_no_connection_with_others(driver: &str) {
    let ca = Ca::new();
    let certificate = ca.issue("good", &["a.test", "b.test", "127.0.0.1"]);
    // Answers with the name that was asked for on its connection.
    let endpoint = tls_origin(&certificate, |stream| {
        let mut buffer = [0; 4096];
        while let Ok(1..) = stream.read(&mut buffer) {
            let name = stream.conn.server_name().unwrap_or("none").to_owned();
            let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
            let _ = stream.flush();
        }
    });
    let tls = format!("ca: '{}', sni: auto", ca.pem().display());
    let (proxy, web) = in_front_of(driver, &endpoint.to_string(), &tls);
    let mut client = tcp(web);
    let mut ask = |host: &str| {
        client.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).expect("sent");
        receive(&mut client).expect("a response")
    };
    for _ in 0..3 {
        for (host, name) in
            [("a.test", "a.test"), ("B.test:8443", "b.test"), ("a.test:1", "a.test"), ("127.0.0.1", "none")]
        {
            let response = ask(host);
            assert_eq!((response.status, response.text().as_str()), (200, name), "{host}");
        }
    }
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 3);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_idle"), 3);
    // The name is verified, too.
    assert_eq!(ask("c.test").status, 503);
    assert!(proxy.stat("cluster.app.ssl.error.bad_name") > 0);
    // Names that nobody uses any more are forgotten.
    for at in 0..200 {
        assert_eq!(ask(&format!("{at}.c.test")).status, 503);
    }
    assert_eq!(ask("a.test").text(), "a.test");
    assert_eq!((proxy.stat("cluster.app.upstream_cx_active"), proxy.stat("cluster.app.upstream_cx_idle")), (3, 3));
}

/// Answers each request with the name that was asked for on its connection, in a field; HTTP/2 as far as that takes.
fn http2_origin(certificate: &Files) -> SocketAddr {
    tls_origin(certificate, |stream| {
        let frame = |kind: u8, flags: u8, id: [u8; 4], payload: &[u8]| {
            [&[0, 0, payload.len() as u8, kind, flags][..], &id, payload].concat()
        };
        let mut preface = [0; 24];
        if stream.read_exact(&mut preface).is_err() {
            return;
        }
        let _ = stream.write_all(&frame(4, 0, [0; 4], b""));
        let mut header = [0; 9];
        while stream.flush().is_ok() && stream.read_exact(&mut header).is_ok() {
            let [a, b, c, kind, flags, id @ ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stream.read_exact(&mut payload).expect("the frame's rest");
            let name = stream.conn.server_name().unwrap_or("none").to_owned();
            let answer = match (kind, flags & 1) {
                (1, _) => frame(1, 5, id, &[&b"\x88\0\x06x-name"[..], &[name.len() as u8], name.as_bytes()].concat()),
                (4, 0) => frame(4, 1, id, b""),
                _ => continue,
            };
            let _ = stream.write_all(&answer);
        }
    })
}

fn requests_share_http2_connections_with_those_for_their_server_only(driver: &str) {
    let ca = Ca::new();
    let endpoint = http2_origin(&ca.issue("good", &["a.test", "b.test"]));
    let web = free_address();
    let config = format!(
        "listeners:\n  - {{ name: web, address: '{web}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, protocol: http2, endpoints: ['{endpoint}'], tls: {{ ca: '{}', sni: auto }} }}\n",
        ca.pem().display()
    );
    let proxy = start(driver, &config);
    for _ in 0..3 {
        for host in ["a.test", "b.test"] {
            let mut client = tcp(web);
            client.write_all(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).expect("sent");
            let head = receive(&mut client).expect("a response").head;
            assert!(head.contains(&format!("x-name: {host}\r\n")), "{head}");
        }
    }
    assert_eq!(proxy.stat("cluster.app.upstream_cx_http2_total"), 2);
}
