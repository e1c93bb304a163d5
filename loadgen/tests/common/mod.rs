//! The binary as a process, and servers that misbehave on purpose.
#![allow(dead_code, unreachable_pub)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub const DRIVERS: [&str; 2] = ["uring", "epoll"];
pub const DEADLINE: Duration = Duration::from_secs(60);

pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments);
    command
}

/// Runs to the end, which must come before the deadline.
pub fn run(arguments: &[&str]) -> Output {
    let child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    finish(child)
}

pub fn finish(mut child: Child) -> Output {
    wait_until("the process to end", || child.try_wait().expect("a child").is_some());
    child.wait_with_output().expect("output")
}

/// The result of a run with `--json`, and whether it exited with success.
pub fn load(url: &str, arguments: &[&str]) -> (Value, bool) {
    let output = run(&[&["http", url, "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    (value, output.status.success())
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < DEADLINE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// `loadgen origin` on a free port.
pub struct Origin {
    child: Child,
    pub address: SocketAddr,
}

impl Origin {
    pub fn start(arguments: &[&str]) -> Origin {
        let arguments = [&["origin", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut child = command(&arguments).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on http://").and_then(|text| text.parse().ok());
        Origin { child, address: address.unwrap_or_else(|| panic!("no address in {line:?}")) }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
        stream
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server with a thread for each connection; it lives as long as the test process.
pub struct Server {
    pub address: SocketAddr,
    pub requests: Arc<AtomicU64>,
}

impl Server {
    /// Hands every connection to `serve`.
    pub fn start(serve: impl Fn(TcpStream, &AtomicU64) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicU64::new(0));
        let (serve, counter) = (Arc::new(serve), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (serve, counter) = (serve.clone(), counter.clone());
                std::thread::spawn(move || serve(stream, &counter));
            }
        });
        Server { address, requests }
    }

    /// Answers each request with what `answer` gives for its number, counted from 0.
    pub fn answering(answer: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Server {
        Server::start(move |mut stream, requests| {
            stream.set_nodelay(true).expect("an option");
            while read_head(&mut stream) {
                let number = requests.fetch_add(1, Ordering::SeqCst);
                if stream.write_all(&answer(number)).is_err() {
                    return;
                }
            }
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }
}

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Reads up to the end of a head, byte by byte; false at the end of the connection.
pub fn read_head(stream: &mut impl Read) -> bool {
    let mut last = [0; 4];
    while last != *b"\r\n\r\n" {
        last.rotate_left(1);
        match stream.read(&mut last[3..]) {
            Ok(1) => {}
            _ => return false,
        }
    }
    true
}
