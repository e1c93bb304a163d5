//! What a certificate says, for metrics, logs and headers. It is read leniently: whether to trust it has been decided
//! elsewhere, so a part that can't be read is left out.

use super::der::{self, Der};
use aws_lc_rs::digest;
use core::fmt::Write;
use core::net::IpAddr;

/// What a certificate says about itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CertificateFacts {
    /// As RFC 2253 writes it: the most specific part first.
    pub subject: String,
    pub issuer: String,
    /// The subject's CN, which counts as a name only where there are no others.
    pub common_name: Option<String>,
    /// Lower-case hexadecimal, without leading zeros.
    pub serial: String,
    /// Seconds since 1970-01-01 UTC.
    pub not_before_s: i64,
    /// Seconds since 1970-01-01 UTC.
    pub not_after_s: i64,
    /// Subject alternative names, as they stand.
    pub dns: Vec<String>,
    pub uris: Vec<String>,
    pub emails: Vec<String>,
    pub ips: Vec<IpAddr>,
    /// SHA-256 over the DER.
    pub sha256: [u8; 32],
}

impl CertificateFacts {
    /// Reads a certificate (RFC 5280, section 4.1). `None` if it isn't one.
    #[must_use]
    pub fn from_der(certificate: &[u8]) -> Option<CertificateFacts> {
        let mut outer = Der(Der(certificate).take(der::SEQUENCE)?);
        let mut body = Der(outer.take(der::SEQUENCE)?);
        let _version = body.take(der::explicit(0));
        let mut facts = CertificateFacts { serial: serial(body.take(der::INTEGER)?), ..CertificateFacts::default() };
        body.take(der::SEQUENCE)?; // the signature's algorithm
        facts.issuer = name(body.take(der::SEQUENCE)?).0;
        let mut validity = Der(body.take(der::SEQUENCE)?);
        let (tag, not_before) = validity.next()?;
        facts.not_before_s = der::time(tag, not_before)?;
        let (tag, not_after) = validity.next()?;
        facts.not_after_s = der::time(tag, not_after)?;
        (facts.subject, facts.common_name) = name(body.take(der::SEQUENCE)?);
        body.take(der::SEQUENCE)?; // the public key
        while let Some((tag, content)) = body.next() {
            if tag == der::explicit(3) {
                facts.extensions(content);
            }
        }
        facts.sha256.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Some(facts)
    }

    fn extensions(&mut self, content: &[u8]) -> Option<()> {
        let mut extensions = Der(Der(content).take(der::SEQUENCE)?);
        while let Some(extension) = extensions.take(der::SEQUENCE) {
            let mut extension = Der(extension);
            let oid = extension.take(der::OID)?;
            let _critical = extension.take(der::BOOLEAN);
            let value = extension.take(der::OCTET_STRING)?;
            if oid == SUBJECT_ALT_NAME {
                self.names(Der(value).take(der::SEQUENCE)?);
            }
        }
        Some(())
    }

    fn names(&mut self, content: &[u8]) {
        let mut names = Der(content);
        while let Some((tag, name)) = names.next() {
            let text = || str::from_utf8(name).ok().map(str::to_owned);
            match tag {
                0x81 => self.emails.extend(text()),
                0x82 => self.dns.extend(text()),
                0x86 => self.uris.extend(text()),
                0x87 => self.ips.extend(address(name)),
                _ => {}
            }
        }
    }

    /// The fingerprint in lower-case hexadecimal.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        hex(&self.sha256)
    }
}

/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        // Writing to a string can't fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn serial(bytes: &[u8]) -> String {
    let hex = hex(bytes);
    match hex.trim_start_matches('0') {
        "" => "0".to_owned(),
        trimmed => trimmed.to_owned(),
    }
}

/// A distinguished name as RFC 2253 writes it, and its common name.
fn name(content: &[u8]) -> (String, Option<String>) {
    let (mut parts, mut common_name) = (Vec::new(), None);
    let mut sets = Der(content);
    while let Some(set) = sets.take(der::SET) {
        let (mut set, mut text) = (Der(set), String::new());
        while let Some(attribute) = set.take(der::SEQUENCE) {
            let mut attribute = Der(attribute);
            let (Some(oid), Some((tag, value))) = (attribute.take(der::OID), attribute.next()) else {
                continue;
            };
            let value = string(tag, value);
            if !text.is_empty() {
                text.push('+');
            }
            text.push_str(&attribute_name(oid));
            text.push('=');
            escape(&value, &mut text);
            if oid == COMMON_NAME {
                common_name = Some(value);
            }
        }
        parts.push(text);
    }
    parts.reverse();
    (parts.join(","), common_name)
}

const COMMON_NAME: &[u8] = &[0x55, 4, 3];

fn string(tag: u8, value: &[u8]) -> String {
    if tag == der::BMP_STRING {
        let units: Vec<u16> = value.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        return String::from_utf16_lossy(&units);
    }
    if tag == der::UTF8_STRING || value.is_ascii() {
        return String::from_utf8_lossy(value).into_owned();
    }
    // The older kinds of string are Latin-1 in practice.
    value.iter().map(|byte| char::from(*byte)).collect()
}

fn attribute_name(oid: &[u8]) -> String {
    let known = match oid {
        COMMON_NAME => "CN",
        [0x55, 4, 4] => "SN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "street",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x55, 4, 12] => "title",
        [0x55, 4, 42] => "GN",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        _ => return dotted(oid),
    };
    known.to_owned()
}

fn dotted(oid: &[u8]) -> String {
    let (mut text, mut number, mut first) = (String::new(), 0_u64, true);
    for byte in oid {
        number = number << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        // The first number holds two (X.690, section 8.19).
        let _ = if first {
            let root = (number / 40).min(2);
            write!(text, "{root}.{}", number - root * 40)
        } else {
            write!(text, ".{number}")
        };
        (number, first) = (0, false);
    }
    text
}

/// Escapes what means something in a distinguished name (RFC 2253, section 2.4); control characters in hexadecimal.
fn escape(value: &str, out: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (place, character) in value.chars().enumerate() {
        let edge = (place == 0 && matches!(character, ' ' | '#')) || (place == last && character == ' ');
        if edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            out.push('\\');
            out.push(character);
        } else if character.is_control() {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "\\{byte:02X}");
            }
        } else {
            out.push(character);
        }
    }
}
