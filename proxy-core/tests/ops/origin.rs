//! An origin that does what the request's path says.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Reads every request to its end and answers it with its name. `/delay/MS` answers so much later; `/trickle/N` sends N chunks, one every
/// 100 ms; `/large/BYTES` sends that many. It lives as long as the test process.
pub struct Origin {
    pub address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: AtomicU64,
}

impl Origin {
    pub fn start(name: &'static str) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address");
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let counts = Arc::clone(&shared);
                std::thread::spawn(move || serve(name, stream, &counts));
            }
        });
        Origin { address, counts }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Requests received so far.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

fn serve(name: &str, stream: TcpStream, counts: &Counts) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::with_capacity(2048, stream);
    let mut line = String::new();
    loop {
        line.clear();
        if !matches!(stream.read_line(&mut line), Ok(1..)) {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        if read_fields_and_body(&mut stream).is_err() {
            return;
        }
        counts.requests.fetch_add(1, Ordering::SeqCst);
        if answer(name, &path, stream.get_mut()).is_err() {
            return;
        }
    }
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match stream.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line),
    }
}

fn read_fields_and_body(stream: &mut impl BufRead) -> io::Result<()> {
    let (mut length, mut chunked) = (0, false);
    loop {
        let line = read_line(stream)?.to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.trim().parse().map_err(io::Error::other)?,
            Some(("transfer-encoding", _)) => chunked = true,
            Some(_) => {}
            None => break,
        }
    }
    if !chunked {
        return skip(stream, length);
    }
    loop {
        let line = read_line(stream)?;
        let bytes = u64::from_str_radix(line.trim_end(), 16).map_err(io::Error::other)?;
        if bytes == 0 {
            // Trailers, then an empty line.
            while read_line(stream)? != "\r\n" {}
            return Ok(());
        }
        skip(stream, bytes + 2)?;
    }
}

fn skip(stream: &mut impl BufRead, bytes: u64) -> io::Result<()> {
    match io::copy(&mut stream.take(bytes), &mut io::sink())? {
        copied if copied == bytes => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn answer(name: &str, path: &str, out: &mut TcpStream) -> io::Result<()> {
    let mut parts = path.split('/').skip(1);
    let (what, number) = (parts.next().unwrap_or(""), parts.next().and_then(|number| number.parse().ok()));
    match (what, number) {
        ("trickle", Some(chunks)) => {
            out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            for _ in 0..chunks {
                out.write_all(b"4\r\nmore\r\n")?;
                std::thread::sleep(Duration::from_millis(100));
            }
            out.write_all(b"0\r\n\r\n")
        }
        ("large", Some(bytes)) => {
            out.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").as_bytes())?;
            out.write_all(&vec![b'x'; bytes as usize])
        }
        (what, number) => {
            if let ("delay", Some(ms)) = (what, number) {
                std::thread::sleep(Duration::from_millis(ms));
            }
            out.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()).as_bytes())
        }
    }
}
