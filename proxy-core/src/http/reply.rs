//! Replies of our own: direct responses, redirects, faults.

use codecs::http::h1::emit;
use codecs::http::h2::text_lines;
use codecs::http::{FieldId, Method, standard_reason};

use super::client::Client;
use super::exchange::Exchange;
use super::{added, discard, headers};
use crate::fault::{Fault, Outcome};
use crate::log::Point;
use crate::snapshot::{Direct, HeaderEdits, Redirect, Route};
use crate::stats::HttpStat;

const PLAIN: &str = "text/plain";

impl Exchange<'_> {
    pub(super) fn reply_direct(&mut self, route: &Route, direct: &Direct) {
        self.config.serve_stats.inc(HttpStat::RqDirectResponse);
        self.seen.details = "direct_response";
        let body = direct.body.as_slice();
        if self.grpc.is_call {
            return self.reply_call_as(direct.status, body, &[], &route.response_headers);
        }
        self.reply(direct.status, body, &direct.content_type, &[], Some(&route.response_headers));
    }

    pub(super) fn reply_redirect(&mut self, route: &Route, redirect: &Redirect) {
        self.config.serve_stats.inc(HttpStat::RqRedirect);
        self.seen.details = "direct_response";
        let location = self.location(route, redirect);
        let extra: [(&[u8], &[u8]); 1] = [(b"location", &location)];
        if self.grpc.is_call {
            return self.reply_call_as(redirect.status, b"", &extra, &route.response_headers);
        }
        self.reply(redirect.status, b"", PLAIN, &extra, Some(&route.response_headers));
    }

    /// The scheme of the client's own connection, as far as that is known.
    pub(super) fn scheme(&self) -> &'static str {
        let (head, input) = (&self.scratch.request, self.scratch.request_input.bytes());
        added::scheme(head, input, &self.http.forwarding, self.downstream.socket.scheme())
    }

    /// Sends the client to the path that the request has by now.
    pub(super) fn reply_moved(&mut self, status: u16) {
        let (head, input) = (&self.scratch.request, self.scratch.request_input.bytes());
        // Whole, so that a path that begins with two slashes names no host.
        let parts = [self.scheme().as_bytes(), b"://", head.authority.of(input), head.path.of(input)];
        let location = parts.concat();
        self.reply(status, b"", PLAIN, &[(b"location", &location)], None);
    }

    fn location(&self, route: &Route, redirect: &Redirect) -> Vec<u8> {
        let (head, input) = (&self.scratch.request, self.scratch.request_input.bytes());
        let scheme = redirect.scheme.as_deref().unwrap_or(self.scheme());
        let authority = head.authority.of(input);
        let (host, port) = split_port(authority);
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(redirect.host.as_deref().map_or(host, str::as_bytes));
        // The old port goes with the old host and scheme only.
        let keep_port = redirect.host.is_none() && redirect.scheme.is_none();
        match redirect.port {
            Some(port) => {
                out.push(b':');
                emit::decimal(&mut out, u64::from(port));
            }
            None if keep_port && !port.is_empty() => {
                out.push(b':');
                out.extend_from_slice(port);
            }
            None => {}
        }
        let from = out.len();
        match (&redirect.path, &redirect.prefix_rewrite) {
            (Some(path), _) => {
                out.extend_from_slice(path.as_bytes());
                if !path.contains('?') {
                    out.extend_from_slice(&input[head.query_start as usize..head.path.end as usize]);
                }
            }
            (None, Some(rewrite)) => headers::rewrite_path(&mut out, head, input, route, rewrite),
            (None, None) => out.extend_from_slice(head.path.of(input)),
        }
        if redirect.strip_query
            && redirect.path.as_ref().is_none_or(|path| !path.contains('?'))
            && let Some(at) = memchr::memchr(b'?', &out[from..])
        {
            out.truncate(from + at);
        }
        out
    }

    pub(super) fn reply_fault(&mut self, outcome: &Outcome, fault: Fault) {
        let overloaded: &[(&[u8], &[u8])] = match fault {
            Fault::Overflow => &[(b"x-envoy-overloaded", b"true")],
            Fault::Overloaded => &[(b"x-envoy-local-overloaded", b"true")],
            Fault::ConnectRefused => &[(b"allow", b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH")],
            _ => &[],
        };
        if self.grpc.is_call {
            return self.reply_call_fault(outcome, fault, overloaded);
        }
        self.reply(outcome.status, outcome.body.as_bytes(), PLAIN, overloaded, None);
    }

    /// What a reply of our own means for the connection.
    pub(super) fn before_reply(&mut self) {
        if self.keep_alive && self.downstream.listener.closing() {
            self.keep_alive = false;
            self.config.serve_stats.inc(self.downstream.listener.closing_stat());
        }
        if !self.keep_alive || self.request_done || self.stream().is_some() {
            return;
        }
        // A body that the client holds back until it gets a 100 can't be waited for, and one that may be too long to read
        // isn't: the client hears so now, before it sends another request behind it.
        let request = &self.scratch.request;
        let may_come = !request.expect_continue && discard::is_worth_reading(request.body);
        if !may_come {
            self.discard_arrived(&mut 0);
            self.keep_alive = self.request_done;
        }
    }

    fn reply(
        &mut self,
        status: u16,
        body: &[u8],
        content_type: &str,
        extra: &[(&[u8], &[u8])],
        edits: Option<&HeaderEdits>,
    ) {
        let world = &self.downstream.world;
        let head_only = self.scratch.request.method == Method::Head;
        let bodyless = matches!(status, 100..=199 | 204 | 304);
        self.before_reply();
        let old_client = self.old_client();
        let is_stream = self.stream().is_some();
        let out = &mut self.scratch.out;
        out.clear();
        if !is_stream {
            emit::status_line(out, status, standard_reason(status).as_bytes());
        }
        if !bodyless {
            emit::content_length(out, body.len() as u64);
            if !body.is_empty() {
                emit::field(out, b"content-type", content_type.as_bytes());
            }
        }
        if headers::is_kept(edits, FieldId::Date.name()) {
            world.emit_date(out);
        }
        if headers::is_kept(edits, FieldId::Server.name()) {
            emit::field(out, b"server", self.http.server_name.as_deref().unwrap_or("corelane").as_bytes());
        }
        for (name, value) in extra {
            emit::field(out, name, value);
        }
        if let Some(edits) = edits {
            headers::add_edits(out, edits);
        }
        if !is_stream {
            headers::emit_connection(out, self.keep_alive, old_client);
            emit::end_of_head(out);
        }
        self.seen.response_head_bytes = out.len() as u64;
        let body = if head_only || bodyless { b"" } else { body };
        if !is_stream {
            out.extend_from_slice(body);
        }
        self.seen.response_body_bytes = body.len() as u64;
        self.seen.sent_bytes += out.len() as u64;
        self.seen.status = status;
        self.seen.timing.mark(Point::ResponseBegin, world.core.now_us());
        self.response_started = true;
        match &self.client {
            Client::Http1 => self.downstream.socket.send(out),
            Client::Http2(stream) => {
                stream.send_response(status, text_lines(out), body.is_empty());
                if !body.is_empty() {
                    stream.send_slice(world.core.own(Box::from(body)));
                    stream.finish(None);
                }
            }
        }
    }
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
pub(super) fn split_port(authority: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memrchr(b':', authority) {
        Some(at) if authority[at + 1..].iter().all(u8::is_ascii_digit) => (&authority[..at], &authority[at + 1..]),
        _ => (authority, b""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_what_follows_the_last_colon_if_it_is_digits() {
        assert_eq!(split_port(b"example.com:8080"), (&b"example.com"[..], &b"8080"[..]));
        assert_eq!(split_port(b"example.com"), (&b"example.com"[..], &b""[..]));
        assert_eq!(split_port(b"[::1]:80"), (&b"[::1]"[..], &b"80"[..]));
        assert_eq!(split_port(b"[::1]"), (&b"[::1]"[..], &b""[..]));
    }
}
