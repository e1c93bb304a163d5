//! A browser: Chromium loads a page, its parts and a WebSocket over TLS and HTTP/2 from an origin that speaks HTTP/1.1.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::certificates::Ca;
use crate::ops::program::Program;
use crate::ops::{Folder, free_address, wait_until};
use crate::peers::start;

on_both_drivers!(chromium_loads_a_page_and_speaks_websocket_over_http2);

/// A browser takes its time to start, and so does a busy machine.
const BROWSER: Duration = Duration::from_secs(120);

/// What the page does; it tells the origin how that went.
const PAGE: &str = r#"<!doctype html><title>page</title><link rel="stylesheet" href="/part/style.css">
<script type="module">
const said = (socket) => new Promise((take, fail) => {
  socket.onopen = () => socket.send("hello");
  socket.onmessage = (event) => take(event.data);
  socket.onerror = () => fail("the socket failed");
  socket.onclose = () => fail("the socket closed");
});
let result;
try {
  const parts = await Promise.all([...Array(40).keys()].map(async (n) => (await fetch("/part/" + n)).text()));
  const whole = parts.every((part, n) => part === "/part/" + n);
  const up = await (await fetch("/up", { method: "POST", body: "x".repeat(1 << 20) })).text();
  const hops = performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol);
  const socket = new WebSocket(`wss://${location.host}/socket`);
  const answer = await said(socket);
  socket.close();
  result = [whole, up, hops.length > 40 && hops.every((hop) => hop === "h2"), answer].join(",");
} catch (error) {
  result = String(error);
}
await fetch("/result/" + encodeURIComponent(result));
</script>"#;

/// The origin, and what the page tells it.
fn origin() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    let (results, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let results = results.clone();
            std::thread::spawn(move || {
                let mut input = BufReader::new(stream);
                while answer(&mut input, &results).is_ok() {}
            });
        }
    });
    (address, told)
}

fn line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match input.read_line(&mut line)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

/// Serves a request.
fn answer(input: &mut BufReader<TcpStream>, results: &Sender<String>) -> io::Result<()> {
    let start = line(input)?;
    let path = start.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut key) = (0, None);
    loop {
        let line = line(input)?;
        match line.to_ascii_lowercase().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().map_err(io::Error::other)?,
            Some(("sec-websocket-key", _)) => key = Some(line[line.len() - 24..].to_owned()),
            Some(_) => {}
            None => break,
        }
    }
    let sent = io::copy(&mut input.take(length), &mut io::sink())?;
    if let Some(key) = key {
        return websocket(input, &path, &key);
    }
    let (kind, body) = match path.as_str() {
        "/" => ("text/html", PAGE.to_owned()),
        "/part/style.css" => ("text/css", "title { color: red }".to_owned()),
        "/up" => ("text/plain", sent.to_string()),
        _ => ("text/plain", path.clone()),
    };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len());
    input.get_mut().write_all(format!("{head}{body}").as_bytes())?;
    if let Some(result) = path.strip_prefix("/result/") {
        let _ = results.send(result.to_owned());
    }
    Ok(())
}

/// Takes an upgrade and sends back every message until one is a close (RFC 6455 section 5.2; all of them are short).
fn websocket(input: &mut BufReader<TcpStream>, path: &str, key: &str) -> io::Result<()> {
    assert_eq!(path, "/socket");
    let accept = String::from_utf8_lossy(&codecs::websocket::accept(key.as_bytes())).into_owned();
    let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
    input.get_mut().write_all(format!("{head}sec-websocket-accept: {accept}\r\n\r\n").as_bytes())?;
    loop {
        let mut head = [0; 6];
        input.read_exact(&mut head)?;
        let [first, length, mask @ ..] = head;
        let mut payload = vec![0; usize::from(length & 0x7f)];
        input.read_exact(&mut payload)?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        input.get_mut().write_all(&[&[first, length & 0x7f], payload.as_slice()].concat())?;
        const CLOSE: u8 = 8;
        if first & 0xf == CLOSE {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn chromium_loads_a_page_and_speaks_websocket_over_http2(driver: &str) {
    let (ca, web, folder) = (Ca::new(), free_address(), Folder::new());
    let (origin, told) = origin();
    let log = folder.path("access.log");
    let config = format!(
        "access_log: {{ path: '{}', format: '%PROTOCOL% %REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE%' }}\n\
         listeners:\n  - name: web\n    address: '{web}'\n    tls: {{ certificates: {} }}\n    \
         http: {{ upgrades: [websocket], routes: [{{ match: {{}}, cluster: app }}] }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{origin}'] }}\n",
        log.display(),
        ca.issue("site", &["127.0.0.1"]).config(),
    );
    let proxy = start(driver, &config);
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--disable-dev-shm-usage", "--ignore-certificate-errors"])
        .arg(format!("--user-data-dir={}", folder.path("profile").display()))
        .arg(format!("https://{web}/"))
        .env("HOME", folder.path("home"))
        .stderr(Stdio::null());
    let chromium = Program::start(command);
    let result = told.recv_timeout(BROWSER).expect("the page says how it went");
    assert_eq!(result, "true%2C1048576%2Ctrue%2Chello");
    drop(chromium);
    wait_until("the browser's connections to end", || proxy.stat("http.web.downstream_cx_active") == 0);
    let stat = |name: &str| proxy.stat(&format!("http.web.{name}"));
    assert_eq!((stat("downstream_cx_http1_total"), stat("downstream_cx_protocol_error")), (0, 0));
    let lines = || std::fs::read_to_string(&log).unwrap_or_default();
    wait_until("the tunnel in the log", || lines().contains("/socket"));
    let lines = lines();
    assert!(lines.lines().all(|line| line.starts_with("HTTP/2 ")), "{lines}");
    // Extended CONNECT (RFC 8441).
    assert!(lines.lines().any(|line| line == "HTTP/2 CONNECT /socket 200"), "{lines}");
    assert_eq!(lines.lines().filter(|line| line.contains("/part/")).count(), 41, "{lines}");
}
