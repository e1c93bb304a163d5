//! Heads as they are sent on: what is dropped, what is added, in which form the body travels.

use std::io::Write;
use std::ops::Range;

use codecs::http::h1::emit;
use codecs::http::h2::{FieldRef, field_lines, text_lines};
use codecs::http::{
    BodyLength, Field, FieldId, FieldSet, Method, PathError, RequestHead, ResponseHead, Version, has_dot_segment,
};
use codecs::websocket;

use super::added::{self, Added};
use super::client::Client;
use super::client_cert;
use super::exchange::Exchange;
use crate::core::World;
use crate::fault::Fault;
use crate::snapshot::{Forward, HeaderEdits, Http, PathMatch, Route};

const WEBSOCKET: &[u8] = b"websocket";

/// The head of a request as it is sent on.
#[derive(Default)]
pub(super) struct UpstreamHead {
    /// As HTTP/1 has it.
    pub(super) text: Vec<u8>,
    /// Where in it are the fields that are passed on as they came. Over HTTP/2 they are taken from the head that came.
    passed: Range<usize>,
    /// What isn't passed on.
    dropped: FieldSet,
}

impl UpstreamHead {
    pub(super) fn clear(&mut self, kept_bytes_max: usize) {
        if self.text.capacity() > kept_bytes_max {
            self.text = Vec::new();
        }
        self.text.clear();
    }

    /// Path and query.
    pub(super) fn path(&self) -> &[u8] {
        path_of_line(&self.text)
    }

    /// The host to ask for.
    pub(super) fn host<'h>(&'h self, head: &'h RequestHead, input: &'h [u8], edits: &'h HeaderEdits) -> &'h [u8] {
        let is_host = |field: &FieldRef<'_>| field.id == FieldId::Host;
        // Behind the request line, in front of the fields that came.
        let ours = || {
            let line_end = memchr::memchr(b'\n', &self.text[..self.passed.start]).map_or(0, |at| at + 1);
            text_lines(&self.text[line_end..self.passed.start]).find(is_host)
        };
        let passed = || self.passed(head, input, edits).find(is_host);
        ours().or_else(passed).or_else(|| self.added().find(is_host)).map_or(b"", |field| field.value)
    }

    /// The fields that are passed on as they came.
    pub(super) fn passed<'h>(
        &self,
        head: &'h RequestHead,
        input: &'h [u8],
        edits: &'h HeaderEdits,
    ) -> impl Iterator<Item = FieldRef<'h>> {
        passed(input, &head.fields, self.dropped, edits)
    }

    /// The fields that were added behind them.
    pub(super) fn added(&self) -> impl Iterator<Item = FieldRef<'_>> {
        text_lines(&self.text[self.passed.end..])
    }
}

/// Path and query of a request line.
fn path_of_line(line: &[u8]) -> &[u8] {
    line.split(|byte| *byte == b' ').nth(1).unwrap_or_default()
}

