//! What goes through comes out, whatever its size and however it is cut.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::StreamOwned;

use crate::certificates::Ca;
use crate::ops::client::once;
use crate::ops::{free_address, wait_until};
use crate::peers::{
    TlsStream, client_config, connect, echo_origin, get, receive, session, start, tcp, terminating, tls_origin,
};

on_both_drivers!(
    bodies_of_8_mib_pass_through_two_hops_of_tls,
    a_response_is_one_record,
    bytes_may_come_one_by_one,
    requests_behind_each_other_are_all_answered,
    an_upload_that_breaks_off_is_not_complete,
    a_client_that_does_not_read_holds_little_memory,
    an_upgrade_is_a_tunnel_through_tls_on_both_sides,
    a_response_without_length_that_breaks_off_is_not_complete,
    an_end_that_is_announced_ends_a_response,
);

fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `web` goes on to `inner` by TLS, and that to the origin.
fn bodies_of_8_mib_pass_through_two_hops_of_tls(driver: &str) {
    let ca = Ca::new();
    let (web, inner, origin) = (free_address(), free_address(), echo_origin());
    let certificate = ca.issue("site", &["site.test"]).config();
    let config = format!(
        "listeners:\n  - {{ name: web, address: '{web}', tls: {{ certificates: {certificate} }},\n      http: {{ routes: \
         [{{ match: {{}}, cluster: inner }}] }} }}\n  - {{ name: inner, address: '{inner}', tls: {{ certificates: \
         {certificate} }},\n      http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\nclusters:\n  - {{ name: inner, \
         endpoints: ['{inner}'], tls: {{ ca: '{}', sni: site.test }} }}\n  - {{ name: app, endpoints: ['{origin}'] }}\n",
        ca.pem().display()
    );
    let proxy = start(driver, &config);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut stream = StreamOwned::new(session(&client_config(&ca, version), "site.test"), tcp(web));
        for length in [8 << 20, 100_000, 16_384, 1] {
            let body = noise(length);
            // Both directions at once: the origin's answer doesn't fit into what lies between.
            let head = format!("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(head.as_bytes()).expect("sent");
            stream.write_all(&body).expect("sent");
            let response = receive(&mut stream).expect("a response");
            assert_eq!(response.status, 200);
            assert!(response.body == body, "{length} bytes differ");
        }
    }
    assert_eq!(proxy.stat("cluster.inner.ssl.connection_error"), 0);
    assert_eq!(proxy.stat("cluster.inner.upstream_cx_total"), 1);
}

