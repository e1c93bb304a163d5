//! Many connections: how they spread over cores, that they all live, and what they weigh.
#![allow(clippy::print_stdout, reason = "figures for `--nocapture`")]

mod ops;

use std::net::SocketAddr;

use ops::client::Client;
use ops::origin::Origin;
use ops::proxy::{Proxy, any_cpu, simple};
use ops::{free_address, wait_until};

on_both_drivers!(long_lived_connections_spread_over_the_cores, thousands_of_idle_connections_are_kept_and_weigh_little);

/// Most memory that an idle keep-alive connection may take. The aim is 1.5 KiB, met by a release build; a page that is
/// shared with something else more or less must not fail a test.
const IDLE_CONNECTION_BYTES_MAX: u64 = 2048;
/// Descriptors that the test needs for other things than connections.
const DESCRIPTORS_OTHER: u64 = 500;
const CONNECTIONS_MAX: u64 = 10_000;

fn stat_of(listen: SocketAddr, name: &str) -> String {
    format!("listener.{}.{name}", listen.to_string().replace(':', "_"))
}

fn long_lived_connections_spread_over_the_cores(driver: &str) {
    let cpus = runtime::allowed_cpus();
    let [first, second, ..] = cpus[..] else { return eprintln!("one CPU: nothing to spread over") };
    let origin = Origin::start("origin");
    let listen = free_address();
    let arguments = ["--driver", driver, "--cores", &format!("{first},{second}")];
    let proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, |_| {});
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..64 {
        let mut client = Client::connect(listen).expect("connects");
        assert_eq!(client.get("/").expect("a response").status, 200);
        clients.push(client);
    }
    let held = [0, 1].map(|core| proxy.stat(&stat_of(listen, &format!("worker_{core}.downstream_cx_active"))));
    println!("{driver}: 64 connections spread as {held:?}");
    assert_eq!(held.iter().sum::<u64>(), 64);
    assert!(held.iter().all(|held| *held <= 40), "no core holds over 1.25 times the mean: {held:?}");
    for client in &mut clients {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    // All at once, so that nobody has seen the others' counts.
    drop(clients);
    wait_until("the connections to be gone", || proxy.stat(&stat_of(listen, "downstream_cx_active")) == 0);
    let mut clients: Vec<Client> = (0..64).map(|_| Client::connect(listen).expect("connects")).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").expect("a response").status, 200);
    }
    let held = [0, 1].map(|core| proxy.stat(&stat_of(listen, &format!("worker_{core}.downstream_cx_active"))));
    println!("{driver}: 64 connections at once spread as {held:?}");
    assert!(held.iter().all(|held| *held <= 40), "{held:?}");
}

/// As many connections as this process and the proxy, each with its own bound, may have.
fn connections_possible() -> u64 {
    runtime::raise_descriptors_max().saturating_sub(DESCRIPTORS_OTHER).min(CONNECTIONS_MAX)
}

fn thousands_of_idle_connections_are_kept_and_weigh_little(driver: &str) {
    let count = connections_possible();
    let origin = Origin::start("origin");
    let listen = free_address();
    let arguments = ["--driver", driver, "--cores", &any_cpu()];
    let proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, |_| {});
    let base = proxy.resident_bytes();
    let open = |_| {
        let mut client = Client::connect(listen).expect("connects");
        assert_eq!(client.get("/").expect("a response").status, 200);
        // Without its buffer, or this process would need more memory than the proxy.
        client.stream.into_inner()
    };
    // What the first requests bring with them (pools, buffers) isn't the connections'.
    let mut clients: Vec<_> = (0..100).map(open).collect();
    let before = proxy.resident_bytes();
    clients.extend((100..count).map(open));
    assert_eq!(proxy.stat(&stat_of(listen, "downstream_cx_active")), count);
    let each = proxy.resident_bytes().saturating_sub(before) / (count - 100);
    println!(
        "{driver}: base {} KiB, {count} idle connections, {each} bytes each, {} KiB in all",
        base / 1024,
        proxy.resident_bytes() / 1024
    );
    for (number, stream) in clients.into_iter().enumerate() {
        let mut client = Client { stream: std::io::BufReader::with_capacity(512, stream) };
        let response = client.get("/").unwrap_or_else(|error| panic!("connection {number}: {error}"));
        assert_eq!(response.status, 200);
    }
    assert!(each <= IDLE_CONNECTION_BYTES_MAX, "an idle connection takes {each} bytes");
    wait_until("the connections to be gone", || proxy.stat(&stat_of(listen, "downstream_cx_active")) == 0);
}