/// Puts together the request head for the endpoint in `scratch.upstream_head`.
pub(super) fn emit_request(exchange: &mut Exchange<'_>, route: &Route, forward: &Forward) -> Result<(), Fault> {
    exchange.upgrade = wanted_upgrade(exchange)?;
    let upgrade = exchange.upgrade.as_deref();
    let (downstream, forwarding) = (exchange.downstream, &exchange.http.forwarding);
    let scratch = &mut *exchange.scratch;
    let (head, input) = (&scratch.request, scratch.request_input.bytes());
    let UpstreamHead { text: out, passed, dropped } = &mut scratch.upstream_head;
    out.clear();
    emit_request_line(out, head, input, upgrade.is_some(), route, forward);
    if forward.prefix_rewrite.is_some() && exchange.http.paths.normalize {
        check_rewritten(path_of_line(out))?;
    }
    let added = Added::new(head, forwarding);
    let mut drop = added.drop.union(client_cert::dropped(downstream, forwarding));
    let host = host(head, input, forward);
    if let Some(host) = host {
        drop = drop.with(FieldId::Host);
        match host.is_empty() {
            // HTTP/1.0 without Host; HTTP/1.1 demands one.
            true => {
                let _ = write!(out, "host: {}\r\n", downstream.local);
            }
            false => emit::field(out, b"host", host),
        }
    }
    passed.start = out.len();
    copy_passed(out, input, &head.fields, head.fields_end, drop, &route.request_headers);
    passed.end = out.len();
    *dropped = drop;
    if added.forwarded_for {
        added::emit_forwarded_for(out, head, input, downstream.remote);
    }
    if added.forwarded_proto {
        emit::field(out, b"x-forwarded-proto", downstream.socket.scheme().as_bytes());
    }
    client_cert::emit_field(out, downstream, exchange.config, forwarding, head, input);
    if added.request_id {
        added::emit_request_id(out, downstream.world.core.random(), downstream.world.core.random());
    }
    if let Some(name) = &forwarding.via {
        added::emit_via(out, head.version, name);
    }
    if let Some(web) = &exchange.grpc.web {
        emit::field(out, b"content-type", &web.upstream_content_type());
    }
    add_edits(out, &route.request_headers);
    if head.body == BodyLength::Chunked && upgrade.is_none() {
        emit::transfer_encoding_chunked(out);
    }
    if let Some(upgrade) = upgrade {
        out.extend_from_slice(b"connection: Upgrade\r\n");
        emit::field(out, b"upgrade", upgrade);
        // Over HTTP/2 there is no key (RFC 8441 5): an endpoint on HTTP/1.1 gets one of ours.
        if head.protocol.is_some() && upgrade.eq_ignore_ascii_case(WEBSOCKET) {
            let key = websocket::key([downstream.world.core.random(), downstream.world.core.random()]);
            emit::field(out, b"sec-websocket-key", &key);
        }
    }
    emit::end_of_head(out);
    Ok(())
}

/// The protocol to ask the endpoint for, as the client wrote it: in `Upgrade`, or in an extended CONNECT. A fault if this
/// listener doesn't allow it.
fn wanted_upgrade(exchange: &Exchange<'_>) -> Result<Option<Box<[u8]>>, Fault> {
    let request = &exchange.scratch.request;
    let Some(upgrade) = request.upgrade.or(request.protocol) else { return Ok(None) };
    let wanted = upgrade.of(exchange.scratch.request_input.bytes());
    // "Upgrade: h2c" offers something that may be ignored (RFC 9113 removed it): it is, not refused.
    if wanted.eq_ignore_ascii_case(b"h2c") && request.protocol.is_none() {
        return Ok(None);
    }
    let allowed = exchange.http.upgrades.iter().any(|allowed| wanted.eq_ignore_ascii_case(allowed.as_bytes()));
    if allowed { Ok(Some(Box::from(wanted))) } else { Err(Fault::UpgradeRefused) }
}

fn emit_request_line(
    out: &mut Vec<u8>,
    head: &RequestHead,
    input: &[u8],
    is_upgrade: bool,
    route: &Route,
    forward: &Forward,
) {
    // An extended CONNECT is what HTTP/2 has for a GET that upgrades (RFC 8441 5).
    let method = if is_upgrade { b"GET" } else { head.method_span.of(input) };
    let path = head.path.of(input);
    // OPTIONS * asks about the whole server: there is no path to rewrite.
    let Some(rewrite) = forward.prefix_rewrite.as_ref().filter(|_| path.starts_with(b"/")) else {
        return emit::request_line(out, method, path);
    };
    out.extend_from_slice(method);
    out.push(b' ');
    rewrite_path(out, head, input, route, rewrite);
    out.extend_from_slice(b" HTTP/1.1\r\n");
}

/// A rewrite can make a dot segment of a name: `/x../y` with `/x` to `/`.
fn check_rewritten(path_and_query: &[u8]) -> Result<(), Fault> {
    let path = path_and_query.split(|byte| *byte == b'?').next().unwrap_or_default();
    if has_dot_segment(path) { Err(Fault::BadPath(PathError::Rewritten)) } else { Ok(()) }
}

