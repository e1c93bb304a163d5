//! The request that is sent again and again.

use codecs::http::h1::emit;
use codecs::http::h2::{FieldLine, RequestLine};
use codecs::http::{is_field_name, is_field_value};

use super::job::{Exchange, Job};
use super::target::Target;

/// Largest request body: every core keeps a copy of it.
const BODY_BYTES_MAX: u64 = 1 << 30;
/// Bytes before a message of gRPC: not compressed, and its length.
const GRPC_PREFIX_BYTES: usize = 5;
/// Any key will do, as a client need only see that the server knows what to make of it.
pub(crate) const WEBSOCKET_KEY: &str = "bG9hZGdlbiBzYXlzIGhpIQ==";

/// A request's head as HTTP/2 sends it.
#[derive(Debug, Default)]
pub(crate) struct Head {
    method: String,
    scheme: &'static str,
    authority: String,
    path: String,
    protocol: Option<&'static str>,
    fields: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn line(&self) -> RequestLine<'_> {
        RequestLine {
            method: self.method.as_bytes(),
            scheme: self.scheme.as_bytes(),
            authority: self.authority.as_bytes(),
            path: self.path.as_bytes(),
            protocol: self.protocol.map(str::as_bytes),
        }
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = FieldLine<'_>> {
        self.fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes(), false))
    }
}

pub(super) struct Built {
    pub(super) head: Head,
    pub(super) bytes: Vec<u8>,
    pub(super) message: Vec<u8>,
}

pub(super) fn build(job: &Job<'_>, target: &Target) -> Result<Built, String> {
    let exchange = job.exchange;
    let body = body(job)?;
    let given = given_fields(&job.load.headers)?;
    let content_length = match &body {
        Some(body) if matches!(exchange, Exchange::Http1 | Exchange::Http2) => Some(body.len()),
        _ => None,
    };
    let mut fields = defaults(exchange, job.new_connections);
    fields.retain(|(name, _)| !given.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)));
    let host = given.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !exchange.has_streams() {
        if host.is_none() {
            fields.insert(0, ("host", target.authority.clone()));
        }
        fields.extend(given.iter().map(|(name, value)| (*name, (*value).to_owned())));
        let mut bytes = http1(job.method, target, &fields, content_length);
        let message = body.unwrap_or_default();
        if exchange == Exchange::Http1 {
            bytes.extend_from_slice(&message);
        }
        return Ok(Built { head: Head::default(), bytes, message });
    }
    let others = given.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    fields.extend(others.map(|(name, value)| (*name, (*value).to_owned())));
    fields.extend(content_length.map(|bytes| ("content-length", bytes.to_string())));
    let head = Head {
        method: job.method.to_owned(),
        scheme: if target.tls { "https" } else { "http" },
        authority: host.map_or_else(|| target.authority.clone(), |(_, value)| (*value).to_owned()),
        path: target.path.clone(),
        protocol: (exchange == Exchange::WebSocketH2).then_some("websocket"),
        fields: fields.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect(),
    };
    let body = body.unwrap_or_default();
    Ok(match exchange {
        Exchange::WebSocketH2 => Built { head, bytes: Vec::new(), message: body },
        Exchange::Grpc => Built { head, bytes: grpc_message(&body), message: Vec::new() },
        _ => Built { head, bytes: body, message: Vec::new() },
    })
}

fn grpc_message(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(GRPC_PREFIX_BYTES + message.len());
    out.push(0);
    // A body is far below 4 GiB.
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

/// The fields that are sent if the user doesn't say otherwise.
fn defaults(exchange: Exchange, new_connections: bool) -> Vec<(&'static str, String)> {
    let agent = concat!("loadgen/", env!("CARGO_PKG_VERSION"));
    let fields: &[(&str, &str)] = match exchange {
        Exchange::Http1 if new_connections => &[("user-agent", agent), ("accept", "*/*"), ("connection", "close")],
        Exchange::Http1 | Exchange::Http2 => &[("user-agent", agent), ("accept", "*/*")],
        Exchange::Grpc => &[("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", agent)],
        Exchange::WebSocket => &[
            ("user-agent", agent),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", WEBSOCKET_KEY),
        ],
        Exchange::WebSocketH2 => &[("user-agent", agent), ("sec-websocket-version", "13")],
    };
    fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn http1(method: &str, target: &Target, fields: &[(&str, String)], content_length: Option<usize>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + content_length.unwrap_or(0));
    emit::request_line(&mut out, method.as_bytes(), target.path.as_bytes());
    for (name, value) in fields {
        emit::field(&mut out, name.as_bytes(), value.as_bytes());
    }
    if let Some(bytes) = content_length {
        emit::content_length(&mut out, bytes as u64);
    }
    emit::end_of_head(&mut out);
    out
}

fn given_fields(lines: &[String]) -> Result<Vec<(&str, &str)>, String> {
    let fields = lines.iter().map(|line| parse_field(line)).collect::<Result<Vec<_>, _>>()?;
    let given = |name: &str| fields.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    if given("content-length") || given("transfer-encoding") {
        return Err("the body's length is --body's or --body-bytes' business, not a header's".into());
    }
    Ok(fields)
}

fn parse_field(line: &str) -> Result<(&str, &str), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("`{line}` is no header; expected `Name: value`"))?;
    let value = value.trim();
    if !is_field_name(name.as_bytes()) || !is_field_value(value.as_bytes()) {
        return Err(format!("`{line}` is no header; expected `Name: value`"));
    }
    Ok((name, value))
}

