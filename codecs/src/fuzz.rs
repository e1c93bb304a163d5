//! Properties of the codecs over any bytes, as functions that panic where one doesn't hold. The fuzz targets in
//! `codecs/fuzz` call them with what the fuzzer makes up; `cargo test` calls them with the corpora kept there and with
//! generated messages.
//!
//! The first byte of the data is a seed: how the input is cut, which limits hold, what a response answers.

mod grpc;
mod http2;
mod http2_talk;

use crate::http::h1::emit;
use crate::http::h1::{
    self, BodyDecoder, BodyPart, Error, HeadScanner, RequestOptions, Status, parse_request_resumed,
    parse_response_resumed,
};
use crate::http::{
    BodyLength, EscapedSlashes, Field, FieldId, FieldSet, HeadLimits, Method, PathRules, RequestHead, ResponseHead,
    Version, has_dot_segment,
};
use crate::proxy_protocol;
pub use crate::tls::fuzz::records as tls_records;
use crate::tls::{CertificateFacts, sniff, xfcc};
pub use grpc::grpc;
pub use http2::{http2, http2_frames};
pub use http2_talk::http2_talk;

/// Hellos: an error, a hello or plain bytes never turn into something else with more bytes.
pub fn tls_hello(data: &[u8]) {
    let whole = sniff::sniff(data);
    for end in 0..data.len() {
        match sniff::sniff(&data[..end]) {
            Ok(Status::Partial) => {}
            settled => assert_eq!(settled, whole, "after {end} bytes"),
        }
    }
    if let Ok(Status::Complete(sniff::Sniffed::Tls(hello))) = whole {
        let name = hello.server_name.unwrap_or_default();
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()), "{name:?}");
    }
}

/// Certificates: whatever one says, the header that tells of it is printable and has no element more.
pub fn certificate(data: &[u8]) {
    let mut out = String::new();
    let details = xfcc::Details { subject: true, uri: true, dns: true, cert: true, chain: true };
    let readable = CertificateFacts::from_der(data).is_some();
    assert_eq!(xfcc::emit(&[data], &[], details, &mut out), readable);
    let (mut quoted, mut escaped) = (false, false);
    for byte in out.bytes() {
        assert!((b' '..=b'~').contains(&byte), "{byte:#x} in {out:?}");
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' => assert!(quoted, "an element more in {out:?}"),
            _ => {}
        }
    }
    assert!(!quoted && !escaped, "{out:?}");
}

/// Paths: what has been given its one form keeps it, is no longer than it came, and hides nothing that leads elsewhere.
pub fn paths(data: &[u8]) {
    let Some((&seed, rest)) = data.split_first() else { return };
    let escaped_slashes =
        [EscapedSlashes::Keep, EscapedSlashes::Refuse, EscapedSlashes::Decode, EscapedSlashes::Redirect]
            [usize::from(seed >> 3 & 3)];
    let rules = PathRules {
        normalize: seed & 1 > 0,
        merge_slashes: seed & 2 > 0,
        escaped_slashes,
        refuse_parameters: seed & 4 > 0,
    };
    let mut path = vec![b'/'];
    path.extend(rest.iter().filter(|byte| byte.is_ascii_graphic() && !b"?#".contains(byte)));
    let mut out = Vec::new();
    let Ok(redirects) = rules.apply(&path, &mut out) else {
        return assert!(!rules.leave(&path), "what is refused is looked at");
    };
    assert!(!rules.leave(&path) || (out == path && !redirects), "what is left alone needs nothing");
    assert!(out.first() == Some(&b'/') && out.len() <= path.len());
    assert!(!rules.normalize || !has_dot_segment(&out));
    assert!(!rules.merge_slashes || !out.windows(2).any(|two| two == b"//"));
    assert!(!rules.refuse_parameters || !out.contains(&b';'));
    let mut again = Vec::new();
    // Without `normalize`, what an escape hid can be an escape itself.
    if rules.normalize {
        assert_eq!(rules.apply(&out, &mut again), Ok(false));
        assert_eq!(again, out);
    }
}

/// A message as it was understood, independent of where its bytes were.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Message {
    start_line: String,
    fields: Vec<(Vec<u8>, Vec<u8>, FieldId, bool)>,
    body: BodyLength,
    payload: Vec<u8>,
    trailers: Vec<(Vec<u8>, Vec<u8>)>,
    complete: bool,
}