/// Remembers what it read.
struct Recording {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Read for Recording {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.read.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

impl Write for Recording {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn a_response_is_one_record(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let _proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    // With TLS 1.2 nothing but data travels as data.
    let recording = Recording { stream: tcp(web), read: Vec::new() };
    let session = session(&client_config(&ca, &rustls::version::TLS12), "site.test");
    let mut stream: TlsStream<Recording> = StreamOwned::new(session, recording);
    assert_eq!(get(&mut stream, "/").expect("a response").status, 200);
    let (mut rest, mut records) = (stream.sock.read.as_slice(), 0);
    while let Some((header, behind)) = rest.split_first_chunk::<5>() {
        records += usize::from(header[0] == 23);
        rest = &behind[usize::from(u16::from_be_bytes([header[3], header[4]]))..];
    }
    assert_eq!(records, 1);
}

/// Writes byte by byte.
struct Dripping(TcpStream);

impl Read for Dripping {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Dripping {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(&bytes[..bytes.len().min(1)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn bytes_may_come_one_by_one(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let _proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let session = session(&client_config(&ca, version), "site.test");
        let mut stream: TlsStream<Dripping> = StreamOwned::new(session, Dripping(tcp(web)));
        for _ in 0..2 {
            let response = get(&mut stream, "/drip").expect("a response");
            assert!(response.text().starts_with("GET /drip "), "{response:?}");
        }
    }
}

fn requests_behind_each_other_are_all_answered(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let _proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let mut stream = connect(web, &ca, "site.test");
    let requests: String = (0..20).map(|number| format!("GET /{number} HTTP/1.1\r\nhost: test\r\n\r\n")).collect();
    stream.write_all(requests.as_bytes()).expect("sent");
    for number in 0..20 {
        let response = receive(&mut stream).expect("a response");
        assert!(response.text().starts_with(&format!("GET /{number} ")), "{response:?}");
    }
}

fn an_upload_that_breaks_off_is_not_complete(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let mut stream = connect(web, &ca, "site.test");
    stream.write_all(b"POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 100\r\n\r\nhalf").expect("sent");
    wait_until("the request to begin", || proxy.stat("cluster.app.upstream_rq_active") == 1);
    // Without a word.
    stream.sock.shutdown(std::net::Shutdown::Both).expect("shut");
    wait_until("the request to end", || proxy.stat("cluster.app.upstream_rq_active") == 0);
    assert_eq!(proxy.stat("http.web.downstream_rq_rx_reset"), 1);
    assert_eq!(proxy.stat(&format!("listener.{}.ssl.error.truncated", dotted(web))), 1);
}

fn a_client_that_does_not_read_holds_little_memory(driver: &str) {
    const LENGTH: usize = 64 << 20;
    const HELD_BYTES_MAX: u64 = 8 << 20;
    let (ca, web) = (Ca::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    let origin = tls_origin(&ca.issue("origin", &["127.0.0.1"]), |stream| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {LENGTH}\r\n\r\n");
        let _ = stream.write_all(&noise(LENGTH));
        let _ = stream.flush();
    });
    let config = terminating(web, &site, "", "", origin);
    let trust = format!("tls: {{ ca: '{}' }}, endpoints:", ca.pem().display());
    let proxy = start(driver, &config.replace("endpoints:", &trust));
    let mut stream = connect(web, &ca, "site.test");
    // The handshake and what follows from it is there by then.
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").expect("sent");
    let before = proxy.resident_bytes();
    wait_until("the endpoint to be paused", || {
        proxy.stat("cluster.app.upstream_flow_control_paused_reading_total") > 0
    });
    // It stays so: nothing is read here meanwhile.
    let held = proxy.resident_bytes().saturating_sub(before);
    assert!(held < HELD_BYTES_MAX, "{held} bytes are held");
    let response = receive(&mut stream).expect("a response");
    assert!(response.body == noise(LENGTH));
}

fn an_upgrade_is_a_tunnel_through_tls_on_both_sides(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    // Upgrades, then sends back what comes, until the other end says that it was all.
    let origin = tls_origin(&ca.issue("origin", &["127.0.0.1"]), |stream| {
        let mut bytes = vec![0; 16_384];
        let _ = stream.read(&mut bytes);
        let _ =
            stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            if stream.write_all(&bytes[..count]).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    });
    let config = terminating(web, &site, "", "", origin);
    let trust = format!("tls: {{ ca: '{}' }}, endpoints:", ca.pem().display());
    let _proxy = start(driver, &config.replace("endpoints:", &trust));
    let mut stream = connect(web, &ca, "site.test");
    stream
        .write_all(b"GET /chat HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
        .expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a head");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    for length in [1, 100, 16_384, 100_000] {
        let sent = noise(length);
        let mut received = vec![0; length];
        for (sent, received) in sent.chunks(10_000).zip(received.chunks_mut(10_000)) {
            stream.write_all(sent).expect("sent");
            stream.read_exact(received).expect("received");
        }
        assert!(sent == received, "{length} bytes differ");
    }
    stream.conn.send_close_notify();
    stream.flush().expect("sent");
    assert_eq!(stream.read_to_end(&mut Vec::new()).expect("an orderly end"), 0);
}

pub(crate) fn dotted(address: std::net::SocketAddr) -> String {
    address.to_string().replace(':', "_")
}

/// A plain listener in front of a TLS origin that answers without a length, and ends with or without a word.
fn ending(driver: &str, announced: bool) -> io::Result<crate::ops::client::Response> {
    let (ca, web) = (Ca::new(), free_address());
    let origin = tls_origin(&ca.issue("origin", &["127.0.0.1"]), move |stream| {
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall there is");
        let _ = stream.flush();
        if announced {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    let config = format!(
        "listeners:\n  - {{ name: web, address: '{web}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{origin}'], tls: {{ ca: '{}' }} }}\n",
        ca.pem().display()
    );
    let _proxy = start(driver, &config);
    once(web, "GET", "/")
}

fn a_response_without_length_that_breaks_off_is_not_complete(driver: &str) {
    assert!(ending(driver, false).is_err());
}

fn an_end_that_is_announced_ends_a_response(driver: &str) {
    assert_eq!(ending(driver, true).expect("a response").text(), "all there is");
}
