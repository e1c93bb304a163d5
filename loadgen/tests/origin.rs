//! `loadgen origin` over raw sockets.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::{DRIVERS, Origin};

struct Client {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Client {
    fn new(origin: &Origin) -> Client {
        Client { reader: BufReader::new(origin.connect()) }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).expect("writes");
    }

    fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n"));
        self.response(true)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line");
        line
    }

    fn exactly(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.reader.read_exact(&mut bytes).expect("the whole body");
        bytes
    }

    fn response(&mut self, has_body: bool) -> Response {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let line = self.line();
            assert!(!line.is_empty(), "the connection ended within a head: {head:?}");
            head += &line;
        }
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = Vec::new();
        if has_body && head.contains("transfer-encoding: chunked") {
            loop {
                let size = usize::from_str_radix(self.line().trim(), 16).expect("a size");
                body.extend(self.exactly(size));
                assert_eq!(self.line(), "\r\n");
                if size == 0 {
                    break;
                }
            }
        } else if has_body {
            body = self.exactly(length.unwrap_or(0));
        }
        Response { status, head, body }
    }

    fn assert_ended(&mut self) {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).expect("an orderly end");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

fn pattern(n: usize) -> Vec<u8> {
    let alphabet = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-\n";
    alphabet.iter().copied().cycle().take(n).collect()
}

fn each_driver(arguments: &[&str], test: impl Fn(&Origin)) {
    for driver in DRIVERS {
        test(&Origin::start(&[&["--driver", driver, "--cores", "1"], arguments].concat()));
    }
}

#[test]
fn keeps_connections_alive_and_answers_each_request() {
    each_driver(&["--body-bytes", "70"], |origin| {
        let mut client = Client::new(origin);
        for _ in 0..3 {
            let response = client.get("/");
            assert_eq!((response.status, response.body), (200, pattern(70)));
            assert!(
                response.head.contains("\r\ndate: ") && !response.head.contains("connection:"),
                "{}",
                response.head
            );
        }
    });
}

#[test]
fn answers_pipelined_requests_in_order_whatever_each_takes() {
    each_driver(&[], |origin| {
        let mut client = Client::new(origin);
        let targets = ["/?bytes=1&delay_ms=20", "/?bytes=200000", "/?bytes=2&status=404", "/?bytes=0", "/"];
        let requests: String = targets.map(|target| format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n")).concat();
        client.send(requests.repeat(3));
        for _ in 0..3 {
            let got = [(); 5].map(|()| client.response(true)).map(|response| (response.status, response.body));
            assert_eq!(got, [(200, 1), (200, 200_000), (404, 2), (200, 0), (200, 100)].map(|(s, n)| (s, pattern(n))));
        }
    });
}

#[test]
fn head_gets_the_length_and_no_body() {
    for arguments in [&["--body-bytes", "5000"][..], &["--chunked"]] {
        each_driver(arguments, |origin| {
            let mut client = Client::new(origin);
            client.send("HEAD / HTTP/1.1\r\nhost: h\r\n\r\n");
            let response = client.response(false);
            let framing = if arguments.len() == 2 { "content-length: 5000" } else { "transfer-encoding: chunked" };
            assert!(response.head.contains(framing), "{}", response.head);
            assert_eq!(client.get("/?status=204").status, 204, "nothing stands between the two");
        });
    }
}

#[test]
fn request_bodies_are_consumed_however_they_are_framed() {
    each_driver(&[], |origin| {
        let mut client = Client::new(origin);
        client.send(format!("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 300000\r\n\r\n{}", "GET ".repeat(75_000)));
        client.send("POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        client.send("GET /?bytes=9 HTTP/1.1\r\nhost: h\r\n\r\n");
        let sizes = [(); 3].map(|()| client.response(true).body.len());
        assert_eq!(sizes, [100, 100, 9]);
    });
}

#[test]
fn a_client_that_asks_first_is_told_to_continue() {
    each_driver(&[], |origin| {
        let mut client = Client::new(origin);
        client.send("POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n");
        assert_eq!((client.line(), client.line()), ("HTTP/1.1 100 Continue\r\n".into(), "\r\n".into()));
        client.send("hello");
        assert_eq!(client.response(true).status, 200);
    });
}

#[test]
fn chunked_bodies_of_any_size_arrive_whole() {
    each_driver(&["--chunked"], |origin| {
        let mut client = Client::new(origin);
        for bytes in [0, 1, 100, 5000, 1_000_000] {
            let response = client.get(&format!("/?bytes={bytes}"));
            assert!(response.head.contains("transfer-encoding: chunked") && !response.head.contains("content-length"));
            assert_eq!(response.body, pattern(bytes), "{bytes}");
        }
        assert_eq!(client.get("/").body, pattern(100));
    });
}

#[test]
fn a_client_that_does_not_read_is_waited_for() {
    each_driver(&["--body-bytes", "64M"], |origin| {
        let mut client = Client::new(origin);
        client.send("GET / HTTP/1.1\r\nhost: h\r\n\r\n");
        // Others are served meanwhile.
        assert_eq!(Client::new(origin).get("/?bytes=3").body, pattern(3));
        let response = client.response(true);
        assert_eq!(response.body.len(), 64 << 20);
        assert!(response.body == pattern(64 << 20), "the bytes are the pattern's");
    });
}

#[test]
fn closes_after_each_response_when_told_to() {
    each_driver(&["--close"], |origin| {
        let mut client = Client::new(origin);
        let response = client.get("/");
        assert!(response.head.contains("connection: close"), "{}", response.head);
        client.assert_ended();
    });
    each_driver(&[], |origin| {
        let mut client = Client::new(origin);
        client.send("GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        assert!(client.response(true).head.contains("connection: close"));
        client.assert_ended();
    });
}

#[test]
fn http_1_0_gets_a_length_and_its_own_keep_alive() {
    each_driver(&["--chunked"], |origin| {
        let mut client = Client::new(origin);
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        let response = client.response(true);
        assert!(response.head.contains("content-length: 100") && response.head.contains("connection: keep-alive"));
        client.send("GET / HTTP/1.0\r\n\r\n");
        assert_eq!(client.response(true).body.len(), 100);
        client.assert_ended();
    });
}

#[test]
fn waits_as_long_as_told_before_answering() {
    each_driver(&["--delay", "15ms"], |origin| {
        let mut client = Client::new(origin);
        for _ in 0..3 {
            let began = Instant::now();
            client.get("/");
            assert!(began.elapsed() >= Duration::from_millis(15), "{:?}", began.elapsed());
        }
        assert_eq!(client.get("/?delay_ms=0").status, 200);
    });
}

#[test]
fn a_share_of_the_requests_fails() {
    each_driver(&["--error-rate", "0.25", "--error-status", "502"], |origin| {
        let mut client = Client::new(origin);
        let errors = (0..1000).filter(|_| client.get("/").status == 502).count();
        // Seven standard deviations wide.
        assert!((155..=345).contains(&errors), "{errors} of 1000");
    });
}

#[test]
fn a_head_may_come_byte_by_byte_and_a_bad_one_is_refused() {
    each_driver(&[], |origin| {
        let mut client = Client::new(origin);
        for byte in "GET /?bytes=4 HTTP/1.1\r\nhost: h\r\n\r\nGET /?bytes=5 HTTP/1.1\r\nhost: h\r\n\r\n".bytes() {
            client.send([byte]);
        }
        assert_eq!([client.response(true).body.len(), client.response(true).body.len()], [4, 5]);
        client.send("GET / HTTP/1.1\r\n\r\n");
        assert_eq!(client.response(true).status, 400);
        client.assert_ended();
    });
}