/// Requests: any cut of the input gives the same messages; httparse reads the same in each head; and what would be
/// forwarded is accepted with the same meaning.
pub fn requests(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let (whole, error) = read_requests(input, seed, input.len().max(1));
    for step in [1, 2 + usize::from(seed % 61)] {
        let (cut, cut_error) = read_requests(input, seed, step);
        assert_eq!(cut, whole, "in steps of {step}");
        assert_eq!(cut_error.is_some(), error.is_some(), "in steps of {step}: {cut_error:?}, whole: {error:?}");
    }
}

/// Responses: as [`requests`].
pub fn responses(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let (whole, error) = read_responses(input, seed, input.len().max(1));
    for step in [1, 2 + usize::from(seed % 61)] {
        let (cut, cut_error) = read_responses(input, seed, step);
        assert_eq!(cut, whole, "in steps of {step}");
        assert_eq!(cut_error.is_some(), error.is_some(), "in steps of {step}: {cut_error:?}, whole: {error:?}");
    }
}

/// Chunked bodies: any cut gives the same payload and trailers; httparse reads the same sizes; and re-encoding the
/// payload gives a body that decodes to it.
pub fn chunked(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let whole = decode_in_steps(input, seed, input.len().max(1));
    for step in [1, 2 + usize::from(seed % 13)] {
        let cut = decode_in_steps(input, seed, step);
        assert_eq!(cut, whole, "in steps of {step}");
    }
    let Ok((payload, consumed, true)) = whole else { return };
    assert_eq!(payload, payload_by_httparse(&input[..consumed]), "httparse reads other sizes");
}

/// PROXY headers: an error or a header never turns into something else with more bytes.
pub fn proxy_header(data: &[u8]) {
    let limits = proxy_protocol::Limits::default();
    let whole = proxy_protocol::parse(data, &limits);
    for end in 0..data.len() {
        match proxy_protocol::parse(&data[..end], &limits) {
            Ok(Status::Partial) => {}
            settled => assert_eq!(settled, whole, "after {end} bytes"),
        }
    }
    if let Ok(Status::Complete((header, consumed))) = whole {
        assert!(consumed <= data.len() && header.tlvs.end as usize <= consumed);
        if let (Some(source), Some(destination)) = (header.source(), header.destination()) {
            for emit in [proxy_protocol::emit_v1, proxy_protocol::emit_v2] {
                let mut out = Vec::new();
                emit(&mut out, source, destination);
                let Ok(Status::Complete((again, len))) = proxy_protocol::parse(&out, &limits) else {
                    panic!("own header refused: {out:?}")
                };
                assert_eq!((again.source(), len), (Some(source), out.len()));
            }
        }
    }
}

fn limits(seed: u8) -> HeadLimits {
    let small = HeadLimits {
        head_bytes_max: 200,
        fields_max: 5,
        request_line_bytes_max: 40,
        chunk_line_bytes_max: 12,
        chunk_overhead_bytes_max: 30,
        trailer_bytes_max: 40,
    };
    if seed & 1 == 1 { small } else { HeadLimits::default() }
}

/// Input that arrives in steps of the same size.
struct Arriving<'a> {
    input: &'a [u8],
    from: usize,
    to: usize,
    step: usize,
}

impl<'a> Arriving<'a> {
    fn new(input: &'a [u8], step: usize) -> Arriving<'a> {
        Arriving { input, from: 0, to: 0, step }
    }

    fn there(&self) -> &'a [u8] {
        &self.input[self.from..self.to]
    }

    /// Waits for more; `false` at the end.
    fn more(&mut self) -> bool {
        let to = (self.to + self.step).min(self.input.len());
        to != core::mem::replace(&mut self.to, to)
    }
}

