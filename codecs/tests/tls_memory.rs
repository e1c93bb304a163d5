//! What a TLS connection holds while it is idle, and that carrying data allocates nothing.

use codecs::tls::{
    Certificate, ClientAuth, ClientConfig, ClientSettings, Clock, Phase, Roots, ServerConfig, ServerSettings, Session,
    TicketKeys, Version,
};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

struct Counting;

thread_local! {
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // Not when the thread is being torn down.
    let _ = LIVE_BYTES.try_with(|live| live.set(live.get() + bytes));
    if bytes > 0 {
        let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which upholds the contract; counting touches only
// constant-initialised thread-local cells, which don't allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's obligations are those of `System.alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's obligations are those of `System.dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(-layout.size().cast_signed());
        count(size.cast_signed());
        // SAFETY: the caller's obligations are those of `System.realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// aws-lc's own allocations, which the counter doesn't see: a key with its tables for each direction.
const KEYS_BYTES: isize = 2 * 600;

#[derive(Debug)]
struct Now;

impl Clock for Now {
    fn unix_s(&self) -> u64 {
        1_893_456_000
    }
}

fn certificate() -> Certificate {
    let key = KeyPair::generate().expect("key");
    let mut params = CertificateParams::new(["example.com".to_owned()]).expect("params");
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2035, 1, 1));
    let certificate = params.self_signed(&key).expect("certificate");
    Certificate {
        chain_pem: certificate.pem().into_bytes(),
        key_pem: key.serialize_pem().into_bytes(),
        ..Certificate::default()
    }
}

struct Pair {
    client: Session,
    server: Session,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    plain: Vec<Range<usize>>,
}

impl Pair {
    fn handshake(client: &ClientConfig, server: &ServerConfig) -> Pair {
        let mut to_server = Vec::new();
        let client = Session::client(client, None, &mut to_server).expect("client");
        let server = Session::server(server).expect("server");
        let mut pair = Pair { client, server, to_server, to_client: Vec::new(), plain: Vec::new() };
        while !pair.to_server.is_empty() || !pair.to_client.is_empty() {
            pair.turn();
        }
        pair
    }

    /// Everything that was sent is received, all of it whole records. The plaintext at both ends.
    fn turn(&mut self) -> usize {
        let Pair { client, server, to_server, to_client, plain } = self;
        plain.clear();
        let received = server.receive(to_server, plain, to_client).expect("server receives");
        assert_eq!(received.consumed, to_server.len());
        to_server.clear();
        let received = client.receive(to_client, plain, to_server).expect("client receives");
        assert_eq!(received.consumed, to_client.len());
        to_client.clear();
        plain.iter().map(ExactSizeIterator::len).sum()
    }
}

fn configs(version: Version, authenticate: bool) -> (ClientConfig, ServerConfig) {
    let certificate = certificate();
    let client_auth = authenticate.then(|| ClientAuth {
        ca_pem: certificate.chain_pem.clone(),
        required: true,
        ..ClientAuth::default()
    });
    let roots = Roots::from_pem(&certificate.chain_pem).expect("roots");
    let client = ClientSettings {
        server_name: Some("example.com".to_owned()),
        certificate: authenticate.then(|| certificate.clone()),
        verify: false,
        alpn: vec![b"h2".to_vec()],
        ..ClientSettings::new(roots)
    };
    let server = ServerSettings {
        certificates: vec![certificate],
        max_version: version,
        alpn: vec![b"h2".to_vec()],
        client_auth,
        tickets: Some(Arc::new(TicketKeys::new(3600, Now.unix_s()).expect("keys"))),
        ..ServerSettings::default()
    };
    let client = ClientConfig::new(&client, Arc::new(Now)).expect("client config");
    (client, ServerConfig::new(&server, Arc::new(Now)).expect("server config"))
}

fn live_bytes() -> isize {
    LIVE_BYTES.with(Cell::get)
}

#[test]
fn an_idle_session_is_small() {
    for (version, name) in [(Version::Tls12, "1.2"), (Version::Tls13, "1.3")] {
        let (client, server) = configs(version, false);
        // What is made once, tickets among it, has been made by the second.
        drop(Pair::handshake(&client, &server));
        let Pair { client, server, to_server, to_client, plain } = Pair::handshake(&client, &server);
        drop((to_server, to_client, plain));
        let with_both = live_bytes();
        drop(server);
        let with_client = live_bytes();
        drop(client);
        let (server, client) = (with_both - with_client, with_client - live_bytes());
        let handle = size_of::<Session>();
        #[expect(clippy::print_stdout, reason = "the figures are what one runs this for")]
        {
            println!(
                "TLS {name}: server {server} bytes, client {client} bytes, {handle} in place, keys about {KEYS_BYTES}"
            );
        }
        assert!(server + KEYS_BYTES < 3 * 1024, "a server's session takes {server} bytes");
        assert!(client + KEYS_BYTES < 4 * 1024, "a client's session takes {client} bytes");
    }
}

#[test]
fn carrying_data_allocates_nothing() {
    for version in [Version::Tls12, Version::Tls13] {
        let (client, server) = configs(version, false);
        let mut pair = Pair::handshake(&client, &server);
        let data = vec![7; 40_000];
        let mut rounds = |count: usize| {
            for _ in 0..count {
                pair.client.encrypt(&data, &mut pair.to_server).expect("encrypts");
                pair.server.encrypt_parts(&[b"a head", b"a body"], &mut pair.to_client).expect("encrypts");
                assert_eq!(pair.turn(), data.len() + 12);
            }
        };
        rounds(2);
        let before = ALLOCATIONS.with(Cell::get);
        rounds(50);
        assert_eq!(ALLOCATIONS.with(Cell::get), before);
    }
}

#[test]
fn a_clients_certificates_can_be_let_go() {
    let (client, server) = configs(Version::Tls13, true);
    let mut pair = Pair::handshake(&client, &server);
    let before = live_bytes();
    let certificates = pair.server.take_peer_certificates();
    assert_eq!(certificates.len(), 1);
    drop(certificates);
    assert!(live_bytes() < before - 256);
    assert_eq!(
        pair.server.receive(&mut [], &mut Vec::new(), &mut Vec::new()).expect("is up").phase,
        Phase::Established
    );
}
