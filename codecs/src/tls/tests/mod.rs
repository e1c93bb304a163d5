//! Both ends of a connection over vectors, with certificates made on the spot.

mod certificates;
mod clients;
mod handshakes;
mod hostile;
mod records;
mod servers;
mod sniffing;

use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RevokedCertParams, SanType, SerialNumber,
    date_time_ymd,
};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

/// 2030-01-01.
pub(crate) const NOW_S: u64 = 1_893_456_000;
const DAY_S: u64 = 24 * 3600;

#[derive(Debug)]
struct At(AtomicU64);

impl Clock for At {
    fn unix_s(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn at(unix_s: u64) -> Arc<At> {
    Arc::new(At(AtomicU64::new(unix_s)))
}

fn now() -> Arc<At> {
    at(NOW_S)
}

/// An authority, valid from 2020 to 2040.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new(name: &str) -> Ca {
        let mut params = CertificateParams::new([]).expect("params");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2040, 1, 1));
        Ca(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("key")).expect("authority"))
    }

    fn pem(&self) -> Vec<u8> {
        self.0.pem().into_bytes()
    }

    fn roots(&self) -> Roots {
        Roots::from_pem(&self.pem()).expect("roots")
    }

    /// A certificate for these names (DNS, addresses as text), P-256, valid from 2025 to 2035.
    fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_with(names, &KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("key"), |_| {})
    }

    fn issue_with(&self, names: &[&str], key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("params");
        params.distinguished_name.push(DnType::CommonName, "a leaf");
        (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2035, 1, 1));
        change(&mut params);
        let certificate = params.signed_by(key, &self.0).expect("certificate");
        Certificate {
            chain_pem: certificate.pem().into_bytes(),
            key_pem: key.serialize_pem().into_bytes(),
            ..Certificate::default()
        }
    }

    /// A list that revokes these serial numbers, good until 2031.
    fn crl(&self, serials: &[u64]) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2029, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2029, 12, 1),
            next_update: date_time_ymd(2031, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).expect("list").pem().expect("pem").into_bytes()
    }
}

/// RSA keys take long to make: one for all tests.
static RSA: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("key"));

static CA: LazyLock<Ca> = LazyLock::new(|| Ca::new("the authority"));

static LEAF: LazyLock<Certificate> = LazyLock::new(|| CA.issue(&["example.com"]));

/// A server for `example.com`.
fn server_settings() -> ServerSettings {
    ServerSettings { certificates: vec![LEAF.clone()], ..ServerSettings::default() }
}

/// A client that trusts our authority and asks for `example.com`.
fn client_settings() -> ClientSettings {
    ClientSettings { server_name: Some("example.com".to_owned()), ..ClientSettings::new(CA.roots()) }
}

fn server_config(settings: &ServerSettings) -> ServerConfig {
    ServerConfig::new(settings, now()).expect("server config")
}

fn client_config(settings: &ClientSettings) -> ClientConfig {
    ClientConfig::new(settings, now()).expect("client config")
}

/// A session with what has arrived for it and what it has received.
struct End {
    session: Session,
    input: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
    phase: Phase,
    /// How many bytes arrive at once.
    chunk_bytes: usize,
    spans: Vec<Range<usize>>,
}

impl End {
    fn server(config: &ServerConfig) -> End {
        End::new(Session::server(config).expect("session"), Vec::new())
    }

    fn client(config: &ClientConfig) -> End {
        let mut out = Vec::new();
        let session = Session::client(config, None, &mut out).expect("session");
        End::new(session, out)
    }

    fn new(session: Session, out: Vec<u8>) -> End {
        End {
            session,
            input: Vec::new(),
            plain: Vec::new(),
            out,
            phase: Phase::Handshaking,
            chunk_bytes: usize::MAX,
            spans: Vec::new(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        for chunk in bytes.chunks(self.chunk_bytes) {
            self.input.extend_from_slice(chunk);
            self.spans.clear();
            let result = self.session.receive(&mut self.input, &mut self.spans, &mut self.out);
            for span in &self.spans {
                self.plain.extend_from_slice(&self.input[span.clone()]);
            }
            let received = result?;
            self.input.drain(..received.consumed);
            self.phase = received.phase;
        }
        Ok(())
    }

    fn send(&mut self, plain: &[u8]) {
        self.session.encrypt(plain, &mut self.out).expect("encrypts");
    }
}

/// Moves bytes both ways until there are none. The first error of each side, client first.
fn exchange(client: &mut End, server: &mut End) -> (Result<(), TlsError>, Result<(), TlsError>) {
    let (mut at_client, mut at_server) = (Ok(()), Ok(()));
    while !client.out.is_empty() || !server.out.is_empty() {
        let bytes = std::mem::take(&mut client.out);
        if at_server.is_ok() {
            at_server = server.receive(&bytes);
        }
        let bytes = std::mem::take(&mut server.out);
        if at_client.is_ok() {
            at_client = client.receive(&bytes);
        }
    }
    (at_client, at_server)
}

/// Both ends of a connection whose handshake went well.
fn connect(client: &ClientConfig, server: &ServerConfig) -> (End, End) {
    let (mut client, mut server) = (End::client(client), End::server(server));
    let results = exchange(&mut client, &mut server);
    assert_eq!(results, (Ok(()), Ok(())));
    assert_eq!((client.phase, server.phase), (Phase::Established, Phase::Established));
    (client, server)
}

/// The causes that both ends give for a handshake that fails.
fn refused(client: &ClientConfig, server: &ServerConfig) -> (Option<Cause>, Option<Cause>) {
    let (mut client, mut server) = (End::client(client), End::server(server));
    let (at_client, at_server) = exchange(&mut client, &mut server);
    let cause = |result: Result<(), TlsError>| result.err().map(|error| error.cause);
    (cause(at_client), cause(at_server))
}

fn negotiated(end: &End) -> &Negotiated {
    end.session.negotiated().expect("established")
}

/// The common name and the names of the certificate that the peer showed.
fn shown(end: &End) -> CertificateFacts {
    CertificateFacts::from_der(&negotiated(end).peer_certificates[0]).expect("a certificate")
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("a URI"))
}
