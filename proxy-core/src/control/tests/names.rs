//! Name resolution against a name server of our own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
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
    /// Messages made of the question, one after the other.
    Lies(Lie),
}

/// Answers questions for A records with a lifetime of a second, all others with nothing. What is too long for a datagram
/// is told by TCP.
struct NameServer {
    address: SocketAddr,
    /// Questions that came.
    asked: Arc<AtomicU32>,
    names: Arc<Mutex<HashMap<String, Reply>>>,
    end: Arc<AtomicBool>,
    join: Option<JoinHandle<()>>,
}

impl NameServer {
    fn start() -> NameServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = UdpSocket::bind(listener.local_addr().unwrap()).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let names = Arc::new(Mutex::new(HashMap::new()));
        let end = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(AtomicU32::new(0));
        let (table, stop) = (Arc::clone(&names), Arc::clone(&end));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut question = [0; 1500];
                let Ok(length) = stream.read(&mut question) else { continue };
                if length < 3 {
                    // The end of the test.
                    return;
                }
                let whole = answer(&question[2..length], &table.lock().unwrap());
                let _ = stream.write_all(&[&(whole.len() as u16).to_be_bytes(), &whole[..]].concat());
            }
        });
        let (table, count) = (Arc::clone(&names), Arc::clone(&asked));
        let join = std::thread::spawn(move || {
            let mut question = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut question) else { continue };
                count.fetch_add(1, Ordering::Relaxed);
                let question = &question[..length];
                if let Some(Reply::Lies(lies)) = table.lock().unwrap().get(&name(question).0) {
                    lies(question).iter().for_each(|lie| drop(socket.send_to(lie, peer)));
                    continue;
                }
                let mut whole = answer(question, &table.lock().unwrap());
                if whole.len() > DATAGRAM_BYTES_MAX {
                    // No record fits: TC says to ask again by TCP.
                    whole.truncate(question.len().min(name(question).1 + 5));
                    whole[2] |= 2;
                    whole[6..12].fill(0);
                }
                socket.send_to(&whole, peer).unwrap();
            }
        });
        NameServer { address, asked, names, end, join: Some(join) }
    }

    fn set(&self, name: &str, reply: Reply) {
        self.names.lock().unwrap().insert(name.to_owned(), reply);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.join.take().unwrap().join().unwrap();
        // The other thread waits for a connection.
        drop(TcpStream::connect(self.address));
    }
}

const DATAGRAM_BYTES_MAX: usize = 512;

/// The name that a question is about, and where it ends.
fn name(question: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + length]).to_lowercase());
        at += 1 + length;
    }
    (labels.join("."), at)
}

