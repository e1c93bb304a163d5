//! What the two ends agree on.

use super::*;
use proptest::prelude::*;

#[test]
fn a_certificate_and_a_name_are_enough() {
    let (mut client, mut server) = connect(&client_config(&client_settings()), &server_config(&server_settings()));
    client.send(b"ping");
    server.send(b"pong");
    assert_eq!(exchange(&mut client, &mut server), (Ok(()), Ok(())));
    assert_eq!((&client.plain[..], &server.plain[..]), (&b"pong"[..], &b"ping"[..]));
    let facts = negotiated(&server);
    assert_eq!(facts.version, Version::Tls13);
    assert_eq!(facts.cipher_suite, "TLS_AES_128_GCM_SHA256");
    assert_eq!(facts.group, Some("x25519"));
    assert_eq!(facts.server_name.as_deref(), Some("example.com"));
    assert_eq!((facts.alpn.as_deref(), facts.resumed, facts.peer_certificates.len()), (None, false, 0));
    assert_eq!(shown(&client).dns, ["example.com"]);
}

#[test]
fn every_cipher_suite_carries_data() {
    let rsa = CA.issue_with(&["example.com"], &RSA, |_| {});
    let server = server_config(&ServerSettings { certificates: vec![LEAF.clone(), rsa], ..server_settings() });
    for suite in [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
    ] {
        let version = if suite.starts_with("TLS_ECDHE") { Version::Tls12 } else { Version::Tls13 };
        let client = client_config(&ClientSettings {
            cipher_suites: vec![suite.to_owned()],
            min_version: version,
            max_version: version,
            ..client_settings()
        });
        let (mut client, mut server) = connect(&client, &server);
        assert_eq!(negotiated(&client).cipher_suite, suite);
        assert_eq!(negotiated(&client).version, version);
        for _ in 0..3 {
            client.send(b"from the client");
            server.send(b"from the server");
            assert_eq!(exchange(&mut client, &mut server), (Ok(()), Ok(())));
        }
        assert_eq!(client.plain, b"from the server".repeat(3));
        assert_eq!(server.plain, b"from the client".repeat(3));
    }
}

#[test]
fn versions_keep_to_their_bounds() {
    for (max, min, expected) in [
        (Version::Tls12, Version::Tls12, Some(Version::Tls12)),
        (Version::Tls13, Version::Tls12, Some(Version::Tls13)),
        (Version::Tls12, Version::Tls13, None),
    ] {
        let server = server_config(&ServerSettings { min_version: min, ..server_settings() });
        let client = client_config(&ClientSettings { max_version: max, ..client_settings() });
        match expected {
            Some(version) => assert_eq!(negotiated(&connect(&client, &server).1).version, version),
            None => {
                assert_eq!(refused(&client, &server), (Some(Cause::PeerAlert(70)), Some(Cause::NoSharedVersion)));
            }
        }
    }
}

#[test]
fn the_servers_preference_among_protocols_wins() {
    let server =
        server_config(&ServerSettings { alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()], ..server_settings() });
    let offers = |alpn: &[&[u8]]| {
        client_config(&ClientSettings { alpn: alpn.iter().map(|name| name.to_vec()).collect(), ..client_settings() })
    };
    let (client, at_server) = connect(&offers(&[b"http/1.1", b"h2"]), &server);
    assert_eq!((client.session.alpn(), at_server.session.alpn()), (Some(&b"h2"[..]), Some(&b"h2"[..])));
    // Who doesn't speak ALPN is served without.
    assert_eq!(connect(&offers(&[]), &server).1.session.alpn(), None);
    assert_eq!(refused(&offers(&[b"spdy/3"]), &server), (Some(Cause::PeerAlert(120)), Some(Cause::NoSharedAlpn)));
}

#[test]
fn nothing_in_common_is_said_so() {
    let ciphers = |name: &str| vec![name.to_owned()];
    let server = server_config(&ServerSettings {
        cipher_suites: ciphers("TLS_AES_256_GCM_SHA384"),
        min_version: Version::Tls13,
        ..server_settings()
    });
    let client = client_config(&ClientSettings {
        cipher_suites: ciphers("TLS_AES_128_GCM_SHA256"),
        min_version: Version::Tls13,
        ..client_settings()
    });
    assert_eq!(refused(&client, &server), (Some(Cause::PeerAlert(40)), Some(Cause::NoSharedCipher)));
}

#[test]
fn the_clients_order_of_ciphers_counts_unless_the_server_has_one() {
    let suites = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    let (small, large) = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384");
    let client = client_config(&ClientSettings {
        cipher_suites: suites([large, small]),
        min_version: Version::Tls13,
        ..client_settings()
    });
    let without = server_config(&server_settings());
    assert_eq!(negotiated(&connect(&client, &without).1).cipher_suite, large);
    let with = server_config(&ServerSettings {
        cipher_suites: suites([small, large]),
        min_version: Version::Tls13,
        ..server_settings()
    });
    assert_eq!(negotiated(&connect(&client, &with).1).cipher_suite, small);
}

