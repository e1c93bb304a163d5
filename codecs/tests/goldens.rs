//! Messages that must parse, with what they must mean, byte for byte.

use codecs::http::h1::{self, BodyDecoder, BodyPart, RequestOptions, Status, emit};
use codecs::http::{
    BodyLength, FieldId, FieldSet, HeadLimits, Method, RequestHead, ResponseHead, Scheme, Span, TargetForm, Version,
};

fn request(input: &[u8]) -> (RequestHead, usize) {
    let mut head = RequestHead::default();
    let result = h1::parse_request(input, &HeadLimits::default(), &RequestOptions::default(), &mut head);
    match result {
        Ok(Status::Complete(consumed)) => (head, consumed),
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(input)),
    }
}

fn response(input: &[u8], method: Method) -> (ResponseHead, usize) {
    let mut head = ResponseHead::default();
    match h1::parse_response(input, &HeadLimits::default(), method, &mut head) {
        Ok(Status::Complete(consumed)) => (head, consumed),
        other => panic!("{other:?} for {:?}", String::from_utf8_lossy(input)),
    }
}

fn text(span: Span, input: &[u8]) -> &str {
    std::str::from_utf8(span.of(input)).expect("text")
}

#[test]
fn a_browsers_get() {
    let input = b"GET /a/b?x=1&y=2 HTTP/1.1\r\nHost: example.com:8080\r\nUser-Agent: x\r\nAccept:*/*\r\nX-Own:  v w \t\r\nEmpty:\r\n\r\nGET /next";
    let (head, consumed) = request(input);
    assert_eq!(&input[consumed..], b"GET /next");
    assert_eq!((head.method, text(head.method_span, input)), (Method::Get, "GET"));
    assert_eq!(text(head.target, input), "/a/b?x=1&y=2");
    assert_eq!(text(head.path, input), "/a/b?x=1&y=2");
    assert_eq!(text(head.path_only(), input), "/a/b");
    assert_eq!(head.query().map(|query| text(query, input)), Some("x=1&y=2"));
    assert_eq!(text(head.authority, input), "example.com:8080");
    assert_eq!((head.version, head.target_form, head.scheme), (Version::Http11, TargetForm::Origin, None));
    assert_eq!((head.body, head.keep_alive, head.expect_continue), (BodyLength::None, true, false));
    let fields: Vec<_> =
        head.fields.iter().map(|f| (text(f.name, input), text(f.value, input), f.id, f.hop_by_hop)).collect();
    assert_eq!(
        fields,
        [
            ("Host", "example.com:8080", FieldId::Host, false),
            ("User-Agent", "x", FieldId::UserAgent, false),
            ("Accept", "*/*", FieldId::Accept, false),
            ("X-Own", "v w", FieldId::Other, false),
            ("Empty", "", FieldId::Other, false),
        ]
    );
}

#[test]
fn hop_by_hop_fields_are_marked_and_not_copied() {
    let input = b"POST / HTTP/1.1\r\nConnection: keep-alive, X-Secret, TE\r\nHost: a\r\nTE: trailers\r\nX-Secret: 1\r\nx-kept: 2\r\nKeep-Alive: timeout=5\r\nX-SECRET: 3\r\nProxy-Connection: close\r\nCookie: c\r\nTransfer-Encoding: Chunked\r\nx-last: 4\r\n\r\n";
    let (head, _) = request(input);
    assert_eq!(head.body, BodyLength::Chunked);
    assert!(head.te_trailers && head.keep_alive);
    let mut out = Vec::new();
    head.copy_fields(&mut out, input, FieldSet::of(&[FieldId::Cookie]));
    assert_eq!(String::from_utf8(out).unwrap(), "Host: a\r\nx-kept: 2\r\nx-last: 4\r\n");
}

#[test]
fn connection_specific_fields_end_here_without_being_nominated() {
    for name in ["connection", "keep-alive", "Proxy-Connection", "TE", "transfer-encoding", "UPGRADE"] {
        let value = if name == "transfer-encoding" { "chunked" } else { "close" };
        let input = format!("GET / HTTP/1.1\r\nHost: h\r\n{name}: {value}\r\nTrailer: x\r\n\r\n");
        let (head, _) = request(input.as_bytes());
        let marks: Vec<_> = head.fields.iter().map(|field| field.hop_by_hop).collect();
        assert_eq!(marks, [false, true, false], "{name}");
    }
}

