//! Programs that others wrote, on both sides: nginx and HAProxy as origins, curl, wrk, nghttp and HAProxy as clients.
//! A test that needs a program has it in its name; `scripts/test` installs it, or skips the test and says so.

mod ops;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ops::client::once;
use ops::proxy::{Proxy, any_cpu, two_cpus};
use ops::{Folder, free_address, wait_until};

on_both_drivers!(
    curl_gets_what_nginx_serves,
    curl_uploads_to_nginx_in_every_framing,
    curl_talks_the_old_version_and_resumes_and_negotiates,
    curl_and_nginx_meet_in_every_pairing,
    wrk_and_nginx_meet_no_error_while_the_config_changes,
    haproxy_names_the_client_to_us_and_hears_it_from_us,
);

/// A program that ends with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        // SIGTERM: its children end with it.
        // SAFETY: no pointers; the child is ours and not yet waited for.
        unsafe { libc::kill(self.0.id() as libc::pid_t, libc::SIGTERM) };
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str], address: SocketAddr, folder: &Folder) -> Program {
    let log = std::fs::File::create(folder.path(&format!("{program}.log"))).expect("a log file");
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} doesn't start: {error}"));
    let program = Program(child);
    wait_until("the program to listen", || std::net::TcpStream::connect(address).is_ok());
    program
}

const BULK_BYTES: usize = 3 << 20;

/// nginx with a few kinds of response: files, a body out of its config, compressed, and a folder to upload to.
struct Nginx {
    _program: Program,
    folder: Folder,
    address: SocketAddr,
    /// The same by HTTP/2, by TLS, and by TLS with a choice of both versions.
    http2: SocketAddr,
    tls: SocketAddr,
    tls_http2: SocketAddr,
}

/// Files of certificates that the repository has for examples; they are for `www.example.com`.
fn certificate(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/tls").join(file).display().to_string()
}

