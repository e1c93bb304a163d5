//! The control thread with cores that only note what they are told.

mod admin;
mod manager;
mod names;
mod rollouts;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::*;

pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// What the cores have been told.
#[derive(Default)]
pub(super) struct Told {
    pub(super) snapshots: Vec<Arc<Snapshot>>,
    pub(super) drains: Vec<Duration>,
    /// Acknowledgements of drains, kept until a test gives them.
    pub(super) draining: Vec<Ack>,
    pub(super) stopped: bool,
    /// The second core owes an answer, and how often it was asked for how long.
    pub(super) stuck: bool,
    pub(super) looks: usize,
    /// Fail snapshots with this.
    pub(super) failing: Option<&'static str>,
}

struct NotedCores(Arc<Mutex<Told>>);

impl Cores for NotedCores {
    fn count(&self) -> usize {
        2
    }

    fn publish(&mut self, snapshot: &Arc<Snapshot>, acks: Vec<Ack>) {
        let mut told = self.0.lock().unwrap();
        told.snapshots.push(Arc::clone(snapshot));
        for ack in acks {
            match told.failing {
                Some(why) => ack.failed(why),
                None => ack.done(),
            }
        }
    }

    fn drain(&mut self, timeout: Duration, acks: Vec<Ack>) {
        let mut told = self.0.lock().unwrap();
        told.drains.push(timeout);
        told.draining = acks;
    }

    fn beat(&mut self, _: crate::overload::Actions) {}

    fn late(&self) -> Vec<Duration> {
        let mut told = self.0.lock().unwrap();
        told.looks += 1;
        vec![Duration::ZERO, if told.stuck { DEADLINE } else { Duration::ZERO }]
    }

    fn stop(&mut self) {
        self.0.lock().unwrap().stopped = true;
    }
}

/// A running control thread with its config file.
pub(super) struct Process {
    folder: PathBuf,
    pub(super) registry: Arc<Registry>,
    pub(super) handle: Option<Handle>,
    told: Arc<Mutex<Told>>,
    _logs: (log::Writer, Vec<log::Sink>),
    _process_log: Box<dyn std::any::Any>,
}

/// A config with these clusters and one route to the first.
pub(super) fn config(clusters: &str) -> String {
    format!(
        "admin: {{ address: 127.0.0.1:0 }}\nlisteners:\n  - name: web\n    address: 127.0.0.1:0\n    http: {{ routes: \
         [{{ match: {{ prefix: / }}, cluster: app }}] }}\nclusters:\n{clusters}"
    )
}

pub(super) const APP: &str =
    "  - { name: app, endpoints: ['127.0.0.1:9001', { address: '127.0.0.1:9002', weight: 2 }] }\n";

impl Process {
    pub(super) fn start(text: &str, name_servers: Vec<SocketAddr>) -> Process {
        Process::try_start(text, name_servers, None, None).expect("started")
    }

    pub(super) fn try_start(
        text: &str,
        name_servers: Vec<SocketAddr>,
        failing: Option<&'static str>,
        notifier: Option<Notifier>,
    ) -> Result<Process, String> {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let unique = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("corelane-control-{}-{unique}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("corelane.yaml");
        std::fs::write(&path, text).unwrap();
        let model = crate::config::load(&path).unwrap_or_else(|wrong| panic!("{wrong}"));
        let registry = Registry::new(2);
        let told = Arc::new(Mutex::new(Told { failing, ..Told::default() }));
        let logs = log::Writer::start(&registry).unwrap();
        let (process_log, filter) = ProcessLog::detached();
        let inputs = Inputs {
            model,
            config_path: Some(path),
            drain_timeout: None,
            registry: Arc::clone(&registry),
            cores: Box::new(NotedCores(Arc::clone(&told))),
            logs: logs.0.control(),
            process_log,
            pinned: 2,
            command_line: vec![("driver".into(), "auto".into())],
            name_servers,
            held: Held::default(),
            notifier,
        };
        let started = start(inputs);
        let mut process = Process { folder, registry, handle: None, told, _logs: logs, _process_log: Box::new(filter) };
        process.handle = Some(started?);
        Ok(process)
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn write(&self, text: &str) {
        std::fs::write(self.path("corelane.yaml"), text).unwrap();
    }

    /// Addresses of the first cluster's endpoints in the newest snapshot.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let told = self.told();
        let newest = told.snapshots.last().unwrap();
        newest.clusters[0].endpoints.iter().map(|endpoint| endpoint.address.to_string()).collect()
    }

    /// Sends a request and reads the answer: status and body.
    pub(super) fn ask(&self, method: &str, target: &str) -> (u16, String) {
        let (status, _, body) = self.ask_whole(method, target);
        (status, body)
    }

    pub(super) fn ask_whole(&self, method: &str, target: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.handle.as_ref().unwrap().admin()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let request =
            format!("{method} {target} HTTP/1.1\r\nHost: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    pub(super) fn get(&self, target: &str) -> String {
        let (status, body) = self.ask("GET", target);
        assert_eq!(status, 200, "{target}: {body}");
        body
    }

    pub(super) fn get_json(&self, target: &str) -> serde_json::Value {
        serde_json::from_str(&self.get(target)).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.handle.is_some() && !self.told().stopped && !std::thread::panicking() {
            self.ask("POST", "/quitquitquit");
            self.handle.take().unwrap().wait();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Waits for a condition.
pub(super) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
