//! Records after the handshake, against rustls's own: each end in turn is a rustls connection.

use super::*;
use ::rustls as theirs;
use std::io::{Read, Write};
use theirs::pki_types::pem::PemObject;
use theirs::pki_types::{CertificateDer, PrivateKeyDer};

fn provider() -> Arc<theirs::crypto::CryptoProvider> {
    Arc::new(theirs::crypto::aws_lc_rs::default_provider())
}

fn versions(version: Version) -> &'static [&'static theirs::SupportedProtocolVersion] {
    static TLS12: [&theirs::SupportedProtocolVersion; 1] = [&theirs::version::TLS12];
    static TLS13: [&theirs::SupportedProtocolVersion; 1] = [&theirs::version::TLS13];
    match version {
        Version::Tls12 => &TLS12,
        Version::Tls13 => &TLS13,
    }
}

fn their_server(version: Version) -> theirs::Connection {
    let chain = CertificateDer::pem_slice_iter(&LEAF.chain_pem).collect::<Result<_, _>>().expect("chain");
    let key = PrivateKeyDer::from_pem_slice(&LEAF.key_pem).expect("key");
    let config = theirs::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(version))
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("certificate");
    theirs::ServerConnection::new(Arc::new(config)).expect("connection").into()
}

fn their_client(version: Version) -> theirs::Connection {
    let mut config = theirs::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(version))
        .expect("versions")
        .with_root_certificates(theirs::RootCertStore::empty())
        .with_no_client_auth();
    let anybody = super::super::rustls::test_verifier();
    config.dangerous().set_certificate_verifier(anybody);
    theirs::ClientConnection::new(Arc::new(config), "example.com".try_into().expect("name")).expect("connection").into()
}

/// Moves bytes between our end and theirs until there are none, and returns what theirs received.
fn shuttle(ours: &mut End, their: &mut theirs::Connection) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        let mut bytes = Vec::new();
        while their.wants_write() {
            their.write_tls(&mut bytes).expect("writes");
        }
        ours.receive(&bytes).expect("ours receives");
        let out = std::mem::take(&mut ours.out);
        if bytes.is_empty() && out.is_empty() {
            return plain;
        }
        let mut rest = &out[..];
        while !rest.is_empty() {
            their.read_tls(&mut rest).expect("reads");
            their.process_new_packets().expect("theirs receives");
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = their.reader().read(&mut buffer) {
                plain.extend_from_slice(&buffer[..count]);
            }
        }
    }
}

/// Both pairings with both versions.
fn pairings() -> Vec<(End, theirs::Connection)> {
    let mut pairings = Vec::new();
    for version in [Version::Tls12, Version::Tls13] {
        let client = client_config(&ClientSettings { max_version: version, ..client_settings() });
        pairings.push((End::client(&client), their_server(version)));
        pairings.push((End::server(&server_config(&server_settings())), their_client(version)));
    }
    for (ours, their) in &mut pairings {
        shuttle(ours, their);
        assert_eq!((ours.phase, their.is_handshaking()), (Phase::Established, false));
    }
    pairings
}

