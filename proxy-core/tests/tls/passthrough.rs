//! TCP listeners: TLS that is passed on by its server name, and TLS that ends here.

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::bodies::dotted;
use crate::certificates::Ca;
use crate::ops::client::once;
use crate::ops::{free_address, wait_until};
use crate::peers::{connect, echo_origin, get, start, tcp, tls_origin};

on_both_drivers!(
    connections_go_where_their_server_name_says,
    what_begins_as_tls_and_is_none_is_closed,
    a_tcp_listener_ends_tls,
);

/// An origin that says which it is.
fn named(ca: &Ca, name: &'static str, certificate: &str) -> SocketAddr {
    tls_origin(&ca.issue(name, &[certificate]), move |stream| {
        let mut buffer = [0; 4096];
        let _ = stream.read(&mut buffer);
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        let _ = stream.flush();
    })
}

fn connections_go_where_their_server_name_says(driver: &str) {
    let (ca, raw) = (Ca::new(), free_address());
    let (one, two) = (named(&ca, "one", "one.test"), named(&ca, "two", "*.two.test"));
    let plain = echo_origin();
    let config = format!(
        "access_log: {{ path: stdout, format: 'name %REQUESTED_SERVER_NAME%' }}\n\
         listeners:\n  - {{ name: raw, address: '{raw}', tcp: {{ cluster: plain, sni: [{{ match: one.test, cluster: one }},\n      \
         {{ match: ['*.two.test'], cluster: two }}] }} }}\n\
         clusters:\n  - {{ name: one, endpoints: ['{one}'] }}\n  - {{ name: two, endpoints: ['{two}'] }}\n  \
         - {{ name: plain, endpoints: ['{plain}'] }}\n"
    );
    let proxy = start(driver, &config);
    assert_eq!(get(&mut connect(raw, &ca, "one.test"), "/").expect("a response").text(), "one");
    assert_eq!(get(&mut connect(raw, &ca, "a.two.test"), "/").expect("a response").text(), "two");
    // Without TLS it goes where the rest goes.
    assert_eq!(once(raw, "GET", "/").expect("a response").status, 200);
    assert_eq!(proxy.stat(&format!("listener.{}.sni_routed", dotted(raw))), 2);
    wait_until("the lines", || proxy.out.count("name one.test") == 1 && proxy.out.count("name -") == 1);
}

fn what_begins_as_tls_and_is_none_is_closed(driver: &str) {
    let raw = free_address();
    let config = format!(
        "listeners:\n  - {{ name: raw, address: '{raw}', first_bytes_timeout: 200ms,\n      \
         tcp: {{ cluster: plain, sni: [{{ match: one.test, cluster: plain }}] }} }}\n\
         clusters:\n  - {{ name: plain, endpoints: ['{}'] }}\n",
        echo_origin()
    );
    let proxy = start(driver, &config);
    let mut bad = tcp(raw);
    bad.write_all(&[22, 3, 1, 0, 4, 0xff, 0, 0, 0]).expect("sent");
    assert!(!matches!(bad.read(&mut [0; 1]), Ok(1..)));
    let mut slow = tcp(raw);
    slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).expect("sent");
    assert!(!matches!(slow.read(&mut [0; 1]), Ok(1..)));
    let stat = |name: &str| proxy.stat(&format!("listener.{}.{name}", dotted(raw)));
    assert_eq!((stat("sni_hello_bad"), stat("downstream_pre_cx_timeout")), (1, 1));
    assert_eq!(proxy.stat("cluster.plain.upstream_cx_total"), 0);
}

fn a_tcp_listener_ends_tls(driver: &str) {
    let (ca, raw) = (Ca::new(), free_address());
    let certificate = ca.issue("site", &["site.test"]).config();
    let config = format!(
        "listeners:\n  - {{ name: raw, address: '{raw}', tls: {{ certificates: {certificate} }}, tcp: {{ cluster: app }} }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{}'] }}\n",
        echo_origin()
    );
    let _proxy = start(driver, &config);
    let mut stream = connect(raw, &ca, "site.test");
    assert!(get(&mut stream, "/").expect("a response").text().starts_with("GET / "));
    // Our end travels through, and theirs comes back in order.
    stream.conn.send_close_notify();
    stream.flush().expect("sent");
    let mut rest = Vec::new();
    assert_eq!(stream.read_to_end(&mut rest).expect("an orderly end"), 0);
}
