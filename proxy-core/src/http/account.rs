//! The end of an exchange: counters and the access log.

use std::net::{IpAddr, SocketAddr};

use codecs::http::{FieldId, RequestHead, Span, Version};

use super::Scratch;
use super::exchange::Exchange;
use crate::log::{self, Point, Protocol, Record};
use crate::snapshot::{Action, Forwarding};
use crate::stats::HttpStat;

impl Exchange<'_> {
    pub(super) fn account(&mut self) {
        let core = &self.downstream.world.core;
        let stats = &self.config.serve_stats;
        let took_us = core.now_us() - self.began_us;
        stats.add(HttpStat::DownstreamCxRxBytesTotal, self.seen.received_bytes);
        stats.add(HttpStat::DownstreamCxTxBytesTotal, self.seen.sent_bytes);
        let begun = self.seen.timing.get(Point::RequestHeadEnd).is_some();
        if begun {
            stats.gauge_dec(HttpStat::DownstreamRqActive);
        }
        if self.grpc.is_call && begun {
            self.count_call();
        }
        if self.seen.status > 0 {
            stats.inc(HttpStat::DownstreamRqCompleted);
            stats.status(self.seen.status);
            stats.observe_us(HttpStat::DownstreamRqTime, took_us);
        }
        // A connection that sent a beginning and left isn't worth a line; a request or an answer is.
        if !self.http.access_logs.is_empty() && (begun || self.seen.status > 0) {
            self.seen.timing.mark(Point::ResponseEnd, core.now_us());
            self.log(took_us);
        }
    }

    fn log(&self, took_us: u64) {
        let (downstream, seen) = (self.downstream, &self.seen);
        let core = &downstream.world.core;
        let snapshot = &self.config.generation.snapshot;
        let scheme = self.scheme();
        let forwarding = &self.http.forwarding;
        let outside = forwarding.use_remote_address && forwarding.trusted_hops == 0;
        let fields = LoggedFields { scratch: &self.scratch, scheme, original_path: seen.original_path, outside };
        let route = seen.route.map(|at| &self.http.routes.routes[at as usize]);
        let mut record = Record::new(&fields);
        record.duration_us = took_us;
        record.start_unix_us = core.unix_us().saturating_sub(took_us);
        record.timing = seen.timing;
        record.protocol = Some(match self.scratch.request.version {
            Version::Http10 => Protocol::Http10,
            Version::Http11 => Protocol::Http11,
            Version::Http2 => Protocol::Http2,
        });
        record.status = seen.status;
        record.grpc_status = self.grpc.status;
        record.status_details = seen.details;
        record.flags = seen.flags;
        record.bytes_received = seen.request_body_bytes;
        record.bytes_sent = seen.response_body_bytes;
        record.request_head_bytes = seen.request_head_bytes;
        record.response_head_bytes = seen.response_head_bytes;
        record.downstream_wire_bytes_received = seen.received_bytes;
        record.downstream_wire_bytes_sent = seen.sent_bytes;
        record.listener = &self.config.listener.name;
        if let Some(route) = route {
            record.route = &route.name;
            if let Action::Forward(forward) = &route.action {
                record.cluster = &snapshot.clusters[forward.cluster as usize].name;
            }
        }
        record.upstream = seen.upstream;
        record.upstream_name = &seen.upstream_name;
        record.upstream_protocol = seen.upstream.map(|_| match self.scratch.response.version {
            Version::Http2 => Protocol::Http2,
            Version::Http10 | Version::Http11 => Protocol::Http11,
        });
        record.attempts = seen.attempts;
        record.upstream_failure = seen.upstream_failure.as_deref().unwrap_or_default();
        if let Some(facts) = &seen.upstream_tls {
            facts.log_upstream(&mut record);
        }
        let input = self.scratch.request_input.bytes();
        record.downstream_remote =
            Some(client_address(&self.http.forwarding, &self.scratch.request, input, downstream.remote));
        record.downstream_direct_remote = Some(downstream.direct_remote);
        record.downstream_local = Some(downstream.local);
        record.connection_id = downstream.id;
        downstream.log_tls(&mut record);
        record.stream_id = downstream.world.next_id();
        let mut sink = downstream.world.log.borrow_mut();
        for log in &self.http.access_logs {
            sink.write(&snapshot.logs[*log as usize], &record);
        }
    }
}

