//! What certificates say.

use super::*;
use ::rustls::pki_types::CertificateDer;
use ::rustls::pki_types::pem::PemObject;
use proptest::prelude::*;

fn der(certificate: &Certificate) -> Vec<u8> {
    CertificateDer::from_pem_slice(&certificate.chain_pem).expect("a certificate").to_vec()
}

fn rich() -> Vec<u8> {
    let key = KeyPair::generate().expect("key");
    der(&CA.issue_with(&["example.com", "*.example.com", "10.1.2.3", "::1"], &key, |params| {
        params.serial_number = Some(SerialNumber::from(0x01_02ab_u64));
        params.subject_alt_names.push(uri("spiffe://example/a"));
        params.subject_alt_names.push(SanType::Rfc822Name("a@example.com".try_into().expect("an address")));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CountryName, "DE");
        params.distinguished_name.push(DnType::OrganizationName, "Lanes, \"Inc\"");
        params.distinguished_name.push(DnType::CommonName, " Jürgen");
    }))
}

#[test]
fn facts_are_read() {
    let facts = CertificateFacts::from_der(&rich()).expect("a certificate");
    assert_eq!(facts.subject, "CN=\\ Jürgen,O=Lanes\\, \\\"Inc\\\",C=DE");
    assert_eq!(facts.common_name.as_deref(), Some(" Jürgen"));
    assert!(facts.issuer.starts_with("CN=the authority"), "{}", facts.issuer);
    assert_eq!(facts.serial, "102ab");
    // 2025-01-01 and 2035-01-01.
    assert_eq!((facts.not_before_s, facts.not_after_s), (1_735_689_600, 2_051_222_400));
    assert_eq!(facts.dns, ["example.com", "*.example.com"]);
    assert_eq!(facts.uris, ["spiffe://example/a"]);
    assert_eq!(facts.emails, ["a@example.com"]);
    assert_eq!(facts.ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.1.2.3", "::1"]);
    assert_eq!(facts.sha256_hex().len(), 64);
}

#[test]
fn times_of_both_kinds_and_across_centuries_are_read() {
    for (tag, text, expected) in [
        (0x17, "700101000000Z", Some(0)),
        (0x17, "491231235959Z", Some(2_524_607_999)),
        (0x17, "500101000000Z", Some(-631_152_000)),
        (0x18, "20000229120000Z", Some(951_825_600)),
        (0x18, "20500101000000Z", Some(2_524_608_000)),
        (0x18, "99991231235959Z", Some(253_402_300_799)),
        (0x18, "20250132000000Z", None),
        (0x18, "20251301000000Z", None),
        (0x17, "2501010000Z", None),
        (0x17, "250101000000", None),
        (0x17, "25010100000+Z", None),
        (0x04, "250101000000Z", None),
    ] {
        assert_eq!(super::super::der::time(tag, text.as_bytes()), expected, "{text}");
    }
}

#[test]
fn matchers_compare_as_their_kind_is_compared() {
    let facts = CertificateFacts::from_der(&rich()).expect("a certificate");
    let matches = |kind, pattern| SanMatcher { kind, pattern }.matches(&facts);
    let exact = |text: &str| SanPattern::Exact(text.to_owned());
    for (kind, pattern, expected) in [
        (SanKind::Dns, exact("EXAMPLE.com"), true),
        (SanKind::Dns, exact("a.example.com"), true),
        (SanKind::Dns, exact("a.b.example.com"), false),
        (SanKind::Dns, SanPattern::Suffix(".Example.com".to_owned()), true),
        (SanKind::Dns, SanPattern::Prefix("exam".to_owned()), true),
        (SanKind::Uri, exact("spiffe://example/A"), false),
        (SanKind::Uri, SanPattern::Prefix("spiffe://example/".to_owned()), true),
        (SanKind::Email, SanPattern::Suffix("@example.com".to_owned()), true),
        (SanKind::Ip, exact("0:0:0:0:0:0:0:1"), true),
        (SanKind::Ip, exact("10.1.2.4"), false),
    ] {
        assert_eq!(matches(kind, pattern.clone()), expected, "{kind:?} {pattern:?}");
    }
}

#[test]
fn the_forwarded_header_says_what_it_is_told_to() {
    let (certificate, mut text) = (rich(), String::new());
    let hash = CertificateFacts::from_der(&certificate).expect("a certificate").sha256_hex();
    assert!(xfcc::emit(&[&certificate], &[], xfcc::Details::default(), &mut text));
    assert_eq!(text, format!("Hash={hash}"));
    text.clear();
    let details = xfcc::Details { subject: true, uri: true, dns: true, ..xfcc::Details::default() };
    assert!(xfcc::emit(&[&certificate], &["spiffe://us".to_owned()], details, &mut text));
    let subject = "CN=\\\\ J%C3%BCrgen,O=Lanes\\\\, \\\\\\\"Inc\\\\\\\",C=DE";
    assert_eq!(
        text,
        format!(
            "By=spiffe://us;Hash={hash};Subject=\"{subject}\";URI=spiffe://example/a;DNS=example.com;DNS=*.example.com"
        )
    );
    text.clear();
    let details = xfcc::Details { cert: true, chain: true, ..xfcc::Details::default() };
    assert!(xfcc::emit(&[&certificate, &certificate], &[], details, &mut text));
    let decoded = unescape(&text);
    let pems: Vec<_> = CertificateDer::pem_slice_iter(&decoded).collect::<Result<_, _>>().expect("PEM");
    assert_eq!(pems.len(), 3);
    assert!(pems.iter().all(|pem| pem[..] == certificate[..]));
    assert!(!xfcc::emit(&[b"not a certificate"], &[], details, &mut text));
}

fn unescape(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'%' {
            let digits = str::from_utf8(&behind[..2]).expect("digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal"));
            rest = &behind[2..];
        } else {
            bytes.push(if *first == b'"' { b'\n' } else { *first });
            rest = behind;
        }
    }
    bytes
}

proptest! {
    #[test]
    fn a_damaged_certificate_is_read_or_not_but_never_a_panic(
        place in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        static RICH: LazyLock<Vec<u8>> = LazyLock::new(rich);
        let mut bytes = RICH.clone();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        let _ = CertificateFacts::from_der(&bytes);
        let cut = cut.index(bytes.len());
        prop_assert_eq!(CertificateFacts::from_der(&RICH[..cut]), None);
        let mut text = String::new();
        if xfcc::emit(&[&bytes], &[], xfcc::Details { subject: true, uri: true, dns: true, cert: true, chain: true }, &mut text) {
            prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    }
}
