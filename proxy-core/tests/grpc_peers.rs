//! gRPC between clients and servers that others wrote: Python's grpcio on both sides. `scripts/test` installs it into
//! `target/python-peers`, or skips the tests that have it in their names.

mod ops;

use std::net::SocketAddr;

use ops::program::{Program, python};
use ops::proxy::{Proxy, any_cpu};
use ops::{free_address, wait_until};

on_both_drivers!(
    grpcio_calls_grpcio_in_every_way,
    grpcio_sends_large_messages_both_ways,
    grpcio_understands_failures_of_the_endpoint_and_of_ours,
    grpcio_s_deadlines_and_cancellations_arrive,
);

struct Server {
    program: Program,
    address: SocketAddr,
}

impl Server {
    fn start() -> Server {
        let address = free_address();
        let mut command = python("grpcio.py");
        command.args(["serve", &address.to_string()]);
        let program = Program::start(command);
        assert_eq!(program.line(), "ready");
        Server { program, address }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.program.line()
    }
}

fn in_front_of(driver: &str, server: &Server) -> (Proxy, SocketAddr) {
    let listen = free_address();
    let config = format!(
        "listeners:\n  - name: web\n    address: '{listen}'\n    http:\n      routes:\n\
        \x20       - {{ match: {{ exact: /t.T/Slow }}, cluster: app, timeout: 1s }}\n\
        \x20       - {{ match: {{ prefix: /t.T/ }}, cluster: app }}\n\
        \x20       - {{ match: {{ prefix: /dead.D/ }}, cluster: dead }}\n\
         clusters:\n  - {{ name: app, protocol: http2, endpoints: ['{}'] }}\n\
        \x20 - {{ name: dead, protocol: http2, endpoints: ['127.0.0.1:1'] }}\n",
        server.address
    );
    (Proxy::start_with(&config, &["--driver", driver, "--cores", &any_cpu()], |_| {}), listen)
}

#[track_caller]
fn call(address: SocketAddr, what: &str) {
    let output = python("grpcio.py").args(["call", &address.to_string(), what]).output().expect("the client runs");
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
}

fn grpcio_calls_grpcio_in_every_way(driver: &str) {
    let server = Server::start();
    let (proxy, listen) = in_front_of(driver, &server);
    call(listen, "unary");
    call(listen, "streams");
    wait_until("all calls to be counted", || proxy.stat("cluster.app.grpc.0") == 204);
    assert_eq!(proxy.stat("cluster.app.grpc.failure"), 0);
}

fn grpcio_sends_large_messages_both_ways(driver: &str) {
    let server = Server::start();
    let (_proxy, listen) = in_front_of(driver, &server);
    call(listen, "large");
}

fn grpcio_understands_failures_of_the_endpoint_and_of_ours(driver: &str) {
    let server = Server::start();
    let (proxy, listen) = in_front_of(driver, &server);
    call(listen, "failures");
    wait_until("all calls to be counted", || proxy.stat("cluster.app.grpc.total") == 2);
    assert_eq!(proxy.stat("cluster.app.grpc.9"), 1);
    assert_eq!(proxy.stat("cluster.dead.grpc.14"), 1);
}

fn grpcio_s_deadlines_and_cancellations_arrive(driver: &str) {
    let server = Server::start();
    let (_proxy, listen) = in_front_of(driver, &server);
    call(listen, "deadline");
    assert_eq!([server.line(), server.line()], ["cancelled", "cancelled"]);
    call(listen, "cancel");
    assert_eq!(server.line(), "cancelled");
}
