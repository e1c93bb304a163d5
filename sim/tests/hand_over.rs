//! Connections that one core hands to another before that has the listener: on real threads a matter of microseconds.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

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
        let mut yaml = String::from("listeners:\n");
        for port in ports {
            yaml += &format!(
                "  - name: l{port}\n    address: {}\n    http: {{ routes: [{{ match: {{ prefix: / }}, respond: {{ status: 200 }} }}] }}\n",
                address(*port)
            );
        }
        let model = config::parse("test.yaml", &yaml).unwrap_or_else(|mistakes| panic!("{mistakes}"));
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
