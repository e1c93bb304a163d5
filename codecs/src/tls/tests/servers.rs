//! Which certificate a server shows, whom it wants to know, and what it lets resume.

use super::*;

fn named(name: &str) -> ClientConfig {
    client_config(&ClientSettings { server_name: Some(name.to_owned()), verify: false, ..client_settings() })
}

#[test]
fn the_certificate_follows_the_name() {
    let server = server_config(&ServerSettings {
        certificates: vec![
            CA.issue(&["default.example"]),
            CA.issue(&["*.example.com"]),
            CA.issue(&["exact.example.com", "example.org"]),
            Certificate { names: vec!["*.given.example".to_owned()], ..CA.issue(&["hidden.example"]) },
        ],
        ..ServerSettings::default()
    });
    for (asked, expected) in [
        ("default.example", "default.example"),
        ("a.example.com", "*.example.com"),
        ("A.Example.COM", "*.example.com"),
        ("exact.example.com", "exact.example.com"),
        ("example.org", "exact.example.com"),
        ("x.given.example", "hidden.example"),
        // A wildcard is one label; what nobody has gets the first.
        ("a.b.example.com", "default.example"),
        ("example.com", "default.example"),
        ("hidden.example", "default.example"),
        ("unknown.example", "default.example"),
        ("127.0.0.1", "default.example"),
    ] {
        let (client, _) = connect(&named(asked), &server);
        assert_eq!(shown(&client).dns[0], expected, "for {asked}");
    }
    assert_eq!(server.certificates()[2].dns, ["exact.example.com", "example.org"]);
}