impl Nginx {
    fn start() -> Nginx {
        let (folder, address) = (Folder::new(), free_address());
        let [http2, tls, tls_http2] = [(); 3].map(|()| free_address());
        let root = folder.path("root");
        std::fs::create_dir_all(root.join("up")).expect("a folder");
        let bulk: Vec<u8> = (0..BULK_BYTES as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(root.join("bulk.bin"), bulk).expect("written");
        std::fs::write(root.join("page.html"), "<p>page</p>\n".repeat(500)).expect("written");
        let at = |name: &str| folder.path(name).display().to_string();
        // SAFETY: no arguments, no failure.
        let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
        let config = format!(
            "daemon off; {user} worker_processes 1; pid {pid}; error_log stderr crit;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; types {{ text/html html; }} default_type application/octet-stream;\n\
             client_body_temp_path {body}; proxy_temp_path {proxy}; fastcgi_temp_path {fastcgi}; uwsgi_temp_path {uwsgi};\n\
             scgi_temp_path {scgi}; client_max_body_size 100m; gzip on; gzip_min_length 100;\n\
             ssl_certificate {cert}; ssl_certificate_key {key};\n\
             server {{ listen {address}; listen {http2} http2; listen {tls} ssl; listen {tls_http2} ssl http2; root {root};\n\
             location = /small {{ return 200 small; }}\n\
             location = /nothing {{ return 204; }}\n\
             location = /moved {{ return 302 /small; }}\n\
             location /up/ {{ dav_methods PUT DELETE; }} }} }}\n",
            pid = at("nginx.pid"),
            body = at("body"),
            proxy = at("proxy"),
            fastcgi = at("fastcgi"),
            uwsgi = at("uwsgi"),
            scgi = at("scgi"),
            root = root.display(),
            cert = certificate("cert.pem"),
            key = certificate("key.pem"),
        );
        let path = folder.path("nginx.conf");
        std::fs::write(&path, config).expect("written");
        let program = start("nginx", &["-c", &path.display().to_string()], address, &folder);
        Nginx { _program: program, folder, address, http2, tls, tls_http2 }
    }

    fn root(&self) -> std::path::PathBuf {
        self.folder.path("root")
    }
}

/// Corelane in front of an address; where it listens.
fn in_front_of(driver: &str, origin: SocketAddr, listener: &str, cluster: &str) -> (Proxy, SocketAddr) {
    let listen = free_address();
    let config = format!(
        "listeners:\n  - {{ name: web, address: '{listen}', {listener} http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, {cluster} endpoints: ['{origin}'] }}\n"
    );
    (Proxy::start_with(&config, &["--driver", driver, "--cores", &any_cpu()], |_| {}), listen)
}

#[track_caller]
fn curl(arguments: &[&str]) -> Output {
    let output = Command::new("curl").args(["-sS", "--max-time", "20"]).args(arguments).output().expect("curl runs");
    assert!(output.status.success(), "curl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[track_caller]
fn curl_text(arguments: &[&str]) -> String {
    String::from_utf8_lossy(&curl(arguments).stdout).into_owned()
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_default()
}

fn curl_gets_what_nginx_serves(driver: &str) {
    let nginx = Nginx::start();
    let (proxy, listen) = in_front_of(driver, nginx.address, "", "");
    let url = |path: &str| format!("http://{listen}{path}");
    // One connection for all of them, and none to nginx more than that.
    let several = curl_text(&[&url("/small"), &url("/small"), &url("/small"), "-w", " %{num_connects}\n"]);
    assert_eq!(several, "small 1\nsmall 0\nsmall 0\n");
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 1);
    assert!(curl(&[&url("/bulk.bin")]).stdout == read(&nginx.root().join("bulk.bin")));
    let head = curl_text(&["-I", &url("/bulk.bin"), "-w", "%{size_download}"]);
    assert!(
        head.to_lowercase().contains(&format!("content-length: {BULK_BYTES}\r\n")) && head.ends_with("\r\n0"),
        "{head}"
    );
    assert_eq!(curl_text(&[&url("/nothing"), "-w", "%{http_code}"]), "204");
    assert_eq!(curl_text(&["-L", &url("/moved"), "-w", " %{http_code} %{num_redirects}"]), "small 200 1");
    assert_eq!(curl_text(&["-o", "/dev/null", &url("/absent"), "-w", "%{http_code}"]), "404");
    // Compressed on the way, so in chunks.
    let compressed = curl_text(&["--compressed", "-i", &url("/page.html")]);
    assert!(compressed.to_lowercase().contains("transfer-encoding: chunked\r\n"), "{compressed}");
    assert!(compressed.ends_with(&"<p>page</p>\n".repeat(500)));
}

fn curl_uploads_to_nginx_in_every_framing(driver: &str) {
    let nginx = Nginx::start();
    let (_proxy, listen) = in_front_of(driver, nginx.address, "", "");
    let bulk = nginx.root().join("bulk.bin");
    let file = bulk.display().to_string();
    for (name, framing) in [
        ("length", "Content-Length: 3145728"),
        ("chunked", "Transfer-Encoding: chunked"),
        ("expect", "Expect: 100-continue"),
    ] {
        let url = format!("http://{listen}/up/{name}");
        let status = curl_text(&["-T", &file, "-H", framing, "-o", "/dev/null", "-w", "%{http_code}", &url]);
        assert_eq!(status, "201", "{framing}");
        assert!(read(&nginx.root().join("up").join(name)) == read(&bulk), "{framing}: what arrived differs");
    }
}

fn curl_talks_the_old_version_and_resumes_and_negotiates(driver: &str) {
    let nginx = Nginx::start();
    let (_proxy, listen) = in_front_of(driver, nginx.address, "", "");
    let url = |path: &str| format!("http://{listen}{path}");
    let old = curl_text(&["--http1.0", "-i", &url("/small")]);
    assert!(old.starts_with("HTTP/1.1 200 OK\r\n") && old.ends_with("\r\n\r\nsmall"), "{old}");
    // A body without a length for a client that knows no chunks ends with the connection.
    let page = curl_text(&["--http1.0", "--compressed", &url("/page.html")]);
    assert_eq!(page, "<p>page</p>\n".repeat(500));
    let part = curl(&["-r", "1000000-1000099", &url("/bulk.bin"), "-w", "%{stderr}%{http_code}"]);
    assert!(part.stdout == read(&nginx.root().join("bulk.bin"))[1_000_000..1_000_100]);
    assert_eq!(String::from_utf8_lossy(&part.stderr), "206");
    let both = curl_text(&["-r", "0-9,20-29", &url("/page.html")]);
    assert_eq!(both.matches("Content-Range").count(), 2, "{both}");
    // An offer of HTTP/2 is ignored.
    assert_eq!(curl_text(&["--http2", &url("/small"), "-w", " %{http_version}"]), "small 1.1");
}

/// Each version of HTTP, plain and over TLS, on the client's side and on the endpoint's.
fn curl_and_nginx_meet_in_every_pairing(driver: &str) {
    let nginx = Nginx::start();
    let secure = format!("tls: {{ ca: {}, sni: www.example.com }},", certificate("ca.pem"));
    let upstreams = [
        ("plain1", nginx.address, String::new()),
        ("plain2", nginx.http2, "protocol: http2,".into()),
        ("tls1", nginx.tls, secure.clone()),
        ("tls2", nginx.tls_http2, format!("protocol: http2, {secure}")),
        ("auto1", nginx.tls, format!("protocol: auto, {secure}")),
        ("auto2", nginx.tls_http2, format!("protocol: auto, {secure}")),
    ];
    let routes: Vec<String> = upstreams
        .iter()
        .map(|(name, ..)| format!("{{ match: {{ prefix: /{name}/ }}, cluster: {name}, prefix_rewrite: / }}"))
        .collect();
    let clusters: Vec<String> = upstreams
        .iter()
        .map(|(name, address, fields)| format!("{{ name: {name}, {fields} endpoints: ['{address}'] }}"))
        .collect();
    let (plain, tls) = (free_address(), free_address());
    let http = format!("http: {{ routes: [{}] }}", routes.join(", "));
    let files = format!("chain: {}, key: {}", certificate("cert.pem"), certificate("key.pem"));
    let config = format!(
        "listeners:\n  - {{ name: plain, address: '{plain}', {http} }}\n  \
         - {{ name: tls, address: '{tls}', tls: {{ certificates: [{{ {files} }}] }}, {http} }}\n\
         clusters: [{}]\n",
        clusters.join(", ")
    );
    let proxy = Proxy::start_with(&config, &["--driver", driver, "--cores", &any_cpu()], |_| {});
    let resolved = format!("www.example.com:{}:{}", tls.port(), tls.ip());
    let ca = certificate("ca.pem");
    let bulk = nginx.root().join("bulk.bin");
    let clients = [
        ("--http1.1", format!("http://{plain}"), "1.1"),
        ("--http2-prior-knowledge", format!("http://{plain}"), "2"),
        ("--http1.1", format!("https://www.example.com:{}", tls.port()), "1.1"),
        ("--http2", format!("https://www.example.com:{}", tls.port()), "2"),
    ];
    for (version, base, number) in &clients {
        for (name, ..) in &upstreams {
            let what = format!("{version} {base} to {name}");
            let common = [version, "--resolve", resolved.as_str(), "--cacert", ca.as_str()];
            let url = |path: &str| format!("{base}/{name}/{path}");
            let small = curl_text(&[&common[..], &[&url("small"), "-w", " %{http_version}"]].concat());
            assert_eq!(small, format!("small {number}"), "{what}");
            assert!(
                curl(&[&common[..], &[&url("bulk.bin")]].concat()).stdout == read(&bulk),
                "{what}: the body differs"
            );
            let head = curl_text(&[&common[..], &["-I", &url("bulk.bin")]].concat()).to_lowercase();
            assert!(head.contains(&format!("content-length: {BULK_BYTES}\r\n")), "{what}: {head}");
            let file = format!("up/{number}-{name}");
            let (from, to) = (bulk.display().to_string(), url(&file));
            let status = curl_text(&[&common[..], &["-T", &from, &to, "-w", "%{http_code}"]].concat());
            assert!(status == "201" || status == "204", "{what}: {status}");
            assert!(read(&nginx.root().join(&file)) == read(&bulk), "{what}: the upload differs");
        }
    }
    for (name, http1, http2) in [("plain1", 1, 0), ("plain2", 0, 1), ("tls1", 1, 0), ("tls2", 0, 1)] {
        let count = |version| proxy.stat(&format!("cluster.{name}.upstream_cx_{version}_total"));
        assert_eq!((count("http1").min(1), count("http2").min(1)), (http1, http2), "{name}");
    }
    assert!(proxy.stat("cluster.auto1.upstream_cx_http1_total") > 0);
    assert_eq!(proxy.stat("cluster.auto1.upstream_cx_http2_total"), 0);
    assert!(proxy.stat("cluster.auto2.upstream_cx_http2_total") > 0);
    assert_eq!(proxy.stat("cluster.auto2.upstream_cx_http1_total"), 0);
}

fn wrk_and_nginx_meet_no_error_while_the_config_changes(driver: &str) {
    let nginx = Nginx::start();
    let listen = free_address();
    let config = |seconds: u32| {
        format!(
            "listeners:\n  - {{ name: web, address: '{listen}', http: {{ routes: [{{ match: {{}}, cluster: app, timeout: {seconds}s }}] }} }}\n\
             clusters:\n  - {{ name: app, endpoints: ['{}'] }}\n",
            nginx.address
        )
    };
    let proxy = Proxy::start_with(&config(15), &["--driver", driver, "--cores", &two_cpus()], |_| {});
    let url = format!("http://{listen}/small");
    let mut wrk = Command::new("wrk")
        .args(["-t1", "-c32", "-d3s", "--timeout", "10s", &url])
        .stdout(Stdio::piped())
        .spawn()
        .expect("wrk runs");
    let mut reloads = 0;
    while wrk.try_wait().expect("a child").is_none() {
        reloads += 1;
        assert_eq!(proxy.reload(&config(15 + reloads % 5)).status, 200);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let text = String::from_utf8_lossy(&wrk.wait_with_output().expect("output").stdout).into_owned();
    assert!(text.contains("requests in") && !text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
    assert!(reloads > 5, "{reloads} reloads");
}

fn haproxy_names_the_client_to_us_and_hears_it_from_us(driver: &str) {
    let folder = Folder::new();
    let (front, back, via) = (free_address(), free_address(), free_address());
    // HAProxy behind us says who it takes the client for; HAProxy in front of us tells us.
    let (proxy, listen) = in_front_of(driver, back, "proxy_protocol: true,", "proxy_protocol: v2,");
    let config = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n\
         frontend back\n  bind {back} accept-proxy\n\
         \x20 http-request return status 200 content-type text/plain lf-string \"%[src] %[req.fhdr(x-forwarded-for)]\"\n\
         listen v1\n  bind {front}\n  server us {listen} send-proxy\n\
         listen v2\n  bind {via}\n  server us {listen} send-proxy-v2\n"
    );
    let path = folder.path("haproxy.cfg");
    std::fs::write(&path, config).expect("written");
    let _haproxy = start("haproxy", &["-db", "-f", &path.display().to_string()], back, &folder);
    for address in [front, via] {
        for client in ["127.0.0.1", "127.0.0.2"] {
            let url = format!("http://{address}/");
            assert_eq!(curl_text(&["--interface", client, &url]), format!("{client} {client}"));
        }
    }
    assert!(once(listen, "GET", "/").is_err(), "nobody else may speak without the header");
    assert_eq!(proxy.stat("http.web.downstream_rq_2xx"), 4);
}