/// RFC 1035, section 4: header, the question again, records.
fn answer(question: &[u8], names: &HashMap<String, Reply>) -> Vec<u8> {
    let (name, at) = name(question);
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let (code, addresses) = match names.get(&name).cloned().unwrap_or(Reply::NoSuchName) {
        Reply::Addresses(addresses) if kind == 1 => (0, addresses),
        Reply::Addresses(_) => (0, Vec::new()),
        Reply::NoSuchName => (3, Vec::new()),
        Reply::ServerFailure | Reply::Lies(_) => (2, Vec::new()),
    };
    let mut out = question[..2].to_vec();
    out.extend([0x81, 0x80 | code, 0, 1]);
    out.extend((addresses.len() as u16).to_be_bytes());
    out.extend([0; 4]);
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

/// An answer with one address.
fn told(question: &[u8], address: [u8; 4]) -> Vec<u8> {
    let names = HashMap::from([(name(question).0, Reply::Addresses(vec![address.into()]))]);
    answer(question, &names)
}

/// Messages made of a question.
type Lie = fn(&[u8]) -> Vec<Vec<u8>>;

/// What arrives in the place of an answer, or before it, isn't believed: nothing changes, or the right one counts.
#[test]
fn lies_are_not_believed() {
    let lies: [Lie; 9] = [
        |_| vec![vec![]],
        |_| vec![b"\xff\xff\xff".to_vec()],
        |question| vec![question[..2].iter().copied().chain([0xff; 600]).collect()],
        // Cut off in the header, in the question, in a record.
        |question| vec![told(question, [10, 0, 0, 66])[..8].to_vec()],
        |question| vec![told(question, [10, 0, 0, 66])[..14].to_vec()],
        |question| {
            let whole = told(question, [10, 0, 0, 66]);
            vec![whole[..whole.len() - 3].to_vec()]
        },
        // A name that refers to itself.
        |question| {
            let mut whole = told(question, [10, 0, 0, 66]);
            let at = whole.len() - 16;
            whole[at..at + 2].copy_from_slice(&(0xc000 | at as u16).to_be_bytes());
            vec![whole]
        },
        // For another question, before the right answer.
        |question| {
            let mut other = told(question, [10, 0, 0, 66]);
            other[0] ^= 0xff;
            vec![other, told(question, [10, 0, 0, 1])]
        },
        |question| {
            let mut other = told(question, [10, 0, 0, 66]);
            other[13] ^= 1;
            vec![other, told(question, [10, 0, 0, 1])]
        },
    ];
    let server = NameServer::start();
    server.set("app.test", Reply::Addresses(vec![ip(1)]));
    let process = Process::start(&config(NAMED), vec![server.address]);
    let cluster = process.registry.cluster("app");
    for (at, lie) in lies.into_iter().enumerate() {
        let asked = server.asked.load(Ordering::Relaxed);
        server.set("app.test", Reply::Lies(lie));
        wait_for("a question", || server.asked.load(Ordering::Relaxed) > asked + 1);
        assert_eq!(process.endpoints(), ["10.0.0.1:80"], "lie {at}");
        server.set("app.test", Reply::Addresses(vec![ip(1)]));
        let good = cluster.sum(ClusterStat::UpdateSuccess);
        wait_for("the truth", || cluster.sum(ClusterStat::UpdateSuccess) > good);
    }
    assert_eq!(process.told().snapshots.len(), 1, "nothing ever changed for the cores");
}

#[test]
fn thousands_of_addresses_are_cut_to_the_lowest() {
    let server = NameServer::start();
    let many = |count: u32| (0..count).map(|at| Ipv4Addr::from(0x0a00_0000 + at)).collect();
    server.set("app.test", Reply::Addresses(many(3_500)));
    let process = Process::start(&config(NAMED), vec![server.address]);
    assert_eq!(process.endpoints().len(), 1024);
    let cluster = process.registry.cluster("app");
    assert_eq!(cluster.sum(ClusterStat::UpdateLeftOut) % (3_500 - 1024), 0);
    assert!(cluster.sum(ClusterStat::UpdateLeftOut) > 0);
    server.set("app.test", Reply::Addresses(vec![Ipv4Addr::UNSPECIFIED, ip(7)]));
    wait_for("the one that is somebody's", || process.endpoints() == ["10.0.0.7:80"]);
}

/// A name that comes and goes: the last addresses stay, and the server isn't asked more often than the config says.
#[test]
fn names_that_flap_keep_their_addresses() {
    let server = NameServer::start();
    server.set("app.test", Reply::Addresses(vec![ip(1)]));
    let process = Process::start(&config(&NAMED.replace("100ms", "200ms")), vec![server.address]);
    let (began, asked) = (Instant::now(), server.asked.load(Ordering::Relaxed));
    let cluster = process.registry.cluster("app");
    for round in 0..4 {
        let (failed, good) = (cluster.sum(ClusterStat::UpdateFailure), cluster.sum(ClusterStat::UpdateSuccess));
        server.set("app.test", Reply::NoSuchName);
        wait_for("a failure", || cluster.sum(ClusterStat::UpdateFailure) > failed);
        assert_eq!(process.endpoints(), ["10.0.0.1:80"], "{round}");
        server.set("app.test", Reply::Addresses(vec![ip(1)]));
        wait_for("a success", || cluster.sum(ClusterStat::UpdateSuccess) > good);
    }
    assert_eq!(process.told().snapshots.len(), 1);
    // For IPv4 and, where that says nothing, for IPv6.
    let (asked, most) =
        (server.asked.load(Ordering::Relaxed) - asked, began.elapsed().as_millis() as u32 / 200 * 2 + 4);
    assert!(asked <= most, "{asked} questions instead of {most}");
}
