//! A connection spoken by hand: raw bytes out, HTTP messages or raw bytes in. Independent of the product's codec on
//! purpose.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// Why a read ended without what was wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer ended its direction.
    Closed,
    Reset,
    TimedOut,
    Malformed(String),
}

/// One HTTP message as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Request line or status line.
    pub(crate) start: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Sizes of the chunks, with chunked coding.
    pub(crate) chunks: Vec<usize>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The one value of a field; several are a failure.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "several {name}: {values:?}");
        values.first().copied()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("nodelay");
        stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
        stream.set_write_timeout(Some(DEADLINE)).expect("timeout");
        Wire { stream, unread: Vec::new() }
    }

    /// False if the connection is gone.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// One write a byte.
    pub(crate) fn trickle(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        bytes.as_ref().iter().all(|byte| {
            std::thread::sleep(Duration::from_micros(200));
            self.send([*byte])
        })
    }

    /// Ends our direction.
    pub(crate) fn end(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) {
        let socket = tokio::net::TcpSocket::from_std_stream(self.stream);
        socket.set_zero_linger().expect("linger");
    }

    fn fill(&mut self) -> Result<(), Broken> {
        let mut piece = [0; 65536];
        let read = loop {
            match self.stream.read(&mut piece) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        match read {
            Ok(0) => Err(Broken::Closed),
            Ok(len) => {
                self.unread.extend_from_slice(&piece[..len]);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(Broken::TimedOut),
            Err(_) => Err(Broken::Reset),
        }
    }

    fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.unread[..end]).into_owned();
                self.unread.drain(..end + 2);
                return Ok(line);
            }
            self.fill()?;
        }
    }

    fn fields(&mut self) -> Result<Vec<(String, String)>, Broken> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').ok_or_else(|| Broken::Malformed(line.clone()))?;
            fields.push((name.to_string(), value.trim().to_string()));
        }
    }

    /// Start line and fields.
    pub(crate) fn head(&mut self) -> Result<Message, Broken> {
        let start = self.line()?;
        Ok(Message { start, fields: self.fields()?, ..Message::default() })
    }

    pub(crate) fn exactly(&mut self, len: usize) -> Result<Vec<u8>, Broken> {
        while self.unread.len() < len {
            self.fill()?;
        }
        Ok(self.unread.drain(..len).collect())
    }

    /// What has been read and nobody has asked for.
    pub(crate) fn taken(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.unread)
    }

    /// Everything until the peer ends, and how it ended.
    pub(crate) fn rest(&mut self) -> (Vec<u8>, Broken) {
        loop {
            if let Err(broken) = self.fill() {
                return (std::mem::take(&mut self.unread), broken);
            }
        }
    }

    fn chunked(&mut self, message: &mut Message) -> Result<(), Broken> {
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or("").trim();
            let len = usize::from_str_radix(digits, 16).map_err(|_| Broken::Malformed(line.clone()))?;
            if len == 0 {
                message.trailers = self.fields()?;
                return Ok(());
            }
            message.chunks.push(len);
            message.body.extend(self.exactly(len)?);
            let end = self.line()?;
            if !end.is_empty() {
                return Err(Broken::Malformed(end));
            }
        }
    }

    pub(crate) fn framed(&mut self, message: &mut Message) -> Result<bool, Broken> {
        if message.all("transfer-encoding").iter().any(|coding| coding.ends_with("chunked")) {
            self.chunked(message)?;
            return Ok(true);
        }
        let Some(length) = message.field("content-length").map(str::to_string) else { return Ok(false) };
        message.body = self.exactly(length.parse().map_err(|_| Broken::Malformed(length))?)?;
        Ok(true)
    }

    /// A request with its body.
    pub(crate) fn request(&mut self) -> Result<Message, Broken> {
        let mut message = self.head()?;
        self.framed(&mut message)?;
        Ok(message)
    }

    /// A response with its body; one without framing is read until the peer closes.
    pub(crate) fn response(&mut self) -> Result<Message, Broken> {
        let mut message = self.head()?;
        if matches!(message.status(), 100..=199 | 204 | 304) || self.framed(&mut message)? {
            return Ok(message);
        }
        let (body, broken) = self.rest();
        message.body = body;
        if broken == Broken::Closed { Ok(message) } else { Err(broken) }
    }

    /// The peer has to end the connection, in whatever way, without another byte.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let (rest, broken) = self.rest();
        assert_ne!(broken, Broken::TimedOut, "the connection stays open");
        assert!(rest.is_empty(), "not expected: {:?}", String::from_utf8_lossy(&rest));
    }

    /// Nothing may come for a while; the connection stays.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, duration: Duration) {
        self.stream.set_read_timeout(Some(duration)).expect("timeout");
        let result = self.fill();
        self.stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
        assert_eq!(result, Err(Broken::TimedOut), "{:?}", String::from_utf8_lossy(&self.unread));
    }
}

/// A client of the proxy.
pub(crate) struct Client {
    pub(crate) wire: Wire,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        let began = Instant::now();
        loop {
            match TcpStream::connect_timeout(&address, DEADLINE) {
                Ok(stream) => return Client { wire: Wire::new(stream) },
                Err(error) => assert!(began.elapsed() < DEADLINE, "connect to {address}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.wire.send(bytes), "the proxy has closed the connection");
    }

    /// Reads a response; fails the test if there is none.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Message {
        self.wire.response().unwrap_or_else(|broken| panic!("no response: {broken:?}"))
    }

    /// Sends a whole request and reads its response.
    #[track_caller]
    pub(crate) fn ask(&mut self, request: &str) -> Message {
        self.send(request);
        self.response()
    }

    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Message {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
    }

    #[track_caller]
    pub(crate) fn post(&mut self, path: &str, body: &str) -> Message {
        self.ask(&format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    }
}
