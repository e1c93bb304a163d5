//! What to load: a URL, and the address behind it.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// A name with several addresses: how long each is tried before the run settles for one.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(1);

/// A URL taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) tls: bool,
    /// Name or address, without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Value of `Host`: the URL's authority.
    pub(crate) authority: String,
    /// Path and query, at least `/`.
    pub(crate) path: String,
}

impl Target {
    /// `schemes`: those that are allowed, without and with TLS; the first is meant when there is none.
    pub(crate) fn parse(url: &str, schemes: [&str; 2]) -> Result<Target, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or((schemes[0], url));
        let Some(tls) = schemes.iter().position(|known| scheme.eq_ignore_ascii_case(known)) else {
            let [plain, tls] = schemes;
            return Err(format!("`{scheme}` URLs aren't supported; expected {plain}:// or {tls}://host:port/path"));
        };
        let tls = tls == 1;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.contains('@') {
            return Err("a user name in the URL isn't sent; use -H 'Authorization: …'".into());
        }
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("`{path}` has characters that must be percent-encoded"));
        }
        let (host, port) = host_and_port(authority).ok_or_else(|| format!("`{authority}` is no host and port"))?;
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        Ok(Target { tls, host: host.to_owned(), port, authority: authority.to_owned(), path })
    }

    /// The address to connect to. Of several, the first that accepts a connection; if none does, the first: the run then
    /// shows why.
    pub(crate) fn resolve(&self) -> Result<SocketAddr, String> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let addresses: Vec<SocketAddr> =
            found.map_err(|error| format!("can't resolve {}: {error}", self.host))?.collect();
        let first = *addresses.first().ok_or_else(|| format!("{} has no address", self.host))?;
        if addresses.len() == 1 {
            return Ok(first);
        }
        let accepts = |address: &&SocketAddr| TcpStream::connect_timeout(address, TRIAL_TIMEOUT).is_ok();
        Ok(addresses.iter().find(accepts).copied().unwrap_or(first))
    }
}

fn host_and_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
        }
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    let valid = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
    let port = match port {
        Some(port) => Some(port.parse().ok().filter(|port| *port > 0)?),
        None => None,
    };
    valid.then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: [&str; 2] = ["http", "https"];

    #[test]
    fn urls_are_taken_apart() {
        for (url, host, port, authority, path) in [
            ("http://example.com", "example.com", 80, "example.com", "/"),
            ("http://127.0.0.1:8080/a/b?c=d#e", "127.0.0.1", 8080, "127.0.0.1:8080", "/a/b?c=d"),
            ("HTTP://[::1]:81?x", "::1", 81, "[::1]:81", "/?x"),
            ("localhost:9000/x", "localhost", 9000, "localhost:9000", "/x"),
            ("https://localhost", "localhost", 443, "localhost", "/"),
        ] {
            let target = Target::parse(url, HTTP).expect(url);
            assert_eq!((target.host.as_str(), target.port), (host, port), "{url}");
            assert_eq!(target.tls, url.starts_with("https"));
            assert_eq!((target.authority.as_str(), target.path.as_str()), (authority, path), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_requested_is_refused() {
        for url in [
            "wss://a",
            "http://",
            "http://a:0",
            "http://a:x",
            "http://a:99999",
            "http://[::1",
            "http://u@a",
            "http://a/b c",
            "http://[nonsense]:80",
            "ftp://a",
        ] {
            assert!(Target::parse(url, HTTP).is_err(), "{url}");
        }
    }
}