#[test]
fn a_head_without_anything_to_drop_is_copied_whole() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\nA:b\r\nC :d\r\n\r\n".to_vec();
    let input: Vec<u8> = String::from_utf8(input).unwrap().replace("C :d", "C:\t d ").into_bytes();
    let (head, consumed) = request(&input);
    let mut out = Vec::new();
    head.copy_fields(&mut out, &input, FieldSet::EMPTY);
    assert_eq!(out, input[16..consumed - 2]);
}

#[test]
fn target_forms() {
    type Case = (&'static str, TargetForm, &'static str, Option<&'static str>, &'static str, Option<Scheme>);
    let cases: &[Case] = &[
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", TargetForm::Origin, "/", None, "h", None),
        ("GET /? HTTP/1.1\r\nHost: h\r\n\r\n", TargetForm::Origin, "/?", Some(""), "h", None),
        ("GET /a?b?c HTTP/1.1\r\nHost: h\r\n\r\n", TargetForm::Origin, "/a?b?c", Some("b?c"), "h", None),
        ("GET //x/:1 HTTP/1.1\r\nHost: h\r\n\r\n", TargetForm::Origin, "//x/:1", None, "h", None),
        (
            "GET http://h/a?b HTTP/1.1\r\nHost: h\r\n\r\n",
            TargetForm::Absolute,
            "/a?b",
            Some("b"),
            "h",
            Some(Scheme::Http),
        ),
        ("GET http://H:80 HTTP/1.1\r\nHost: h\r\n\r\n", TargetForm::Absolute, "/", None, "H:80", Some(Scheme::Http)),
        ("GET HTTPS://h/ HTTP/1.1\r\nHost: h:443\r\n\r\n", TargetForm::Absolute, "/", None, "h", Some(Scheme::Https)),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", TargetForm::Asterisk, "*", None, "h", None),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", TargetForm::Authority, "", None, "h:443", None),
        ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", TargetForm::Origin, "/", None, "[::1]:80", None),
        ("GET / HTTP/1.0\r\n\r\n", TargetForm::Origin, "/", None, "", None),
    ];
    for (input, form, path, query, authority, scheme) in cases {
        let (head, consumed) = request(input.as_bytes());
        assert_eq!(consumed, input.len());
        let bytes = input.as_bytes();
        assert_eq!((head.target_form, text(head.path, bytes)), (*form, *path), "{input}");
        assert_eq!(head.query().map(|query| text(query, bytes)), *query, "{input}");
        assert_eq!((text(head.authority, bytes), head.scheme), (*authority, *scheme), "{input}");
    }
}

#[test]
fn persistence_of_requests() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive, CLOSE\r\n", false),
        ("HTTP/1.1", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("HTTP/1.1", "Proxy-Connection: close\r\n", true),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: keep-alive\r\n", true),
    ];
    for (version, connection, keep_alive) in cases {
        let input = format!("GET / {version}\r\nHost: h\r\n{connection}\r\n");
        assert_eq!(request(input.as_bytes()).0.keep_alive, keep_alive, "{input}");
    }
}

#[test]
fn upgrade_needs_the_connection_option() {
    let with = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n";
    let (head, _) = request(with);
    assert_eq!(head.upgrade.map(|value| text(value, with)), Some("websocket"));
    let without = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";
    let (head, _) = request(without);
    assert_eq!(head.upgrade, None);
    assert!(head.fields[1].hop_by_hop, "and isn't forwarded without it");
    let twice = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(request(twice).0.upgrade, None, "two are nothing to choose from");
    let http10 = b"GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    assert_eq!(request(http10).0.upgrade, None);
}

