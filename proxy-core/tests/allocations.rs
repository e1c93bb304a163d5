//! In steady state a core allocates nothing for a keep-alive request: its heads, buffers, tasks and timers are reused.
//!
//! A process of its own, with an allocator that counts what the threads of cores ask for, found by their names.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use corelane::control::{self, Inputs, ProcessLog, process_log};
use corelane::lanes::{Lanes, Plan};
use corelane::stats::Registry;
use corelane::{config, log};
use runtime::DriverChoice;

struct Counting;

static MEASURING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if !MEASURING.load(Ordering::SeqCst) {
        return;
    }
    let mut name = [0u8; 16];
    // SAFETY: the buffer has the 16 bytes that the kernel writes at most.
    unsafe { libc::prctl(libc::PR_GET_NAME, name.as_mut_ptr()) };
    if name.starts_with(b"core-") {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the contract; counting reads the
// thread's name into a buffer on the stack and doesn't allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of `System.alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's obligations are those of `System.dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's obligations are those of `System.realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CONNECTIONS: usize = 8;
const WARM_UP: usize = 200;
const MEASURED: usize = 1_000;
/// A stream has a task of its own, which takes a small allocation.
const HTTP2_ALLOCATIONS_MAX: u64 = 1;
const DEADLINE: Duration = Duration::from_secs(30);

/// Answers each request with the same response; a request is what ends with an empty line.
fn origin(response: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            std::thread::spawn(move || {
                stream.set_nodelay(true).expect("nodelay");
                let mut request = [0; 4096];
                let mut len = 0;
                while let Ok(read @ 1..) = stream.read(&mut request[len..]) {
                    len += read;
                    if request[..len].ends_with(b"\r\n\r\n") {
                        len = 0;
                        stream.write_all(response).expect("written");
                    }
                }
            });
        }
    });
    address
}

fn ask(stream: &mut TcpStream, response_end: &[u8]) {
    stream
        .write_all(b"GET /path?query HTTP/1.1\r\nhost: test\r\nuser-agent: a\r\naccept: */*\r\nx-own: 1\r\n\r\n")
        .expect("written");
    let mut response = [0; 4096];
    let mut len = 0;
    while !response[..len].ends_with(response_end) {
        let read = match stream.read(&mut response[len..]) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.expect("a response"),
        };
        assert!(read > 0, "closed within {:?}", String::from_utf8_lossy(&response[..len]));
        len += read;
    }
    assert!(response.starts_with(b"HTTP/1.1 200"));
}

/// An HTTP/2 connection on which each request is answered before the next is sent, frame by frame.
struct Http2 {
    stream: TcpStream,
    next: u32,
    received: Vec<u8>,
}

impl Http2 {
    fn new(mut stream: TcpStream) -> Http2 {
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0")
            .expect("written");
        Http2 { stream, next: 1, received: Vec::with_capacity(1 << 16) }
    }

    fn ask(&mut self) {
        // GET http://test/ with indexed fields, which end both the block and the stream.
        let mut frame = b"\0\0\x09\x01\x05\0\0\0\0\x82\x86\x84\x41\x04test".to_vec();
        frame[5..9].copy_from_slice(&self.next.to_be_bytes());
        self.stream.write_all(&frame).expect("written");
        while !self.ended() {
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => self.received.extend_from_slice(&piece[..read.expect("a response")]),
            }
        }
        self.next += 2;
    }

    /// Takes what there is of whole frames; whether one of them ended the stream.
    fn ended(&mut self) -> bool {
        let mut ended = false;
        while let [a, b, c, _, flags, _, w, x, y, ..] = self.received[..] {
            let len = 9 + u32::from_be_bytes([0, a, b, c]) as usize;
            if self.received.len() < len {
                break;
            }
            ended |= u32::from_be_bytes([0, w, x, y]) == self.next & 0xff_ffff && flags & 1 != 0;
            self.received.drain(..len);
        }
        ended
    }
}

