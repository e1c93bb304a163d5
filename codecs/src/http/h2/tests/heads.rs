//! Heads: what is refused, what is joined, what is too large.

use super::exchange::{Side, text};
use super::*;
use crate::http::{BodyLength, FieldId, HeadLimits, Method, RequestHead, TargetForm, h1};
use ErrorKind::*;
use proptest::prelude::*;

fn server(limits: &Limits) -> Side {
    let mut server = Side::new(Role::Server, limits);
    server.input.extend_from_slice(PREFACE);
    server.input.extend(frame(Kind::Settings, 0, 0, b""));
    server
}

/// The event that a head with these fields gives.
fn request(fields: &[(&str, &str)], end_stream: bool) -> (Event, Side) {
    let mut server = server(&Limits::default());
    server.input.extend(headers(1, fields, end_stream));
    (server.expect(), server)
}

#[test]
fn malformed_requests_are_errors_of_their_stream() {
    let get = |more: &[(&'static str, &'static str)]| with(GET, more);
    let without = |name: &str| GET.iter().copied().filter(|field| field.0 != name).collect::<Vec<_>>();
    let changed = |name: &str, value: &'static str| {
        GET.iter().map(|field| (field.0, if field.0 == name { value } else { field.1 })).collect::<Vec<_>>()
    };
    let cases: &[(Vec<(&str, &str)>, ErrorKind)] = &[
        (without(":method"), MissingPseudoField),
        (without(":scheme"), MissingPseudoField),
        (without(":path"), MissingPseudoField),
        (without(":authority"), MissingAuthority),
        (get(&[(":method", "GET")]), DuplicatePseudoField),
        (get(&[(":status", "200")]), UnknownPseudoField),
        (get(&[(":unknown", "x")]), UnknownPseudoField),
        (get(&[("a", "b"), (":path", "/")]), PseudoFieldAfterFields),
        (with(&[("a", "b")], GET), PseudoFieldAfterFields),
        (changed(":method", ""), InvalidMethod),
        (changed(":method", "G ET"), InvalidMethod),
        (changed(":path", ""), InvalidPath),
        (changed(":path", "a"), InvalidPath),
        (changed(":path", "*"), InvalidPath),
        (changed(":path", "http://a/"), InvalidPath),
        (changed(":path", "/a b"), InvalidPath),
        (changed(":path", "/a#b"), InvalidPath),
        (changed(":path", "/\u{e4}"), InvalidPath),
        (changed(":scheme", "ftp"), InvalidScheme),
        (changed(":scheme", ""), InvalidScheme),
        (changed(":authority", ""), InvalidAuthority),
        (changed(":authority", "user@a"), InvalidAuthority),
        (changed(":authority", "a:b"), InvalidAuthority),
        (get(&[("host", "b")]), AuthorityMismatch),
        (get(&[("host", "a"), ("host", "a")]), SeveralHosts),
        (get(&[("host", "a,b")]), InvalidAuthority),
        (get(&[("Upper", "b")]), InvalidFieldName),
        (get(&[("", "b")]), InvalidFieldName),
        (get(&[("a b", "b")]), InvalidFieldName),
        (get(&[("a:b", "b")]), InvalidFieldName),
        (get(&[("a\0", "b")]), InvalidFieldName),
        (get(&[("a\x7f", "b")]), InvalidFieldName),
        (get(&[("\u{e4}", "b")]), InvalidFieldName),
        (get(&[("a", "b\rc")]), InvalidFieldValue),
        (get(&[("a", "b\nc")]), InvalidFieldValue),
        (get(&[("a", "b\0c")]), InvalidFieldValue),
        (get(&[("a", " b")]), InvalidFieldValue),
        (get(&[("a", "b\t")]), InvalidFieldValue),
        (changed(":path", "/\r\nx: y"), InvalidFieldValue),
        (changed(":path", "/ "), InvalidFieldValue),
        (get(&[("connection", "close")]), ConnectionSpecificField),
        (get(&[("keep-alive", "1")]), ConnectionSpecificField),
        (get(&[("proxy-connection", "1")]), ConnectionSpecificField),
        (get(&[("transfer-encoding", "chunked")]), ConnectionSpecificField),
        (get(&[("upgrade", "x")]), ConnectionSpecificField),
        (get(&[("te", "gzip")]), InvalidTe),
        (get(&[("te", "trailers, gzip")]), InvalidTe),
        (get(&[("content-length", "0"), ("content-length", "0")]), InvalidContentLength),
        (get(&[("content-length", "+1")]), InvalidContentLength),
        (get(&[("content-length", "0,0")]), InvalidContentLength),
        (get(&[("content-length", "")]), InvalidContentLength),
        (get(&[("content-length", "18446744073709551616")]), InvalidContentLength),
        (get(&[(":protocol", "websocket")]), UnknownPseudoField),
        (vec![(":method", "CONNECT"), (":authority", "a")], InvalidAuthority),
        (vec![(":method", "CONNECT"), (":authority", "a:1"), (":path", "/")], UnknownPseudoField),
        (vec![(":method", "CONNECT"), (":authority", "a:1"), (":scheme", "http")], UnknownPseudoField),
        (vec![(":method", "CONNECT"), (":authority", "a:1"), (":protocol", "websocket")], MissingPseudoField),
        (
            vec![(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a")],
            MissingPseudoField,
        ),
        (vec![(":method", "CONNECT")], MissingPseudoField),
        (vec![], MissingPseudoField),
    ];
    for (fields, expected) in cases {
        let (event, server) = request(fields, true);
        let Event::StreamError { stream: StreamRef { id: 1, .. }, kind } = event else {
            panic!("{fields:?}: {event:?}")
        };
        assert_eq!(kind, *expected, "{fields:?}");
        assert_eq!(kind.code(), ErrorCode::ProtocolError, "{fields:?}");
        assert_eq!(server.connection.open_streams(), 0);
    }
}

#[test]
fn what_a_head_says() {
    let (event, server) =
        request(&with(&GET[..2], &[(":path", "/p?q"), ("host", "h:80"), ("te", "trailers"), ("a", "")]), true);
    assert!(matches!(event, Event::Request { end_stream: true, .. }), "{event:?}");
    let (head, bytes) = (&server.message.request, server.message.text.as_slice());
    assert_eq!(text(head.authority.of(bytes)), "h:80");
    assert!(head.te_trailers && head.field(FieldId::Te).is_some_and(|te| te.hop_by_hop));
    assert_eq!((head.body, head.path_only().len()), (BodyLength::None, 2));
    let mut out = Vec::new();
    head.copy_fields(&mut out, bytes, crate::http::FieldSet::of(&[FieldId::Host]));
    assert_eq!(text(&out), "a: \r\n");

    let (_, server) = request(&with(POST, &[("expect", "100-continue")]), false);
    assert_eq!(server.message.request.body, BodyLength::Chunked);
    assert!(server.message.request.expect_continue);

    let (_, server) =
        request(&[(":method", "OPTIONS"), (":scheme", "http"), (":authority", "a"), (":path", "*")], true);
    assert_eq!(server.message.request.target_form, TargetForm::Asterisk);

    let (_, server) = request(&[(":method", "CONNECT"), (":authority", "a:1")], false);
    let (head, bytes) = (&server.message.request, server.message.text.as_slice());
    assert_eq!((head.method, head.target_form, head.body), (Method::Connect, TargetForm::Authority, BodyLength::None));
    assert_eq!((text(head.authority.of(bytes)), head.path.len(), head.protocol), ("a:1", 0, None));

    let websocket = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "a"),
        (":path", "/w"),
    ];
    let (_, server) = request(&websocket, false);
    let (head, bytes) = (&server.message.request, server.message.text.as_slice());
    assert_eq!(head.protocol.map(|protocol| text(protocol.of(bytes))), Some("websocket"));
    assert_eq!((text(head.path.of(bytes)), head.target_form), ("/w", TargetForm::Origin));

    let mut server = super::heads::server(&Limits { connect_protocol: false, ..Limits::default() });
    server.input.extend(headers(1, &websocket, false));
    assert!(matches!(server.expect(), Event::StreamError { kind: UnknownPseudoField, .. }));
}