fn read_requests(input: &[u8], seed: u8, step: usize) -> (Vec<Message>, Option<Error>) {
    let limits = limits(seed);
    let options = RequestOptions { http10: seed & 2 == 0 };
    let mut arriving = Arriving::new(input, step);
    let (mut head, mut messages) = (RequestHead::default(), Vec::new());
    loop {
        let mut scanner = HeadScanner::default();
        let (bytes, consumed) = loop {
            let bytes = arriving.there();
            match parse_request_resumed(bytes, &limits, &options, &mut scanner, &mut head) {
                Err(error) => return (messages, Some(error)),
                Ok(Status::Complete(consumed)) => break (bytes, consumed),
                Ok(Status::Partial) if arriving.more() => {}
                Ok(Status::Partial) => return (messages, None),
            }
        };
        arriving.from += consumed;
        let bytes = &bytes[..consumed];
        // Empty lines in front don't count; the line's CR and LF neither.
        let counted = &bytes[head.method_span.start as usize..];
        within(&limits, counted, &head.fields);
        let line = counted.split(|byte| *byte == b'\r').next().unwrap_or_default();
        assert!(line.len() <= limits.request_line_bytes_max as usize, "{} bytes of a request line", line.len());
        same_request_by_httparse(bytes, &head);
        if step >= input.len() {
            forwarded_request(bytes, &head);
            if !head.authority.is_empty() {
                http2::forwarded_over_http2(bytes, &head);
            }
        }
        let start_line = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {}",
            head.method_span.of(bytes),
            head.path.of(bytes),
            head.query().map(|query| query.of(bytes)),
            head.authority.of(bytes),
            head.scheme,
            head.version,
            head.upgrade.map(|value| value.of(bytes)),
            head.keep_alive,
            head.expect_continue,
            head.te_trailers,
        );
        let decoder = BodyDecoder::new(head.body, &limits);
        let message = message(start_line, bytes, &head.fields, head.body);
        let tunnel = head.method == Method::Connect;
        if let Err(error) = read_body(&mut arriving, &limits, decoder, message, &mut messages) {
            return (messages, Some(error));
        }
        if tunnel || messages.last().is_some_and(|last| !last.complete) {
            return (messages, None);
        }
    }
}

fn read_responses(input: &[u8], seed: u8, step: usize) -> (Vec<Message>, Option<Error>) {
    let limits = limits(seed);
    let method = [Method::Get, Method::Head, Method::Connect, Method::Post][usize::from(seed >> 1 & 3)];
    let mut arriving = Arriving::new(input, step);
    let (mut head, mut messages) = (ResponseHead::default(), Vec::new());
    loop {
        let mut scanner = HeadScanner::default();
        let (bytes, consumed) = loop {
            let bytes = arriving.there();
            match parse_response_resumed(bytes, &limits, method, &mut scanner, &mut head) {
                Err(error) => return (messages, Some(error)),
                Ok(Status::Complete(consumed)) => break (bytes, consumed),
                Ok(Status::Partial) if arriving.more() => {}
                Ok(Status::Partial) => return (messages, None),
            }
        };
        arriving.from += consumed;
        let bytes = &bytes[..consumed];
        within(&limits, bytes, &head.fields);
        same_response_by_httparse(bytes, &head);
        forwarded_response(bytes, &head, method);
        let start_line = format!(
            "{} {:?} {:?} {:?} {} {}",
            head.status,
            head.reason.of(bytes),
            head.version,
            head.upgrade.map(|value| value.of(bytes)),
            head.keep_alive,
            head.tunnel
        );
        let decoder = BodyDecoder::for_response(head.body, &limits);
        let message = message(start_line, bytes, &head.fields, head.body);
        if let Err(error) = read_body(&mut arriving, &limits, decoder, message, &mut messages) {
            return (messages, Some(error));
        }
        if head.tunnel || messages.last().is_some_and(|last| !last.complete) {
            return (messages, None);
        }
    }
}

/// A head that was accepted doesn't exceed what bounds it.
fn within(limits: &HeadLimits, head: &[u8], fields: &[Field]) {
    assert!(head.len() <= limits.head_bytes_max as usize, "{} bytes of a head", head.len());
    assert!(fields.len() <= limits.fields_max as usize, "{} fields", fields.len());
}

fn message(start_line: String, bytes: &[u8], fields: &[Field], body: BodyLength) -> Message {
    let owned =
        |field: &Field| (field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec(), field.id, field.hop_by_hop);
    let fields = fields.iter().map(owned).collect();
    Message { start_line, fields, body, payload: Vec::new(), trailers: Vec::new(), complete: false }
}

