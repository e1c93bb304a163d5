//! Fields that no hop may put into a compression table (RFC 7541 7.1.3) stay such.

use codecs::http::Field;
use codecs::http::h2::{Connection, Event, Limits, Message, Role};

use super::raw::{END_HEADERS, END_STREAM, GET, HEADERS, PREFACE, Raw, SETTINGS, block, frame};
use crate::harness::{Driver, Origin, Proxy, config};

const SECRET: &str = "x-secret";

/// A literal that is never indexed (RFC 7541 6.2.3), with an ordinary one behind it.
fn secret() -> Vec<u8> {
    let mut fields = block(&[(SECRET, "the key"), ("x-open", "to all")]);
    fields[0] = 0x10;
    fields
}

/// Whether the fields have both, and only the secret one is marked.
#[track_caller]
fn check(what: &str, fields: &[Field], text: &[u8]) {
    let find = |name: &str| fields.iter().find(|field| field.name.of(text) == name.as_bytes());
    let (secret, open) = (find(SECRET).expect("the secret"), find("x-open").expect("the other"));
    assert_eq!(secret.value.of(text), b"the key", "{what}");
    assert!(secret.never_indexed, "{what}: the secret may be indexed");
    assert!(!open.never_indexed, "{what}: the other may not be indexed");
}

fn secrets_are_never_indexed_in_either_direction(driver: Driver) {
    let origin = Origin::new(|peer| {
        let Some(mut raw) = Raw::endpoint(peer.wire) else { return };
        let Ok(got) = raw.next(HEADERS) else { return };
        let mut server = Connection::new(Role::Server, &Limits::default(), &mut Vec::new());
        let head = frame(HEADERS, got.flags, got.stream, &got.payload);
        let (input, mut message) = ([PREFACE, &frame(SETTINGS, 0, 0, &[]), &head].concat(), Message::default());
        let mut at = 0;
        loop {
            let step = server.receive(&input[at..], &mut message, &mut Vec::new()).expect("a request");
            at += step.consumed;
            match step.event {
                Event::Request { .. } => break,
                Event::NeedMore => panic!("no request"),
                _ => {}
            }
        }
        check("the request", &message.request.fields, &message.text);
        let answer = [vec![0x88], secret()].concat();
        raw.send(frame(HEADERS, END_HEADERS | END_STREAM, got.stream, &answer));
        raw.wire.rest();
    });
    let app = format!("{{ name: app, protocol: http2, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: { prefix: / }, cluster: app }]", &app));
    let mut client = Raw::client(proxy.web);
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, &[block(&GET), secret()].concat()));
    let got = client.expect(HEADERS);
    // As much of a client as reads heads: it has asked on stream 1.
    let (mut ours, mut message, mut out) = (Vec::new(), Message::default(), Vec::new());
    let mut reader = Connection::new(Role::Client, &Limits::default(), &mut ours);
    let line = codecs::http::h2::RequestLine {
        method: b"GET",
        scheme: b"http",
        authority: b"app.test",
        path: b"/",
        protocol: None,
    };
    reader.send_request(&line, codecs::http::h2::NO_FIELDS, true, &mut ours).expect("a stream");
    let input = [frame(SETTINGS, 0, 0, &[]), frame(HEADERS, got.flags, 1, &got.payload)].concat();
    let mut at = 0;
    loop {
        let step = reader.receive(&input[at..], &mut message, &mut out).expect("a response");
        at += step.consumed;
        match step.event {
            Event::Response { .. } => break,
            Event::NeedMore => panic!("no response"),
            _ => {}
        }
    }
    check("the response", &message.response.fields, &message.text);
}

on_both_drivers!(secrets_are_never_indexed_in_either_direction,);
