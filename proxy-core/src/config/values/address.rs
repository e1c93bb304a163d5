//! Addresses to listen on and to connect to.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Refusal, Text};

/// An IP address with a port, to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address(pub SocketAddr);

impl Text for Address {
    const ONE: &'static str = "an IP address and port such as `0.0.0.0:8080` or `[::]:8080`";
    const MANY: &'static str = "IP addresses with ports";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Address(address));
        }
        if let Ok(port) = text.parse::<u16>() {
            return Err(without_ip(port));
        }
        match split(text)? {
            ("" | "*", port) => Err(without_ip(port)),
            ("localhost", port) => {
                Err(Refusal::because("a listener needs an IP address").mean(format!("127.0.0.1:{port}")))
            }
            (host, _) if looks_like_ipv4(host) => Err(Refusal::because(format!("`{host}` is no IPv4 address"))),
            (host, _) => Err(Refusal::because(format!("`{host}` is no IP address, and a listener needs one"))),
        }
    }
}

fn without_ip(port: u16) -> Refusal {
    let refusal = Refusal::because("the IP address is missing");
    refusal.help(format!("`0.0.0.0:{port}` is every IPv4 address, `127.0.0.1:{port}` only reachable from this machine"))
}

/// Splits "host:port" and checks the port; the host may be anything.
fn split(text: &str) -> Result<(&str, u16), Refusal> {
    if let Some(stripped) = text.strip_prefix("http://").or(text.strip_prefix("https://")) {
        let stripped = stripped.trim_end_matches('/');
        return Err(Refusal::because("an address has no scheme").mean(stripped));
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let meant = SocketAddr::new(ip, 8080);
        return Err(Refusal::because("the port is missing").help(format!("write it after a colon: `{meant}`")));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(Refusal::because("the port is missing").help(format!("write it after a colon: `{text}:8080`")));
    };
    match port.parse::<u16>() {
        Ok(port) => Ok((host, port)),
        Err(_) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            Err(Refusal::because(format!("port {port} is too large")).help("ports go from 1 to 65535"))
        }
        Err(_) => Err(Refusal::because(format!("`{port}` is no port"))),
    }
}

fn looks_like_ipv4(host: &str) -> bool {
    !host.is_empty() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// Where an endpoint is: an IP address, or a name that the control thread resolves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointAddress {
    Ip(SocketAddr),
    Name { host: String, port: u16 },
}

impl Text for EndpointAddress {
    const ONE: &'static str = "an address such as `10.0.0.7:8080`, `[2001:db8::7]:8080` or `app.internal:8080`";
    const MANY: &'static str = "addresses";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(Refusal::because("nothing can be reached at port 0"));
            }
            return Ok(EndpointAddress::Ip(address));
        }
        let (host, port) = split(text)?;
        if port == 0 {
            return Err(Refusal::because("nothing can be reached at port 0"));
        }
        if host.is_empty() {
            return Err(Refusal::because("the host is missing").mean(format!("127.0.0.1:{port}")));
        }
        if looks_like_ipv4(host) {
            return Err(Refusal::because(format!("`{host}` is no IPv4 address")));
        }
        check_hostname(host)?;
        Ok(EndpointAddress::Name { host: host.to_ascii_lowercase(), port })
    }
}

/// RFC 1123 names, and `_` because people use it.
pub(super) fn check_hostname(host: &str) -> Result<(), Refusal> {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match host.len() <= 253 && labels.split('.').all(label) {
        true => Ok(()),
        false => Err(Refusal::because(format!("`{host}` is no host name"))),
    }
}

impl fmt::Display for EndpointAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointAddress::Ip(address) => address.fmt(f),
            EndpointAddress::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl serde::Serialize for EndpointAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

super::serialize_as_text!(Address);