#[test]
fn expectations() {
    let expects = |input: &str| request(input.as_bytes()).0.expect_continue;
    assert!(expects("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n"));
    assert!(!expects("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"));
    assert!(!expects("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
}

#[test]
fn leading_empty_lines_are_skipped() {
    let input = b"\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n";
    let (head, consumed) = request(input);
    assert_eq!((consumed, text(head.path, input)), (input.len(), "/x"));
    assert_eq!(text(head.authority, input), "h");
}

#[test]
fn response_bodies() {
    use BodyLength::{Chunked, Length, None, UntilClose};
    let cases = [
        (Method::Get, "200 OK", "Content-Length: 5\r\n", Length(5), true, false),
        (Method::Get, "200 OK", "Content-Length: 0\r\n", Length(0), true, false),
        (Method::Get, "200 OK", "Transfer-Encoding: chunked\r\n", Chunked, true, false),
        (Method::Get, "200 OK", "", UntilClose, false, false),
        (Method::Head, "200 OK", "Content-Length: 5\r\n", None, true, false),
        (Method::Head, "200 OK", "", None, true, false),
        (Method::Head, "200 OK", "Transfer-Encoding: chunked\r\n", None, true, false),
        (Method::Get, "204 No Content", "", None, true, false),
        (Method::Get, "204 No Content", "Content-Length: 0\r\n", None, true, false),
        (Method::Get, "204 No Content", "Content-Length: 5\r\n", None, false, false),
        (Method::Get, "304 Not Modified", "Content-Length: 5\r\n", None, true, false),
        (Method::Get, "100 Continue", "", None, true, false),
        (Method::Get, "103 Early Hints", "Link: </x>\r\n", None, true, false),
        (Method::Get, "101 Switching Protocols", "Connection: upgrade\r\nUpgrade: a\r\n", None, true, true),
        (Method::Connect, "200 OK", "Content-Length: 5\r\n", None, true, true),
        (Method::Connect, "407 No", "Content-Length: 5\r\n", Length(5), true, false),
    ];
    for (method, status, fields, body, keep_alive, tunnel) in cases {
        let input = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
        let (head, consumed) = response(input.as_bytes(), method);
        assert_eq!(consumed, input.len());
        assert_eq!((head.body, head.keep_alive, head.tunnel), (body, keep_alive, tunnel), "{method:?} {input}");
    }
}

#[test]
fn content_length_is_not_copied_where_it_is_forbidden() {
    for (method, status, kept) in [
        (Method::Get, "204 No Content", false),
        (Method::Get, "101 Switching Protocols", false),
        (Method::Connect, "200 OK", false),
        (Method::Get, "304 Not Modified", true),
        (Method::Head, "200 OK", true),
    ] {
        let input = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let (head, _) = response(input.as_bytes(), method);
        let mut out = Vec::new();
        head.copy_fields(&mut out, input.as_bytes(), FieldSet::EMPTY);
        assert_eq!(!out.is_empty(), kept, "{method:?} {status}");
    }
}

#[test]
fn reasons() {
    for (line, reason) in [
        ("HTTP/1.1 200 OK", b"OK".as_slice()),
        ("HTTP/1.1 200 ", b""),
        ("HTTP/1.1 200", b""),
        ("HTTP/1.0 404 Not  here", b"Not  here"),
        ("HTTP/1.1 200 sch\u{f6}n", "sch\u{f6}n".as_bytes()),
    ] {
        let input = format!("{line}\r\nContent-Length: 0\r\n\r\n");
        let (head, _) = response(input.as_bytes(), Method::Get);
        assert_eq!(head.reason.of(input.as_bytes()), reason, "{line}");
    }
}

/// Payload, trailers as text, bytes consumed.
fn decode(decoder: &mut BodyDecoder, input: &[u8]) -> (Vec<u8>, String, usize) {
    let mut payload = Vec::new();
    let mut at = 0;
    loop {
        let event = decoder.decode(&input[at..]).expect("body");
        if let BodyPart::Data(range) = &event.part {
            payload.extend_from_slice(&input[at..][range.clone()]);
        }
        at += event.consumed;
        if matches!(event.part, BodyPart::NeedMore | BodyPart::End) {
            break;
        }
    }
    let mut trailers = Vec::new();
    if let Some(t) = decoder.trailers() {
        emit::fields(&mut trailers, t.bytes, t.fields, t.fields_end(), FieldSet::EMPTY);
    }
    (payload, String::from_utf8(trailers).unwrap(), at)
}

#[test]
fn chunked_body_with_extensions_and_trailers() {
    let input = b"5;a=b\r\nhello\r\n00a ; x=\"y;z\"\r\n, world!!!\r\n0;end\r\nX-Sum: 1\r\nConnection: x\r\nEtag: \"e\"\r\n\r\nGET";
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &HeadLimits::default());
    let (payload, trailers, consumed) = decode(&mut decoder, input);
    assert_eq!(payload, b"hello, world!!!");
    assert_eq!(trailers, "X-Sum: 1\r\nEtag: \"e\"\r\n");
    assert_eq!(&input[consumed..], b"GET");
    assert!(decoder.is_done());

    decoder.reset(BodyLength::Chunked);
    let (payload, trailers, consumed) = decode(&mut decoder, b"1\r\nx\r\n0\r\n\r\n");
    assert_eq!((payload.as_slice(), trailers.as_str(), consumed), (b"x".as_slice(), "", 11));
    assert!(decoder.trailers().is_none());
}

#[test]
fn trailers_that_come_too_late_are_not_sent_on() {
    let input = b"0\r\nContent-Type: a\r\nX-Forwarded-For: b\r\ngrpc-status: 0\r\nSet-Cookie: c\r\n\r\n";
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, &HeadLimits::default());
    let (_, trailers, _) = decode(&mut decoder, input);
    assert_eq!(trailers, "grpc-status: 0\r\n");
    let mut out = Vec::new();
    emit::last_chunk(&mut out, decoder.trailers());
    assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n");
}