/// The path with its matched part replaced, and the query.
pub(super) fn rewrite_path(out: &mut Vec<u8>, head: &RequestHead, input: &[u8], route: &Route, rewrite: &str) {
    let (path, whole) = (head.path_only().of(input), head.path.of(input));
    let matched = match &route.path {
        PathMatch::Prefix(prefix) => prefix.len().min(path.len()),
        PathMatch::Exact(_) | PathMatch::Regex(_) => path.len(),
    };
    out.extend_from_slice(rewrite.as_bytes());
    out.extend_from_slice(&whole[matched..]);
}

/// The Host to send instead of the one that came; `None` keeps that.
fn host<'h>(head: &RequestHead, input: &'h [u8], forward: &'h Forward) -> Option<&'h [u8]> {
    if let Some(host) = &forward.host_rewrite {
        return Some(host.as_bytes());
    }
    // An absolute-form target's authority wins over Host (RFC 9112 3.2.2); they were checked to agree.
    (head.field(FieldId::Host).is_none()).then(|| head.authority.of(input))
}

/// Whether a route's edits remove or replace the field.
fn is_edited(edits: &HeaderEdits, name: &[u8]) -> bool {
    let edited = edits.remove.iter().chain(edits.set.iter().map(|(name, _)| name));
    edited.into_iter().any(|edit| name.eq_ignore_ascii_case(edit.as_bytes()))
}

/// The fields that stay.
fn passed<'h>(
    input: &'h [u8],
    fields: &'h [Field],
    drop: FieldSet,
    edits: &'h HeaderEdits,
) -> impl Iterator<Item = FieldRef<'h>> {
    let unedited = edits.remove.is_empty() && edits.set.is_empty();
    let stays = move |field: &FieldRef<'_>| !drop.contains(field.id) && (unedited || !is_edited(edits, field.name));
    field_lines(input, fields).filter(stays)
}

/// Copies the fields that stay; a head that nobody edits is mostly one copy.
fn copy_passed(
    out: &mut Vec<u8>,
    input: &[u8],
    fields: &[Field],
    fields_end: u32,
    drop: FieldSet,
    edits: &HeaderEdits,
) {
    if edits.remove.is_empty() && edits.set.is_empty() {
        return emit::fields(out, input, fields, fields_end, drop);
    }
    let edited = |field: &Field| is_edited(edits, field.name.of(input));
    emit::fields_where(out, input, fields, fields_end, |field| !drop.contains(field.id) && !edited(field));
}

/// Whether a field of our own stays, beside the edits of a route.
pub(super) fn is_kept(edits: Option<&HeaderEdits>, name: &str) -> bool {
    edits.is_none_or(|edits| !edits.remove.iter().chain(edits.set.iter().map(|(set, _)| set)).any(|edit| edit == name))
}

pub(super) fn add_edits(out: &mut Vec<u8>, edits: &HeaderEdits) {
    for (name, value) in edits.set.iter().chain(&edits.add) {
        emit::field(out, name.as_bytes(), value.as_bytes());
    }
}

