//! Which servers a client takes for the one that it meant.

use super::*;

fn sans(kind: SanKind, pattern: &str) -> Vec<SanMatcher> {
    vec![SanMatcher { kind, pattern: SanPattern::Exact(pattern.to_owned()) }]
}

#[test]
fn a_server_of_another_name_or_authority_is_refused() {
    let server = server_config(&server_settings());
    let name = |name: &str| ClientSettings { server_name: Some(name.to_owned()), ..client_settings() };
    assert_eq!(
        refused(&client_config(&name("example.org")), &server),
        (Some(Cause::BadName), Some(Cause::PeerAlert(42)))
    );
    let stranger = ClientSettings { roots: Ca::new("another authority").roots(), ..client_settings() };
    assert_eq!(refused(&client_config(&stranger), &server), (Some(Cause::UnknownCa), Some(Cause::PeerAlert(48))));
    // Without verification anybody will do.
    connect(&client_config(&ClientSettings { verify: false, ..stranger }), &server);
    connect(&client_config(&ClientSettings { verify: false, ..name("example.org") }), &server);
}

#[test]
fn the_verified_name_may_differ_from_the_one_that_is_sent() {
    let server = server_config(&server_settings());
    let sent = ClientSettings { server_name: Some("front.example".to_owned()), ..client_settings() };
    let settings = ClientSettings { verify_name: Some("example.com".to_owned()), ..sent.clone() };
    let (_, at_server) = connect(&client_config(&settings), &server);
    assert_eq!(negotiated(&at_server).server_name.as_deref(), Some("front.example"));
    let settings = ClientSettings { verify_name: Some("example.org".to_owned()), ..sent };
    assert_eq!(refused(&client_config(&settings), &server).0, Some(Cause::BadName));
}

#[test]
fn allowed_names_take_the_place_of_the_servers_name_and_of_nothing_else() {
    let server = server_config(&server_settings());
    let settings = ClientSettings { server_name: Some("front.example".to_owned()), ..client_settings() };
    let allowing = |settings: &ClientSettings, allowed| {
        client_config(&ClientSettings { allowed_sans: allowed, ..settings.clone() })
    };
    connect(&allowing(&settings, sans(SanKind::Dns, "example.com")), &server);
    let wrong = allowing(&client_settings(), sans(SanKind::Dns, "example.org"));
    assert_eq!(refused(&wrong, &server), (Some(Cause::SanMismatch), Some(Cause::PeerAlert(46))));
    let stranger = ClientSettings { roots: Ca::new("another authority").roots(), ..settings };
    let wrong = allowing(&stranger, sans(SanKind::Dns, "example.com"));
    assert_eq!(refused(&wrong, &server).0, Some(Cause::UnknownCa));
}

#[test]
fn addresses_are_verified_and_not_sent() {
    let server = server_config(&ServerSettings {
        certificates: vec![CA.issue(&["127.0.0.1", "::1"])],
        ..ServerSettings::default()
    });
    let config = client_config(&ClientSettings { server_name: None, ..client_settings() });
    for (address, good) in [("127.0.0.1", true), ("::1", true), ("127.0.0.2", false)] {
        let mut out = Vec::new();
        let session = Session::client(&config, Some(address), &mut out).expect("session");
        let (mut client, mut at_server) = (End::new(session, out), End::server(&server));
        let (at_client, _) = exchange(&mut client, &mut at_server);
        assert_eq!(at_client.map_err(|error| error.cause), if good { Ok(()) } else { Err(Cause::BadName) });
        if good {
            assert_eq!(negotiated(&at_server).server_name, None);
        }
    }
    assert!(Session::client(&config, None, &mut Vec::new()).is_err());
    assert!(Session::client(&config, Some("not a name"), &mut Vec::new()).is_err());
}

#[test]
fn a_revoked_server_is_refused() {
    let certificate = |serial: u64| {
        let key = KeyPair::generate().expect("key");
        CA.issue_with(&["example.com"], &key, |params| params.serial_number = Some(SerialNumber::from(serial)))
    };
    let server = |serial| {
        server_config(&ServerSettings { certificates: vec![certificate(serial)], ..ServerSettings::default() })
    };
    let client = client_config(&ClientSettings { crl_pem: CA.crl(&[13]), ..client_settings() });
    connect(&client, &server(12));
    assert_eq!(refused(&client, &server(13)), (Some(Cause::Revoked), Some(Cause::PeerAlert(44))));
}

#[test]
fn mistakes_in_settings_say_where() {
    let place = |settings: &ClientSettings| ClientConfig::new(settings, now()).expect_err("a mistake").place;
    let good = client_settings();
    assert_eq!(place(&ClientSettings { roots: Roots::from_der([]), ..good.clone() }), Place::Ca);
    assert_eq!(place(&ClientSettings { roots: Roots::from_der([vec![1, 2, 3]]), ..good.clone() }), Place::Ca);
    assert_eq!(place(&ClientSettings { server_name: Some("a b".to_owned()), ..good.clone() }), Place::ServerName);
    assert_eq!(place(&ClientSettings { verify_name: Some(String::new()), ..good.clone() }), Place::ServerName);
    let unverified = ClientSettings { verify: false, allowed_sans: sans(SanKind::Dns, "a"), ..good.clone() };
    assert_eq!(place(&unverified), Place::AllowedSan(0));
    let certificate = Some(Certificate { key_pem: Vec::new(), ..LEAF.clone() });
    assert_eq!(place(&ClientSettings { certificate, ..good }), Place::Certificate(0, Part::Key));
    assert_eq!(Roots::from_pem(b"").expect_err("a mistake").place, Place::Ca);
    assert_eq!(CA.roots().len(), 1);
}

#[test]
fn a_pinned_certificate_is_demanded_beside_the_rest_or_alone() {
    let server = server_config(&server_settings());
    let settings = client_settings();
    let (client, _) = connect(&client_config(&settings), &server);
    let hash = shown(&client).sha256;
    let pinning = |pinned: Vec<[u8; 32]>| ClientSettings { pinned, ..settings.clone() };
    connect(&client_config(&pinning(vec![[7; 32], hash])), &server);
    let wrong = pinning(vec![[7; 32]]);
    assert_eq!(refused(&client_config(&wrong), &server).0, Some(Cause::HashMismatch));
    let sans = ClientSettings { allowed_sans: sans(SanKind::Dns, "example.com"), ..wrong.clone() };
    assert_eq!(refused(&client_config(&sans), &server).0, Some(Cause::HashMismatch));
    // Without verification it is all that counts; with it, it isn't.
    let stranger = Ca::new("another authority").roots();
    let unverified = |pinned| ClientSettings { verify: false, roots: stranger.clone(), ..pinning(pinned) };
    connect(&client_config(&unverified(vec![hash])), &server);
    assert_eq!(refused(&client_config(&unverified(vec![[7; 32]])), &server).0, Some(Cause::HashMismatch));
    let verified = ClientSettings { roots: stranger.clone(), ..pinning(vec![hash]) };
    assert_eq!(refused(&client_config(&verified), &server).0, Some(Cause::UnknownCa));
}