#[test]
fn a_decoder_is_small() {
    assert!(size_of::<BodyDecoder>() <= 56, "{}", size_of::<BodyDecoder>());
}

#[test]
fn counted_and_endless_bodies() {
    let mut decoder = BodyDecoder::new(BodyLength::Length(5), &HeadLimits::default());
    assert_eq!(decode(&mut decoder, b"hel"), (b"hel".to_vec(), String::new(), 3));
    assert_eq!((decoder.is_done(), decoder.remaining_hint()), (false, 2));
    assert!(decoder.on_eof().is_err());
    assert_eq!(decode(&mut decoder, b"loHTTP"), (b"lo".to_vec(), String::new(), 2));
    assert!(decoder.is_done() && decoder.on_eof().is_ok());

    let mut decoder = BodyDecoder::for_response(BodyLength::UntilClose, &HeadLimits::default());
    assert_eq!(decode(&mut decoder, b"all"), (b"all".to_vec(), String::new(), 3));
    assert!(!decoder.is_done());
    assert!(decoder.on_eof().is_ok() && decoder.is_done());

    for none in [BodyLength::None, BodyLength::Length(0)] {
        let mut decoder = BodyDecoder::new(none, &HeadLimits::default());
        assert!(decoder.is_done());
        assert_eq!(decode(&mut decoder, b"GET"), (Vec::new(), String::new(), 0));
    }
}

#[test]
fn emitted_bytes() {
    let mut out = Vec::new();
    emit::request_line(&mut out, b"GET", b"/a?b");
    emit::status_line(&mut out, 200, b"");
    emit::status_line(&mut out, 404, b"");
    emit::status_line(&mut out, 999, b"Own");
    emit::status_line(&mut out, 799, b"");
    emit::field(&mut out, b"x-a", b"b c");
    emit::content_length(&mut out, 0);
    emit::content_length(&mut out, u64::MAX);
    emit::transfer_encoding_chunked(&mut out);
    emit::end_of_head(&mut out);
    emit::chunk_head(&mut out, 0xabc0);
    emit::chunk_head(&mut out, u64::MAX);
    emit::chunk_end(&mut out);
    emit::last_chunk(&mut out, None);
    let expected = "GET /a?b HTTP/1.1\r\nHTTP/1.1 200 OK\r\nHTTP/1.1 404 Not Found\r\nHTTP/1.1 999 Own\r\nHTTP/1.1 799 \r\n\
        x-a: b c\r\ncontent-length: 0\r\ncontent-length: 18446744073709551615\r\ntransfer-encoding: chunked\r\n\r\n\
        abc0\r\nffffffffffffffff\r\n\r\n0\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn dates() {
    for (secs, expected) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
        (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
        (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        let mut out = Vec::new();
        emit::date(&mut out, secs);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
