//! The simulated network under plain tasks: what TCP promises holds in any order, and the same seed does the same.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use runtime::sim::{Faults, Simulation};
use runtime::{Bell, Core, Received, mailbox};

const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const SEEDS: u64 = 60;
const STEPS_MAX: usize = 200_000;

fn address() -> SocketAddr {
    SocketAddr::new(SERVER, 80)
}

/// Rough in everything that loses nothing.
fn rough(seed: u64) -> Faults {
    Faults {
        latency_us: (1, 50_000),
        pipe_bytes: (256, 256 << (seed % 10)),
        split: 500,
        short_send: 50,
        multishot_ends: 100,
        no_buffer: 50,
        accept_fails: 100,
        late: 100,
        late_us: 20_000,
        stall: 20,
        stall_us: 100_000,
        mail_us: 10_000,
        completion_us: 500,
        buffers_lent: 1 + (seed % 4) as u16,
        receive_buffers_max: 1 + (seed % 8) as usize,
        ..Faults::calm()
    }
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Steps until nothing happens any more, or `done`; checks the invariants on the way.
fn run(simulation: &mut Simulation, done: impl Fn() -> bool) {
    for _ in 0..STEPS_MAX {
        if done() || !simulation.step().expect("a core's loop goes on") {
            return;
        }
        simulation.check().unwrap_or_else(|what| panic!("{what}"));
    }
    panic!("still going on after {STEPS_MAX} turns");
}

fn bell() -> Bell {
    Bell::new().expect("a bell")
}

async fn echo(core: Core, connections: usize) {
    let listener = core.listen(address(), 16).expect("listens");
    let mut accepted = 0;
    while accepted < connections {
        // Some accepts fail for a moment.
        let Ok(connection) = listener.accept().await else { continue };
        accepted += 1;
        let inner = core.clone();
        core.spawn(async move {
            let socket = inner.adopt(connection);
            while let Received::Data(slice) = socket.recv().await {
                socket.send_slice(slice);
                if socket.drained(10_000).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Sends a pattern and ends; gives back what came, whole or not.
async fn exchange(core: &Core, len: usize) -> std::io::Result<Vec<u8>> {
    let socket = core.connect(address()).await?;
    let inner = core.clone();
    let socket = Rc::new(socket);
    let writer = Rc::clone(&socket);
    // One task waits for a socket at a time: the writer looks by the clock.
    core.spawn(async move {
        for piece in pattern(len).chunks(3_333) {
            writer.send(piece);
            while writer.unsent_bytes() > 5_000 && writer.error().is_none() {
                inner.sleep_ms(5).await;
            }
        }
        writer.shutdown_write();
    });
    let mut echoed = Vec::new();
    loop {
        match socket.recv().await {
            Received::Data(slice) => echoed.extend_from_slice(&slice),
            Received::End => return Ok(echoed),
            Received::Failed(error) => return Err(error),
        }
    }
}

/// Runs a server and clients from a seed; returns what became of the clients' exchanges, and the trace's hash.
fn echoes(seed: u64, faults: Faults, len: usize) -> (Vec<std::io::Result<Vec<u8>>>, u64) {
    const CLIENTS: usize = 4;
    let mut simulation = Simulation::new(seed, faults);
    simulation.add_core(SERVER, 0, bell(), |core| echo(core, CLIENTS));
    let results: Rc<RefCell<Vec<_>>> = Rc::default();
    let collected = Rc::clone(&results);
    let client = simulation.add_core(CLIENT, 0, bell(), |core| async move {
        core.sleep_ms(100).await;
        for _ in 0..CLIENTS {
            let (inner, collected) = (core.clone(), Rc::clone(&collected));
            core.spawn(async move {
                let result = exchange(&inner, len).await;
                collected.borrow_mut().push(result);
            });
        }
    });
    let finished = Rc::clone(&results);
    run(&mut simulation, || finished.borrow().len() == CLIENTS);
    assert!(simulation.core(client).receive_buffers().1 <= 8, "seed {seed}");
    let hash = simulation.hash();
    drop(simulation);
    (results.take(), hash)
}

#[test]
fn every_byte_arrives_in_order_whatever_the_network_does_to_it() {
    for seed in 0..SEEDS {
        let len = 1 + (seed as usize * 997) % 30_000;
        for result in echoes(seed, rough(seed), len).0 {
            let echoed = result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            assert!(echoed == pattern(len), "seed {seed}: {} bytes of {len}", echoed.len());
        }
    }
}

#[test]
fn a_torn_connection_is_a_failure_and_never_a_wrong_byte() {
    let (mut failed, mut whole) = (0, 0);
    for seed in 0..SEEDS {
        let faults = Faults { torn: 500, reset_overtakes: 500, refused: 100, ..rough(seed) };
        for result in echoes(seed, faults, 20_000).0 {
            match result {
                Ok(echoed) if echoed == pattern(20_000) => whole += 1,
                // The server's end may have come before the tear.
                Ok(echoed) => panic!("seed {seed}: {} bytes and an end", echoed.len()),
                Err(_) => failed += 1,
            }
        }
    }
    assert!(failed > 20 && whole > 20, "{failed} failed, {whole} whole");
}

#[test]
fn the_same_seed_does_the_same_and_another_does_not() {
    for seed in 0..10 {
        let torn = || Faults { torn: 300, ..rough(seed) };
        let (first, hash) = echoes(seed, torn(), 9_000);
        let (second, again) = echoes(seed, torn(), 9_000);
        let sizes = |results: &[std::io::Result<Vec<u8>>]| -> Vec<Option<usize>> {
            results.iter().map(|result| result.as_ref().ok().map(Vec::len)).collect()
        };
        assert_eq!((sizes(&first), hash), (sizes(&second), again), "seed {seed}");
        assert_ne!(hash, echoes(seed + 1_000, torn(), 9_000).1, "seed {seed}");
    }
}

#[test]
fn connects_are_refused_where_nobody_listens_and_hang_where_nobody_is() {
    let mut simulation = Simulation::new(1, Faults::calm());
    let seen: Rc<RefCell<Vec<(std::io::ErrorKind, u64)>>> = Rc::default();
    let noted = Rc::clone(&seen);
    simulation.add_core(CLIENT, 0, bell(), |core| async move {
        for target in [SocketAddr::new(CLIENT, 9), address()] {
            let start_ms = core.now_ms();
            let error = core.connect(target).await.err().expect("nobody is there");
            noted.borrow_mut().push((error.kind(), (core.now_ms() - start_ms) / 1_000));
        }
    });
    run(&mut simulation, || false);
    let kinds = [std::io::ErrorKind::ConnectionRefused, std::io::ErrorKind::TimedOut];
    assert_eq!(*seen.borrow(), [(kinds[0], 0), (kinds[1], 127)]);
}

#[test]
fn a_listener_that_refuses_handshakes_loses_nobody_who_had_begun() {
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed, Faults { latency_us: (1, 20_000), ..rough(seed) });
        let served: Rc<Cell<usize>> = Rc::default();
        let (refused, connected): (Rc<Cell<usize>>, Rc<Cell<usize>>) = (Rc::default(), Rc::default());
        let counted = Rc::clone(&served);
        simulation.add_core(SERVER, 0, bell(), |core| async move {
            let listener = core.listen(address(), 16).expect("listens");
            core.sleep_ms(120).await;
            listener.refuse_handshakes();
            core.sleep_ms(200).await;
            for connection in listener.finish().await {
                counted.set(counted.get() + 1);
                core.adopt(connection).send(b"served");
            }
        });
        let (refusals, replies) = (Rc::clone(&refused), Rc::clone(&connected));
        simulation.add_core(CLIENT, 0, bell(), |core| async move {
            for at in 0..10 {
                let (inner, refusals, replies) = (core.clone(), Rc::clone(&refusals), Rc::clone(&replies));
                core.spawn(async move {
                    inner.sleep_ms(90 + at * 8).await;
                    match inner.connect(address()).await {
                        Ok(socket) => {
                            let Received::Data(slice) = socket.recv().await else { panic!("a reply") };
                            assert!(b"served".starts_with(&slice));
                            replies.set(replies.get() + 1);
                        }
                        Err(_) => refusals.set(refusals.get() + 1),
                    }
                });
            }
        });
        run(&mut simulation, || refused.get() + connected.get() == 10);
        assert_eq!(served.get(), connected.get(), "seed {seed}");
    }
}

#[test]
fn mail_between_simulated_cores_arrives_in_order_and_a_dropped_sender_ends_it() {
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed, rough(seed));
        let bell_of_reader = bell();
        let (mut sender, mut receiver) = mailbox::channel::<u32>(&bell_of_reader, 4);
        let got: Rc<RefCell<Vec<u32>>> = Rc::default();
        let seen = Rc::clone(&got);
        simulation.add_core(SERVER, 0, bell(), |core| async move {
            for n in 0..50 {
                while sender.send(n).is_err() {
                    core.sleep_ms(1).await;
                }
            }
        });
        let reader = simulation.add_core(SERVER, 1, bell_of_reader, |core| async move {
            while let Some(n) = receiver.recv(&core).await {
                seen.borrow_mut().push(n);
            }
            core.stop();
        });
        run(&mut simulation, || false);
        assert!(simulation.is_over(reader), "seed {seed}");
        assert_eq!(*got.borrow(), (0..50).collect::<Vec<u32>>(), "seed {seed}");
    }
}

#[test]
fn a_stopped_core_closes_its_sockets_and_lets_go_of_every_buffer() {
    for seed in 0..SEEDS {
        let mut simulation = Simulation::new(seed, rough(seed));
        let server = simulation.add_core(SERVER, 0, bell(), |core| async move {
            let stopper = core.clone();
            core.spawn(async move {
                stopper.sleep_ms(150).await;
                stopper.stop();
            });
            echo(core, 100).await;
        });
        simulation.add_core(CLIENT, 0, bell(), |core| async move {
            core.sleep_ms(50).await;
            for _ in 0..5 {
                let inner = core.clone();
                core.spawn(async move { drop(exchange(&inner, 50_000).await) });
            }
        });
        run(&mut simulation, || false);
        assert!(simulation.is_over(server), "seed {seed}");
        assert_eq!(simulation.core(server).receive_buffers().1, 0, "seed {seed}");
        assert_eq!(simulation.sockets(), 0, "seed {seed}");
    }
}
