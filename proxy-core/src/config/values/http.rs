//! Parts of HTTP messages that users write: names, values, hosts, paths, patterns.

use super::address::check_hostname;
use super::{Refusal, Text};

/// RFC 9110 5.6.2.
fn is_token(text: &str) -> bool {
    let special = |b| b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || special(b))
}

/// A field name that a config may set, add or remove: any token but those that frame messages or belong to one hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FieldName(pub String);

/// Fields that the proxy itself answers for; editing them would break framing or routing (RFC 9110 7.6.1, 9112 6).
const REFUSED: [(&str, &str); 11] = [
    ("content-length", "it frames the message"),
    ("transfer-encoding", "it frames the message"),
    ("connection", "it belongs to one hop"),
    ("keep-alive", "it belongs to one hop"),
    ("proxy-connection", "it belongs to one hop"),
    ("te", "it belongs to one hop"),
    ("trailer", "it frames the message"),
    ("upgrade", "it belongs to one hop"),
    ("http2-settings", "it belongs to one hop"),
    ("expect", "the proxy answers for it"),
    ("host", "it names the target"),
];

impl Text for FieldName {
    const ONE: &'static str = "a header name";
    const MANY: &'static str = "header names";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let name = text.to_ascii_lowercase();
        if let Some(bare) = name.strip_suffix(':').filter(|bare| is_token(bare)) {
            return Err(Refusal::because("a header name has no colon here").mean(bare));
        }
        if !is_token(&name) {
            return Err(Refusal::default());
        }
        match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some(("host", why)) => {
                let refusal = Refusal::because(format!("this header can't be edited: {why}"));
                Err(refusal.help("`host_rewrite` on the route replaces it"))
            }
            Some((_, why)) => Err(Refusal::because(format!("this header can't be edited: {why}"))),
            None => Ok(FieldName(name)),
        }
    }
}

/// A field value (RFC 9110 5.5): no control characters, no space around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue(pub String);

const FIELD_VALUE_BYTES_MAX: usize = 8 << 10;

impl Text for FieldValue {
    const ONE: &'static str = "a header value";
    const MANY: &'static str = "header values";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if let Some(control) = text.chars().find(|c| c.is_control() && *c != '\t') {
            return Err(Refusal::because(format!("a header value can't contain {:?}", control)));
        }
        if text.trim_matches([' ', '\t']) != text {
            return Err(Refusal::because("a header value can't start or end with a space").mean(text.trim()));
        }
        if text.len() > FIELD_VALUE_BYTES_MAX {
            return Err(Refusal::because(format!("a header value can have {FIELD_VALUE_BYTES_MAX} bytes at most")));
        }
        Ok(FieldValue(text.to_string()))
    }
}

/// A token: an upgrade protocol, a pseudonym in `via`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenText(pub String);

impl Text for TokenText {
    const ONE: &'static str = "a token: letters, digits and signs, no spaces";
    const MANY: &'static str = "tokens";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if is_token(text) { Ok(TokenText(text.to_string())) } else { Err(Refusal::default()) }
    }
}

/// A field name to match on, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatchName(pub String);

impl Text for MatchName {
    const ONE: &'static str = "a header name, `:authority`, `:method` or `:path`";
    const MANY: &'static str = "header names";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if let Some(bare) = text.strip_suffix(':').filter(|bare| is_token(bare)) {
            return Err(Refusal::because("a header name has no colon here").mean(bare));
        }
        // Pseudo-fields of the neutral HTTP model may be matched on, too.
        let bare = match text {
            ":authority" | ":method" | ":path" => &text[1..],
            text => text,
        };
        if is_token(bare) { Ok(MatchName(text.to_string())) } else { Err(Refusal::default()) }
    }
}

/// A method. Case matters (RFC 9110 9.1), so a lower-case one is a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub String);

impl Text for Method {
    const ONE: &'static str = "a method such as `GET`";
    const MANY: &'static str = "methods";

    fn parse(text: &str) -> Result<Self, Refusal> {
        const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        let upper = text.to_ascii_uppercase();
        if text != upper && KNOWN.contains(&upper.as_str()) {
            return Err(Refusal::because("methods are written in capitals").mean(upper));
        }
        if is_token(text) { Ok(Method(text.to_string())) } else { Err(Refusal::default()) }
    }
}

/// Which hosts a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`
    Any,
    /// Lower case, without port: "api.example.com".
    Exact(String),
    /// `*.example.com` as ".example.com".
    Suffix(String),
}