/// A listener in front of an origin; with `tls` requests go on to a second listener by TLS, and from there to the origin.
fn config_text(listen: SocketAddr, origin: SocketAddr, tls: bool) -> String {
    let route = |cluster: &str| format!("http: {{ routes: [{{ match: {{ prefix: / }}, cluster: {cluster} }}] }}");
    let head = "admin: { address: '127.0.0.1:0' }\n";
    let app = format!("{{ name: app, endpoints: ['{origin}'] }}");
    if !tls {
        let web = format!("{{ name: web, address: '{listen}', {} }}", route("app"));
        return format!("{head}listeners: [{web}]\nclusters: [{app}]\n");
    }
    let inner = free();
    let files = "chain: ../configs/tls/cert.pem, key: ../configs/tls/key.pem";
    let web = format!("{{ name: web, address: '{listen}', {} }}", route("hop"));
    let secure =
        format!("{{ name: inner, address: '{inner}', tls: {{ certificates: {{ {files} }} }}, {} }}", route("app"));
    let trust = "ca: ../configs/tls/ca.pem, sni: www.example.com";
    let hop = format!("{{ name: hop, endpoints: ['{inner}'], tls: {{ {trust} }} }}");
    format!("{head}listeners: [{web}, {secure}]\nclusters: [{app}, {hop}]\n")
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("an address")
}

/// Allocations of the core over `MEASURED` requests, after a warm-up.
fn allocations(
    driver: DriverChoice,
    process_log: &ProcessLog,
    response: &'static [u8],
    response_end: Option<&[u8]>,
    tls: bool,
) -> u64 {
    let listen = free();
    let text = config_text(listen, origin(response), tls);
    let registry = Registry::new(1);
    let (writer, sinks) = log::Writer::start(&registry).expect("a writer");
    let plan = Plan { cpus: vec![None], driver, restrict_ring: true };
    let (lanes, threads) = Lanes::start(&plan, registry.server(), sinks, Vec::new()).expect("a core");
    let handle = control::start(Inputs {
        model: config::parse("test.yaml", &text).unwrap_or_else(|mistakes| panic!("{mistakes}")),
        config_path: None,
        drain_timeout: None,
        registry,
        cores: Box::new(lanes),
        logs: writer.control(),
        process_log: process_log.clone(),
        pinned: 1,
        command_line: Vec::new(),
        name_servers: Vec::new(),
        held: Default::default(),
        notifier: None,
    })
    .expect("a control thread");
    let mut clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let stream = TcpStream::connect(listen).expect("connects");
            stream.set_nodelay(true).expect("nodelay");
            stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
            stream
        })
        .collect();
    let mut http2 = response_end.is_none().then(|| Http2::new(clients.remove(0)));
    let mut run = |requests: usize| {
        for at in 0..requests {
            match (&mut http2, response_end) {
                (Some(http2), _) => http2.ask(),
                (None, end) => ask(&mut clients[at % CONNECTIONS], end.unwrap_or_default()),
            }
        }
    };
    run(WARM_UP);
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    MEASURING.store(true, Ordering::SeqCst);
    run(MEASURED);
    MEASURING.store(false, Ordering::SeqCst);
    let allocations = ALLOCATIONS.load(Ordering::SeqCst) - before;
    drop(clients);
    let mut admin = TcpStream::connect(handle.admin()).expect("connects");
    admin.write_all(b"POST /quitquitquit HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").expect("written");
    handle.wait();
    threads.join().expect("a clean end");
    writer.stop();
    allocations
}

#[test]
fn a_keep_alive_request_allocates_nothing() {
    let log = process_log::start("warn").expect("a log");
    for driver in [DriverChoice::Uring, DriverChoice::Epoll] {
        if let Err(error) = driver.probe(true) {
            eprintln!("skipped: {error}");
            continue;
        }
        let counted = b"HTTP/1.1 200 OK\r\nserver: o\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(allocations(driver, &log, counted, Some(b"hello"), false), 0, "{driver:?}, with a length");
        assert_eq!(allocations(driver, &log, counted, Some(b"hello"), true), 0, "{driver:?}, by TLS");
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        assert_eq!(allocations(driver, &log, chunked, Some(b"0\r\n\r\n"), false), 0, "{driver:?}, in chunks");
        let http2 = allocations(driver, &log, counted, None, false) / MEASURED as u64;
        assert!(http2 <= HTTP2_ALLOCATIONS_MAX, "{driver:?}, HTTP/2: {http2} a request");
    }
}
