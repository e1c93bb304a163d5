//! Rare orders of events, each by itself: on real threads and sockets a matter of microseconds.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use codecs::http::h2::{Connection, Event, Limits, Message, NO_FIELDS, Role};
use corelane::config;
use corelane::control::{Answers, Cores, acks};
use corelane::lanes::Lanes;
use corelane::log::Lines;
use corelane::snapshot::Snapshot;
use corelane::stats::Registry;
use runtime::sim::{Faults, Simulation};
use runtime::{Bell, Core, Received};

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const CLIENTS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 2, 1));
/// Endpoints.
const ORIGINS: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(10, 0, 1, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 1, 2))];
const CONNECTIONS: usize = 6;
const TURNS_MAX: usize = 200_000;

struct Proxy {
    simulation: Simulation,
    lanes: Lanes,
    registry: Arc<Registry>,
    version: u64,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(PROXY, port)
}

impl Proxy {
    fn start(cores: usize) -> Proxy {
        let mut simulation = Simulation::new(7, Faults::calm());
        let bells: Vec<Bell> = (0..cores).map(|_| Bell::new().expect("a bell")).collect();
        let registry = Registry::new(cores);
        let (_lines, sinks) = Lines::without_writer(&registry);
        let (lanes, parts) = Lanes::prepare(&bells, registry.server(), sinks);
        for (id, (bell, parts)) in bells.into_iter().zip(parts).enumerate() {
            simulation.add_core(PROXY, id, bell, |core| corelane::core::run(core, parts));
        }
        Proxy { simulation, lanes, registry, version: 0 }
    }

    /// A snapshot of a config that answers on these ports.
    fn snapshot(&mut self, ports: &[u16]) -> Arc<Snapshot> {
        let listener = |port: &u16| {
            let address = address(*port);
            let routes = "[{ match: { prefix: / }, respond: { status: 200 } }]";
            format!("  - {{ name: l{port}, address: {address}, http: {{ routes: {routes} }} }}\n")
        };
        self.compile(&format!("listeners:\n{}", ports.iter().map(listener).collect::<String>()))
    }