#[test]
fn a_client_that_guessed_the_wrong_group_is_asked_again() {
    let mut provider = theirs::crypto::aws_lc_rs::default_provider();
    // Offers P-521, which we don't have, and only mentions the next.
    provider.kx_groups = vec![&Unknown, theirs::crypto::aws_lc_rs::kx_group::SECP384R1];
    let mut config = theirs::ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(versions(Version::Tls13))
        .expect("versions")
        .with_root_certificates(theirs::RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(super::super::rustls::test_verifier());
    let name = "example.com".try_into().expect("name");
    let mut their = theirs::ClientConnection::new(Arc::new(config), name).expect("connection").into();
    let mut ours = End::server(&server_config(&server_settings()));
    ours.chunk_bytes = 100;
    shuttle(&mut ours, &mut their);
    assert_eq!(negotiated(&ours).group, Some("secp384r1"));
    assert_eq!(their.handshake_kind(), Some(theirs::HandshakeKind::FullWithHelloRetryRequest));
}

/// A group that a client offers and nobody takes.
#[derive(Debug)]
struct Unknown;

impl theirs::crypto::SupportedKxGroup for Unknown {
    fn start(&self) -> Result<Box<dyn theirs::crypto::ActiveKeyExchange>, theirs::Error> {
        theirs::crypto::aws_lc_rs::kx_group::SECP256R1.start().map(|inner| Box::new(UnknownKey(inner)) as Box<_>)
    }

    fn name(&self) -> theirs::NamedGroup {
        theirs::NamedGroup::secp521r1
    }
}

struct UnknownKey(Box<dyn theirs::crypto::ActiveKeyExchange>);

impl theirs::crypto::ActiveKeyExchange for UnknownKey {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<theirs::crypto::SharedSecret, theirs::Error> {
        self.0.complete(peer)
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn group(&self) -> theirs::NamedGroup {
        theirs::NamedGroup::secp521r1
    }
}

#[test]
fn large_data_passes_both_ways() {
    let data: Vec<u8> = (0..300_000_u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (mut ours, mut their) in pairings() {
        for chunk in data.chunks(50_000) {
            ours.send(chunk);
        }
        let mut received = shuttle(&mut ours, &mut their);
        for chunk in data.chunks(10_000) {
            their.writer().write_all(chunk).expect("writes");
            received.extend(shuttle(&mut ours, &mut their));
        }
        assert!(received == data && ours.plain == data);
    }
}

#[test]
fn parts_share_records() {
    for (mut ours, mut their) in pairings() {
        let long = vec![7; 20_000];
        let parts: [&[u8]; 7] = [b"a head, ", b"", b"a small body", &long, b"and", b" more", b""];
        ours.session.encrypt_parts(&parts, &mut ours.out).expect("encrypts");
        // Head and body, two records of the long one, the rest.
        let (mut records, mut rest) = (0, &ours.out[..]);
        while let Some(header) = rest.first_chunk::<5>() {
            records += 1;
            rest = &rest[5 + usize::from(u16::from_be_bytes([header[3], header[4]]))..];
        }
        assert_eq!(records, 4);
        assert_eq!(shuttle(&mut ours, &mut their), parts.concat());
        ours.session.encrypt_parts(&[b"", b""], &mut ours.out).expect("encrypts");
        ours.session.encrypt(b"", &mut ours.out).expect("encrypts");
        assert!(ours.out.is_empty());
    }
}

#[test]
fn what_is_missing_of_a_record_is_known_from_its_header() {
    assert_eq!([missing_bytes(b""), missing_bytes(&[23]), missing_bytes(&[23, 3, 3, 0])], [0, 4, 1]);
    let (mut ours, _) = pairings().pop().expect("a pairing");
    ours.session.encrypt_parts(&[&[1; 20_000]], &mut ours.out).expect("encrypts");
    let first = 5 + (1 << 14) + 1 + 16;
    for (end, missing) in [(5, first - 5), (first - 1, 1), (first, 0), (first + 1, 4), (ours.out.len() - 7, 7)] {
        assert_eq!(missing_bytes(&ours.out[..end]), missing, "after {end} bytes");
    }
}

#[test]
fn keys_are_replaced_when_the_peer_replaces_its_own() {
    for (mut ours, mut their) in pairings() {
        let tls13 = negotiated(&ours).version == Version::Tls13;
        for round in 0..3 {
            if tls13 {
                their.refresh_traffic_keys().expect("refreshes");
            }
            their.writer().write_all(b"down").expect("writes");
            ours.send(b"up");
            assert_eq!(shuttle(&mut ours, &mut their), b"up", "round {round}");
        }
        ours.send(b"and on");
        assert_eq!(shuttle(&mut ours, &mut their), b"and on");
        assert_eq!(ours.plain, b"downdowndown");
    }
}

#[test]
fn keys_are_replaced_before_they_are_used_up() {
    for (mut ours, mut their) in pairings() {
        let tls13 = negotiated(&ours).version == Version::Tls13;
        ours.session.wear_out();
        if !tls13 {
            let error = ours.session.encrypt(b"too much", &mut ours.out).expect_err("no keys left");
            assert_eq!(error.cause, Cause::KeysExhausted);
            continue;
        }
        // A key update of 5 bytes, then the data. The peer can't follow, as it didn't see the sequence jump.
        ours.session.encrypt(b"new keys", &mut ours.out).expect("encrypts");
        assert_eq!(ours.out.len(), (5 + 5 + 1 + 16) + (5 + 8 + 1 + 16));
        assert!(their.read_tls(&mut &ours.out[..]).is_ok() && their.process_new_packets().is_err());
    }
}

#[test]
fn too_many_key_updates_in_a_row_are_a_flood() {
    let (mut ours, mut their) = pairings().pop().expect("a pairing");
    let mut bytes = Vec::new();
    for _ in 0..40 {
        their.refresh_traffic_keys().expect("refreshes");
        while their.wants_write() {
            their.write_tls(&mut bytes).expect("writes");
        }
    }
    let error = ours.receive(&bytes).expect_err("a flood");
    assert_eq!(error.cause, Cause::Flood);
}

#[test]
fn an_orderly_end_is_understood_by_both() {
    for (mut ours, mut their) in pairings() {
        their.send_close_notify();
        let mut bytes = Vec::new();
        their.write_tls(&mut bytes).expect("writes");
        // What comes behind the word is dropped.
        ours.receive(&[&bytes[..], b"junk"].concat()).expect("receives");
        assert_eq!((ours.phase, ours.input.len()), (Phase::PeerClosed, 0));
        ours.session.close_notify(&mut ours.out);
        let mut rest = &ours.out[..];
        their.read_tls(&mut rest).expect("reads");
        assert!(their.process_new_packets().expect("an end").peer_has_closed());
    }
}
