//! The binary as a process, and servers that misbehave on purpose.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

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

/// The result of `loadgen http` with `--json`, and whether it exited with success.
pub fn load(url: &str, arguments: &[&str]) -> (Value, bool) {
    load_by("http", url, arguments)
}

pub fn load_by(kind: &str, url: &str, arguments: &[&str]) -> (Value, bool) {
    let output = run(&[&[kind, url, "--json"], arguments].concat());
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
    scheme: &'static str,
    pub address: SocketAddr,
}

impl Origin {
    pub fn start(arguments: &[&str]) -> Origin {
        let arguments = [&["origin", "--listen", "127.0.0.1:0"], arguments].concat();
        let mut child = command(&arguments).stdout(Stdio::piped()).spawn().expect("starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("a line");
        let (scheme, rest) = line.trim().split_once("://").unwrap_or_else(|| panic!("no address in {line:?}"));
        let scheme = if scheme == "listening on https" { "https" } else { "http" };
        Origin { child, scheme, address: rest.parse().expect("an address") }
    }

    /// With a certificate for `localhost` and `127.0.0.1`.
    pub fn start_tls(arguments: &[&str]) -> Origin {
        let files = certificate();
        Origin::start(&[&["--tls-cert", &files.certificate, "--tls-key", &files.key], arguments].concat())
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    pub fn websocket_url(&self, path: &str) -> String {
        self.url(path).replacen("http", "ws", 1)
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

/// A certificate that signs itself, and its key.
pub struct CertificateFiles {
    pub certificate: String,
    pub key: String,
}

/// The same for all tests of a file.
pub fn certificate() -> &'static CertificateFiles {
    static FILES: std::sync::OnceLock<CertificateFiles> = std::sync::OnceLock::new();
    FILES.get_or_init(|| {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let path = |kind: &str| format!("{}/{}-{kind}.pem", env!("CARGO_TARGET_TMPDIR"), std::process::id());
        let files = CertificateFiles { certificate: path("certificate"), key: path("key") };
        std::fs::write(&files.certificate, made.cert.pem()).expect("a file");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("a file");
        files
    })
}

/// Runs a program that others wrote and returns what it prints; it has to succeed.
pub fn program(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(name).args(arguments).output().unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {text}{errors}");
    text
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
