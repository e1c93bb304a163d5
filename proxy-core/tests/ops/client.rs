//! A plain HTTP/1.1 client: one connection, one request at a time, nothing hidden.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::DEADLINE;

pub struct Client {
    pub stream: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The server ends the connection after this response.
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn cut_off(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("the connection ended {what}"))
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        Client::over(TcpStream::connect(address)?)
    }

    pub fn over(stream: TcpStream) -> io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Client { stream: BufReader::with_capacity(1024, stream) })
    }

    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.request("GET", path, "")
    }

    /// `fields`: whole lines, each with its line end.
    pub fn request(&mut self, method: &str, path: &str, fields: &str) -> io::Result<Response> {
        self.send(&format!("{method} {path} HTTP/1.1\r\nhost: test\r\n{fields}\r\n"))?;
        self.receive()
    }

    pub fn send(&mut self, text: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(text.as_bytes())
    }

    pub fn receive(&mut self) -> io::Result<Response> {
        let mut head = String::new();
        loop {
            let before = head.len();
            if self.stream.read_line(&mut head)? == 0 {
                return Err(cut_off(if before == 0 { "before a response" } else { "within a head" }));
            }
            if &head[before..] == "\r\n" {
                break;
            }
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {head:?}")))?;
        let mut response = Response { status, head, body: Vec::new() };
        self.receive_body(&mut response)?;
        Ok(response)
    }

    fn receive_body(&mut self, response: &mut Response) -> io::Result<()> {
        if let Some(length) = response.header("content-length") {
            let length = length.parse::<usize>().map_err(io::Error::other)?;
            response.body.resize(length, 0);
            return self.stream.read_exact(&mut response.body);
        }
        if response.header("transfer-encoding").is_none() {
            return self.stream.read_to_end(&mut response.body).map(drop);
        }
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            let length = usize::from_str_radix(line.trim_end(), 16).map_err(|_| cut_off("within a body"))?;
            let start = response.body.len();
            response.body.resize(start + length, 0);
            self.stream.read_exact(&mut response.body[start..])?;
            self.stream.read_exact(&mut [0; 2])?;
            if length == 0 {
                return Ok(());
            }
        }
    }

    /// Whether the server ends the connection, in order and without another byte, before the deadline.
    pub fn ends(&mut self) -> bool {
        matches!(self.stream.read(&mut [0; 1]), Ok(0))
    }
}

/// One request on a connection of its own.
pub fn once(address: SocketAddr, method: &str, path: &str) -> io::Result<Response> {
    Client::connect(address)?.request(method, path, "connection: close\r\n")
}
