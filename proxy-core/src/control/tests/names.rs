//! Name resolution against a name server of our own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;

use super::*;
use crate::stats::ClusterStat;

/// What the server says of a name.
#[derive(Clone)]
enum Reply {
    Addresses(Vec<Ipv4Addr>),
    NoSuchName,
    ServerFailure,
}

/// Answers questions for A records with a lifetime of a second, all others with nothing.
struct NameServer {
    address: SocketAddr,
    names: Arc<Mutex<HashMap<String, Reply>>>,
    end: Arc<AtomicBool>,
    join: Option<JoinHandle<()>>,
}

impl NameServer {
    fn start() -> NameServer {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let names = Arc::new(Mutex::new(HashMap::new()));
        let end = Arc::new(AtomicBool::new(false));
        let (table, stop) = (Arc::clone(&names), Arc::clone(&end));
        let join = std::thread::spawn(move || {
            let mut question = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut question) else { continue };
                socket.send_to(&answer(&question[..length], &table.lock().unwrap()), peer).unwrap();
            }
        });
        NameServer { address, names, end, join: Some(join) }
    }

    fn set(&self, name: &str, reply: Reply) {
        self.names.lock().unwrap().insert(name.to_owned(), reply);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.join.take().unwrap().join().unwrap();
    }
}

/// RFC 1035, section 4: header, the question again, records.
fn answer(question: &[u8], names: &HashMap<String, Reply>) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + length]).to_lowercase());
        at += 1 + length;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let (code, addresses) = match names.get(&labels.join(".")).cloned().unwrap_or(Reply::NoSuchName) {
        Reply::Addresses(addresses) if kind == 1 => (0, addresses),
        Reply::Addresses(_) => (0, Vec::new()),
        Reply::NoSuchName => (3, Vec::new()),
        Reply::ServerFailure => (2, Vec::new()),
    };
    let mut out = question[..2].to_vec();
    out.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    out.extend(&question[12..at + 5]);
    for address in addresses {
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    out
}

const NAMED: &str = "  - { name: app, endpoints: ['app.test:80'], dns_refresh: 100ms }\n";

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

#[test]
fn names_are_resolved_before_the_first_snapshot_and_followed_after() {
    let server = NameServer::start();
    server.set("app.test", Reply::Addresses(vec![ip(2), ip(1)]));
    let process = Process::start(&config(NAMED), vec![server.address]);
    assert_eq!(process.endpoints(), ["10.0.0.1:80", "10.0.0.2:80"]);
    assert_eq!(process.told().snapshots.len(), 1);
    server.set("app.test", Reply::Addresses(vec![ip(3)]));
    wait_for("the new address", || process.endpoints() == ["10.0.0.3:80"]);
    assert!(process.get("/clusters").contains("app::10.0.0.3:80::hostname::app.test\n"));
    let cluster = process.registry.cluster("app");
    assert!(cluster.sum(ClusterStat::UpdateSuccess) >= 2, "the first answer counts too");
    assert_eq!(cluster.sum(ClusterStat::MembershipTotal), 1);
}

#[test]
fn failures_keep_the_last_good_addresses() {
    let server = NameServer::start();
    server.set("app.test", Reply::Addresses(vec![ip(1)]));
    let process = Process::start(&config(NAMED), vec![server.address]);
    let cluster = process.registry.cluster("app");
    for reply in [Reply::NoSuchName, Reply::ServerFailure] {
        let before = cluster.sum(ClusterStat::UpdateFailure);
        server.set("app.test", reply);
        wait_for("a failure", || cluster.sum(ClusterStat::UpdateFailure) > before);
    }
    server.set("app.test", Reply::Addresses(Vec::new()));
    wait_for("an empty answer", || cluster.sum(ClusterStat::UpdateEmpty) > 0);
    assert_eq!(process.endpoints(), ["10.0.0.1:80"]);
    assert_eq!(process.told().snapshots.len(), 1, "nothing has changed for the cores");
    server.set("app.test", Reply::Addresses(vec![ip(9)]));
    wait_for("recovery", || process.endpoints() == ["10.0.0.9:80"]);
}

#[test]
fn a_name_that_nobody_knows_starts_empty_and_joins_later() {
    let server = NameServer::start();
    let process = Process::start(&config(NAMED), vec![server.address]);
    assert!(process.endpoints().is_empty());
    server.set("app.test", Reply::Addresses(vec![ip(4)]));
    wait_for("the address", || process.endpoints() == ["10.0.0.4:80"]);
}

#[test]
fn names_come_and_go_with_reloads() {
    let server = NameServer::start();
    server.set("app.test", Reply::Addresses(vec![ip(1)]));
    server.set("two.test", Reply::Addresses(vec![ip(2)]));
    let process = Process::start(&config(NAMED), vec![server.address]);
    process.write(&config(&NAMED.replace("app.test", "two.test")));
    assert_eq!(process.ask("POST", "/config/reload").0, 200);
    assert_eq!(process.endpoints(), ["10.0.0.2:80"]);
    process.write(&config(APP));
    assert_eq!(process.ask("POST", "/config/reload").0, 200);
    assert_eq!(process.endpoints(), ["127.0.0.1:9001", "127.0.0.1:9002"]);
}

#[test]
fn localhost_needs_no_name_server() {
    let server = NameServer::start();
    let process = Process::start(&config(&NAMED.replace("app.test", "localhost")), vec![server.address]);
    assert_eq!(process.endpoints(), ["127.0.0.1:80"]);
}