#[test]
fn of_two_kinds_the_client_gets_the_one_it_can_verify() {
    let rsa = CA.issue_with(&["example.com"], &RSA, |params| params.serial_number = Some(SerialNumber::from(7_u64)));
    let with = |suite: &str| {
        client_config(&ClientSettings {
            cipher_suites: vec![suite.to_owned()],
            max_version: Version::Tls12,
            ..client_settings()
        })
    };
    for certificates in [vec![rsa.clone(), LEAF.clone()], vec![LEAF.clone(), rsa]] {
        let server = server_config(&ServerSettings { certificates, ..ServerSettings::default() });
        for config in [server.clone(), server.for_core()] {
            let (client, _) = connect(&with("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), &config);
            assert_eq!(shown(&client).serial, "7");
            let (client, _) = connect(&with("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"), &config);
            assert_ne!(shown(&client).serial, "7");
            // Whoever can do both gets the one that costs less.
            let (client, _) = connect(&client_config(&client_settings()), &config);
            assert_ne!(shown(&client).serial, "7");
        }
    }
    let only_ecdsa = server_config(&server_settings());
    let (at_client, at_server) = refused(&with("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), &only_ecdsa);
    assert_eq!((at_client, at_server), (Some(Cause::PeerAlert(40)), Some(Cause::NoSharedCipher)));
}

#[test]
fn an_ocsp_response_is_sent_with_the_certificate() {
    let staple = vec![0x30, 0x03, 0x0a, 0x01, 0x06];
    let certificate = Certificate { ocsp_der: Some(staple.clone()), ..LEAF.clone() };
    let server = server_config(&ServerSettings {
        certificates: vec![certificate],
        max_version: Version::Tls12,
        ..ServerSettings::default()
    });
    // In TLS 1.2 it is sent in the clear.
    let (mut client, mut at_server) = (End::client(&client_config(&client_settings())), End::server(&server));
    at_server.receive(&std::mem::take(&mut client.out)).expect("receives");
    assert!(memchr::memmem::find(&at_server.out, &staple).is_some());
}

fn authenticating(auth: ClientAuth) -> ServerSettings {
    ServerSettings { client_auth: Some(auth), ..server_settings() }
}

fn required() -> ClientAuth {
    ClientAuth { ca_pem: CA.pem(), required: true, ..ClientAuth::default() }
}

fn client_with(certificate: Option<Certificate>, version: Version) -> ClientConfig {
    client_config(&ClientSettings { certificate, max_version: version, ..client_settings() })
}

#[test]
fn a_client_must_show_a_certificate_where_it_is_required() {
    for version in [Version::Tls12, Version::Tls13] {
        let stranger = Ca::new("another authority").issue(&["client"]);
        let required_config = server_config(&authenticating(required()));
        let optional = server_config(&authenticating(ClientAuth { required: false, ..required() }));
        for server in [&required_config, &optional] {
            let (_, at_server) = connect(&client_with(Some(CA.issue(&["client"])), version), server);
            assert_eq!(shown(&at_server).dns, ["client"]);
            let (_, cause) = refused(&client_with(Some(stranger.clone()), version), server);
            assert_eq!(cause, Some(Cause::UnknownCa));
        }
        let nobody = client_with(None, version);
        assert_eq!(refused(&nobody, &required_config).1, Some(Cause::NoCertificate));
        let (_, mut at_server) = connect(&nobody, &optional);
        assert!(at_server.session.take_peer_certificates().is_empty());
    }
}

#[test]
fn a_revoked_client_is_refused() {
    let serial = |serial: u64| {
        let key = KeyPair::generate().expect("key");
        let certificate = CA.issue_with(&["client"], &key, |params| {
            params.serial_number = Some(SerialNumber::from(serial));
        });
        client_with(Some(certificate), Version::Tls13)
    };
    let auth = ClientAuth { crl_pem: CA.crl(&[4711]), ..required() };
    let server = server_config(&authenticating(auth.clone()));
    connect(&serial(4712), &server);
    assert_eq!(refused(&serial(4711), &server), (Some(Cause::PeerAlert(44)), Some(Cause::Revoked)));
    // A list that is out of date, and one of somebody else.
    let late = ServerConfig::new(&authenticating(auth.clone()), at(NOW_S + 400 * DAY_S)).expect("config");
    assert_eq!(refused(&serial(4712), &late).1, Some(Cause::RevocationUnknown));
    let other = ClientAuth { crl_pem: Ca::new("another authority").crl(&[1]), ..auth };
    assert_eq!(refused(&serial(4712), &server_config(&authenticating(other))).1, Some(Cause::RevocationUnknown));
}

#[test]
fn a_clients_names_can_be_demanded() {
    let certificate = CA.issue_with(&["web.clients.example"], &KeyPair::generate().expect("key"), |params| {
        params.subject_alt_names.push(uri("spiffe://clients/web"));
    });
    let client = client_with(Some(certificate), Version::Tls13);
    let server = |matchers: &[(SanKind, SanPattern)]| {
        let allowed = matchers.iter().cloned().map(|(kind, pattern)| SanMatcher { kind, pattern }).collect();
        server_config(&authenticating(ClientAuth { allowed_sans: allowed, ..required() }))
    };
    let exact = |text: &str| SanPattern::Exact(text.to_owned());
    connect(&client, &server(&[(SanKind::Uri, exact("spiffe://clients/web"))]));
    connect(&client, &server(&[(SanKind::Dns, SanPattern::Suffix(".clients.example".to_owned()))]));
    connect(&client, &server(&[(SanKind::Email, exact("a@b.c")), (SanKind::Dns, exact("web.clients.example"))]));
    for wrong in [
        (SanKind::Uri, exact("spiffe://clients/other")),
        (SanKind::Dns, exact("spiffe://clients/web")),
        (SanKind::Ip, exact("127.0.0.1")),
    ] {
        assert_eq!(refused(&client, &server(&[wrong])), (Some(Cause::PeerAlert(46)), Some(Cause::SanMismatch)));
    }
}

#[test]
fn a_clients_certificate_can_be_pinned() {
    let certificate = CA.issue(&["web.clients.example"]);
    let client = client_with(Some(certificate), Version::Tls13);
    let (_, server) = connect(&client, &server_config(&authenticating(required())));
    let pinned = |hash| server_config(&authenticating(ClientAuth { pinned: vec![hash], ..required() }));
    connect(&client, &pinned(shown(&server).sha256));
    assert_eq!(refused(&client, &pinned([7; 32])), (Some(Cause::PeerAlert(46)), Some(Cause::HashMismatch)));
}

fn with_tickets(keys: &Arc<TicketKeys>) -> ServerSettings {
    ServerSettings { tickets: Some(Arc::clone(keys)), ..server_settings() }
}

/// Whether a client that was here before resumes, and with which certificate it is known.
fn comes_back(client: &ClientConfig, server: &ServerConfig) -> bool {
    let (at_client, at_server) = connect(client, server);
    assert_eq!(negotiated(&at_client).resumed, negotiated(&at_server).resumed);
    negotiated(&at_server).resumed
}

#[test]
fn a_ticket_of_one_core_is_good_on_another_until_its_key_has_gone() {
    for version in [Version::Tls12, Version::Tls13] {
        let keys = Arc::new(TicketKeys::new(3600, NOW_S).expect("keys"));
        let cores = [(); 2].map(|()| server_config(&with_tickets(&keys)).for_core());
        let client = client_config(&ClientSettings { max_version: version, ..client_settings() });
        assert!(!comes_back(&client, &cores[0]));
        assert!(comes_back(&client, &cores[1]));
        // Another core of the client knows nothing.
        assert!(!comes_back(&client.for_core(), &cores[1]));
        // A reload keeps the keys.
        assert!(comes_back(&client, &server_config(&with_tickets(&keys))));
        assert!(!keys.rotate(NOW_S + 3599).expect("rotates"));
        assert!(keys.rotate(NOW_S + 3600).expect("rotates"));
        assert!(comes_back(&client, &cores[0]));
        // Two rotations and the ticket that was given before them is worth nothing.
        let (once, twice) = (client_config(&client_settings()), NOW_S + 2 * 3600);
        assert!(!comes_back(&once, &cores[0]));
        assert!(keys.rotate(twice).expect("rotates") && keys.rotate(twice + 3600).expect("rotates"));
        assert!(!comes_back(&once, &cores[0]));
        // Nor is any after a long sleep.
        assert!(keys.rotate(NOW_S + 100 * DAY_S).expect("rotates"));
        assert!(!comes_back(&once, &cores[0]));
        // A clock that goes back ends a period, once, instead of making one that doesn't end.
        assert!(keys.rotate(NOW_S).expect("rotates") && !keys.rotate(NOW_S + 3599).expect("rotates"));
        assert!(comes_back(&once, &cores[0]));
        assert!(keys.rotate(NOW_S + 3600).expect("rotates"));
    }
}

#[test]
fn without_tickets_nobody_resumes_but_by_session_ids_where_they_are_on() {
    let client = client_config(&ClientSettings { max_version: Version::Tls12, ..client_settings() });
    let none = server_config(&server_settings());
    assert!(!comes_back(&client, &none) && !comes_back(&client, &none));
    let ids = server_config(&ServerSettings { session_ids_max: 100, ..server_settings() });
    assert!(!comes_back(&client, &ids) && comes_back(&client, &ids));
    assert!(!comes_back(&client, &ids.for_core()));
    let keys = Arc::new(TicketKeys::new(3600, NOW_S).expect("keys"));
    let forgetful = client_config(&ClientSettings { tickets_max: 0, ..client_settings() });
    let tickets = server_config(&with_tickets(&keys));
    assert!(!comes_back(&forgetful, &tickets) && !comes_back(&forgetful, &tickets));
}

#[test]
fn a_ticket_is_no_way_around_authentication() {
    let keys = Arc::new(TicketKeys::new(3600, NOW_S).expect("keys"));
    let open = server_config(&with_tickets(&keys));
    let closed = |auth| server_config(&ServerSettings { client_auth: Some(auth), ..with_tickets(&keys) });
    let strict = closed(required());
    for version in [Version::Tls12, Version::Tls13] {
        let nobody = client_with(None, version);
        connect(&nobody, &open);
        assert!(comes_back(&nobody, &open));
        assert_eq!(refused(&nobody, &strict).1, Some(Cause::NoCertificate));
        let somebody = client_with(Some(CA.issue(&["client"])), version);
        assert!(!comes_back(&somebody, &strict));
        let (_, at_server) = connect(&somebody, &strict);
        assert!(negotiated(&at_server).resumed);
        assert_eq!(shown(&at_server).dns, ["client"]);
        // A list that was added may revoke it.
        assert!(!comes_back(&somebody, &closed(ClientAuth { crl_pem: CA.crl(&[1]), ..required() })));
    }
}

#[test]
fn mistakes_in_settings_say_where_and_what() {
    let fails = |change: &dyn Fn(&mut ServerSettings)| {
        let mut settings = server_settings();
        change(&mut settings);
        let error = ServerConfig::new(&settings, now()).expect_err("a mistake");
        (error.place, error.to_string())
    };
    let chain = |pem: &[u8]| fails(&|settings| settings.certificates[0].chain_pem = pem.to_vec());
    let place = Place::Certificate(0, Part::Chain);
    assert_eq!(chain(b""), (place, "no certificate in the PEM".to_owned()));
    assert_eq!(chain(&LEAF.key_pem), (place, "no certificate in the PEM, only a private key".to_owned()));
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
    assert_eq!(chain(broken), (place, "the PEM can't be read: a section without its END line".to_owned()));
    let not_one = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(chain(not_one), (place, "certificate 1 in the PEM can't be read".to_owned()));

    let key = |pem: &[u8]| fails(&|settings| settings.certificates[0].key_pem = pem.to_vec());
    let place = Place::Certificate(0, Part::Key);
    assert_eq!(key(b""), (place, "no private key in the PEM".to_owned()));
    assert_eq!(key(&LEAF.chain_pem), (place, "no private key in the PEM, only a certificate".to_owned()));
    let other = KeyPair::generate().expect("key").serialize_pem();
    assert_eq!(key(other.as_bytes()), (place, "the private key does not belong to the certificate".to_owned()));
    let rsa = RSA.serialize_pem();
    assert_eq!(key(rsa.as_bytes()), (place, "the private key does not belong to the certificate".to_owned()));
    for encrypted in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        assert_eq!(key(encrypted.as_bytes()), (place, "encrypted private keys are not supported".to_owned()));
    }
    let unusable = key(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    assert!(unusable.1.starts_with("the private key can't be used; RSA"), "{unusable:?}");

    assert_eq!(fails(&|settings| settings.certificates.clear()).0, Place::Certificates);
    let names = fails(&|settings| settings.certificates[0].names = vec!["a.*.example".to_owned()]);
    assert_eq!(names.0, Place::Certificate(0, Part::Names));
    let second = fails(&|settings| settings.certificates.push(Certificate::default()));
    assert_eq!(second.0, Place::Certificate(1, Part::Chain));
}

#[test]
fn mistakes_in_lists_say_which_entry() {
    let fails = |change: &dyn Fn(&mut ServerSettings)| {
        let mut settings = authenticating(required());
        change(&mut settings);
        ServerConfig::new(&settings, now()).expect_err("a mistake").place
    };
    let auth =
        |change: &dyn Fn(&mut ClientAuth)| fails(&|settings| change(settings.client_auth.as_mut().expect("is set")));
    assert_eq!(auth(&|auth| auth.ca_pem.clear()), Place::Ca);
    assert_eq!(auth(&|auth| auth.crl_pem = CA.pem()), Place::Crl);
    let broken = b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n";
    assert_eq!(auth(&|auth| auth.crl_pem = broken.to_vec()), Place::Crl);
    let matcher = |pattern: &str| SanMatcher { kind: SanKind::Ip, pattern: SanPattern::Exact(pattern.to_owned()) };
    let place = auth(&|auth| auth.allowed_sans = vec![matcher("::1"), matcher("localhost")]);
    assert_eq!(place, Place::AllowedSan(1));
    assert_eq!(fails(&|settings| settings.alpn = vec![b"h2".to_vec(), Vec::new()]), Place::Alpn(1));
    let suites = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let place = fails(&|settings| settings.cipher_suites = suites(&["TLS_AES_128_GCM_SHA256", "RC4-MD5"]));
    assert_eq!(place, Place::CipherSuite(1));
    // TLS 1.2 is on and has no cipher.
    let place = fails(&|settings| settings.cipher_suites = suites(&["TLS_AES_128_GCM_SHA256"]));
    assert_eq!(place, Place::Versions);
    let place = fails(&|settings| (settings.min_version, settings.max_version) = (Version::Tls13, Version::Tls12));
    assert_eq!(place, Place::Versions);
}