#[test]
fn cookies_are_joined() {
    for (fields, expected) in [
        (vec![("cookie", "a=1"), ("cookie", "b=2"), ("x", "y")], "cookie: a=1; b=2\r\nx: y\r\n"),
        (
            vec![("x", "y"), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", ""), ("cookie", "c=3")],
            "x: y\r\ncookie: a=1; b=2; c=3\r\n",
        ),
        (
            vec![("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("z", ""), ("cookie", "c=3")],
            "cookie: a=1; b=2; c=3\r\nx: y\r\nz: \r\n",
        ),
    ] {
        let (_, server) = request(&with(GET, &fields), true);
        let (head, bytes) = (&server.message.request, server.message.text.as_slice());
        let run = head.fields[0].name.start as usize..head.fields_end as usize;
        assert_eq!(text(&bytes[run]), expected);
        let again: String = head
            .fields
            .iter()
            .map(|field| format!("{}: {}\r\n", text(field.name.of(bytes)), text(field.value.of(bytes))))
            .collect();
        assert_eq!(again, expected);
        assert_eq!(text(head.path.of(bytes)), "/");
    }
}

#[test]
fn heads_beyond_the_limits_can_be_answered_and_leave_the_tables_right() {
    let limits = Limits { header_list_bytes_max: 400, fields_max: 5, path_bytes_max: 20, ..Limits::default() };
    let many: Vec<(String, String)> = (0..6).map(|at| (format!("f{at}"), String::new())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let crumbs = vec![("cookie", "a=1"); 9];
    let value = "v".repeat(200);
    let path = format!("/{}", "p".repeat(20));
    for (fields, kind, status) in [
        (with(GET, &many), TooManyFields, 431),
        (with(GET, &crumbs), HeaderListTooLarge, 431),
        (with(GET, &[("a", &value)]), HeaderListTooLarge, 431),
        (with(&GET[..3], &[(":path", &path)]), PathTooLong, 414),
    ] {
        let mut server = server(&limits);
        let mut bytes = block(&fields);
        bytes.extend_from_slice(b"\x40\x03x-a\x01b");
        server.input.extend(frame(Kind::Headers, 5, 1, &bytes));
        let event = server.expect();
        let Event::HeadTooLarge { stream, kind: found, end_stream: true } = event else { panic!("{event:?}") };
        assert_eq!((found, found.request_status()), (kind, status));
        assert_eq!(text(server.message.request.method_span.of(&server.message.text)), "GET");
        server.connection.send_response(stream, status, NO_FIELDS, true, &mut server.out).expect("open");
        assert_eq!(server.connection.open_streams(), 0);
        let mut indexed = block(GET);
        indexed.push(0x80 | 62);
        server.input.extend(frame(Kind::Headers, 5, 3, &indexed));
        assert!(matches!(server.expect(), Event::Request { .. }));
        assert_eq!(server.message.request.fields[0].value.of(&server.message.text), b"b");
    }
}

#[test]
fn trailers_beyond_the_limits_end_their_stream() {
    let mut server = server(&Limits { fields_max: 2, ..Limits::default() });
    server.input.extend(headers(1, POST, false));
    server.input.extend(headers(1, &[("a", ""), ("b", ""), ("c", "")], true));
    assert!(matches!(server.expect(), Event::Request { .. }));
    assert!(matches!(server.expect(), Event::StreamError { kind: TrailersTooLarge, .. }));
}

#[test]
fn fields_of_text_are_lines_with_a_colon() {
    let lines: Vec<_> = text_lines(b"A: b\r\nc:d\r\nempty:\r\nx: a:b\r\n\r\n").collect();
    let expected: [FieldLine<'_>; 4] =
        [(b"A", b"b", false), (b"c", b"d", false), (b"empty", b"", false), (b"x", b"a:b", false)];
    assert_eq!(lines, expected.map(FieldRef::from));
}

proptest! {
    /// What passes here passes as HTTP/1, with the same fields: nothing that was smuggled becomes a line of its own.
    #[test]
    fn a_head_that_is_accepted_is_one_in_http1(
        fields in proptest::collection::vec(("[ -~\r\n\0]{0,6}|x-[a-z]{1,5}|cookie|content-length", "[ -~\t\r\n\0]{0,6}|[a-z0-9]{1,20}"), 0..8),
        path in "/[ -~\r\n]{0,8}|/[a-z?]{0,10}",
    ) {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (event, server) = request(&with(&with(&GET[..3], &[(":path", &path)]), &fields), false);
        let Event::Request { .. } = event else { return Ok(()) };
        let (head, bytes) = (&server.message.request, server.message.text.as_slice());
        let mut out = Vec::new();
        h1::emit::request_line(&mut out, head.method_span.of(bytes), head.path.of(bytes));
        h1::emit::field(&mut out, b"host", head.authority.of(bytes));
        head.copy_fields(&mut out, bytes, crate::http::FieldSet::of(&[FieldId::Host]));
        h1::emit::end_of_head(&mut out);
        let mut again = RequestHead::default();
        let parsed = h1::parse_request(&out, &HeadLimits::default(), &h1::RequestOptions::default(), &mut again);
        prop_assert_eq!(parsed, Ok(crate::Status::Complete(out.len())), "{:?}", text(&out));
        let pairs = |fields: &[crate::http::Field], bytes: &[u8]| -> Vec<(Vec<u8>, Vec<u8>)> {
            let kept = fields.iter().filter(|field| field.id != FieldId::Host && !field.hop_by_hop);
            kept.map(|field| (field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec())).collect()
        };
        prop_assert_eq!(pairs(&again.fields, &out), pairs(&head.fields, bytes));
    }
}
