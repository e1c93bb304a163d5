//! Properties of HTTP/2 connections.

use crate::http::h2::{Connection, Error, Event, Limits, Message, NO_FIELDS, PREFACE, RequestLine, Role, field_lines};
use crate::http::{FieldId, Method, RequestHead, Scheme};

/// SETTINGS without anything in it: what a peer says first.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// Bytes from a peer, after its preface and SETTINGS: any cut gives the same events and the same replies, and each head is
/// accepted with the same meaning where it is sent on, over HTTP/1 and over HTTP/2; no limit is exceeded. The seed's last bit
/// says which side we are, the next one how narrow limits are; a client has sent requests on streams 1 and 3.
pub fn http2(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let whole = read(input, seed, input.len().max(1));
    for step in [1, 2 + usize::from(seed % 61)] {
        assert_eq!(read(input, seed, step), whole, "in steps of {step}");
    }
}

/// The same for frames of the right length, which mutations of bytes seldom are: each is made of its type, its flags, its
/// stream, and a byte for the length, with the highest bit of the type for a payload that is repeated 64 times.
pub fn http2_frames(data: &[u8]) {
    let Some((&seed, mut rest)) = data.split_first() else { return };
    let mut bytes = vec![seed];
    while let [kind, flags, stream, length, behind @ ..] = rest {
        let (payload, next) = behind.split_at(usize::from(*length).min(behind.len()));
        let times = if kind & 0x80 > 0 { 64 } else { 1 };
        bytes.extend_from_slice(&((payload.len() * times) as u32).to_be_bytes()[1..]);
        bytes.extend_from_slice(&[kind & 0x7f, *flags, 0, 0, 0, *stream]);
        bytes.extend(payload.repeat(times));
        rest = next;
    }
    http2(&bytes);
}

/// Everything that happened, independent of where its bytes were and how DATA was cut.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) events: Vec<String>,
    replies: Vec<u8>,
    pub(super) error: Option<Error>,
}

pub(super) fn read(input: &[u8], seed: u8, step: usize) -> Seen {
    let role = if seed & 1 == 0 { Role::Server } else { Role::Client };
    let mut replies = Vec::new();
    let limits = limits(seed);
    let mut connection = Connection::new(role, &limits, &mut replies);
    let mut before = SETTINGS.to_vec();
    match role {
        Role::Server => before = [PREFACE, SETTINGS].concat(),
        Role::Client => {
            let line = RequestLine { method: b"GET", scheme: b"http", authority: b"a", path: b"/", protocol: None };
            for end_stream in [true, false] {
                connection.send_request(&line, NO_FIELDS, end_stream, &mut replies).expect("a stream");
            }
        }
    }
    let input = [&before, input].concat();
    let (mut from, mut to) = (0, 0);
    let mut message = Message::default();
    let mut seen = Seen { events: Vec::new(), replies, error: None };
    let mut body: Option<(u32, Vec<u8>)> = None;
    loop {
        let there = &input[from..to];
        let step_made = match connection.receive(there, &mut message, &mut seen.replies) {
            Ok(step) => step,
            Err(error) => {
                seen.error = Some(error);
                break;
            }
        };
        from += step_made.consumed;
        // What a client opened is the caller's to bound.
        let opened = if role == Role::Server { limits.concurrent_streams_max as usize } else { 2 };
        assert!(connection.open_streams() <= opened, "{} streams", connection.open_streams());
        match step_made.event {
            Event::NeedMore if to == input.len() => break,
            Event::NeedMore => to = (to + step).min(input.len()),
            Event::Data { stream, range, end_stream } => {
                assert!(end_stream || !range.is_empty());
                if body.as_ref().is_some_and(|(id, _)| *id != stream.id) {
                    seen.events.extend(body.take().map(|body| format!("{body:?}")));
                }
                body.get_or_insert((stream.id, Vec::new())).1.extend_from_slice(&there[range]);
                if end_stream {
                    seen.events.push(format!("{:?}, the end", body.take()));
                }
            }
            event => {
                within(&limits, &event, &message);
                if step >= input.len() {
                    forwarded(&event, &message);
                }
                seen.events.extend(body.take().map(|body| format!("{body:?}")));
                seen.events.push(described(&event, there, &message));
            }
        }
    }
    seen.events.extend(body.map(|body| format!("{body:?}")));
    seen
}

fn limits(seed: u8) -> Limits {
    let small = Limits {
        header_table_bytes: 100,
        concurrent_streams_max: 2,
        stream_window_bytes: 100,
        header_list_bytes_max: 300,
        fields_max: 3,
        path_bytes_max: 20,
        header_block_bytes_max: 200,
        continuation_frames_max: 2,
        pending_replies_max: 5,
        ..Limits::default()
    };
    if seed & 2 == 2 { small } else { Limits::default() }
}

