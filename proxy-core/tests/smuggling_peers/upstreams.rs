//! What stands between the proxy and the recorder: nothing, nginx, HAProxy or Envoy, each passing everything on but what
//! it takes for `/secret`, after decoding and resolving what it knows how to: that it answers with [`SECRET`].

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::harness::{Origin, eventually};
use crate::recorder;

pub(crate) const SECRET: &str = "the secret";

pub(crate) struct Upstream {
    pub(crate) name: &'static str,
    /// Where the proxy connects to.
    pub(crate) address: SocketAddr,
    pub(crate) recorder: Origin,
    _program: Option<Program>,
}

struct Program {
    process: Child,
    directory: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGTERM: nginx's worker ends with its master.
        // SAFETY: no pointers; the child is ours and not yet waited for.
        unsafe { libc::kill(self.process.id() as libc::pid_t, libc::SIGTERM) };
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

static STARTED: AtomicU16 = AtomicU16::new(0);

/// A port on an address that only this process uses.
fn address() -> SocketAddr {
    let [.., high, low] = std::process::id().to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(127, high, low, 3), 20_000 + STARTED.fetch_add(1, Ordering::Relaxed)))
}

fn start(
    name: &'static str,
    program: &str,
    file: &str,
    arguments: &[&str],
    config: impl Fn(&str, SocketAddr, SocketAddr) -> String,
) -> Upstream {
    let (recorder, address) = (recorder::start(), address());
    let directory = std::env::temp_dir().join(format!("smuggling-{}-{}", std::process::id(), address.port()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let text = config(&directory.display().to_string(), address, recorder.address);
    let path = directory.join(file);
    std::fs::write(&path, text).expect("written");
    let log = std::fs::File::create(directory.join("log")).expect("a log file");
    let process = Command::new(program)
        .args(arguments)
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{program} doesn't start: {error}"));
    let program = Program { process, directory };
    eventually("the program listens", || TcpStream::connect(address).is_ok());
    Upstream { name, address, recorder, _program: Some(program) }
}

/// `$ENVOY`, or the one that `scripts/test` installs.
fn envoy_binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ENVOY") {
        return path.into();
    }
    let libraries = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python-peers").join("lib");
    let versions = std::fs::read_dir(&libraries).into_iter().flatten().flatten();
    let mut found = versions.map(|version| version.path().join("site-packages/envoy/_bin/envoy"));
    found.find(|path| path.exists()).unwrap_or_else(|| panic!("no Envoy in {}: see scripts/test", libraries.display()))
}

impl Upstream {
    pub(crate) fn none() -> Upstream {
        let recorder = recorder::start();
        Upstream { name: "none", address: recorder.address, recorder, _program: None }
    }

    pub(crate) fn nginx() -> Upstream {
        start("nginx", "nginx", "nginx.conf", &["-c"], |directory, listen, origin| {
            // SAFETY: no arguments, no failure.
            let user = if unsafe { libc::geteuid() } == 0 { "user root;" } else { "" };
            let temporary: Vec<String> = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {directory}/{kind};"))
                .into();
            format!(
                "daemon off; {user} worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;\n\
                 events {{ worker_connections 512; }}\n\
                 http {{ access_log off; {temporary}\n\
                 map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}\n\
                 upstream origin {{ server {origin}; keepalive 16; }}\n\
                 server {{ listen {listen}; location /secret {{ return 200 '{SECRET}'; }}\n\
                 location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
                 proxy_request_buffering off; proxy_set_header Host $http_host;\n\
                 proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade; }} }} }}\n",
                temporary = temporary.join(" "),
            )
        })
    }

    pub(crate) fn haproxy() -> Upstream {
        start("haproxy", "haproxy", "haproxy.cfg", &["-db", "-f"], |_, listen, origin| {
            format!(
                "global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n\
                 \x20 timeout server 60s\n  http-reuse always\n\
                 listen front\n  bind {listen}\n\
                 \x20 http-request return status 200 content-type text/plain string '{SECRET}' if \
                 {{ path,url_dec -m beg /secret }}\n  server origin {origin}\n"
            )
        })
    }

    pub(crate) fn envoy() -> Upstream {
        let arguments = ["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"];
        start("envoy", &envoy_binary().display().to_string(), "envoy.json", &arguments, |_, listen, origin| {
            let at = |address: SocketAddr| {
                let (ip, port) = (address.ip(), address.port());
                format!("{{ \"socket_address\": {{ \"address\": \"{ip}\", \"port_value\": {port} }} }}")
            };
            let kind = "type.googleapis.com/envoy.extensions.filters";
            format!(
                r#"{{ "static_resources": {{
  "listeners": [{{ "name": "front", "address": {listen}, "filter_chains": [{{ "filters": [{{
    "name": "envoy.filters.network.http_connection_manager", "typed_config": {{
      "@type": "{kind}.network.http_connection_manager.v3.HttpConnectionManager",
      "stat_prefix": "front", "normalize_path": true, "merge_slashes": true,
      "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD", "upgrade_configs": [{{ "upgrade_type": "websocket" }}],
      "route_config": {{ "virtual_hosts": [{{ "name": "all", "domains": ["*"],
        "routes": [{{ "match": {{ "prefix": "/secret" }},
          "direct_response": {{ "status": 200, "body": {{ "inline_string": "{SECRET}" }} }} }},
          {{ "match": {{ "prefix": "/" }}, "route": {{ "cluster": "origin" }} }}] }}] }},
      "http_filters": [{{ "name": "envoy.filters.http.router",
        "typed_config": {{ "@type": "{kind}.http.router.v3.Router" }} }}] }} }}] }}] }}],
  "clusters": [{{ "name": "origin", "type": "STATIC", "connect_timeout": "5s",
    "load_assignment": {{ "cluster_name": "origin", "endpoints": [{{ "lb_endpoints": [
      {{ "endpoint": {{ "address": {origin} }} }}] }}] }} }}] }} }}"#,
                listen = at(listen),
                origin = at(origin),
            )
        })
    }
}
