//! gRPC: which requests are calls, what they say about time, and how a call ends that an endpoint didn't end.
//!
//! A call's result stands in `grpc-status`, in the trailers or, if there is nothing else, in the only head. Whatever
//! this proxy has to say to the client of a call it says in the same way: its library understands nothing else.

use codecs::grpc::{self, CONTENT_TYPE};
use codecs::http::h1::emit;
use codecs::http::h2::text_lines;
use codecs::http::{BodyLength, FieldId, RequestHead};

use super::client::Client;
use super::exchange::Exchange;
use super::grpc_web::Web;
use super::headers;
use crate::fault::{Fault, Outcome};
use crate::log::Point;
use crate::snapshot::{Action, HeaderEdits};
use crate::stats::{ClusterStat, HttpStat};

const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const UNIMPLEMENTED: u32 = 12;
const PERMISSION_DENIED: u32 = 7;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

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

fn content_type<'i>(head: &RequestHead, input: &'i [u8]) -> Option<&'i [u8]> {
    head.field(FieldId::ContentType).map(|field| field.value.of(input))
}

impl Exchange<'_> {
    /// The head is there: whether it begins a call, and until when that is to be done.
    pub(super) fn begin_call(&mut self) {
        let scratch = &*self.scratch;
        let input = scratch.request_input.bytes();
        let Some(value) = content_type(&scratch.request, input) else { return };
        self.grpc.is_call = grpc::is_content_type(value);
        if !self.grpc.is_call && self.http.grpc_web {
            self.grpc.web = Web::of(value, &scratch.request, input).map(Box::new);
            self.grpc.is_call = self.grpc.web.is_some();
        }
        if self.grpc.is_call
            && let Some(timeout) = scratch.request.field(FieldId::GrpcTimeout)
            && let Some(timeout_ms) = grpc::timeout_ms(timeout.value.of(input))
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
        grpc::emit_result(out, status, message);
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
        grpc::emit_result(&mut lines, status, outcome.body.as_bytes());
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
        self.grpc.status = grpc::status_in(&scratch.response.fields, scratch.response_input.bytes());
    }

    /// The response is over: how the call went, as its trailers have it.
    pub(super) fn note_call_trailers(&mut self) {
        let scratch = &*self.scratch;
        let trailers = match &scratch.response_trailers {
            Some(message) => Some(message.trailers()),
            None => scratch.response_body.trailers(),
        };
        if let Some(status) = trailers.and_then(|trailers| grpc::status_in(trailers.fields, trailers.bytes)) {
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
