//! gRPC: which requests are calls, what they say about time, and how a call ends that an endpoint didn't end.
//!
//! A call's result stands in `grpc-status`, in the trailers or, if there is nothing else, in the only head. Whatever
//! this proxy has to say to the client of a call it says in the same way: its library understands nothing else.

use codecs::http::h1::emit;
use codecs::http::h2::text_lines;
use codecs::http::{BodyLength, Field, FieldId, RequestHead};

use super::client::Client;
use super::exchange::Exchange;
use super::grpc_web::Web;
use super::headers;
use crate::fault::{Fault, Outcome};
use crate::log::Point;
use crate::snapshot::{Action, HeaderEdits};
use crate::stats::{ClusterStat, HttpStat};

pub(super) const CONTENT_TYPE: &[u8] = b"application/grpc";

const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const UNIMPLEMENTED: u32 = 12;
const PERMISSION_DENIED: u32 = 7;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// Digits of a timeout, by the specification.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// What an exchange knows about the call that it carries.
#[derive(Default)]
pub(super) struct Grpc {
    /// The request is a call, by gRPC or by gRPC-Web.
    pub(super) is_call: bool,
    /// The call came by gRPC-Web and is translated.
    pub(super) web: Option<Box<Web>>,
    /// `grpc-status` of the response.
    pub(super) status: Option<u32>,
}

/// Whether this is the content type of gRPC itself; gRPC-Web is another.
pub(super) fn is_content_type(value: &[u8]) -> bool {
    let Some((kind, rest)) = value.split_at_checked(CONTENT_TYPE.len()) else { return false };
    kind.eq_ignore_ascii_case(CONTENT_TYPE) && matches!(rest.first(), None | Some(b'+' | b';'))
}

/// Milliseconds that the client gives a call: 1 to 8 digits and a unit, rounded up. Anything else is no timeout and is
/// left to the endpoint to judge.
pub(super) fn timeout_ms(value: &[u8]) -> Option<u64> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits.iter().fold(0u64, |amount, digit| amount * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => amount * 3_600_000,
        b'M' => amount * 60_000,
        b'S' => amount * 1_000,
        b'm' => amount,
        b'u' => amount.div_ceil(1_000),
        b'n' => amount.div_ceil(1_000_000),
        _ => return None,
    })
}

