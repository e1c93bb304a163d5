//! Programs that others wrote, on both sides.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::bodies::dotted;
use crate::certificates::{Ca, Files};
use crate::ops::client::once;
use crate::ops::program::Program;
use crate::ops::{Folder, free_address, wait_until};
use crate::peers::{echo_origin, get, start, tcp, terminating};

on_both_drivers!(
    curl_speaks_both_versions,
    curl_shows_its_certificate,
    curl_up_and_downloads_through_tls,
    openssl_resumes_a_session,
    openssl_gets_the_certificate_of_the_name_it_asks_for,
    nginx_is_an_endpoint_that_speaks_tls,
    openssl_is_an_endpoint_that_asks_for_a_certificate,
    haproxy_takes_a_proxy_header_before_tls,
);

fn curl(web: SocketAddr, ca: &Ca, arguments: &[&str]) -> Output {
    let resolve = format!("site.test:{}:{}", web.port(), web.ip());
    Command::new("curl")
        .args(["-sS", "--max-time", "20", "--http1.1", "--resolve", &resolve, "--cacert"])
        .arg(ca.pem())
        .args(arguments)
        .arg(format!("https://site.test:{}/path", web.port()))
        .output()
        .expect("curl runs")
}

#[track_caller]
fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn curl_speaks_both_versions(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let answer = text(&curl(web, &ca, &["--tls-max", "1.2"]));
    assert!(answer.starts_with("GET /path "), "{answer}");
    assert!(text(&curl(web, &ca, &["--tlsv1.3"])).contains("x-forwarded-proto: https"));
    let stat = |name: &str| proxy.stat(&format!("listener.{}.ssl.{name}", dotted(web)));
    assert_eq!((stat("versions.TLSv1.2"), stat("versions.TLSv1.3"), stat("connection_error")), (1, 1, 0));
}

fn curl_shows_its_certificate(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let auth = format!("client_auth: {{ ca: '{}' }}", ca.pem().display());
    let set = "forwarding: { client_cert: sanitize_set, client_cert_details: [dns] },";
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), &auth, set, echo_origin()));
    let Files { chain, key } = ca.issue("client", &["client.test"]);
    let shown = ["--cert", &chain.display().to_string(), "--key", &key.display().to_string()];
    assert!(text(&curl(web, &ca, &shown)).contains(";DNS=client.test"));
    assert!(!curl(web, &ca, &[]).status.success());
    let stat = format!("listener.{}.ssl.fail_verify_no_cert", dotted(web));
    wait_until("the missing certificate", || proxy.stat(&stat) == 1);
}

fn curl_up_and_downloads_through_tls(driver: &str) {
    let (ca, web, folder) = (Ca::new(), free_address(), Folder::new());
    let _proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    let (up, down) = (folder.path("up"), folder.path("down"));
    let body: Vec<u8> = (0..3_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(&up, &body).expect("written");
    let data = format!("@{}", up.display());
    text(&curl(web, &ca, &["--data-binary", &data, "-H", "expect:", "-o", &down.display().to_string()]));
    assert!(std::fs::read(&down).expect("read") == body);
}

/// What s_client says of a connection on which it sends nothing.
fn s_client(web: SocketAddr, ca: &Ca, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &web.to_string(), "-CAfile"])
        .arg(ca.pem())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn openssl_resumes_a_session(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let proxy = start(driver, &terminating(web, &ca.issue("site", &["site.test"]), "", "", echo_origin()));
    // With TLS 1.2 the ticket is there when the handshake is.
    let session = ca.path("session");
    let session = session.display().to_string();
    let first = s_client(web, &ca, &["-tls1_2", "-sess_out", &session]);
    assert!(first.contains("New, TLSv1.2"), "{first}");
    let second = s_client(web, &ca, &["-tls1_2", "-sess_in", &session]);
    assert!(second.contains("Reused, TLSv1.2"), "{second}");
    assert_eq!(proxy.stat(&format!("listener.{}.ssl.session_reused", dotted(web))), 1);
}

fn openssl_gets_the_certificate_of_the_name_it_asks_for(driver: &str) {
    let (ca, web) = (Ca::new(), free_address());
    let (first, wild) = (ca.issue("first", &["first.test"]), ca.issue("wild", &["*.wild.test"]));
    let config = terminating(web, &first, "", "", echo_origin());
    let both = format!("[{}, {}]", first.config(), wild.config());
    let _proxy = start(driver, &config.replace(&first.config(), &both));
    for (name, subject) in [("first.test", "first"), ("a.wild.test", "wild"), ("unknown.test", "first")] {
        let said = s_client(web, &ca, &["-servername", name]);
        let line = said.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().replace(' ', "");
        assert_eq!(line, format!("subject=CN={subject}"), "{name}");
        assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    }
}

fn run(program: &str, arguments: &[&str], address: SocketAddr) -> Program {
    let mut command = Command::new(program);
    command.args(arguments).stderr(Stdio::null());
    Program::listening(command, address)
}

fn display(path: &Path) -> String {
    path.display().to_string()
}

