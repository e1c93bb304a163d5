//! HAProxy as a peer that speaks TLS, in front of the proxy and behind it, over HTTP/1.1 and HTTP/2.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bodies::dotted;
use crate::certificates::{Ca, Files};
use crate::ops::client::{Client, once};
use crate::ops::program::Program;
use crate::ops::{Folder, free_address, wait_until};
use crate::peers::{echo_origin, start};

on_both_drivers!(
    haproxy_as_client_verifies_us_and_sends_in_both_versions,
    haproxy_as_client_tells_the_address_before_the_handshake,
    haproxy_as_endpoint_takes_what_alpn_agrees_on,
);

fn haproxy(folder: &Folder, config: &str, address: SocketAddr) -> Program {
    let path = folder.path("haproxy.cfg");
    let defaults = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n";
    let socket = folder.path("admin.sock");
    // One thread, since each has connections of its own. As a server it resumes no sessions: resuming doesn't look at
    // certificates.
    let global =
        format!("global\n  stats socket {} level admin\n  nbthread 1\n  tune.ssl.cachesize 0\n", socket.display());
    std::fs::write(&path, format!("{global}{defaults}{config}")).expect("written");
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&path).stderr(Stdio::null());
    Program::listening(command, address)
}

/// Asks HAProxy's runtime API.
fn runtime(folder: &Folder, command: &str) -> String {
    let mut stream = UnixStream::connect(folder.path("admin.sock")).expect("HAProxy's socket");
    stream.write_all(format!("{command}\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Certificate and key as HAProxy wants them: in one text.
fn both(files: &Files) -> String {
    let read = |path: &Path| std::fs::read_to_string(path).expect("a file");
    format!("{}{}", read(&files.chain), read(&files.key))
}

/// Some requests on one connection, the last with a long body that comes back.
#[track_caller]
fn exchange(address: SocketAddr) {
    let mut client = Client::connect(address).expect("connects");
    for _ in 0..3 {
        assert_eq!(client.get("/path").expect("a response").status, 200);
    }
    let body: Vec<u8> = (0..3_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    client.send(&format!("POST /up HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len())).expect("sent");
    let (mut sending, sent) = (client.stream.get_ref().try_clone().expect("a socket"), body.clone());
    let writer = std::thread::spawn(move || sending.write_all(&sent));
    assert!(client.receive().expect("a response").body == body);
    writer.join().expect("no panic").expect("sent");
}

fn haproxy_as_client_verifies_us_and_sends_in_both_versions(driver: &str) {
    let (ca, other, web) = (Ca::new(), Ca::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    let config = crate::peers::terminating(web, &site, "", "", echo_origin());
    let proxy = start(driver, &config);
    let ssl = |name: &str| proxy.stat(&format!("listener.{}.ssl.{name}", dotted(web)));
    for (alpn, counter) in [("h2", "downstream_cx_http2_total"), ("http/1.1", "downstream_cx_http1_total")] {
        let (folder, front, fresh, strange) = (Folder::new(), free_address(), free_address(), free_address());
        let server = |ca: &Ca| {
            let ca = ca.pem();
            format!(
                "server us {web} ssl verify required ca-file {} sni str(site.test) verifyhost site.test alpn {alpn}",
                ca.display()
            )
        };
        let (ours, theirs) = (server(&ca), server(&other));
        let _haproxy = haproxy(
            &folder,
            &format!(
                "listen front\n  bind {front}\n  http-reuse always\n  {ours}\n\
                 listen fresh\n  bind {fresh}\n  {ours} pool-max-conn 0\n\
                 listen strange\n  bind {strange}\n  {theirs}\n"
            ),
            front,
        );
        let before = proxy.stat(&format!("http.web.{counter}"));
        for _ in 0..3 {
            exchange(front);
        }
        assert_eq!(proxy.stat(&format!("http.web.{counter}")), before + 1, "{alpn}: one connection is kept");
        exchange(fresh);
        // Another certificate, while HAProxy keeps connections that began with the last one.
        let (reloads, handshakes) = (proxy.stat("server.config_reload_success"), ssl("handshake"));
        ca.issue("site", &["site.test"]);
        wait_until("the reload", || proxy.stat("server.config_reload_success") > reloads);
        exchange(front);
        assert_eq!(ssl("handshake"), handshakes, "{alpn}: the connection lives on");
        exchange(fresh);
        assert!(ssl("handshake") > handshakes, "{alpn}");
        // It doesn't trust an authority that it doesn't know, and says so.
        let alerts = ssl("error.peer_alert");
        assert_eq!(once(strange, "GET", "/").expect("a response").status, 503, "{alpn}");
        wait_until("the alert to be counted", || ssl("error.peer_alert") > alerts);
    }
    assert_eq!(proxy.stat("http.web.downstream_rq_5xx"), 0);
}

fn haproxy_as_client_tells_the_address_before_the_handshake(driver: &str) {
    let (ca, web, front, folder) = (Ca::new(), free_address(), free_address(), Folder::new());
    let site = ca.issue("site", &["site.test"]);
    let log = folder.path("access.log");
    let config = format!(
        "listeners:\n  - name: web\n    address: '{web}'\n    proxy_protocol: true\n    \
         tls: {{ certificates: {} }}\n    http: {{ access_log: [{{ path: '{}', format: '%DOWNSTREAM_REMOTE_ADDRESS%' }}], \
         routes: [{{ match: {{}}, cluster: app }}] }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{}'] }}\n",
        site.config(),
        log.display(),
        echo_origin()
    );
    let _proxy = start(driver, &config);
    let ca = ca.pem();
    let server = format!("server us {web} ssl verify required ca-file {} alpn h2 send-proxy-v2", ca.display());
    let config = format!("listen front\n  bind {front}\n  {server} sni str(site.test) verifyhost site.test\n");
    let _haproxy = haproxy(&folder, &config, front);
    let mut client = Client::connect(front).expect("connects");
    let address = client.stream.get_ref().local_addr().expect("an address").to_string();
    assert_eq!(client.get("/").expect("a response").status, 200);
    wait_until("a line of the access log", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains('\n')));
    assert_eq!(std::fs::read_to_string(&log).expect("a log").trim(), address);
}

fn haproxy_as_endpoint_takes_what_alpn_agrees_on(driver: &str) {
    let (ca, other, folder) = (Ca::new(), Ca::new(), Folder::new());
    let (site, back, web) = (ca.issue("site", &["site.test"]), free_address(), free_address());
    let file = folder.path("site.pem");
    std::fs::write(&file, both(&site)).expect("written");
    let file = file.display();
    let origin = echo_origin();
    let answer = "http-request return status 200 content-type text/plain lf-string %HV if { path /version }";
    let _haproxy = haproxy(
        &folder,
        &format!(
            "frontend back\n  bind {back} ssl crt {file} alpn h2,http/1.1 no-tls-tickets\n  {answer}\n  default_backend origin\n\
             backend origin\n  server origin {origin}\n"
        ),
        back,
    );
    let tls = format!("tls: {{ ca: '{}', sni: site.test }}", ca.pem().display());
    let cluster = |name: &str, fields: &str| format!("  - {{ name: {name}, endpoints: ['{back}'], {fields} {tls} }}\n");
    let config = |name: &str| {
        format!(
            "listeners:\n  - name: web\n    address: '{web}'\n    http:\n      routes:\n\
            \x20       - {{ match: {{ headers: [{{ name: x-fresh, exact: '1' }}] }}, cluster: fresh }}\n\
            \x20       - {{ match: {{}}, cluster: {name} }}\n\
             clusters:\n{}{}{}",
            cluster("http1", "protocol: http1,"),
            cluster("auto", "protocol: auto,"),
            cluster("fresh", "protocol: auto, requests_per_connection_max: 1,"),
        )
    };
    let proxy = start(driver, &config("http1"));
    for (name, version) in [("http1", "HTTP/1.1"), ("auto", "HTTP/2.0")] {
        assert_eq!(proxy.reload(&config(name)).status, 200);
        assert_eq!(once(web, "GET", "/version").expect("a response").text(), version);
        for _ in 0..3 {
            exchange(web);
        }
        assert_eq!(proxy.stat(&format!("cluster.{name}.upstream_cx_total")), 1, "{name}: one connection is kept");
    }
    let fresh = || {
        let mut client = Client::connect(web).expect("connects");
        client.request("GET", "/version", "x-fresh: 1\r\n").expect("a response").status
    };
    assert_eq!(fresh(), 200);
    let change = |files: &Files| {
        let said = runtime(&folder, &format!("set ssl cert {file} <<\n{}", both(files)));
        assert!(said.contains("ransaction"), "{said}");
        let said = runtime(&folder, &format!("commit ssl cert {file}"));
        assert!(said.contains("Success"), "{said}");
    };
    change(&ca.issue("next", &["site.test"]));
    assert_eq!(fresh(), 200, "another certificate of the same authority");
    change(&other.issue("strange", &["site.test"]));
    assert_eq!(fresh(), 503, "an authority that we don't know");
    assert!(proxy.stat("cluster.fresh.ssl.fail_verify_error") > 0);
    exchange(web);
    change(&ca.issue("last", &["site.test"]));
    assert_eq!(fresh(), 200);
}