fn body(job: &Job<'_>) -> Result<Option<Vec<u8>>, String> {
    let too_large = |bytes: u64| match bytes > BODY_BYTES_MAX {
        true => Err(format!("a body of {bytes} bytes is too large; at most {BODY_BYTES_MAX}")),
        false => Ok(()),
    };
    if let Some(path) = job.body {
        let unreadable = |error| format!("can't read {}: {error}", path.display());
        too_large(std::fs::metadata(path).map_err(unreadable)?.len())?;
        let body = std::fs::read(path).map_err(unreadable)?;
        too_large(body.len() as u64)?;
        return Ok(Some(body));
    }
    job.load.body_bytes.map(|bytes| too_large(bytes).map(|()| vec![b'x'; bytes as usize])).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    fn built(line: &str) -> Result<Built, String> {
        let command = Cli::parse_from(line.split('|')).command;
        let job = match &command {
            Command::Http(arguments) => Job::http(arguments)?,
            Command::Grpc(arguments) => Job::grpc(arguments)?,
            Command::Ws(arguments) => Job::ws(arguments)?,
            Command::Origin(_) => panic!("no client"),
        };
        let target = Target::parse(job.url, job.exchange.schemes()).expect("a target");
        build(&job, &target)
    }

    fn text(line: &str) -> String {
        String::from_utf8(built(line).expect("a request").bytes).expect("text")
    }

    #[test]
    fn a_request_has_what_servers_need_and_fields_of_the_user_replace_defaults() {
        let request = text("loadgen|http|http://h:1/p?q|-H|Host: other|-H|X-A:  b ");
        let version = env!("CARGO_PKG_VERSION");
        let fields = format!("user-agent: loadgen/{version}\r\naccept: */*\r\nHost: other\r\nX-A: b\r\n\r\n");
        assert_eq!(request, format!("GET /p?q HTTP/1.1\r\n{fields}"));
        let request = text("loadgen|http|http://h:1|--method|POST|--body-bytes|3|--new-connections");
        assert!(request.starts_with("POST / HTTP/1.1\r\nhost: h:1\r\n"), "{request}");
        assert!(request.ends_with("connection: close\r\ncontent-length: 3\r\n\r\nxxx"), "{request}");
    }

    #[test]
    fn in_http_2_the_host_is_the_authority() {
        let built =
            built("loadgen|http|https://h:1/p|--h2|--body-bytes|3|-H|Host: other|-H|X-A: b").expect("a request");
        let head = built.head;
        assert_eq!(
            (head.scheme, &*head.authority, &*head.path, built.bytes),
            ("https", "other", "/p", b"xxx".to_vec())
        );
        let names: Vec<&str> = head.fields.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["user-agent", "accept", "x-a", "content-length"]);
    }

    #[test]
    fn a_call_has_its_message_behind_a_length_and_a_websocket_has_its_key() {
        let call = built("loadgen|grpc|http://h/a.B/C|--body-bytes|2").expect("a request");
        assert_eq!((call.bytes, &*call.head.method), (b"\0\0\0\0\x02xx".to_vec(), "POST"));
        assert!(call.head.fields.contains(&("te".into(), "trailers".into())));
        let request = text("loadgen|ws|ws://h/echo|--body-bytes|2");
        assert!(request.contains("\r\nsec-websocket-key: ") && request.ends_with("\r\n\r\n"), "{request}");
    }

    #[test]
    fn fields_that_would_break_the_request_are_refused() {
        for field in ["no colon", "a b: c", "a: b\r\nc: d", "Content-Length: 3", "transfer-encoding: chunked"] {
            assert!(built(&format!("loadgen|http|http://h|-H|{field}")).is_err(), "{field}");
        }
        assert!(built("loadgen|http|http://h|--body|/nonexistent/file").is_err());
        assert!(built("loadgen|http|http://h|--body-bytes|2G").is_err());
        assert!(built("loadgen|http|http://h|-m|2").is_err());
        assert!(built("loadgen|http|http://h|--h2|-m|2|--new-connections").is_err());
    }
}