/// Sends the response head down; says whether the body follows in chunks of our own.
pub(super) fn emit_response(exchange: &mut Exchange<'_>, route: &Route) -> bool {
    if exchange.stream().is_some() {
        emit_stream_response(exchange, route);
        return false;
    }
    let world = &exchange.downstream.world;
    let old_client = exchange.old_client();
    let scratch = &mut *exchange.scratch;
    let (head, input) = (&scratch.response, scratch.response_input.bytes());
    let framed = matches!(head.body, BodyLength::None | BodyLength::Length(_));
    let chunked = !framed && !old_client;
    // Without a length and without chunks only the end of the connection tells the end of the body.
    if !framed && old_client {
        exchange.keep_alive = false;
    }
    if exchange.keep_alive && exchange.downstream.listener.closing() {
        exchange.keep_alive = false;
        exchange.config.serve_stats.inc(exchange.downstream.listener.closing_stat());
    }
    let out = &mut scratch.out;
    out.clear();
    // A tunnel through HTTP/2 begins with 200 there (RFC 8441 5.1).
    let status = if head.tunnel { 101 } else { head.status };
    emit::status_line(out, status, if status == head.status { head.reason.of(input) } else { b"" });
    let drop = dropped_of_response(exchange.http);
    copy_passed(out, input, &head.fields, head.fields_end, drop, &route.response_headers);
    add_response_fields(out, head, exchange.http, world, route);
    if let Some(content_type) = exchange.grpc.content_type_down() {
        emit::field(out, b"content-type", content_type);
    }
    if head.tunnel {
        out.extend_from_slice(b"connection: Upgrade\r\n");
        let upgrade = head.upgrade.map(|upgrade| upgrade.of(input));
        emit::field(out, b"upgrade", upgrade.or(exchange.upgrade.as_deref()).unwrap_or_default());
        let request = &scratch.request;
        if head.version == Version::Http2
            && let Some(key) = request.field(FieldId::SecWebsocketKey)
        {
            let accept = websocket::accept(key.value.of(scratch.request_input.bytes()));
            emit::field(out, b"sec-websocket-accept", &accept);
        }
        exchange.seen.status = status;
    } else {
        if chunked {
            emit::transfer_encoding_chunked(out);
        }
        // HTTP/2 may end a response with its head, without a length; HTTP/1 would wait for the connection's end.
        let ends_here = head.version == Version::Http2 && head.body == BodyLength::None;
        if ends_here && scratch.request.method != Method::Head && !matches!(head.status, 204 | 304) {
            emit::content_length(out, 0);
        }
        emit_connection(out, exchange.keep_alive, old_client);
    }
    emit::end_of_head(out);
    exchange.response_started = true;
    exchange.seen.response_head_bytes = out.len() as u64;
    exchange.seen.sent_bytes += out.len() as u64;
    exchange.downstream.socket.send(out);
    chunked
}

/// Fields of a response that are replaced.
fn dropped_of_response(http: &Http) -> FieldSet {
    if http.server_name.is_some() { FieldSet::of(&[FieldId::Server]) } else { FieldSet::EMPTY }
}

/// Fields that are added to a response, whatever the version of HTTP.
fn add_response_fields(out: &mut Vec<u8>, head: &ResponseHead, http: &Http, world: &World, route: &Route) {
    if let Some(server) = http.server_name.as_deref() {
        emit::field(out, b"server", server.as_bytes());
    }
    if head.field(FieldId::Date).is_none() {
        world.emit_date(out);
    }
    if let Some(name) = &http.forwarding.via {
        added::emit_via(out, head.version, name);
    }
    add_edits(out, &route.response_headers);
}

/// Sends the response head down a stream.
fn emit_stream_response(exchange: &mut Exchange<'_>, route: &Route) {
    let world = &exchange.downstream.world;
    let scratch = &mut *exchange.scratch;
    let (head, input) = (&scratch.response, scratch.response_input.bytes());
    let mut drop = dropped_of_response(exchange.http);
    if head.tunnel {
        drop = drop.with(FieldId::SecWebsocketAccept);
    }
    scratch.out.clear();
    add_response_fields(&mut scratch.out, head, exchange.http, world, route);
    if let Some(content_type) = exchange.grpc.content_type_down() {
        emit::field(&mut scratch.out, b"content-type", content_type);
    }
    let status = if head.tunnel { 200 } else { head.status };
    let ended = head.body.is_empty() && !head.tunnel;
    exchange.response_started = true;
    exchange.seen.status = status;
    if let Client::Http2(stream) = &exchange.client {
        let fields = passed(input, &head.fields, drop, &route.response_headers).chain(text_lines(&scratch.out));
        let mut bytes = 0;
        stream.send_response(status, fields.inspect(|field| bytes += field.line_bytes() as u64), ended);
        exchange.seen.response_head_bytes = bytes;
        exchange.seen.sent_bytes += bytes;
    }
}

/// Says what isn't the default of the client's version.
pub(super) fn emit_connection(out: &mut Vec<u8>, keep_alive: bool, old_client: bool) {
    match (keep_alive, old_client) {
        (true, false) => {}
        (true, true) => out.extend_from_slice(b"connection: keep-alive\r\n"),
        (false, _) => out.extend_from_slice(b"connection: close\r\n"),
    }
}
