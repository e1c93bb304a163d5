//! Programs that others wrote and that speak HTTP/2: curl, nghttp, h2load and HAProxy as clients, nginx and HAProxy as
//! endpoints. A test that needs a program has it in its name.

mod ops;

use std::net::SocketAddr;
use std::process::Command;

use ops::program::Program;
use ops::proxy::{Proxy, any_cpu};
use ops::{Folder, free_address};

on_both_drivers!(
    curl_and_nghttp_talk_http2_to_nginx_over_http2_and_http1,
    h2load_and_nginx_meet_no_error_in_any_version,
    h2load_and_haproxy_as_endpoint_meet_no_error,
    h2load_through_haproxy_as_client_meets_no_error,
);

fn start(program: &str, arguments: &[&str], address: SocketAddr, folder: &Folder) -> Program {
    let log = std::fs::File::create(folder.path(&format!("{program}.log"))).expect("a log file");
    let mut command = Command::new(program);
    command.args(arguments).stderr(log);
    Program::listening(command, address)
}

/// nginx on two addresses: HTTP/1.1, and HTTP/2 with prior knowledge.
fn nginx(folder: &Folder) -> (Program, SocketAddr, SocketAddr) {
    let (one, two) = (free_address(), free_address());
    let at = |name: &str| folder.path(name).display().to_string();
    std::fs::create_dir_all(folder.path("root")).expect("a folder");
    std::fs::write(folder.path("root").join("bulk.bin"), vec![b'x'; 3 << 20]).expect("written");
    // SAFETY: no arguments, no failure.
    let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
    let config = format!(
        "daemon off; {user} worker_processes 1; pid {pid}; error_log stderr crit;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 300; client_max_body_size 100m; http2_max_concurrent_streams 20;\n\
         client_body_temp_path {body}; proxy_temp_path {proxy}; fastcgi_temp_path {fastcgi}; uwsgi_temp_path {uwsgi};\n\
         scgi_temp_path {scgi};\n\
         server {{ listen {one}; listen {two} http2; root {root};\n\
         location = /small {{ return 200 small; }}\n\
         location /up/ {{ dav_methods PUT; }} }} }}\n",
        pid = at("nginx.pid"),
        body = at("body"),
        proxy = at("proxy"),
        fastcgi = at("fastcgi"),
        uwsgi = at("uwsgi"),
        scgi = at("scgi"),
        root = at("root"),
    );
    let path = folder.path("nginx.conf");
    std::fs::write(&path, config).expect("written");
    std::fs::create_dir_all(folder.path("root").join("up")).expect("a folder");
    (start("nginx", &["-c", &path.display().to_string()], one, folder), one, two)
}

fn in_front_of(driver: &str, origin: SocketAddr, protocol: &str) -> (Proxy, SocketAddr) {
    let listen = free_address();
    let config = format!(
        "listeners:\n  - {{ name: web, address: '{listen}', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, protocol: {protocol}, endpoints: ['{origin}'] }}\n"
    );
    (Proxy::start_with(&config, &["--driver", driver, "--cores", &any_cpu()], |_| {}), listen)
}

#[track_caller]
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Thousands of requests, 16 connections with 32 streams each: all have to succeed.
#[track_caller]
fn h2load(address: SocketAddr, path: &str, requests: u32, more: &[&str]) {
    let (count, url) = (requests.to_string(), format!("http://{address}{path}"));
    let arguments = [&["-n", &count, "-c16", "-m32"], more, &[&url]].concat();
    let text = output("h2load", &arguments);
    assert!(text.contains(&format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout")), "{text}");
    assert!(text.contains(&format!("status codes: {requests} 2xx")), "{text}");
}

fn curl_and_nghttp_talk_http2_to_nginx_over_http2_and_http1(driver: &str) {
    let folder = Folder::new();
    let (_nginx, one, two) = nginx(&folder);
    for (origin, protocol) in [(one, "http1"), (two, "http2")] {
        let (_proxy, listen) = in_front_of(driver, origin, protocol);
        let url = |path: &str| format!("http://{listen}{path}");
        let curl = |arguments: &[&str]| {
            output("curl", &[&["-sS", "--max-time", "20", "--http2-prior-knowledge"], arguments].concat())
        };
        assert_eq!(curl(&[&url("/small"), "-w", " %{http_version} %{http_code}"]), "small 2 200");
        assert_eq!(curl(&["-I", &url("/bulk.bin"), "-o", "/dev/null", "-w", "%{http_code}"]), "200");
        let bulk = folder.path("root").join("bulk.bin");
        assert_eq!(curl(&[&url("/bulk.bin")]).len(), 3 << 20);
        let name = format!("up/{protocol}");
        let file = bulk.display().to_string();
        assert_eq!(curl(&["-T", &file, &url(&format!("/{name}")), "-o", "/dev/null", "-w", "%{http_code}"]), "201");
        assert!(std::fs::read(folder.path("root").join(&name)).is_ok_and(|bytes| bytes.len() == 3 << 20));
        assert_eq!(curl(&[&url("/absent"), "-o", "/dev/null", "-w", "%{http_code}"]), "404");
        let text = output("nghttp", &["-s", "-n", "-m20", &url("/small")]);
        assert_eq!(text.matches("200 ").count(), 20, "{text}");
    }
}

fn h2load_and_nginx_meet_no_error_in_any_version(driver: &str) {
    let folder = Folder::new();
    let (_nginx, one, two) = nginx(&folder);
    for (origin, protocol) in [(one, "http1"), (two, "http2")] {
        let (proxy, listen) = in_front_of(driver, origin, protocol);
        eprintln!("endpoint: {protocol}");
        h2load(listen, "/small", 5000, &[]);
        h2load(listen, "/bulk.bin", 64, &["-w", "16"]);
        h2load(listen, "/small", 2000, &["--h1", "-m1"]);
        assert_eq!(proxy.stat("http.web.downstream_rq_5xx"), 0, "{protocol}");
    }
}

fn haproxy(folder: &Folder, config: &str, address: SocketAddr) -> Program {
    let path = folder.path("haproxy.cfg");
    let defaults = "defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n";
    std::fs::write(&path, format!("{defaults}{config}")).expect("written");
    start("haproxy", &["-db", "-f", &path.display().to_string()], address, folder)
}

fn h2load_and_haproxy_as_endpoint_meet_no_error(driver: &str) {
    let (folder, back) = (Folder::new(), free_address());
    let answer = "http-request return status 200 content-type text/plain string small";
    let _haproxy = haproxy(&folder, &format!("frontend back\n  bind {back} proto h2\n  {answer}\n"), back);
    let (proxy, listen) = in_front_of(driver, back, "http2");
    h2load(listen, "/", 5000, &[]);
    assert_eq!(proxy.stat("http.web.downstream_rq_2xx"), 5000);
}

fn h2load_through_haproxy_as_client_meets_no_error(driver: &str) {
    let folder = Folder::new();
    let (_nginx, one, two) = nginx(&folder);
    for (origin, protocol) in [(one, "http1"), (two, "http2")] {
        let (proxy, listen) = in_front_of(driver, origin, protocol);
        let (folder, front) = (Folder::new(), free_address());
        let config =
            format!("listen front\n  bind {front} proto h2\n  http-reuse always\n  server us {listen} proto h2\n");
        let _haproxy = haproxy(&folder, &config, front);
        eprintln!("endpoint: {protocol}");
        h2load(front, "/small", 5000, &[]);
        assert!(proxy.stat("http.web.downstream_rq_http2_total") >= 5000);
    }
}