/// Reads the body of `message` and appends it to `messages`, complete or as far as the input goes.
fn read_body(
    arriving: &mut Arriving<'_>,
    limits: &HeadLimits,
    mut decoder: BodyDecoder,
    mut message: Message,
    messages: &mut Vec<Message>,
) -> Result<(), Error> {
    loop {
        let bytes = arriving.there();
        let event = decoder.decode(bytes)?;
        arriving.from += event.consumed;
        match event.part {
            BodyPart::Data(range) => {
                assert!(!range.is_empty() && range.end <= event.consumed);
                message.payload.extend_from_slice(&bytes[range]);
            }
            BodyPart::End => break,
            BodyPart::NeedMore => {
                assert!(arriving.there().is_empty(), "it must take everything before it asks for more");
                if !arriving.more() {
                    break;
                }
            }
        }
    }
    message.complete = decoder.is_done();
    if let Some(trailers) = decoder.trailers() {
        assert!(trailers.fields.len() <= limits.fields_max as usize, "{} trailers", trailers.fields.len());
        let bytes: usize = trailers.fields.iter().map(|field| field.name.len() + field.value.len()).sum();
        assert!(bytes <= limits.trailer_bytes_max as usize, "{bytes} bytes of trailers");
        let owned = |field: &Field| (field.name.of(trailers.bytes).to_vec(), field.value.of(trailers.bytes).to_vec());
        message.trailers = trailers.fields.iter().map(owned).collect();
    }
    if message.complete {
        reencoded(&message.payload, &decoder);
    }
    messages.push(message);
    Ok(())
}

/// Payload and trailers sent on in chunks decode to themselves.
fn reencoded(payload: &[u8], decoder: &BodyDecoder) {
    let mut out = Vec::new();
    for part in payload.chunks(7) {
        emit::chunk_head(&mut out, part.len() as u64);
        out.extend_from_slice(part);
        emit::chunk_end(&mut out);
    }
    emit::last_chunk(&mut out, decoder.trailers());
    let limits =
        HeadLimits { fields_max: HeadLimits::FIELDS_MAX, trailer_bytes_max: u32::MAX, ..HeadLimits::default() };
    let mut again = BodyDecoder::new(BodyLength::Chunked, &limits);
    let (mut at, mut decoded) = (0, Vec::new());
    while !again.is_done() {
        let event = again.decode(&out[at..]).expect("own chunks");
        if let BodyPart::Data(range) = event.part {
            decoded.extend_from_slice(&out[at..][range]);
        }
        at += event.consumed;
    }
    assert_eq!((decoded.as_slice(), at), (payload, out.len()));
    let sent_on = decoder.trailers().map_or(0, |trailers| trailers.fields.iter().filter(|f| !f.hop_by_hop).count());
    assert_eq!(again.trailers().map_or(0, |trailers| trailers.fields.len()), sent_on);
}

fn decode_in_steps(input: &[u8], seed: u8, step: usize) -> Result<(Vec<u8>, usize, bool), Error> {
    let mut arriving = Arriving::new(input, step);
    let limits = limits(seed);
    let decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
    let mut messages = Vec::new();
    read_body(&mut arriving, &limits, decoder, message(String::new(), b"", &[], BodyLength::Chunked), &mut messages)?;
    let message = messages.remove(0);
    Ok((message.payload, arriving.from, message.complete))
}

fn payload_by_httparse(mut input: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((at, size))) = httparse::parse_chunk_size(input) else {
            panic!("httparse refuses a chunk line: {:?}", String::from_utf8_lossy(input))
        };
        if size == 0 {
            return payload;
        }
        let end = at + usize::try_from(size).expect("a chunk that was there");
        payload.extend_from_slice(&input[at..end]);
        input = &input[end + 2..];
    }
}

fn same_fields(bytes: &[u8], ours: &[Field], theirs: &[httparse::Header<'_>]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!((ours.name.of(bytes), ours.value.of(bytes)), (theirs.name.as_bytes(), theirs.value));
    }
}

