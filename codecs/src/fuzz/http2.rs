//! Properties of HTTP/2 connections.

use crate::http::h2::{Connection, Error, Event, Limits, Message, NO_FIELDS, PREFACE, RequestLine, Role};

/// SETTINGS without anything in it: what a peer says first.
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

/// Bytes from a peer, after its preface and SETTINGS: any cut gives the same events and the same replies. The seed's last
/// bit says which side we are; a client has sent requests on streams 1 and 3.
pub fn http2(data: &[u8]) {
    let Some((&seed, input)) = data.split_first() else { return };
    let whole = read(input, seed, input.len().max(1));
    for step in [1, 2 + usize::from(seed % 61)] {
        assert_eq!(read(input, seed, step), whole, "in steps of {step}");
    }
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
    let mut connection = Connection::new(role, &Limits::default(), &mut replies);
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
                seen.events.extend(body.take().map(|body| format!("{body:?}")));
                seen.events.push(described(&event, there, &message));
            }
        }
    }
    seen.events.extend(body.map(|body| format!("{body:?}")));
    seen
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