    fn compile(&mut self, yaml: &str) -> Arc<Snapshot> {
        let model = config::parse("test.yaml", yaml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        self.version += 1;
        let inputs = config::Inputs { registry: &self.registry, resolved: &HashMap::new(), version: self.version };
        Arc::new(config::compile(&model, &inputs).unwrap_or_else(|mistakes| panic!("{mistakes}")))
    }

    /// Gives a snapshot to one core and waits until it is in force there.
    fn publish_to(&mut self, core: usize, snapshot: &Arc<Snapshot>) {
        let (mut acks, mut answers): (_, Answers) = acks(core + 1);
        // Those before it have nothing to say.
        acks.drain(..core).for_each(corelane::control::Ack::done);
        self.lanes.publish_to(core, snapshot, acks.remove(0));
        self.until(|_| answers.try_all().is_some_and(|failed| failed.is_empty()));
    }

    fn until(&mut self, mut done: impl FnMut(&Simulation) -> bool) {
        for _ in 0..TURNS_MAX {
            if done(&self.simulation) {
                return;
            }
            assert!(self.simulation.step().expect("a loop"), "nothing happens any more");
        }
        panic!("it doesn't come to that");
    }

    /// Spends some time.
    fn wait_ms(&mut self, ms: u64) {
        let until_us = self.simulation.now_us() + ms * 1_000;
        self.until(|simulation| simulation.now_us() >= until_us);
    }

    /// Connections with a request each; how many have been answered.
    fn ask(&mut self, port: u16) -> Rc<Cell<usize>> {
        let answered = Rc::new(Cell::new(0));
        let count = answered.clone();
        self.simulation.add_core(CLIENTS, 0, Bell::new().expect("a bell"), move |core| async move {
            for _ in 0..CONNECTIONS {
                core.spawn(exchange(core.clone(), port, count.clone()));
            }
        });
        answered
    }
}

async fn exchange(core: Core, port: u16, answered: Rc<Cell<usize>>) {
    let socket = core.connect(address(port)).await.expect("a connection");
    socket.send(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    match socket.recv().await {
        Received::Data(slice) if slice.starts_with(b"HTTP/1.1 200 ") => answered.set(answered.get() + 1),
        other => panic!("{other:?}"),
    }
}

/// Two configs behind: the first that arrives hasn't the listener either.
#[test]
fn connections_wait_for_the_config_that_has_their_listener() {
    let mut proxy = Proxy::start(2);
    let (first, second, third) = (proxy.snapshot(&[80]), proxy.snapshot(&[80, 81]), proxy.snapshot(&[80, 81, 82]));
    for core in [0, 1] {
        proxy.publish_to(core, &first);
    }
    proxy.publish_to(0, &second);
    proxy.publish_to(0, &third);
    let answered = proxy.ask(82);
    proxy.wait_ms(500);
    let early = answered.get();
    assert!((1..CONNECTIONS).contains(&early), "{early} were answered by the core that has the listener");
    proxy.publish_to(1, &second);
    proxy.wait_ms(500);
    assert_eq!(answered.get(), early, "those of the other core wait");
    proxy.publish_to(1, &third);
    proxy.until(|_| answered.get() == CONNECTIONS);
    proxy.lanes.stop();
}

/// An endpoint of HTTP/2 that accepts one connection, says nothing on it until it `may`, and then answers every request
/// with 200 and no end.
async fn late_endpoint(core: Core, address: SocketAddr, may: Rc<Cell<bool>>) {
    let listener = core.listen(address, 8).expect("a listener");
    let socket = core.adopt(listener.accept().await.expect("a connection"));
    while !may.get() {
        core.sleep_ms(5).await;
    }
    let (mut input, mut out, mut message) = (Vec::new(), Vec::new(), Message::default());
    let mut connection = Connection::new(Role::Server, &Limits::default(), &mut out);
    while let Received::Data(slice) = socket.recv().await {
        input.extend_from_slice(&slice);
        loop {
            let step = connection.receive(&input, &mut message, &mut out).expect("no error");
            input.drain(..step.consumed);
            match step.event {
                Event::NeedMore => break,
                Event::Request { stream, .. } => {
                    connection.send_response(stream, 200, NO_FIELDS, false, &mut out).expect("a stream");
                }
                _ => {}
            }
        }
        socket.send(&out);
        out.clear();
    }
}

/// Asks for a tunnel; what the first answer's first bytes are.
async fn upgrade(core: Core, status: Rc<Cell<Option<[u8; 12]>>>) {
    let socket = core.connect(address(80)).await.expect("a connection");
    socket.send(
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
          sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    match socket.recv().await {
        Received::Data(slice) => status.set(slice.first_chunk().copied()),
        other => panic!("{other:?}"),
    }
    core.sleep_ms(60_000).await;
}

/// The endpoint leaves the config while a request waits for its SETTINGS, which say whether it takes tunnels.
#[test]
fn an_upgrade_that_waits_for_settings_outlives_a_reload() {
    let mut proxy = Proxy::start(1);
    let config = |endpoint: IpAddr| {
        format!(
            "listeners:\n  - name: web\n    address: {}\n    http:\n      upgrades: [websocket]\n      routes: \
             [{{ match: {{ prefix: / }}, cluster: a }}]\nclusters:\n  - {{ name: a, protocol: http2, endpoints: ['{}'] }}\n",
            address(80),
            SocketAddr::new(endpoint, 8081)
        )
    };
    let [before, after] = ORIGINS.map(|origin| proxy.compile(&config(origin)));
    let (may, status) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(None)));
    let (endpoint, bell) = (may.clone(), Bell::new().expect("a bell"));
    proxy
        .simulation
        .add_core(ORIGINS[0], 0, bell, |core| late_endpoint(core, SocketAddr::new(ORIGINS[0], 8081), endpoint));
    proxy.publish_to(0, &before);
    let (client, bell) = (status.clone(), Bell::new().expect("a bell"));
    proxy.simulation.add_core(CLIENTS, 0, bell, |core| upgrade(core, client));
    proxy.wait_ms(100);
    proxy.publish_to(0, &after);
    proxy.wait_ms(2_000);
    assert_eq!(status.get(), None, "nothing is known of the endpoint yet");
    may.set(true);
    proxy.until(|_| status.get().is_some());
    assert_eq!(status.get().as_ref(), Some(b"HTTP/1.1 101"));
    proxy.lanes.stop();
}

/// Requests on connections that are there wait for the beginning of one.
#[test]
fn connections_of_a_burst_begin_one_by_one() {
    const BURST: usize = 300;
    let mut proxy = Proxy::start(1);
    let snapshot = proxy.snapshot(&[80]);
    proxy.publish_to(0, &snapshot);
    let before = proxy.simulation.core(0).sockets_open();
    proxy.simulation.add_core(CLIENTS, 0, Bell::new().expect("a bell"), |core| async move {
        for _ in 0..BURST {
            let client = core.clone();
            core.spawn(async move {
                let _socket = client.connect(address(80)).await.expect("a connection");
                client.sleep_ms(60_000).await;
            });
        }
    });
    let (mut last, mut most) = (before, 0);
    proxy.until(|simulation| {
        let open = simulation.core(0).sockets_open();
        most = most.max(open.saturating_sub(last));
        last = open;
        open == before + BURST
    });
    assert_eq!(most, 1, "in one turn");
    proxy.lanes.stop();
}
