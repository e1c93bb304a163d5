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

super::serialize_as_text!(FilePath, AlpnName, ServerName, SanText);
