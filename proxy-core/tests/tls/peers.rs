//! Clients and origins over rustls, and an origin that tells what it was sent.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::{Ca, Files};
use crate::ops::DEADLINE;
use crate::ops::proxy::{Proxy, any_cpu};

pub(crate) fn start(driver: &str, config: &str) -> Proxy {
    Proxy::start_with(config, &["--driver", driver, "--cores", &any_cpu()], |_| {})
}

/// A listener `web` with TLS in front of an origin; `tls` are fields of its `tls` beside the certificate.
pub(crate) fn terminating(
    listen: SocketAddr,
    certificate: &Files,
    tls: &str,
    http: &str,
    origin: SocketAddr,
) -> String {
    let certificate = certificate.config();
    format!(
        "listeners:\n  - {{ name: web, address: '{listen}', tls: {{ certificates: {certificate}, {tls} }},\n      \
         http: {{ {http} routes: [{{ match: {{ prefix: / }}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{origin}'] }}\n"
    )
}

pub(crate) type TlsStream<S = TcpStream> = StreamOwned<ClientConnection, S>;

/// Trusts the authority and speaks up to this version.
pub(crate) fn client_config(ca: &Ca, version: &'static rustls::SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca.pem()).expect("a certificate")).expect("an authority");
    let config = ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

pub(crate) fn session(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("a client")
}

pub(crate) fn connect(address: SocketAddr, ca: &Ca, name: &str) -> TlsStream {
    StreamOwned::new(session(&client_config(ca, &rustls::version::TLS13), name), tcp(address))
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Reads a head and the body that its length announces.
pub(crate) fn receive(stream: &mut impl Read) -> io::Result<Response> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
        }
        None => drop(stream.read_to_end(&mut body)?),
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Response { status, head, body })
}

pub(crate) fn get(stream: &mut (impl Read + Write), path: &str) -> io::Result<Response> {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes())?;
    stream.flush()?;
    receive(stream)
}

/// Answers each request with its head and body, as its body.
pub(crate) fn echo_origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || while echo(&mut BufReader::new(&stream), &stream).is_ok() {});
        }
    });
    address
}

/// Reads a request and sends it back.
fn echo(from: &mut impl BufRead, mut to: impl Write) -> io::Result<()> {
    let (mut request, mut length) = (Vec::new(), 0);
    loop {
        let before = request.len();
        if from.read_until(b'\n', &mut request)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let line = String::from_utf8_lossy(&request[before..]).to_lowercase();
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
        if line == "\r\n" {
            break;
        }
    }
    let start = request.len();
    request.resize(start + length, 0);
    from.read_exact(&mut request[start..])?;
    // A body is sent back alone.
    let body = if length > 0 { &request[start..] } else { &request };
    // In one write: a proxy would pass on a head that comes alone.
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    to.write_all(&[&head, body].concat())?;
    to.flush()
}

/// Shows the certificate to whoever asks.
pub(crate) fn server_config(certificate: &Files) -> ServerConfig {
    let chain = CertificateDer::pem_file_iter(&certificate.chain).expect("a file").collect::<Result<_, _>>();
    let key = PrivateKeyDer::from_pem_file(&certificate.key).expect("a key");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain.expect("a chain"), key);
    config.expect("a config")
}

/// An origin that speaks TLS; `serve` has each connection to itself.
pub(crate) fn tls_origin(
    certificate: &Files,
    serve: impl Fn(&mut StreamOwned<ServerConnection, TcpStream>) + Send + Sync + 'static,
) -> SocketAddr {
    let config = Arc::new(server_config(certificate));
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, serve) = (Arc::clone(&config), Arc::clone(&serve));
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).expect("a server");
                serve(&mut StreamOwned::new(connection, stream));
            });
        }
    });
    address
}