#[test]
fn post_quantum_key_exchange_is_a_switch() {
    let client = client_config(&ClientSettings { post_quantum: true, ..client_settings() });
    let with = server_config(&ServerSettings { post_quantum: true, ..server_settings() });
    let without = server_config(&server_settings());
    assert_eq!(negotiated(&connect(&client, &with).0).group, Some("X25519MLKEM768"));
    assert_eq!(negotiated(&connect(&client, &without).0).group, Some("x25519"));
}

#[test]
fn a_certificate_counts_at_the_time_that_is_passed_in() {
    let server = server_config(&server_settings());
    let clock = at(NOW_S - 10 * 366 * DAY_S);
    let client = ClientConfig::new(&client_settings(), Arc::clone(&clock) as Arc<dyn Clock>).expect("config");
    assert_eq!(refused(&client, &server).0, Some(Cause::NotYetValid));
    clock.0.store(NOW_S, Ordering::Relaxed);
    connect(&client, &server);
    // 2035 is over, the authority is still good.
    clock.0.store(NOW_S + 6 * 365 * DAY_S, Ordering::Relaxed);
    let fresh = ClientConfig::new(&client_settings(), clock).expect("config");
    assert_eq!(refused(&fresh, &server), (Some(Cause::Expired), Some(Cause::PeerAlert(45))));
}

#[test]
fn closing_is_said_and_heard_in_each_direction() {
    for version in [Version::Tls12, Version::Tls13] {
        let client = client_config(&ClientSettings { max_version: version, ..client_settings() });
        let (mut client, mut server) = connect(&client, &server_config(&server_settings()));
        assert_eq!(server.session.end_of_input().map_err(|error| error.cause), Err(Cause::Truncated));
        client.send(b"last words");
        client.session.close_notify(&mut client.out);
        client.session.close_notify(&mut client.out);
        assert!(client.session.encrypt(b"more", &mut client.out).is_err());
        assert_eq!(exchange(&mut client, &mut server), (Ok(()), Ok(())));
        assert_eq!((server.phase, &server.plain[..]), (Phase::PeerClosed, &b"last words"[..]));
        assert_eq!(server.session.end_of_input(), Ok(()));
        // The other direction is still open.
        server.send(b"goodbye");
        server.session.close_notify(&mut server.out);
        assert_eq!(exchange(&mut client, &mut server), (Ok(()), Ok(())));
        assert_eq!((client.phase, &client.plain[..]), (Phase::PeerClosed, &b"goodbye"[..]));
    }
}

#[test]
fn what_comes_in_one_piece_with_the_handshakes_end_is_received() {
    for version in [Version::Tls12, Version::Tls13] {
        let client = client_config(&ClientSettings { max_version: version, ..client_settings() });
        let (mut client, mut server) = (End::client(&client), End::server(&server_config(&server_settings())));
        let mut sent = false;
        while !client.out.is_empty() || !server.out.is_empty() {
            let bytes = std::mem::take(&mut client.out);
            server.receive(&bytes).expect("receives");
            let bytes = std::mem::take(&mut server.out);
            client.receive(&bytes).expect("receives");
            if client.phase == Phase::Established && !sent {
                client.send(b"early bird");
                sent = true;
            }
        }
        assert_eq!(server.plain, b"early bird");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Any chunking gives the same connection.
    #[test]
    fn chunks_may_be_cut_anywhere(
        client_bytes in 1_usize..700,
        server_bytes in 1_usize..700,
        tls12 in any::<bool>(),
        sizes in proptest::collection::vec(0_usize..40_000, 1..4),
    ) {
        let max_version = if tls12 { Version::Tls12 } else { Version::Tls13 };
        let client = client_config(&ClientSettings { max_version, post_quantum: true, ..client_settings() });
        let server = server_config(&ServerSettings {
            post_quantum: true,
            tickets: Some(Arc::new(TicketKeys::new(3600, NOW_S).expect("keys"))),
            ..server_settings()
        });
        let (mut client, mut server) = (End::client(&client), End::server(&server));
        (client.chunk_bytes, server.chunk_bytes) = (client_bytes, server_bytes);
        prop_assert_eq!(exchange(&mut client, &mut server), (Ok(()), Ok(())));
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        for (round, size) in sizes.iter().enumerate() {
            let bytes: Vec<u8> = (0..*size).map(|place| (place * 7 + round) as u8).collect();
            client.send(&bytes);
            server.session.encrypt_records(&bytes, 1300, &mut server.out).expect("encrypts");
            to_server.extend_from_slice(&bytes);
            to_client.extend_from_slice(&bytes);
            prop_assert_eq!(exchange(&mut client, &mut server), (Ok(()), Ok(())));
        }
        prop_assert!(client.plain == to_client && server.plain == to_server);
        prop_assert!(client.input.is_empty() && server.input.is_empty());
    }
}
