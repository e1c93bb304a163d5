//! `x-forwarded-client-cert`: what an endpoint is told about the client's certificate, in Envoy's form.

use super::CertificateFacts;
use std::fmt::Write;

/// Which of the client's particulars are told. The fingerprint always is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the config")]
pub struct Details {
    pub subject: bool,
    pub uri: bool,
    pub dns: bool,
    /// The certificate itself.
    pub cert: bool,
    /// The certificate and those that were sent with it.
    pub chain: bool,
}

/// Appends one element of the header's value for the peer's `chain` (DER, its own certificate first). `by` are the URI
/// names of our own certificate. Appends nothing and returns false if the certificate can't be read.
pub fn emit(chain: &[impl AsRef<[u8]>], by: &[String], details: Details, out: &mut String) -> bool {
    let Some((first, facts)) =
        chain.first().and_then(|first| Some((first.as_ref(), CertificateFacts::from_der(first.as_ref())?)))
    else {
        return false;
    };
    for uri in by {
        out.push_str("By=");
        value(uri, out);
        out.push(';');
    }
    out.push_str("Hash=");
    out.push_str(&facts.sha256_hex());
    if details.cert {
        out.push_str(";Cert=\"");
        pem_escaped(first, out);
        out.push('"');
    }
    if details.chain {
        out.push_str(";Chain=\"");
        for certificate in chain {
            pem_escaped(certificate.as_ref(), out);
        }
        out.push('"');
    }
    if details.subject {
        out.push_str(";Subject=");
        quoted(&facts.subject, out);
    }
    if details.uri {
        // An empty one says that there is none.
        all("URI", &facts.uris, out);
        if facts.uris.is_empty() {
            out.push_str(";URI=");
        }
    }
    if details.dns {
        all("DNS", &facts.dns, out);
    }
    true
}

fn all(key: &str, names: &[String], out: &mut String) {
    for name in names {
        out.push(';');
        out.push_str(key);
        out.push('=');
        value(name, out);
    }
}

/// Quotes what would be read as structure.
fn value(text: &str, out: &mut String) {
    if text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b',' | b';' | b'=' | b'"' | b'\\')) {
        out.push_str(text);
    } else {
        quoted(text, out);
    }
}

/// In quotes, with what a field's value can't carry percent-encoded: a certificate may say anything.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => percent(byte, out),
        }
    }
    out.push('"');
}

fn percent(byte: u8, out: &mut String) {
    // Writing to a string can't fail.
    let _ = write!(out, "%{byte:02X}");
}

/// The certificate as PEM, percent-encoded (RFC 3986, section 2.1).
fn pem_escaped(der: &[u8], out: &mut String) {
    let mut column = 0;
    escaped("-----BEGIN CERTIFICATE-----\n", out);
    for group in der.chunks(3) {
        let mut bits = [0; 4];
        bits[1..=group.len()].copy_from_slice(group);
        let bits = u32::from_be_bytes(bits);
        for place in 0..4_u32 {
            let index = (bits >> (18 - 6 * place)) & 0x3f;
            let digit = if place as usize > group.len() { b'=' } else { BASE64[index as usize] };
            escape(digit, out);
        }
        column += 4;
        if column == 64 {
            percent(b'\n', out);
            column = 0;
        }
    }
    if column > 0 {
        percent(b'\n', out);
    }
    escaped("-----END CERTIFICATE-----\n", out);
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn escaped(text: &str, out: &mut String) {
    for byte in text.bytes() {
        escape(byte, out);
    }
}

fn escape(byte: u8, out: &mut String) {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        out.push(char::from(byte));
    } else {
        percent(byte, out);
    }
}
