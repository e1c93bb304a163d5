//! Signals to the process. A process of its own and one test: a signal reaches every control thread of a process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use corelane::control::{Ack, Cores, Inputs, ServerState, process_log, start};
use corelane::snapshot::Snapshot;
use corelane::stats::{Registry, ServerStat};
use corelane::{config, log};

const CONFIG: &str = "
admin: { address: 127.0.0.1:0 }
listeners:
  - { name: raw, address: 127.0.0.1:0, tcp: { cluster: app } }
clusters:
  - { name: app, endpoints: ['127.0.0.1:9001'] }
";

#[derive(Default)]
struct Told {
    versions: Vec<u64>,
    draining: Vec<Ack>,
    drains: u32,
    stopped: bool,
}

struct NotedCores(Arc<Mutex<Told>>);

impl Cores for NotedCores {
    fn count(&self) -> usize {
        1
    }

    fn publish(&mut self, snapshot: &Arc<Snapshot>, acks: Vec<Ack>) {
        self.0.lock().unwrap().versions.push(snapshot.version);
        acks.into_iter().for_each(Ack::done);
    }

    fn drain(&mut self, timeout: Duration, acks: Vec<Ack>) {
        assert_eq!(timeout, Duration::from_secs(7));
        let mut told = self.0.lock().unwrap();
        told.drains += 1;
        told.draining = acks;
    }

    fn beat(&mut self, _: corelane::overload::Actions) {}

    fn late(&self) -> Vec<Duration> {
        vec![Duration::ZERO; self.count()]
    }

    fn stop(&mut self) {
        self.0.lock().unwrap().stopped = true;
    }
}

fn send(signal: &str) {
    let sent = Command::new("kill").args([signal, &std::process::id().to_string()]).status().unwrap();
    assert!(sent.success());
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn post(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn signals_reload_reopen_drain_and_stop() {
    let path = std::env::temp_dir().join(format!("corelane-signals-{}.yaml", std::process::id()));
    std::fs::write(&path, CONFIG).unwrap();
    let registry = Registry::new(1);
    let (writer, sinks) = log::Writer::start(&registry).unwrap();
    let told = Arc::new(Mutex::new(Told::default()));
    let handle = start(Inputs {
        model: config::load(&path).unwrap(),
        config_path: Some(path.clone()),
        drain_timeout: Some(Duration::from_secs(7)),
        registry: Arc::clone(&registry),
        cores: Box::new(NotedCores(Arc::clone(&told))),
        logs: writer.control(),
        process_log: process_log::start("info").unwrap(),
        pinned: 1,
        command_line: Vec::new(),
        name_servers: Vec::new(),
        held: Default::default(),
        notifier: None,
    })
    .unwrap();
    assert_eq!(handle.state(), ServerState::Live);

    send("-HUP");
    wait_for("the reload", || told.lock().unwrap().versions == [1, 2]);
    send("-USR1");
    let control = writer.control();
    wait_for("reopening", || control.reopened());
    assert!(post(handle.admin(), "/logging?level=debug").contains("active loggers:\n  debug\n"));

    send("-TERM");
    wait_for("the drain", || told.lock().unwrap().draining.len() == 1);
    assert_eq!(handle.state(), ServerState::Draining);
    assert!(!told.lock().unwrap().stopped, "one connection is still open");
    send("-INT");
    handle.wait();
    let told = told.lock().unwrap();
    assert!(told.stopped && told.drains == 1);
    assert_eq!(registry.server().sum(ServerStat::ConfigReloadSuccess), 1);
    drop(sinks);
    writer.stop();
    std::fs::remove_file(path).unwrap();
}