/// A head that was accepted doesn't exceed what bounds it.
fn within(limits: &Limits, event: &Event, message: &Message) {
    let (fields, path) = match event {
        Event::Request { .. } => (&message.request.fields, message.request.path.len()),
        Event::Response { .. } | Event::Interim { .. } => (&message.response.fields, 0),
        Event::Trailers { .. } => (&message.trailers, 0),
        _ => return,
    };
    let bytes: usize = fields.iter().map(|field| field.name.len() + field.value.len() + 32).sum();
    assert!(bytes <= limits.header_list_bytes_max as usize, "{bytes} bytes of fields");
    assert!(fields.len() <= limits.fields_max as usize, "{} fields", fields.len());
    assert!(path <= limits.path_bytes_max as usize, "{path} bytes of a path");
}

/// Sends a head on as a proxy does.
fn forwarded(event: &Event, message: &Message) {
    match event {
        Event::Request { .. } => {
            // Over HTTP/1 an extended CONNECT is another request.
            if message.request.protocol.is_none() {
                super::forwarded_request(&message.text, &message.request);
            }
            forwarded_over_http2(&message.text, &message.request);
        }
        Event::Response { .. } | Event::Interim { .. } => {
            super::forwarded_response(&message.text, &message.response, Method::Get);
        }
        _ => {}
    }
}

/// Forwards a request, which has an authority, over HTTP/2 and reads it back: accepted, with the same meaning.
pub(super) fn forwarded_over_http2(text: &[u8], head: &RequestHead) {
    let line = RequestLine {
        method: head.method_span.of(text),
        scheme: if head.scheme == Some(Scheme::Https) { b"https" } else { b"http" },
        authority: head.authority.of(text),
        path: head.path.of(text),
        protocol: head.protocol.map(|protocol| protocol.of(text)),
    };
    let fields = || field_lines(text, &head.fields).filter(|field| field.id != FieldId::Host);
    let again = passed_on(|connection, out| {
        connection.send_request(&line, fields(), head.body.is_empty(), out).expect("a stream");
    });
    let (ours, theirs) = (&again.request, &again.text);
    assert_eq!(ours.method_span.of(theirs), line.method);
    assert_eq!((ours.authority.of(theirs), ours.path.of(theirs)), (line.authority, line.path));
    let is_tunnel = head.method == Method::Connect && head.protocol.is_none();
    assert_eq!(ours.scheme.is_none(), is_tunnel);
    // No length can be declared for a tunnel.
    assert!(ours.body == head.body || (is_tunnel && ours.body.is_empty() && head.body.is_empty()), "{:?}", ours.body);
    assert_eq!(ours.protocol.map(|protocol| protocol.of(theirs)), line.protocol);
    // Several cookies arrive as one (RFC 9113 8.2.3).
    if fields().filter(|field| field.id == FieldId::Cookie).count() > 1 {
        return;
    }
    let mut read = field_lines(theirs, &ours.fields).filter(|field| field.id != FieldId::Host);
    for sent in fields() {
        let read = read.next().expect("a field");
        assert!(read.name.eq_ignore_ascii_case(sent.name), "{read:?} of {sent:?}");
        assert_eq!((read.value, read.id), (sent.value, sent.id));
    }
    assert_eq!(read.next(), None);
}

/// What the other side makes of what a new connection of ours sends, which it must accept.
fn passed_on(send: impl FnOnce(&mut Connection, &mut Vec<u8>)) -> Message {
    let limits = Limits {
        header_list_bytes_max: u32::MAX / 8,
        fields_max: u32::MAX,
        path_bytes_max: u32::MAX,
        ..Limits::default()
    };
    let (mut out, mut replies) = (Vec::new(), Vec::new());
    let mut receiver = Connection::new(Role::Server, &limits, &mut replies);
    let mut sender = Connection::new(Role::Client, &limits, &mut out);
    let (mut ignored, mut at) = (Vec::new(), 0);
    let mut message = Message::default();
    // Who opens a tunnel has to know that it may.
    sender.receive(&replies, &mut message, &mut out).expect("our own SETTINGS");
    send(&mut sender, &mut out);
    loop {
        let step = receiver.receive(&out[at..], &mut message, &mut ignored).expect("our own frames");
        at += step.consumed;
        match step.event {
            Event::SettingsChanged => {}
            Event::Request { .. } => return message,
            event => panic!("{event:?}"),
        }
    }
}

fn described(event: &Event, input: &[u8], message: &Message) -> String {
    let text = String::from_utf8_lossy(&message.text);
    match event {
        Event::Request { .. } | Event::HeadTooLarge { .. } => format!("{event:?} {:?} {text}", message.request),
        Event::Response { .. } | Event::Interim { .. } => format!("{event:?} {:?} {text}", message.response),
        Event::Trailers { .. } => format!("{event:?} {:?} {text}", message.trailers),
        Event::GoAway { last_stream, code, debug } => format!("{last_stream} {code:?} {:?}", &input[debug.clone()]),
        other => format!("{other:?}"),
    }
}
