//! Python's h2 on both sides of the proxy, keeping to HTTP/2 and breaking it. `scripts/test` installs it into
//! `target/python-peers`, or skips the tests that have it in their names.

mod ops;

use std::net::SocketAddr;

use ops::client::{Client, once};
use ops::program::{Program, python};
use ops::proxy::{Proxy, any_cpu};
use ops::{free_address, wait_until};

on_both_drivers!(
    python_h2_as_client_keeps_to_the_rules,
    python_h2_as_client_breaks_them_and_hears_what_it_did,
    python_h2_as_origin_keeps_to_the_rules,
    python_h2_as_origin_breaks_them_and_nobody_else_is_hurt,
);

/// The origin, the proxy with two clusters that lead there, and where that listens.
fn world(driver: &str) -> (Program, Proxy, SocketAddr) {
    let (origin, listen) = (free_address(), free_address());
    let mut command = python("python_h2.py");
    command.args(["origin", &origin.to_string()]);
    let program = Program::start(command);
    assert_eq!(program.line(), "ready");
    let config = format!(
        "listeners:\n  - name: web\n    address: '{listen}'\n    http:\n      routes:\n\
        \x20       - {{ match: {{ prefix: /conn/ }}, cluster: broken }}\n\
        \x20       - {{ match: {{}}, cluster: app }}\n\
         clusters:\n  - {{ name: app, protocol: http2, endpoints: ['{origin}'] }}\n\
        \x20 - {{ name: broken, protocol: http2, endpoints: ['{origin}'] }}\n"
    );
    let proxy = Proxy::start_with(&config, &["--driver", driver, "--cores", &any_cpu()], |_| {});
    (program, proxy, listen)
}

#[track_caller]
fn client(address: SocketAddr, scenario: &str) {
    let output = python("python_h2.py").args(["client", &address.to_string(), scenario]).output().expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{scenario}: {}", String::from_utf8_lossy(&said));
}

fn python_h2_as_client_keeps_to_the_rules(driver: &str) {
    let (_origin, proxy, listen) = world(driver);
    for scenario in ["requests", "small_windows", "trailers", "interim", "ping", "goaway", "resets", "cut_off"] {
        client(listen, scenario);
    }
    let stat = |name: &str| proxy.stat(&format!("http.web.{name}"));
    wait_until("its connections to end", || stat("downstream_cx_http2_active") == 0);
    assert_eq!(stat("downstream_cx_protocol_error"), 0);
}

fn python_h2_as_client_breaks_them_and_hears_what_it_did(driver: &str) {
    let (_origin, proxy, listen) = world(driver);
    for scenario in ["breaks", "limits", "beginnings"] {
        client(listen, scenario);
    }
    assert!(proxy.stat("http.web.downstream_cx_protocol_error") > 0);
}

fn python_h2_as_origin_keeps_to_the_rules(driver: &str) {
    let (_origin, proxy, listen) = world(driver);
    let get = |path: &str| once(listen, "GET", path).expect("a response");
    let connections = || proxy.stat("cluster.app.upstream_cx_total");
    assert_eq!((get("/hello").text().as_str(), get("/hello").text().as_str()), ("hello", "hello"));
    assert_eq!(connections(), 1);
    assert_eq!(get("/goaway").text(), "last");
    assert_eq!(get("/hello").text(), "hello");
    assert_eq!(connections(), 2, "one more, for what came after the GOAWAY");
    assert_eq!(get("/goaway-unprocessed").text(), "second");
    assert_eq!(connections(), 3);
    assert_eq!(get("/refuse").text(), "second");
    assert_eq!(get("/reset").status, 503);
    assert!(once(listen, "GET", "/reset-in-body").is_err(), "it must not look complete");
    assert_eq!(get("/hello").text(), "hello");
    assert_eq!(connections(), 3, "a reset is of its stream");
}

/// A request that waits at the origin until [`release`].
fn hold(origin: &Program, listen: SocketAddr) -> Client {
    let mut client = Client::connect(listen).expect("connects");
    client.send("GET /hold HTTP/1.1\r\nhost: test\r\n\r\n").expect("sent");
    while origin.line() != "held" {}
    client
}

#[track_caller]
fn release(listen: SocketAddr, mut held: Client) {
    assert_eq!(once(listen, "GET", "/release").expect("a response").text(), "1");
    assert_eq!(held.receive().expect("a response").text(), "released");
}

/// The next line of the origin's that says how the proxy ended something.
fn verdict(origin: &Program) -> String {
    loop {
        let line = origin.line();
        if line.starts_with("reset ") || line.starts_with("goaway ") {
            return line;
        }
    }
}

fn python_h2_as_origin_breaks_them_and_nobody_else_is_hurt(driver: &str) {
    let (origin, proxy, listen) = world(driver);
    // Each on a connection of its own, while a request waits on another to the same endpoint.
    for (path, code) in [
        ("/conn/settings-flood", "ENHANCE_YOUR_CALM"),
        ("/conn/ping-flood", "ENHANCE_YOUR_CALM"),
        ("/conn/bad-hpack", "COMPRESSION_ERROR"),
        ("/conn/unknown-stream", "PROTOCOL_ERROR"),
        ("/conn/even-stream", "PROTOCOL_ERROR"),
        ("/conn/push", "PROTOCOL_ERROR"),
        ("/conn/frame-too-large", "FRAME_SIZE_ERROR"),
        ("/conn/ping-of-seven", "FRAME_SIZE_ERROR"),
        ("/conn/enable-push", "PROTOCOL_ERROR"),
        ("/conn/window-of-zero", "PROTOCOL_ERROR"),
        ("/conn/window-overflow", "FLOW_CONTROL_ERROR"),
        ("/conn/interrupted-head", "PROTOCOL_ERROR"),
        ("/conn/endless-head", "ENHANCE_YOUR_CALM"),
        ("/conn/http1", "FRAME_SIZE_ERROR"),
    ] {
        let held = hold(&origin, listen);
        assert_eq!(once(listen, "GET", path).expect("a response").status, 502, "{path}");
        assert_eq!(verdict(&origin), format!("goaway {code}"), "{path}");
        release(listen, held);
    }
    // Each on the connection on which another request waits.
    let connections = proxy.stat("cluster.app.upstream_cx_total");
    for path in [
        "no-status",
        "status-101",
        "status-of-letters",
        "upper-case",
        "line-end",
        "connection",
        "chunked",
        "two-lengths",
        "length-of-nothing",
        "data-first",
        "window-of-zero",
        "interim-that-ends",
    ] {
        let held = hold(&origin, listen);
        assert_eq!(once(listen, "GET", &format!("/stream/{path}")).expect("a response").status, 502, "{path}");
        assert_eq!(verdict(&origin), "reset PROTOCOL_ERROR", "{path}");
        release(listen, held);
    }
    for path in ["/cut/too-little", "/cut/too-much", "/cut/bad-trailers", "/cut/second-head"] {
        let held = hold(&origin, listen);
        assert!(once(listen, "GET", path).is_err(), "{path} must not look complete");
        assert_eq!(verdict(&origin), "reset PROTOCOL_ERROR", "{path}");
        release(listen, held);
    }
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), connections, "all on one connection");
}
