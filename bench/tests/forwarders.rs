//! Every forwarder passes bytes on unchanged, ends of streams too, under back pressure, and outlives its clients' faults.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Longest wait for anything; a test that hits it fails.
const DEADLINE: Duration = Duration::from_secs(20);

struct Forwarder {
    process: Child,
    address: SocketAddr,
}

impl Forwarder {
    fn start(binary: &str, upstream: SocketAddr, arguments: &[&str]) -> Self {
        let mut process = Command::new(binary)
            .args(["--listen", "127.0.0.1:0", "--upstream", &upstream.to_string()])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the forwarder starts");
        let mut lines = BufReader::new(process.stderr.take().expect("piped")).lines();
        let first = lines.next().expect("the forwarder says where it listens").expect("text");
        let address = first.strip_prefix("listening on ").expect("an address").parse().expect("an address");
        // Keeps the pipe open and empty.
        thread::spawn(move || lines.for_each(drop));
        Self { process, address }
    }

    fn connect(&self) -> TcpStream {
        let client = TcpStream::connect(self.address).expect("the forwarder accepts");
        client.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        client.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        client
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An upstream that runs `serve` on each connection.
fn upstream(serve: fn(TcpStream)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || serve(connection));
        }
    });
    address
}

fn echo(mut connection: TcpStream) {
    let mut reader = connection.try_clone().expect("a clone");
    let _ = std::io::copy(&mut reader, &mut connection);
    let _ = connection.shutdown(Shutdown::Write);
}

/// Reads everything first and answers only then, so that the whole stream has to be held back or pass.
fn answer_with_length(mut connection: TcpStream) {
    let mut all = Vec::new();
    if connection.read_to_end(&mut all).is_ok() {
        let _ = connection.write_all(all.len().to_string().as_bytes());
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index ^ (index >> 8) ^ (index >> 16)) as u8).collect()
}

fn echoes_small_messages_on_many_connections(binary: &str) {
    let forwarder = Forwarder::start(binary, upstream(echo), &["--buffers", "16"]);
    let mut clients: Vec<TcpStream> = (0..64).map(|_| forwarder.connect()).collect();
    for round in 0..10u8 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.write_all(&[round, number as u8]).expect("sent");
        }
        for (number, client) in clients.iter_mut().enumerate() {
            let mut answer = [0; 2];
            client.read_exact(&mut answer).expect("answered");
            assert_eq!(answer, [round, number as u8]);
        }
    }
}

fn echoes_a_long_stream_to_a_late_reader(binary: &str) {
    let forwarder = Forwarder::start(binary, upstream(echo), &["--buffers", "64"]);
    let bytes = pattern(32 << 20);
    let mut client = forwarder.connect();
    let mut reader = client.try_clone().expect("a clone");
    let mut idle = forwarder.connect();
    let sent = bytes.clone();
    let writer = thread::spawn(move || {
        client.write_all(&sent).expect("sent");
        client.shutdown(Shutdown::Write).expect("shut down");
    });
    // Another connection lives on while this one holds all that the forwarder lets it hold.
    idle.write_all(b"x").expect("sent");
    idle.read_exact(&mut [0]).expect("answered");
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer).expect("answered");
    writer.join().expect("the writer ends");
    assert!(answer == bytes, "{} bytes came back changed", answer.len());
}

fn passes_a_half_close_and_the_answer_after_it(binary: &str) {
    let forwarder = Forwarder::start(binary, upstream(answer_with_length), &[]);
    let mut client = forwarder.connect();
    client.write_all(&pattern(3_000_000)).expect("sent");
    client.shutdown(Shutdown::Write).expect("shut down");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("answered");
    assert_eq!(answer, "3000000");
}

fn outlives_clients_that_vanish(binary: &str) {
    let forwarder = Forwarder::start(binary, upstream(echo), &["--buffers", "64"]);
    for _ in 0..200 {
        let mut client = forwarder.connect();
        // Unread answers make the close a reset.
        client.write_all(&pattern(100_000)).expect("sent");
    }
    let mut client = forwarder.connect();
    client.write_all(b"still there").expect("sent");
    client.shutdown(Shutdown::Write).expect("shut down");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("answered");
    assert_eq!(answer, "still there");
}

fn closes_the_client_when_the_upstream_refuses(binary: &str) {
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let forwarder = Forwarder::start(binary, nobody, &[]);
    let ends = |result: std::io::Result<usize>| match result {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(ends(forwarder.connect().read(&mut [0])));
    assert!(ends(forwarder.connect().read(&mut [0])), "the forwarder is still there");
}

macro_rules! forwarder_tests {
    ($($module:ident: $binary:literal),* $(,)?) => {$(
        mod $module {
            const BINARY: &str = env!(concat!("CARGO_BIN_EXE_", $binary));

            #[test]
            fn echoes_small_messages_on_many_connections() {
                super::echoes_small_messages_on_many_connections(BINARY);
            }

            #[test]
            fn echoes_a_long_stream_to_a_late_reader() {
                super::echoes_a_long_stream_to_a_late_reader(BINARY);
            }

            #[test]
            fn passes_a_half_close_and_the_answer_after_it() {
                super::passes_a_half_close_and_the_answer_after_it(BINARY);
            }

            #[test]
            fn outlives_clients_that_vanish() {
                super::outlives_clients_that_vanish(BINARY);
            }

            #[test]
            fn closes_the_client_when_the_upstream_refuses() {
                super::closes_the_client_when_the_upstream_refuses(BINARY);
            }
        }
    )*};
}

forwarder_tests! {
    null: "forward-null",
    epoll: "forward-epoll",
    monoio: "forward-monoio",
    glommio: "forward-glommio",
    runtime: "forward-runtime",
}
