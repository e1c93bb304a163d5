//! The binary under test.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::{Client, DEADLINE, Origin};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Driver {
    Uring,
    Epoll,
}

/// Runs a test with a driver, if the kernel lets us have it.
pub(crate) fn run(driver: Driver, test: impl Fn(Driver)) {
    if driver == Driver::Uring
        && let Err(error) = runtime::DriverChoice::Uring.probe(true)
    {
        eprintln!("skipped: {error}");
        return;
    }
    test(driver);
}

pub(crate) struct Proxy {
    process: Child,
    /// The listener `web`, by the address that `$web` stood for.
    pub(crate) web: SocketAddr,
    /// The same for `$raw`.
    pub(crate) raw: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Files of this proxy, removed with it; `$dir` in the config.
    pub(crate) directory: PathBuf,
}

/// A config with one HTTP listener `web`: what is in its `http`, and the clusters, in flow style.
pub(crate) fn config(http: &str, clusters: &str) -> String {
    format!("listeners: [{{ name: web, address: '$web', http: {{ {http} }} }}]\nclusters: [{clusters}]\n")
}

/// A config that sends everything to the cluster `app`, with these fields of the listener's `http` and of the cluster.
pub(crate) fn http(origins: &[&Origin], fields: &str, cluster: &str) -> String {
    let endpoints: Vec<String> = origins.iter().map(|origin| format!("'{}'", origin.address)).collect();
    config(
        &format!("{fields} routes: [{{ match: {{ prefix: / }}, cluster: app }}]"),
        &format!("{{ name: app, {cluster} endpoints: [{}] }}", endpoints.join(", ")),
    )
}

static STARTED: AtomicU32 = AtomicU32::new(0);

impl Proxy {
    /// One core in front of an origin.
    #[track_caller]
    pub(crate) fn to(driver: Driver, origin: &Origin) -> Proxy {
        Proxy::start(driver, &http(&[origin], "", ""))
    }

    #[track_caller]
    pub(crate) fn start(driver: Driver, config: &str) -> Proxy {
        Proxy::start_on(driver, 1, config)
    }

    /// Starts the binary on so many cores and waits until it is ready. Every proxy has ports of its own on an address
    /// of this process's own: nobody else can take them in between.
    #[track_caller]
    pub(crate) fn start_on(driver: Driver, cores: usize, config: &str) -> Proxy {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let [.., high, low] = std::process::id().to_be_bytes();
        let ip = Ipv4Addr::new(127, high, low, 2);
        let port = 20_000 + (number % 3_000) as u16 * 4;
        let [web, raw, admin] = [0, 1, 2].map(|at| SocketAddr::from((ip, port + at)));
        let directory = std::env::temp_dir().join(format!("corelane-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let config = config.replace("$web", &web.to_string()).replace("$raw", &raw.to_string());
        let config = config.replace("$dir", &directory.display().to_string());
        let path = directory.join("config.yaml");
        std::fs::write(&path, format!("admin: {{ address: '{admin}' }}\n{config}")).expect("a config file");
        let cpus = runtime::allowed_cpus();
        let list: Vec<String> =
            (0..cores).map(|core| cpus[(number as usize + core) % cpus.len()].to_string()).collect();
        let log = std::fs::File::create(directory.join("stderr")).expect("a log file");
        let process = Command::new(env!("CARGO_BIN_EXE_corelane"))
            .args(["run", "--log-level", "warn", "--cores", &list.join(","), "--driver"])
            .arg(if driver == Driver::Uring { "uring" } else { "epoll" })
            .arg("-c")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        let mut proxy = Proxy { process, web, raw, admin, directory };
        proxy.wait_until_ready();
        proxy
    }

    #[track_caller]
    fn wait_until_ready(&mut self) {
        let began = Instant::now();
        loop {
            let ended = self.process.try_wait().expect("a state");
            let late = began.elapsed() > DEADLINE;
            assert!(ended.is_none() && !late, "the proxy doesn't come up ({ended:?}):\n{}", self.log());
            if std::net::TcpStream::connect(self.admin).is_ok() && self.admin("/ready").status() == 200 {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// What the proxy wrote to standard error.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("stderr")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.web)
    }

    #[track_caller]
    pub(crate) fn admin(&self, path: &str) -> super::Message {
        Client::connect(self.admin).ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"))
    }

    /// A counter or gauge by its dotted name.
    #[track_caller]
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let stats = self.admin("/stats").text();
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let value = line.unwrap_or_else(|| panic!("no {name} in\n{stats}"));
        value.parse().unwrap_or_else(|_| panic!("{name}: {value}"))
    }

    /// Resident memory, bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("a number") * 1024
    }

    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let died = self.process.try_wait().ok().flatten();
        let _ = self.process.kill();
        let _ = self.process.wait();
        let log = self.log();
        let _ = std::fs::remove_dir_all(&self.directory);
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{log}");
        } else {
            assert!(died.is_none(), "the proxy died ({died:?}):\n{log}");
        }
    }
}