fn in_front_of(driver: &str, origin: SocketAddr, tls: &str) -> (crate::ops::proxy::Proxy, SocketAddr) {
    let web = free_address();
    let config = format!(
        "listeners:\n  - {{ name: web, address: '{web}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{origin}'], tls: {{ {tls} }} }}\n"
    );
    (start(driver, &config), web)
}

fn nginx_is_an_endpoint_that_speaks_tls(driver: &str) {
    let (ca, folder, origin) = (Ca::new(), Folder::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    std::fs::create_dir_all(folder.path("root")).expect("a folder");
    let bulk: Vec<u8> = (0..2_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.path("root/bulk"), &bulk).expect("written");
    let at = |name: &str| folder.path(name).display().to_string();
    // SAFETY: no arguments, no failure.
    let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
    let config = format!(
        "daemon off; {user} worker_processes 1; pid {pid}; error_log stderr crit;\nevents {{ worker_connections 256; }}\n\
         http {{ access_log off; client_body_temp_path {a}; proxy_temp_path {b}; fastcgi_temp_path {c}; uwsgi_temp_path \
         {d}; scgi_temp_path {e};\nserver {{ listen {origin} ssl; ssl_certificate {chain}; ssl_certificate_key {key};\n\
         root {root}; location = /name {{ return 200 $ssl_server_name; }} }} }}\n",
        pid = at("pid"),
        a = at("a"),
        b = at("b"),
        c = at("c"),
        d = at("d"),
        e = at("e"),
        chain = display(&site.chain),
        key = display(&site.key),
        root = at("root"),
    );
    let path = folder.path("nginx.conf");
    std::fs::write(&path, config).expect("written");
    let _nginx = run("nginx", &["-c", &display(&path)], origin);
    let (proxy, web) = in_front_of(driver, origin, &format!("ca: '{}', sni: site.test", display(&ca.pem())));
    assert_eq!(once(web, "GET", "/name").expect("a response").text(), "site.test");
    assert!(once(web, "GET", "/bulk").expect("a response").body == bulk);
    assert_eq!(proxy.stat("cluster.app.ssl.handshake"), 1);
}

fn openssl_is_an_endpoint_that_asks_for_a_certificate(driver: &str) {
    let (ca, origin) = (Ca::new(), free_address());
    let (site, client) = (ca.issue("site", &["127.0.0.1"]), ca.issue("client", &["client.test"]));
    let arguments = ["s_server", "-accept", &origin.to_string(), "-www", "-Verify", "1", "-verify_return_error"];
    let files = ["-cert", &display(&site.chain), "-key", &display(&site.key), "-CAfile", &display(&ca.pem())];
    let _server = run("openssl", &[&arguments[..], &files].concat(), origin);
    let tls = format!("ca: '{}'", display(&ca.pem()));
    let (_proxy, web) = in_front_of(driver, origin, &format!("{tls}, certificate: {}", client.config()));
    let page = once(web, "GET", "/").expect("a response");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("client"), "{}", page.text());
    let (proxy, web) = in_front_of(driver, origin, &format!("{tls}, max_version: '1.2'"));
    assert_eq!(once(web, "GET", "/").expect("a response").status, 503);
    assert!(proxy.stat("cluster.app.ssl.error.peer_alert") > 0);
}

fn haproxy_takes_a_proxy_header_before_tls(driver: &str) {
    let (ca, folder, origin) = (Ca::new(), Folder::new(), free_address());
    let site = ca.issue("site", &["site.test"]);
    let pem = [&site.chain, &site.key].map(|file| std::fs::read(file).expect("a file")).concat();
    std::fs::write(folder.path("site.pem"), pem).expect("written");
    let config = format!(
        "defaults\n  mode http\n  timeout client 20s\n  timeout connect 20s\n  timeout server 20s\n\
         frontend web\n  bind {origin} accept-proxy ssl crt {}\n  \
         http-request return status 200 content-type text/plain lf-string \"%[src] %[ssl_fc_protocol]\"\n",
        display(&folder.path("site.pem"))
    );
    std::fs::write(folder.path("haproxy.cfg"), config).expect("written");
    let _haproxy = run("haproxy", &["-db", "-f", &display(&folder.path("haproxy.cfg"))], origin);
    for version in ["v1", "v2"] {
        let web = free_address();
        let config = format!(
            "listeners:\n  - {{ name: web, address: '{web}', proxy_protocol: true, http: {{ routes: [{{ match: {{}}, \
             cluster: app }}] }} }}\nclusters:\n  - {{ name: app, endpoints: ['{origin}'], proxy_protocol: {version}, \
             tls: {{ ca: '{}', sni: site.test }} }}\n",
            display(&ca.pem())
        );
        let _proxy = start(driver, &config);
        let mut client = tcp(web);
        client.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 5000 80\r\n").expect("sent");
        let response = get(&mut client, "/").expect("a response");
        assert_eq!((response.status, response.text().as_str()), (200, "192.0.2.7 TLSv1.3"), "{version}");
    }
}
