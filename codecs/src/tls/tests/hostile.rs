//! Peers that speak something else, break off or lie.

use super::*;
use proptest::prelude::*;

fn cause(result: Result<(), TlsError>) -> Option<Cause> {
    result.err().map(|error| error.cause)
}

#[test]
fn plain_http_on_a_tls_port_is_recognised_with_its_first_byte() {
    let config = server_config(&server_settings());
    for first in [&b"G"[..], b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x02", b"SSH-2.0-"] {
        let mut server = End::server(&config);
        let error = server.receive(first).expect_err("not TLS");
        assert_eq!((error.cause, error.as_str()), (Cause::NotTls, "tls.not_tls"));
        assert!(server.out.is_empty());
    }
    let error = End::server(&config).receive(b"GET /").expect_err("not TLS");
    assert_eq!(error.to_string(), "tls.not_tls: plain HTTP, by the look of it");
    // A server that isn't TLS, to a client.
    let mut client = End::client(&client_config(&client_settings()));
    assert_eq!(cause(client.receive(b"HTTP/1.1 400 Bad Request\r\n\r\n")), Some(Cause::Malformed));
}

#[test]
fn an_alert_in_place_of_a_hello_is_named() {
    let mut server = End::server(&server_config(&server_settings()));
    let error = server.receive(&[21, 3, 3, 0, 2, 2, 40]).expect_err("an alert");
    assert_eq!(error.to_string(), "tls.peer_alert: handshake_failure");
}

#[test]
fn a_handshake_that_breaks_off_is_no_end() {
    let mut server = End::server(&server_config(&server_settings()));
    assert_eq!(cause(server.session.end_of_input()), Some(Cause::HandshakeEof));
    let hello = End::client(&client_config(&client_settings())).out;
    server.receive(&hello[..hello.len() / 2]).expect("more to come");
    assert_eq!(server.phase, Phase::Handshaking);
    assert_eq!(cause(server.session.end_of_input()), Some(Cause::HandshakeEof));
    assert!(server.session.encrypt(b"too early", &mut Vec::new()).is_err());
}

#[test]
fn a_changed_record_ends_the_connection_and_the_peer_is_told() {
    for version in [Version::Tls12, Version::Tls13] {
        let client = client_config(&ClientSettings { max_version: version, ..client_settings() });
        let (mut client, mut server) = connect(&client, &server_config(&server_settings()));
        client.send(b"good");
        let good = std::mem::take(&mut client.out);
        client.send(b"changed");
        *client.out.last_mut().expect("a byte") ^= 1;
        let together = [good, std::mem::take(&mut client.out)].concat();
        assert_eq!(cause(server.receive(&together)), Some(Cause::BadRecord));
        assert_eq!(server.plain, b"good");
        let alert = std::mem::take(&mut server.out);
        assert_eq!(cause(client.receive(&alert)), Some(Cause::PeerAlert(20)));
        // It stays that way.
        assert_eq!(cause(server.receive(&alert)), Some(Cause::Internal));
        assert!(server.session.encrypt(b"more", &mut Vec::new()).is_err());
    }
}

#[test]
fn a_record_that_is_left_out_or_repeated_is_noticed() {
    let (mut client, mut server) = connect(&client_config(&client_settings()), &server_config(&server_settings()));
    client.send(b"one");
    let one = std::mem::take(&mut client.out);
    server.receive(&one).expect("receives");
    assert_eq!(cause(server.receive(&one)), Some(Cause::BadRecord));
}

#[test]
fn a_record_that_is_too_long_is_refused_by_its_header() {
    let (_, mut server) = connect(&client_config(&client_settings()), &server_config(&server_settings()));
    assert_eq!(cause(server.receive(&[23, 3, 3, 0x41, 1])), Some(Cause::RecordOverflow));
    let (_, mut server) = connect(&client_config(&client_settings()), &server_config(&server_settings()));
    assert_eq!(cause(server.receive(&[99, 3, 3, 0, 1])), Some(Cause::Malformed));
    let (_, mut server) = connect(&client_config(&client_settings()), &server_config(&server_settings()));
    assert_eq!(cause(server.receive(&[20, 3, 3, 0, 1, 1])), Some(Cause::Unexpected));
}

