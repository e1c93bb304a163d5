//! What TLS is configured with: files, names, protocols.

use std::net::IpAddr;

use super::address::check_hostname;
use super::{Refusal, Text};

/// A file, from the folder of the config file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FilePath(pub String);

impl Text for FilePath {
    const ONE: &'static str = "a file such as `certs/site.pem`, from the config's folder";
    const MANY: &'static str = "files";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.is_empty() || text.ends_with('/') {
            return Err(Refusal::because("it names no file"));
        }
        if text.starts_with("-----BEGIN") {
            return Err(Refusal::because("it is the file's content").help("write it to a file and name that"));
        }
        Ok(FilePath(text.to_string()))
    }
}

/// A protocol's name in ALPN.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlpnName(pub String);

impl Text for AlpnName {
    const ONE: &'static str = "a protocol such as `http/1.1` or `h2`";
    const MANY: &'static str = "protocols";

    fn parse(text: &str) -> Result<Self, Refusal> {
        match text.len() {
            1..=255 => Ok(AlpnName(text.to_string())),
            _ => Err(Refusal::because("a protocol's name has 1 to 255 bytes")),
        }
    }
}

/// The name of a server: a host name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerName(pub String);

impl Text for ServerName {
    const ONE: &'static str = "a host name or an IP address";
    const MANY: &'static str = "host names";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text.parse::<IpAddr>().is_ok() {
            return Ok(ServerName(text.to_string()));
        }
        if let Some((host, _)) = text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) {
            return Err(Refusal::because("a server name has no port").mean(host));
        }
        check_hostname(text)?;
        Ok(ServerName(text.to_ascii_lowercase()))
    }
}

/// The name that a server is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Sni {
    /// Each request's own.
    Auto,
    Name(ServerName),
}

impl Sni {
    /// The name, if it is always the same.
    pub fn name(&self) -> Option<&str> {
        match self {
            Sni::Auto => None,
            Sni::Name(name) => Some(&name.0),
        }
    }
}

impl Text for Sni {
    const ONE: &'static str = "a host name, an IP address or `auto`";
    const MANY: &'static str = "host names";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if text == "auto" { Ok(Sni::Auto) } else { ServerName::parse(text).map(Sni::Name) }
    }
}

impl serde::Serialize for Sni {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name().unwrap_or("auto"))
    }
}

/// A subject alternative name, or how one begins or ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SanText(pub String);

impl Text for SanText {
    const ONE: &'static str = "a name, perhaps with a `*` at its beginning or end";
    const MANY: &'static str = "names";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let inner = text.strip_prefix('*').unwrap_or_else(|| text.strip_suffix('*').unwrap_or(text));
        if inner.is_empty() {
            return Err(Refusal::because("a name can't be empty"));
        }
        if inner.contains('*') {
            return Err(Refusal::because("one `*` can stand at the beginning or the end"));
        }
        Ok(SanText(text.to_string()))
    }
}

/// SHA-256 of a certificate in DER, as lower-case hexadecimal; colons between the bytes are dropped.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub String);

impl Fingerprint {
    pub fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (byte, digits) in bytes.iter_mut().zip(self.0.as_bytes().chunks_exact(2)) {
            let digit = |letter: u8| (letter as char).to_digit(16).unwrap_or(0) as u8;
            *byte = digit(digits[0]) << 4 | digit(digits[1]);
        }
        bytes
    }
}

impl Text for Fingerprint {
    const ONE: &'static str = "the SHA-256 of a certificate: 64 hexadecimal digits, perhaps with colons";
    const MANY: &'static str = "SHA-256 of certificates";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let digits = text.replace(':', "").to_ascii_lowercase();
        if let Some(letter) = digits.chars().find(|letter| !letter.is_ascii_hexdigit()) {
            return Err(Refusal::because(format!("`{letter}` is no hexadecimal digit")).help(FINGERPRINT_HELP));
        }
        match digits.len() {
            64 => Ok(Fingerprint(digits)),
            count => Err(Refusal::because(format!("it has {count} digits")).help(FINGERPRINT_HELP)),
        }
    }
}

const FINGERPRINT_HELP: &str = "`openssl x509 -in cert.pem -noout -fingerprint -sha256` writes it";

super::serialize_as_text!(FilePath, AlpnName, ServerName, SanText, Fingerprint);