fn same_request_by_httparse(bytes: &[u8], head: &RequestHead) {
    let mut slots = vec![httparse::EMPTY_HEADER; HeadLimits::FIELDS_MAX as usize];
    let mut parsed = httparse::Request::new(&mut slots);
    assert_eq!(parsed.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(parsed.method.map(str::as_bytes), Some(head.method_span.of(bytes)));
    assert_eq!(parsed.path.map(str::as_bytes), Some(head.target.of(bytes)));
    assert_eq!(parsed.version, Some(u8::from(head.version == Version::Http11)));
    same_fields(bytes, &head.fields, parsed.headers);
}

fn same_response_by_httparse(bytes: &[u8], head: &ResponseHead) {
    let mut slots = vec![httparse::EMPTY_HEADER; HeadLimits::FIELDS_MAX as usize];
    let mut parsed = httparse::Response::new(&mut slots);
    assert_eq!(parsed.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!((parsed.code, parsed.version), (Some(head.status), Some(u8::from(head.version == Version::Http11))));
    // httparse gives up on a reason with bytes above 0x7f.
    let reason = parsed.reason.unwrap_or_default().as_bytes();
    assert!(reason == head.reason.of(bytes) || (reason.is_empty() && !head.reason.of(bytes).is_ascii()));
    same_fields(bytes, &head.fields, parsed.headers);
}

/// Forwards a request as a proxy does and reads it back: accepted, same meaning, nothing left that ends at the hop.
fn forwarded_request(bytes: &[u8], head: &RequestHead) {
    let mut out = Vec::new();
    let connect = head.method == Method::Connect;
    let path = if connect { head.authority } else { head.path };
    emit::request_line(&mut out, head.method_span.of(bytes), path.of(bytes));
    let host = if head.authority.is_empty() { b"none".as_slice() } else { head.authority.of(bytes) };
    emit::field(&mut out, b"host", host);
    head.copy_fields(&mut out, bytes, FieldSet::of(&[FieldId::Host]));
    if head.body == BodyLength::Chunked {
        emit::transfer_encoding_chunked(&mut out);
    }
    emit::end_of_head(&mut out);
    let mut again = RequestHead::default();
    let unlimited = HeadLimits {
        head_bytes_max: u32::MAX,
        fields_max: HeadLimits::FIELDS_MAX,
        request_line_bytes_max: u32::MAX,
        ..HeadLimits::default()
    };
    let result = h1::parse_request(&out, &unlimited, &RequestOptions::default(), &mut again);
    assert_eq!(result, Ok(Status::Complete(out.len())), "{:?}", String::from_utf8_lossy(&out));
    assert_eq!(again.method, head.method);
    assert_eq!(again.path.of(&out), head.path.of(bytes));
    assert_eq!(again.authority.of(&out), host);
    assert_eq!(again.body, head.body);
    let chunked = usize::from(head.body == BodyLength::Chunked);
    assert_eq!(again.fields.iter().filter(|field| field.hop_by_hop).count(), chunked);
}

/// As [`forwarded_request`] for responses.
fn forwarded_response(bytes: &[u8], head: &ResponseHead, method: Method) {
    let mut out = Vec::new();
    emit::status_line(&mut out, head.status, head.reason.of(bytes));
    head.copy_fields(&mut out, bytes, FieldSet::EMPTY);
    // Over HTTP/2 the end of a stream says that there is no body; here a length has to.
    let says_empty = head.version == Version::Http2
        && head.body == BodyLength::None
        && !matches!(head.status, 100..=199 | 204 | 304);
    if says_empty {
        emit::content_length(&mut out, 0);
    }
    if head.body == BodyLength::Chunked {
        emit::transfer_encoding_chunked(&mut out);
    }
    emit::end_of_head(&mut out);
    let mut again = ResponseHead::default();
    let unlimited =
        HeadLimits { head_bytes_max: u32::MAX, fields_max: HeadLimits::FIELDS_MAX, ..HeadLimits::default() };
    let result = h1::parse_response(&out, &unlimited, method, &mut again);
    assert_eq!(result, Ok(Status::Complete(out.len())), "{:?}", String::from_utf8_lossy(&out));
    let body = if says_empty { BodyLength::Length(0) } else { head.body };
    assert_eq!((again.status, again.body, again.tunnel), (head.status, body, head.tunnel));
}

#[cfg(test)]
mod tests;