/// The client's address as far as it can be trusted: the peer's, or with trusted proxies in front the entry of
/// x-forwarded-for that the outermost of them wrote. Without `use_remote_address` the rightmost entry counts.
pub(super) fn client_address(
    forwarding: &Forwarding,
    head: &RequestHead,
    input: &[u8],
    peer: SocketAddr,
) -> SocketAddr {
    let from_right = match (forwarding.use_remote_address, forwarding.trusted_hops) {
        (true, 0) => return peer,
        (true, hops) => hops as usize - 1,
        (false, hops) => hops as usize,
    };
    let values = head.fields.iter().filter(|field| field.id == FieldId::XForwardedFor).rev();
    let mut entries = values.flat_map(|field| field.value.of(input).rsplit(|byte| *byte == b','));
    let entry = entries.nth(from_right).and_then(|entry| std::str::from_utf8(entry.trim_ascii()).ok());
    entry.and_then(|entry| entry.parse::<IpAddr>().ok()).map_or(peer, |ip| SocketAddr::new(ip, 0))
}

struct LoggedFields<'a> {
    scratch: &'a Scratch,
    scheme: &'static str,
    original_path: Option<Span>,
    /// Nobody in front of us is trusted to have changed the path.
    outside: bool,
}

impl log::Fields for LoggedFields<'_> {
    fn request(&self, name: &[u8]) -> Option<&[u8]> {
        let (head, input) = (&self.scratch.request, self.scratch.request_input.bytes());
        match name {
            b":method" => Some(head.method_span.of(input)),
            b":path" => Some(head.path.of(input)),
            b":authority" => Some(head.authority.of(input)),
            b":scheme" => Some(self.scheme.as_bytes()),
            b"x-envoy-original-path" if self.outside || self.original_path.is_some() => {
                self.original_path.map(|path| path.of(input))
            }
            _ => find(&head.fields, input, name),
        }
    }

    fn response(&self, name: &[u8]) -> Option<&[u8]> {
        find(&self.scratch.response.fields, self.scratch.response_input.bytes(), name)
    }

    fn trailer(&self, name: &[u8]) -> Option<&[u8]> {
        let trailers = match &self.scratch.response_trailers {
            Some(message) => message.trailers(),
            None => self.scratch.response_body.trailers()?,
        };
        find(trailers.fields, trailers.bytes, name)
    }
}

fn find<'i>(fields: &[codecs::http::Field], input: &'i [u8], name: &[u8]) -> Option<&'i [u8]> {
    fields.iter().find(|field| field.name.of(input).eq_ignore_ascii_case(name)).map(|field| field.value.of(input))
}

#[cfg(test)]
mod tests {
    use super::*;
    use codecs::http::HeadLimits;
    use codecs::http::h1::{RequestOptions, parse_request};

    fn client(use_remote_address: bool, trusted_hops: u32, xff: &str) -> String {
        let text = format!("GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {xff}\r\n\r\n");
        let mut head = RequestHead::default();
        parse_request(text.as_bytes(), &HeadLimits::default(), &RequestOptions::default(), &mut head).expect("parses");
        let forwarding = Forwarding {
            use_remote_address,
            trusted_hops,
            skip_xff_append: false,
            generate_request_id: true,
            preserve_external_request_id: false,
            via: None,
            client_cert: Default::default(),
            client_cert_details: Default::default(),
        };
        client_address(&forwarding, &head, text.as_bytes(), ([9, 9, 9, 9], 1).into()).ip().to_string()
    }

    #[test]
    fn trusts_exactly_as_many_hops_as_configured() {
        assert_eq!(client(true, 0, "1.1.1.1, 2.2.2.2"), "9.9.9.9");
        assert_eq!(client(true, 1, "1.1.1.1, 2.2.2.2"), "2.2.2.2");
        assert_eq!(client(true, 2, "1.1.1.1, 2.2.2.2"), "1.1.1.1");
        assert_eq!(client(true, 3, "1.1.1.1, 2.2.2.2"), "9.9.9.9");
        assert_eq!(client(false, 0, "1.1.1.1, 2.2.2.2"), "2.2.2.2");
        assert_eq!(client(false, 1, "1.1.1.1, 2.2.2.2"), "1.1.1.1");
        assert_eq!(client(false, 0, "junk"), "9.9.9.9");
    }
}