#[test]
fn a_hello_may_be_cut_into_records_but_not_into_nothing() {
    let hello = End::client(&client_config(&ClientSettings { post_quantum: true, ..client_settings() })).out;
    let cut = |bytes: usize| -> Vec<u8> {
        let record = |part: &[u8]| [&[22, 3, 1, 0, u8::try_from(part.len()).expect("small")], part].concat();
        hello[5..].chunks(bytes).flat_map(record).collect()
    };
    for bytes in [1, 7, 200] {
        let mut server = End::server(&server_config(&server_settings()));
        server.receive(&cut(bytes)).expect("a hello");
        assert!(!server.out.is_empty());
        assert!(server.input.is_empty());
    }
    let mut server = End::server(&server_config(&server_settings()));
    assert_eq!(cause(server.receive(&[22, 3, 1, 0, 0].repeat(8))), Some(Cause::Malformed));
}

#[test]
fn a_hello_that_never_ends_is_cut_off() {
    let mut server = End::server(&server_config(&server_settings()));
    let mut result = server.receive(&[22, 3, 1, 0, 4, 1, 0, 255, 255]);
    let mut sent = 0;
    while result.is_ok() && sent < 1 << 20 {
        result = server.receive(&[&[22, 3, 1, 64, 0][..], &[0; 1 << 14]].concat());
        sent += 1 << 14;
    }
    assert!(result.is_err() && sent < 1 << 18, "{result:?} after {sent} bytes");
}

/// The bytes that each side of a handshake sends, with some data behind it.
fn recorded(version: Version) -> (Vec<u8>, Vec<u8>) {
    let client = client_config(&ClientSettings { max_version: version, ..client_settings() });
    let (mut client, mut server) = (End::client(&client), End::server(&server_config(&server_settings())));
    let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
    while !client.out.is_empty() || !server.out.is_empty() {
        to_server.extend_from_slice(&client.out);
        server.receive(&std::mem::take(&mut client.out)).expect("receives");
        to_client.extend_from_slice(&server.out);
        client.receive(&std::mem::take(&mut server.out)).expect("receives");
    }
    (to_server, to_client)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// A byte changed in flight, in either direction, at any time: an error or none, no panic, and nothing wrong gets
    /// through.
    #[test]
    fn a_flipped_bit_harms_nobody_else(
        tls12 in any::<bool>(),
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        to_server in any::<bool>(),
        chunk_bytes in 1_usize..3000,
    ) {
        let version = if tls12 { Version::Tls12 } else { Version::Tls13 };
        let client = client_config(&ClientSettings { max_version: version, ..client_settings() });
        let (mut client, mut server) = (End::client(&client), End::server(&server_config(&server_settings())));
        (client.chunk_bytes, server.chunk_bytes) = (chunk_bytes, chunk_bytes);
        let recording = recorded(version);
        let target = place.index(if to_server { recording.0.len() } else { recording.1.len() });
        let (mut sent_up, mut sent_down, mut rounds) = (0, 0, 0);
        let (mut up_ok, mut down_ok) = (true, true);
        while (!client.out.is_empty() || !server.out.is_empty()) && rounds < 20 {
            rounds += 1;
            let mut bytes = std::mem::take(&mut client.out);
            if to_server && (sent_up..sent_up + bytes.len()).contains(&target) {
                bytes[target - sent_up] ^= 1 << bit;
            }
            sent_up += bytes.len();
            up_ok = up_ok && server.receive(&bytes).is_ok();
            let mut bytes = std::mem::take(&mut server.out);
            if !to_server && (sent_down..sent_down + bytes.len()).contains(&target) {
                bytes[target - sent_down] ^= 1 << bit;
            }
            sent_down += bytes.len();
            down_ok = down_ok && client.receive(&bytes).is_ok();
        }
        prop_assert!(client.plain.is_empty() && server.plain.is_empty());
    }

    /// Bytes without sense, alone or behind a good beginning.
    #[test]
    fn noise_is_refused_without_a_panic(
        tls12 in any::<bool>(),
        cut in any::<prop::sample::Index>(),
        noise in proptest::collection::vec(any::<u8>(), 1..400),
        header in any::<bool>(),
        kind in 20_u8..24,
    ) {
        let version = if tls12 { Version::Tls12 } else { Version::Tls13 };
        let (to_server, to_client) = recorded(version);
        let framed = if header {
            let [high, low] = u16::try_from(noise.len()).expect("short").to_be_bytes();
            [&[kind, 3, 3, high, low][..], &noise].concat()
        } else {
            noise
        };
        let mut server = End::server(&server_config(&server_settings()));
        let _ = server.receive(&[&to_server[..cut.index(to_server.len())], &framed].concat());
        let settings = ClientSettings { max_version: version, ..client_settings() };
        let mut client = End::client(&client_config(&settings));
        let _ = client.receive(&[&to_client[..cut.index(to_client.len())], &framed].concat());
        prop_assert!(client.plain.is_empty() && server.plain.is_empty());
    }
}
