//! The response of a try on its way to the client: its head, interim heads before it, its body.

use codecs::Status;
use codecs::http::ErrorKind;
use codecs::http::h1::{emit, parse_response_resumed};
use codecs::http::h2::field_lines;
use runtime::{Received, Slice};

use super::body::{Http1Body, Piece};
use super::client::Client;
use super::exchange::Exchange;
use super::forward::Try;
use super::h2::{Failure, Inbound};
use super::headers;
use super::retry::Verdict;
use super::upstream::Upstream;
use crate::fault::Fault;
use crate::listener::head_limits;
use crate::log::Point;
use crate::relay::QUEUED_BYTES_MAX;
use crate::stats::ClusterStat;

/// Interim heads before a final one; nobody sends more than a few.
const INTERIM_HEADS_MAX: u32 = 100;

impl Exchange<'_> {
    /// Passes down what has arrived of the response.
    pub(super) fn download(&mut self, attempt: &mut Try<'_>) -> Result<(), Fault> {
        while !attempt.response_done {
            if attempt.head_done {
                match self.poll_client_drained(QUEUED_BYTES_MAX) {
                    Ok(true) => {}
                    Ok(false) => {
                        attempt.stuck = true;
                        let cluster = attempt.upstream.cluster();
                        cluster.stats.inc(ClusterStat::UpstreamFlowControlPausedReadingTotal);
                        return Ok(());
                    }
                    Err(()) => return Err(Fault::ClientGone),
                }
            }
            let moved = match (&attempt.upstream, attempt.head_done) {
                (Upstream::Http1(_), false) => self.download_http1_head(attempt)?,
                (Upstream::Http2(_), false) => self.download_http2_head(attempt)?,
                (_, true) => self.download_body(attempt)?,
            };
            if !moved {
                return Ok(());
            }
            self.touch();
        }
        Ok(())
    }

    /// Passes down the next piece of the response's body; false if there is none.
    fn download_body(&mut self, attempt: &mut Try<'_>) -> Result<bool, Fault> {
        let scratch = &mut *self.scratch;
        match attempt.upstream.next_of_response(&mut scratch.response_body, &mut scratch.response_trailers) {
            Piece::Nothing => return Ok(false),
            Piece::Data(payload, wire) => {
                attempt.down_bytes += wire;
                if attempt.held {
                    self.pass_head(attempt);
                }
                let payload = self.translate_down(payload);
                self.seen.response_body_bytes += payload.len() as u64;
                self.seen.sent_bytes += self.send_down(payload, attempt.chunked_down);
            }
            Piece::End(wire) => {
                attempt.down_bytes += wire;
                if attempt.held && !self.is_kept_with_trailers(attempt) {
                    return Ok(true);
                }
                self.end_of_response(attempt);
            }
            // Nothing has gone down: to the client and to a retry it never began.
            Piece::Ended | Piece::Failed if attempt.held => return Err(Fault::UpstreamClosed),
            Piece::Ended if self.scratch.response_body.ends_with_connection() => self.end_of_response(attempt),
            Piece::Ended | Piece::Failed => {
                attempt.upstream.cluster().stats.inc(ClusterStat::UpstreamRqBodyIncomplete);
                return Err(Fault::ResponseCutOff);
            }
            Piece::Bad(_) => return Err(Fault::ResponseCutOff),
        }
        Ok(true)
    }

    /// Takes the head of a response, or an interim one, from a stream; false if there is none yet.
    fn download_http2_head(&mut self, attempt: &mut Try<'_>) -> Result<bool, Fault> {
        let Upstream::Http2(call) = &attempt.upstream else { return Ok(false) };
        let (mut message, interim) = match call.stream.try_recv() {
            None => return Ok(false),
            Some(Inbound::Head(message)) => (message, false),
            Some(Inbound::Interim(message)) => (message, true),
            Some(_) if call.stream.failure() == Some(Failure::Malformed) => {
                return Err(Fault::BadResponse(ErrorKind::InvalidStatusLine));
            }
            Some(_) => return Err(Fault::UpstreamClosed),
        };
        self.seen.timing.mark(Point::UpstreamReceiveBegin, self.downstream.world.core.now_us());
        let scratch = &mut *self.scratch;
        attempt.down_bytes += message.text.len() as u64;
        std::mem::swap(&mut scratch.response, &mut message.response);
        scratch.response_input.exchange(&mut message.text);
        call.stream.recycle(message);
        if interim {
            self.pass_interim();
            self.scratch.response_input.clear();
            return Ok(true);
        }
        self.begin_response(attempt)?;
        Ok(true)
    }

    fn download_http1_head(&mut self, attempt: &mut Try<'_>) -> Result<bool, Fault> {
        let Upstream::Http1(connection) = &attempt.upstream else { return Ok(false) };
        match connection.socket.try_recv() {
            None => Ok(false),
            Some(Received::Data(slice)) => {
                if let Client::Http2(stream) = &self.client {
                    stream.prefetch();
                }
                self.download_head(attempt, slice).map(|()| true)
            }
            Some(Received::End | Received::Failed(_)) => Err(Fault::UpstreamClosed),
        }
    }

    fn download_head(&mut self, attempt: &mut Try<'_>, slice: Slice) -> Result<(), Fault> {
        let Upstream::Http1(connection) = &attempt.upstream else { return Ok(()) };
        let world = &self.downstream.world;
        if attempt.down_bytes == 0 {
            self.seen.timing.mark(Point::UpstreamReceiveBegin, world.core.now_us());
            self.scratch.scanner = Default::default();
        }
        let scratch = &mut *self.scratch;
        attempt.down_bytes += slice.len() as u64;
        scratch.response_input.add(slice);
        let limits = head_limits(&connection.cluster.settings().limits);
        let parsed = parse_response_resumed(
            scratch.response_input.bytes(),
            &limits,
            scratch.request.method,
            &mut scratch.scanner,
            &mut scratch.response,
        );
        let consumed = match parsed {
            Ok(Status::Complete(consumed)) => consumed,
            Ok(Status::Partial) => {
                scratch.response_input.settle();
                return Ok(());
            }
            Err(error) => return Err(Fault::BadResponse(error.kind)),
        };
        let rest = scratch.response_input.bytes().len() - consumed;
        scratch.response_input.finish(consumed, &connection.socket);
        attempt.down_bytes -= rest as u64;
        if scratch.response.is_interim() {
            attempt.interims += 1;
            if attempt.interims > INTERIM_HEADS_MAX {
                return Err(Fault::BadResponse(ErrorKind::InvalidStatusLine));
            }
            self.pass_interim();
            self.scratch.response_input.clear();
            self.scratch.scanner = Default::default();
            return Ok(());
        }
        scratch.response_body = Http1Body::of_response(scratch.response.body, &limits);
        self.begin_response(attempt)
    }

    /// The final head is there: passes it down.
    fn begin_response(&mut self, attempt: &mut Try<'_>) -> Result<(), Fault> {
        if self.scratch.response.tunnel && self.upgrade.is_none() {
            return Err(Fault::BadResponse(ErrorKind::InvalidStatusLine));
        }
        self.seen.status = self.scratch.response.status;
        self.seen.details = "via_upstream";
        attempt.head_done = true;
        if self.grpc.is_call {
            self.note_call_head();
        }
        if let Some(retry) = attempt.retry {
            match self.judge_head(retry, attempt.upstream.cluster()) {
                Verdict::PassOn => self.deadlines.attempt = u64::MAX,
                Verdict::Hold => {
                    attempt.held = true;
                    return Ok(());
                }
                Verdict::ThrowAway => {
                    (attempt.thrown_away, attempt.response_done) = (true, true);
                    return Ok(());
                }
            }
        }
        self.pass_head(attempt);
        Ok(())
    }

    /// A response that was held has ended without a body: whether it is passed on.
    fn is_kept_with_trailers(&mut self, attempt: &mut Try<'_>) -> bool {
        if let Some(retry) = attempt.retry
            && self.judge_trailers(retry, attempt.upstream.cluster()) == Verdict::ThrowAway
        {
            (attempt.thrown_away, attempt.response_done) = (true, true);
            return false;
        }
        self.pass_head(attempt);
        true
    }

    /// Passes the response's head down.
    fn pass_head(&mut self, attempt: &mut Try<'_>) {
        if std::mem::take(&mut attempt.held) {
            self.deadlines.attempt = u64::MAX;
        }
        self.translate_response();
        attempt.chunked_down = headers::emit_response(self, attempt.route);
        if self.http.access_logs.is_empty() {
            self.scratch.response_input.clear();
        }
        if self.scratch.response.tunnel {
            attempt.response_done = true;
        } else if self.scratch.response.body.is_empty() {
            self.end_of_response(attempt);
        }
    }

    /// 100 and 103 and the like go down as they came, except to HTTP/1.0 (RFC 9110 15.2).
    fn pass_interim(&mut self) {
        if self.old_client() {
            return;
        }
        let scratch = &mut *self.scratch;
        let input = scratch.response_input.bytes();
        scratch.out.clear();
        if let Client::Http2(stream) = &self.client {
            // Expectations are met by windows; whoever asked for 100 gets it all the same.
            let fields = field_lines(input, &scratch.response.fields);
            let fields = fields.inspect(|field| self.seen.sent_bytes += field.line_bytes() as u64);
            return stream.send_response(scratch.response.status, fields, false);
        }
        emit::status_line(&mut scratch.out, scratch.response.status, scratch.response.reason.of(input));
        scratch.response.copy_fields(&mut scratch.out, input, codecs::http::FieldSet::EMPTY);
        emit::end_of_head(&mut scratch.out);
        self.seen.sent_bytes += scratch.out.len() as u64;
        self.downstream.socket.send(&scratch.out);
    }

    /// The response ended with its head, its last byte, or the connection.
    fn end_of_response(&mut self, attempt: &mut Try<'_>) {
        if self.grpc.is_call {
            self.note_call_trailers();
        }
        self.end_down(attempt.chunked_down);
        attempt.response_done = true;
    }
}