/// The number in `grpc-status`, of fields that are a head's or trailers.
pub(super) fn status_in(fields: &[Field], bytes: &[u8]) -> Option<u32> {
    let value = fields.iter().find(|field| field.id == FieldId::GrpcStatus)?.value.of(bytes);
    std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// What a status of HTTP is in gRPC, where something on the way answered instead of a server of gRPC.
fn status_of_http(status: u16) -> u32 {
    match status {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

fn status_of_fault(fault: Fault, outcome: &Outcome) -> u32 {
    match fault {
        Fault::ResponseTimeout
        | Fault::TryTimeout
        | Fault::ResponseIdle
        | Fault::RequestIdle
        | Fault::RequestTimeout => DEADLINE_EXCEEDED,
        _ => status_of_http(outcome.status),
    }
}

/// Appends text as `grpc-message` has it: printable ASCII but for the percent sign, the rest percent-encoded.
fn percent_encode(out: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        match byte {
            b' '..=b'$' | b'&'..=b'~' => out.push(byte),
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
}

fn emit_result(out: &mut Vec<u8>, status: u32, message: &[u8]) {
    out.extend_from_slice(b"grpc-status: ");
    emit::decimal(out, u64::from(status));
    out.extend_from_slice(b"\r\n");
    let message = message.trim_ascii_end();
    if !message.is_empty() {
        out.extend_from_slice(b"grpc-message: ");
        percent_encode(out, message);
        out.extend_from_slice(b"\r\n");
    }
}

fn content_type<'i>(head: &RequestHead, input: &'i [u8]) -> Option<&'i [u8]> {
    head.field(FieldId::ContentType).map(|field| field.value.of(input))
}

impl Exchange<'_> {
    /// The head is there: whether it begins a call, and until when that is to be done.
    pub(super) fn begin_call(&mut self) {
        let scratch = &*self.scratch;
        let input = scratch.request_input.bytes();
        let Some(value) = content_type(&scratch.request, input) else { return };
        self.grpc.is_call = is_content_type(value);
        if !self.grpc.is_call && self.http.grpc_web {
            self.grpc.web = Web::of(value, &scratch.request, input).map(Box::new);
            self.grpc.is_call = self.grpc.web.is_some();
        }
        if self.grpc.is_call
            && let Some(timeout) = scratch.request.field(FieldId::GrpcTimeout)
            && let Some(timeout_ms) = timeout_ms(timeout.value.of(input))
        {
            // Rounded up: a client may be told at its deadline, not before.
            self.deadlines.route = self.began_us.div_ceil(1_000) + timeout_ms;
        }
    }

    /// Answers a call with what would have been this answer to another request. A call has one head and no body.
    fn reply_call(&mut self, status: u32, message: &[u8], extra: &[(&[u8], &[u8])], edits: Option<&HeaderEdits>) {
        let world = &self.downstream.world;
        let (old_client, is_stream) = (self.old_client(), self.stream().is_some());
        self.before_reply();
        let out = &mut self.scratch.out;
        out.clear();
        if !is_stream {
            emit::status_line(out, 200, b"OK");
            emit::content_length(out, 0);
        }
        emit::field(out, b"content-type", self.grpc.web.as_ref().map_or(CONTENT_TYPE, |web| web.reply_content_type()));
        emit_result(out, status, message);
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
        self.seen.sent_bytes += out.len() as u64;
        self.seen.status = 200;
        self.grpc.status = Some(status);
        self.seen.timing.mark(Point::ResponseBegin, world.core.now_us());
        self.response_started = true;
        match &self.client {
            Client::Http1 => self.downstream.socket.send(out),
            Client::Http2(stream) => stream.send_response(200, text_lines(out), true),
        }
    }

    /// Answers a call with what another request would get this status and body for.
    pub(super) fn reply_call_as(
        &mut self,
        http_status: u16,
        body: &[u8],
        extra: &[(&[u8], &[u8])],
        edits: &HeaderEdits,
    ) {
        self.reply_call(status_of_http(http_status), body, extra, Some(edits));
    }

    pub(super) fn reply_call_fault(&mut self, outcome: &Outcome, fault: Fault, extra: &[(&[u8], &[u8])]) {
        self.reply_call(status_of_fault(fault, outcome), outcome.body.as_bytes(), extra, None);
    }

    /// Ends a call whose response has begun and can't go on: with trailers that say so, where the client can get some.
    /// Otherwise the response has to break off.
    pub(super) fn end_call(&mut self, outcome: &Outcome, fault: Fault) -> bool {
        if !self.grpc.is_call {
            return false;
        }
        let status = match fault {
            Fault::ResponseCutOff => UNAVAILABLE,
            _ => status_of_fault(fault, outcome),
        };
        let mut lines = Vec::with_capacity(128);
        emit_result(&mut lines, status, outcome.body.as_bytes());
        let counted = matches!(self.scratch.response.body, BodyLength::Length(_) | BodyLength::None);
        let ended = match &self.client {
            Client::Http2(stream) if stream.is_ending() => false,
            _ if self.grpc.web.is_some() => self.end_web_call(&lines),
            Client::Http2(stream) if !counted => {
                stream.finish_with(lines);
                true
            }
            _ => false,
        };
        if ended {
            self.grpc.status = Some(status);
            self.config.serve_stats.inc(HttpStat::RqResetAfterDownstreamResponseStarted);
        }
        ended
    }

    /// The head of the response came: a call may end with it.
    pub(super) fn note_call_head(&mut self) {
        let scratch = &*self.scratch;
        self.grpc.status = status_in(&scratch.response.fields, scratch.response_input.bytes());
    }

    /// The response is over: how the call went, as its trailers have it.
    pub(super) fn note_call_trailers(&mut self) {
        let scratch = &*self.scratch;
        let trailers = match &scratch.response_trailers {
            Some(message) => Some(message.trailers()),
            None => scratch.response_body.trailers(),
        };
        if let Some(status) = trailers.and_then(|trailers| status_in(trailers.fields, trailers.bytes)) {
            self.grpc.status = Some(status);
        }
    }

    /// Counts the call under its cluster.
    pub(super) fn count_call(&self) {
        let Some(at) = self.seen.route else { return };
        let Action::Forward(forward) = &self.http.routes.routes[at as usize].action else { return };
        let stats = &self.config.generation.clusters[forward.cluster as usize].stats;
        stats.inc(ClusterStat::GrpcTotal);
        stats.inc(match self.grpc.status {
            Some(0) => ClusterStat::GrpcSuccess,
            _ => ClusterStat::GrpcFailure,
        });
        if let Some(row) = self.grpc.status.and_then(|status| BY_STATUS.get(status as usize)) {
            stats.inc(*row);
        }
    }
}

/// Rows by status.
const BY_STATUS: [ClusterStat; 17] = [
    ClusterStat::Grpc0,
    ClusterStat::Grpc1,
    ClusterStat::Grpc2,
    ClusterStat::Grpc3,
    ClusterStat::Grpc4,
    ClusterStat::Grpc5,
    ClusterStat::Grpc6,
    ClusterStat::Grpc7,
    ClusterStat::Grpc8,
    ClusterStat::Grpc9,
    ClusterStat::Grpc10,
    ClusterStat::Grpc11,
    ClusterStat::Grpc12,
    ClusterStat::Grpc13,
    ClusterStat::Grpc14,
    ClusterStat::Grpc15,
    ClusterStat::Grpc16,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_of_grpc_are_told_from_those_that_begin_alike() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
            assert!(is_content_type(yes.as_bytes()), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpc-web+proto", "application/grpcx", "application/grp", ""] {
            assert!(!is_content_type(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn timeouts_have_one_to_eight_digits_and_a_unit() {
        let good = [
            ("1H", 3_600_000),
            ("2M", 120_000),
            ("3S", 3_000),
            ("100m", 100),
            ("1u", 1),
            ("1001u", 2),
            ("1000000n", 1),
            ("0m", 0),
            ("99999999H", 359_999_996_400_000),
        ];
        for (text, ms) in good {
            assert_eq!(timeout_ms(text.as_bytes()), Some(ms), "{text}");
        }
        for bad in ["", "S", "1", "1s", "123456789m", "-1S", "+1S", "1 S", "1.5S", "1SS", "\u{661}S"] {
            assert_eq!(timeout_ms(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn messages_are_encoded_so_that_no_line_can_be_forged() {
        let mut out = Vec::new();
        emit_result(&mut out, 14, "50% of \u{fc}\r\nx: y\n".as_bytes());
        assert_eq!(out, b"grpc-status: 14\r\ngrpc-message: 50%25 of %C3%BC%0D%0Ax: y\r\n");
    }
}