impl Text for HostPattern {
    const ONE: &'static str = "a host such as `api.example.com`, `*.example.com` or `*`";
    const MANY: &'static str = "hosts";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let host = text.to_ascii_lowercase();
        if host == "*" {
            return Ok(HostPattern::Any);
        }
        if let Some((_, bare)) = host.split_once("://") {
            return Err(Refusal::because("a host has no scheme").mean(bare.split('/').next().unwrap_or(bare)));
        }
        if let Some((bare, rest)) = host.split_once('/').filter(|(bare, _)| !bare.is_empty()) {
            let refusal = Refusal::because("a host has no path");
            return Err(refusal.help(format!("write `host: {bare}, prefix: /{rest}`")));
        }
        if let Ok(ip) = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
            let text = if ip.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
            return Ok(HostPattern::Exact(text));
        }
        if let Some((bare, port)) = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()) {
            return Err(Refusal::because(format!("hosts are matched without the port {port}")).mean(bare));
        }
        if let Some(suffix) = host.strip_prefix("*.") {
            check_hostname(suffix)?;
            return Ok(HostPattern::Suffix(format!(".{suffix}")));
        }
        if let Some(suffix) = host.strip_prefix('.') {
            return Err(Refusal::because("a host can't start with a dot").mean(format!("*.{suffix}")));
        }
        if host.contains('*') {
            return Err(Refusal::because("`*` can only stand alone or before the first dot"));
        }
        check_hostname(&host)?;
        Ok(HostPattern::Exact(host))
    }
}

impl serde::Serialize for HostPattern {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            HostPattern::Any => serializer.serialize_str("*"),
            HostPattern::Exact(host) => serializer.serialize_str(host),
            HostPattern::Suffix(suffix) => serializer.collect_str(&format_args!("*{suffix}")),
        }
    }
}

/// The value of a Host field or the authority of a redirect: a host, perhaps with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostHeader(pub String);

impl Text for HostHeader {
    const ONE: &'static str = "a host such as `app.internal` or `app.internal:8080`";
    const MANY: &'static str = "hosts";

    fn parse(text: &str) -> Result<Self, Refusal> {
        if let Some((_, bare)) = text.split_once("://") {
            return Err(Refusal::because("a host has no scheme").mean(bare.split('/').next().unwrap_or(bare)));
        }
        if text.parse::<std::net::SocketAddr>().is_ok() || text.parse::<std::net::Ipv4Addr>().is_ok() {
            return Ok(HostHeader(text.to_string()));
        }
        if let Some(bare) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return bare
                .parse::<std::net::Ipv6Addr>()
                .map(|_| HostHeader(text.to_string()))
                .map_err(|_| Refusal::default());
        }
        let host = match text.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            Some((_, port)) => return Err(Refusal::because(format!("`{port}` is no port"))),
            None => text,
        };
        check_hostname(host)?;
        Ok(HostHeader(text.to_string()))
    }
}

/// A path or its beginning: "/v1".
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(pub String);

impl Text for Path {
    const ONE: &'static str = "a path such as `/v1`";
    const MANY: &'static str = "paths";

    fn pattern() -> Option<&'static str> {
        Some("^/[^?# ]*$")
    }

    fn parse(text: &str) -> Result<Self, Refusal> {
        if let Some((path, _)) = text.split_once('?').filter(|(path, _)| path.starts_with('/')) {
            return Err(Refusal::because("the query isn't part of the path").mean(path));
        }
        if !text.starts_with('/') {
            return Err(Refusal::because("a path starts with `/`").mean(format!("/{text}")));
        }
        match text.chars().find(|c| *c == '#' || *c == ' ' || c.is_control()) {
            Some(wrong) => Err(Refusal::because(format!("a path can't contain {wrong:?}"))),
            None => Ok(Path(text.to_string())),
        }
    }
}

/// A regular expression, kept as written; it matches the whole of what it is applied to.
#[derive(Clone, Debug)]
pub struct Regex {
    pub text: String,
    pub compiled: regex::bytes::Regex,
}

/// Bounds the memory of one compiled pattern.
const REGEX_BYTES_MAX: usize = 1 << 20;

impl Text for Regex {
    const ONE: &'static str = "a regular expression";
    const MANY: &'static str = "regular expressions";

    fn parse(text: &str) -> Result<Self, Refusal> {
        let build = |pattern: &str| regex::bytes::RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build();
        // First alone, so that an error is told in the user's own text.
        build(text).map_err(|error| Refusal::because(regex_error(&error)))?;
        let compiled = build(&format!("^(?:{text})$")).map_err(|error| Refusal::because(regex_error(&error)))?;
        Ok(Regex { text: text.to_string(), compiled })
    }
}

/// The last line of the crate's drawing says what is wrong.
fn regex_error(error: &regex::Error) -> String {
    let text = match error {
        regex::Error::CompiledTooBig(limit) => format!("it compiles to more than {limit} bytes"),
        error => error.to_string(),
    };
    let last = text.lines().last().unwrap_or_default().trim();
    last.strip_prefix("error: ").unwrap_or(last).to_string()
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl serde::Serialize for Regex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

super::serialize_as_text!(FieldName, FieldValue, TokenText, MatchName, Method, HostHeader, Path);
