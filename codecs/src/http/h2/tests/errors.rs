//! Every error that a peer can provoke, with the code and the scope that RFC 9113 and RFC 7541 want.

use super::exchange::{GET as LINE, Side, pair, pass};
use super::*;
use crate::http::h2::frame::number;
use ErrorKind::*;

#[derive(Clone, Copy, Debug)]
enum Expected {
    /// GOAWAY with this kind's code.
    Connection(ErrorKind),
    /// RST_STREAM on this stream, and the connection goes on.
    Stream(u32, ErrorKind),
    /// No error.
    Nothing,
}
use Expected::{Connection as Conn, Nothing, Stream};

/// A server with the preface and SETTINGS behind it.
fn server() -> Side {
    let mut server = Side::new(Role::Server, &Limits::default());
    server.input.extend_from_slice(PREFACE);
    server.input.extend(frame(Kind::Settings, 0, 0, b""));
    server.nothing();
    server.out.clear();
    server
}

/// A client that has sent requests on streams 1, 3 (HEAD) and 5.
fn client() -> Side {
    let mut client = Side::new(Role::Client, &Limits::default());
    client.input.extend(frame(Kind::Settings, 0, 0, b""));
    client.nothing();
    for method in [b"GET".as_slice(), b"HEAD", b"GET"] {
        let line = RequestLine { method, ..LINE };
        client.connection.send_request(&line, NO_FIELDS, true, &mut client.out).expect("a stream");
    }
    client.out.clear();
    client
}

fn judge(what: &str, mut side: Side, input: &[u8], expected: Expected) {
    side.input.extend_from_slice(input);
    let mut stream_error = None;
    let result = loop {
        match side.event() {
            Ok(None) => break Ok(()),
            Ok(Some((Event::StreamError { stream, kind }, _))) => stream_error = Some((stream.id, kind)),
            Ok(Some(_)) => {}
            Err(error) => break Err(error),
        }
    };
    let frames = frames(&side.out);
    match expected {
        Conn(kind) => {
            assert_eq!(result, Err(Error { kind }), "{what}");
            let (last, payload) = frames.last().map(|(header, payload)| (header.kind, payload)).expect("a frame");
            assert_eq!((last, number(payload, 4)), (Kind::GoAway, kind.code() as u32), "{what}");
            assert_eq!(side.event(), Err(Error { kind }), "{what}: it stays failed");
        }
        Stream(id, kind) => {
            assert_eq!(result, Ok(()), "{what}");
            let reset = |kind: ErrorKind| (Kind::RstStream, id, kind.code() as u32);
            let sent: Vec<_> = frames.iter().map(|(h, p)| (h.kind, h.stream, number(p, 0))).collect();
            assert!(sent.contains(&reset(kind)), "{what}: {sent:?} {stream_error:?}");
            if let Some(reported) = stream_error {
                assert_eq!(reported, (id, kind), "{what}");
            }
        }
        Nothing => {
            assert_eq!((result, stream_error), (Ok(()), None), "{what}");
            assert!(!frames.iter().any(|(h, _)| matches!(h.kind, Kind::RstStream | Kind::GoAway)), "{what}");
        }
    }
}

/// The frames of what was sent.
fn frames(mut out: &[u8]) -> Vec<(super::super::frame::FrameHeader, Vec<u8>)> {
    let mut frames = Vec::new();
    out = out.strip_prefix(&PREFACE[..]).unwrap_or(out);
    while let Some(header) = super::super::frame::FrameHeader::parse(out) {
        let end = FRAME_HEADER_BYTES + header.length as usize;
        frames.push((header, out[FRAME_HEADER_BYTES..end].to_vec()));
        out = &out[end..];
    }
    frames
}

fn goaway(last: u32) -> Vec<u8> {
    frame(Kind::GoAway, 0, 0, &[last.to_be_bytes(), 0u32.to_be_bytes()].concat())
}

fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(Kind::WindowUpdate, 0, stream, &increment.to_be_bytes())
}

#[test]
fn the_beginning_of_a_connection() {
    let cases: &[(&str, Vec<u8>, Expected)] = &[
        ("no preface", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Conn(InvalidPreface)),
        ("a preface with one byte wrong", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r".to_vec(), Conn(InvalidPreface)),
        ("no SETTINGS", [&PREFACE[..], &headers(1, GET, true)].concat(), Conn(MissingSettings)),
        ("an acknowledgement first", [&PREFACE[..], &frame(Kind::Settings, 1, 0, b"")].concat(), Conn(MissingSettings)),
        ("an unknown frame first", [&PREFACE[..], b"\0\0\0\x77\0\0\0\0\0"].concat(), Conn(MissingSettings)),
        ("the preface twice", [&PREFACE[..], PREFACE].concat(), Conn(MissingSettings)),
        (
            "SETTINGS on a stream first",
            [&PREFACE[..], &frame(Kind::Settings, 0, 1, b"")].concat(),
            Conn(InvalidStreamId),
        ),
    ];
    for (what, input, expected) in cases {
        judge(what, Side::new(Role::Server, &Limits::default()), input, *expected);
    }
    for (what, input) in [
        ("a server without SETTINGS", goaway(0)),
        ("a server that speaks HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("a server's acknowledgement first", frame(Kind::Settings, 1, 0, b"")),
    ] {
        judge(what, Side::new(Role::Client, &Limits::default()), &input, Conn(MissingSettings));
    }
}

#[test]
fn frames_about_the_connection() {
    let large = vec![0; 16_385];
    let cases: &[(&str, Vec<u8>, Expected)] = &[
        ("a frame that is too large", frame(Kind::Data, 0, 1, &large), Conn(FrameTooLarge)),
        ("HEADERS that are too large", frame(Kind::Headers, 5, 1, &large), Conn(FrameTooLarge)),
        ("SETTINGS that are too large", frame(Kind::Settings, 0, 0, &large), Conn(FrameTooLarge)),
        ("an unknown frame that is too large", [b"\0\x40\x01\x77\0\0\0\0\0", &large[..]].concat(), Conn(FrameTooLarge)),
        ("SETTINGS on a stream", frame(Kind::Settings, 0, 1, b""), Conn(InvalidStreamId)),
        ("SETTINGS with half a setting", frame(Kind::Settings, 0, 0, b"abc"), Conn(InvalidFrameSize)),
        ("an acknowledgement with payload", frame(Kind::Settings, 1, 0, b"abcdef"), Conn(InvalidFrameSize)),
        ("ENABLE_PUSH 2", setting(2, 2), Conn(InvalidSetting)),
        ("ENABLE_PUSH 1 of a client", setting(2, 1), Nothing),
        ("INITIAL_WINDOW_SIZE 2^31", setting(4, 1 << 31), Conn(InvalidInitialWindow)),
        ("MAX_FRAME_SIZE 16383", setting(5, 16_383), Conn(InvalidSetting)),
        ("MAX_FRAME_SIZE 2^24", setting(5, 1 << 24), Conn(InvalidSetting)),
        ("ENABLE_CONNECT_PROTOCOL 2", setting(8, 2), Conn(InvalidSetting)),
        ("ENABLE_CONNECT_PROTOCOL withdrawn", [setting(8, 1), setting(8, 0)].concat(), Conn(InvalidSetting)),
        ("an unknown setting", setting(0x99, 5), Nothing),
        ("PING on a stream", frame(Kind::Ping, 0, 1, &[0; 8]), Conn(InvalidStreamId)),
        ("PING of 7 bytes", frame(Kind::Ping, 0, 0, &[0; 7]), Conn(InvalidFrameSize)),
        ("PING of 9 bytes", frame(Kind::Ping, 0, 0, &[0; 9]), Conn(InvalidFrameSize)),
        ("an answer to PING of 7 bytes", frame(Kind::Ping, 1, 0, &[0; 7]), Conn(InvalidFrameSize)),
        ("an answer to PING on a stream", frame(Kind::Ping, 1, 1, &[0; 8]), Conn(InvalidStreamId)),
        ("PING with flags that don't exist", frame(Kind::Ping, 0xfe, 0, &[0; 8]), Nothing),
        ("PING with the reserved bit", b"\0\0\x08\x06\0\x80\0\0\0payloads".to_vec(), Nothing),
        ("GOAWAY on a stream", frame(Kind::GoAway, 0, 1, &[0; 8]), Conn(InvalidStreamId)),
        ("GOAWAY of 7 bytes", frame(Kind::GoAway, 0, 0, &[0; 7]), Conn(InvalidFrameSize)),
        ("GOAWAY that goes up", [goaway(1), goaway(3)].concat(), Conn(GoAwayIncreased)),
        ("GOAWAY twice", [goaway(3), goaway(1)].concat(), Nothing),
        ("GOAWAY with an unknown code", frame(Kind::GoAway, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0xff]), Nothing),
        ("WINDOW_UPDATE of 3 bytes", frame(Kind::WindowUpdate, 0, 0, &[0; 3]), Conn(InvalidFrameSize)),
        ("WINDOW_UPDATE of 5 bytes", frame(Kind::WindowUpdate, 0, 0, &[0; 5]), Conn(InvalidFrameSize)),
        ("WINDOW_UPDATE with the reserved bit", window_update(0, 1 << 31 | 1), Nothing),
        ("WINDOW_UPDATE of 0 with the reserved bit", window_update(0, 1 << 31), Conn(ZeroWindowUpdate)),
        ("WINDOW_UPDATE of 0", window_update(0, 0), Conn(ZeroWindowUpdate)),
        ("a connection window above 2^31 - 1", window_update(0, MAX_31_BITS), Conn(WindowOverflow)),
        ("WINDOW_UPDATE on an idle stream", window_update(1, 1), Conn(IdleStream)),
        ("WINDOW_UPDATE on an even stream", window_update(2, 1), Conn(IdleStream)),
        ("RST_STREAM of 3 bytes", frame(Kind::RstStream, 0, 1, &[0; 3]), Conn(InvalidFrameSize)),
        ("RST_STREAM on the connection", rst_stream(0), Conn(InvalidStreamId)),
        ("RST_STREAM on an idle stream", rst_stream(1), Conn(IdleStream)),
        ("PRIORITY on the connection", frame(Kind::Priority, 0, 0, &[0; 5]), Conn(InvalidStreamId)),
        ("PRIORITY of 4 bytes on an idle stream", frame(Kind::Priority, 0, 1, &[0; 4]), Conn(InvalidFrameSize)),
        ("PRIORITY of 5 bytes on an idle stream", frame(Kind::Priority, 0, 1, &[0; 5]), Nothing),
        ("PRIORITY that depends on itself", frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 0]), Conn(SelfDependency)),
        ("PUSH_PROMISE", frame(Kind::PushPromise, 4, 1, &[0; 4]), Conn(UnexpectedPush)),
        ("PUSH_PROMISE on the connection", frame(Kind::PushPromise, 4, 0, &[0; 4]), Conn(UnexpectedPush)),
        ("a frame of an unknown type", b"\0\0\x03\x63\xff\0\0\0\x09abc".to_vec(), Nothing),
        ("CONTINUATION alone", frame(Kind::Continuation, 4, 1, b""), Conn(UnexpectedContinuation)),
        ("CONTINUATION on the connection", frame(Kind::Continuation, 4, 0, b""), Conn(InvalidStreamId)),
        ("DATA on the connection", data(0, b"x", false), Conn(InvalidStreamId)),
        ("DATA on an idle stream", data(1, b"x", false), Conn(IdleStream)),
        ("HEADERS on the connection", headers(0, GET, true), Conn(InvalidStreamId)),
        ("HEADERS on an even stream", headers(2, GET, true), Conn(InvalidStreamId)),
        ("a padded HEADERS without length", frame(Kind::Headers, 0xc, 1, b""), Conn(InvalidFrameSize)),
        ("HEADERS with too much padding", frame(Kind::Headers, 0xc, 1, b"\x03\x82\0"), Conn(InvalidPadding)),
        ("HEADERS of nothing but padding", frame(Kind::Headers, 0xc, 1, b"\x02\0"), Conn(InvalidPadding)),
        (
            "HEADERS with a priority in the padding",
            frame(Kind::Headers, 0x2c, 1, b"\x01\0\0\0\0\0"),
            Conn(InvalidPadding),
        ),
        ("HEADERS with half a priority", frame(Kind::Headers, 0x24, 1, b"\0\0\0"), Conn(InvalidFrameSize)),
        (
            "CONTINUATION of another stream",
            [frame(Kind::Headers, 1, 1, b"\x82"), frame(Kind::Continuation, 4, 3, b"")].concat(),
            Conn(ContinuationExpected),
        ),
        (
            "CONTINUATION after the end of the block",
            [headers(1, POST, false), frame(Kind::Continuation, 4, 1, b"")].concat(),
            Conn(UnexpectedContinuation),
        ),
        (
            "CONTINUATION after CONTINUATION that ended the block",
            [
                frame(Kind::Headers, 0, 1, &block(POST)),
                frame(Kind::Continuation, 4, 1, b""),
                frame(Kind::Continuation, 4, 1, b""),
            ]
            .concat(),
            Conn(UnexpectedContinuation),
        ),
    ];
    for (what, input, expected) in cases {
        judge(what, server(), input, *expected);
    }
}

/// RFC 9113 4.3: a block is one sequence of frames, with nothing between.
#[test]
fn nothing_comes_between_the_frames_of_a_block() {
    let begun = frame(Kind::Headers, 1, 1, &block(GET));
    let between: &[(&str, Vec<u8>)] = &[
        ("PING", frame(Kind::Ping, 0, 0, &[0; 8])),
        ("SETTINGS", frame(Kind::Settings, 0, 0, b"")),
        ("DATA of the stream", data(1, b"x", false)),
        ("DATA of another stream", data(3, b"x", false)),
        ("HEADERS of the stream", headers(1, GET, true)),
        ("HEADERS of another stream", headers(3, GET, true)),
        ("PRIORITY", frame(Kind::Priority, 0, 1, &[0; 5])),
        ("RST_STREAM", rst_stream(1)),
        ("WINDOW_UPDATE", window_update(0, 1)),
        ("WINDOW_UPDATE of the stream", window_update(1, 1)),
        ("GOAWAY", goaway(0)),
        ("PUSH_PROMISE", frame(Kind::PushPromise, 4, 1, &[0; 4])),
        ("an unknown frame", b"\0\0\0\x77\0\0\0\0\x01".to_vec()),
    ];
    for (what, input) in between {
        let then_more = frame(Kind::Continuation, 4, 1, b"");
        judge(what, server(), &[begun.as_slice(), input, &then_more].concat(), Conn(ContinuationExpected));
    }
    let head = frame(Kind::Headers, 0, 1, &block(&[(":status", "200")]));
    judge("a server's PING", client(), &[head, frame(Kind::Ping, 0, 0, &[0; 8])].concat(), Conn(ContinuationExpected));
}

/// RFC 9113 4.3, RFC 7541: a block that can't be decoded is the end of the connection, whatever it belongs to. What is
/// wrong with blocks in themselves is with the tests of HPACK.
#[test]
fn blocks_that_are_not_hpack_wherever_they_stand() {
    const BAD: &[(&str, &[u8])] = &[
        ("index 0 (6.1)", b"\x80"),
        ("an index beyond the tables (2.3.3)", b"\xbe"),
        ("a name's index beyond the tables (2.3.3)", b"\x7f\0\x01a"),
        ("half a field", b"\x82\x00\x05a"),
        ("a literal without length", b"\x40"),
        ("an integer that is too large (5.1)", b"\xff\x80\x80\x80\x80\x10"),
        ("Huffman with padding of a byte (5.2)", b"\0\x01a\x82\x1f\xff"),
        ("Huffman with padding of zeros (5.2)", b"\0\x01a\x81\x18"),
        ("Huffman with the end of the string (5.2)", b"\0\x01a\x84\xff\xff\xff\xff"),
        ("a table larger than allowed (6.3)", b"\x3f\xe2\x1f\x82"),
        ("a change of the table after a field (4.2)", b"\x82\x20"),
    ];
    let refusing = || {
        let limits = Limits { concurrent_streams_max: 1, ..Limits::default() };
        let mut side = Side::new(Role::Server, &limits);
        side.input.extend_from_slice(PREFACE);
        side.input.extend([frame(Kind::Settings, 0, 0, b""), headers(1, POST, false)].concat());
        assert!(matches!(side.expect(), Event::Request { .. }));
        side
    };
    let leaving = || {
        let mut side = server();
        side.connection.go_away(ErrorCode::NoError, &mut side.out);
        side
    };
    for (what, bad) in BAD {
        let whole = |stream: u32| frame(Kind::Headers, 5, stream, bad);
        let after = |first: &[u8]| [first, &whole(1)].concat();
        let mut halves = frame(Kind::Headers, 1, 1, &bad[..1]);
        halves.extend(frame(Kind::Continuation, 4, 1, &bad[1..]));
        let cases = [
            ("in a request", server(), whole(1)),
            ("in CONTINUATION", server(), halves),
            (
                "behind a whole head",
                server(),
                frame(Kind::Headers, 5, 1, &[&block(GET)[..], &[0, 1, b'a', 0], bad].concat()),
            ),
            (
                "behind a malformed head",
                server(),
                frame(Kind::Headers, 5, 1, &[&block(&[("A", "")])[..], bad].concat()),
            ),
            ("in trailers", server(), after(&headers(1, POST, false))),
            ("on a stream that ended", server(), after(&headers(1, GET, true))),
            ("on a stream that was reset", server(), after(&[headers(1, POST, false), rst_stream(1)].concat())),
            ("on a stream that is refused", refusing(), whole(3)),
            ("after our GOAWAY", leaving(), whole(1)),
            ("in a response", client(), whole(1)),
            ("in a response's trailers", client(), after(&headers(1, &[(":status", "200")], false))),
        ];
        for (place, side, input) in cases {
            judge(&format!("{what} {place}"), side, &input, Conn(InvalidHeaderBlock));
        }
    }
}

/// RFC 9113 4.3.1: once our smaller table is acknowledged, the next block has to begin by saying so.
#[test]
fn a_smaller_table_has_to_be_taken_up() {
    let reduced = |then: &[u8]| {
        let limits = Limits { header_table_bytes: 100, ..Limits::default() };
        let mut side = Side::new(Role::Server, &limits);
        side.input.extend_from_slice(PREFACE);
        side.input.extend([frame(Kind::Settings, 0, 0, b""), frame(Kind::Settings, 1, 0, b"")].concat());
        side.nothing();
        side.out.clear();
        (side, frame(Kind::Headers, 5, 1, &[then, &block(GET)].concat()))
    };
    for (what, size, expected) in [
        ("no change", &b""[..], Conn(InvalidHeaderBlock)),
        ("a change to more", b"\x3f\x46", Conn(InvalidHeaderBlock)),
        ("a change to as much", b"\x3f\x45", Nothing),
        ("a change to 0 and up again", b"\x20\x3f\x45", Nothing),
    ] {
        let (side, input) = reduced(size);
        judge(what, side, &input, expected);
    }
}

/// RFC 9113 5.1: what a server still takes on a stream that both sides have ended.
#[test]
fn frames_on_streams_that_both_sides_have_ended() {
    let ended = || {
        let mut side = server();
        side.input.extend(headers(1, GET, true));
        let Event::Request { stream, .. } = side.expect() else { panic!("no request") };
        side.connection.send_response(stream, 204, NO_FIELDS, true, &mut side.out).expect("open");
        side.out.clear();
        side
    };
    let cases: &[(&str, Vec<u8>, Expected)] = &[
        ("DATA", data(1, b"x", true), Conn(StreamClosed)),
        ("HEADERS", headers(1, GET, true), Conn(StreamClosed)),
        ("CONTINUATION", frame(Kind::Continuation, 4, 1, b""), Conn(UnexpectedContinuation)),
        ("PRIORITY", frame(Kind::Priority, 0, 1, &[0; 5]), Nothing),
        ("PRIORITY on itself", frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 0]), Stream(1, SelfDependency)),
        ("PRIORITY of 4 bytes", frame(Kind::Priority, 0, 1, &[0; 4]), Stream(1, InvalidFrameSize)),
        ("RST_STREAM", rst_stream(1), Nothing),
        ("RST_STREAM of 3 bytes", frame(Kind::RstStream, 0, 1, &[0; 3]), Conn(InvalidFrameSize)),
        ("WINDOW_UPDATE", window_update(1, 1), Nothing),
        ("WINDOW_UPDATE of 3 bytes", frame(Kind::WindowUpdate, 0, 1, &[0; 3]), Conn(InvalidFrameSize)),
    ];
    for (what, input, expected) in cases {
        judge(what, ended(), input, *expected);
    }
}

/// RFC 9113 6.8: so that the peer knows what it may send again.
#[test]
fn the_goaway_of_an_error_names_the_latest_stream() {
    let mut side = server();
    side.input.extend([headers(1, GET, true), headers(7, POST, false), frame(Kind::Ping, 0, 1, &[0; 8])].concat());
    while side.event().is_ok_and(|event| event.is_some()) {}
    let sent = frames(&side.out);
    let (header, payload) = sent.last().expect("GOAWAY");
    assert_eq!((header.kind, header.stream, number(payload, 0)), (Kind::GoAway, 0, 7));
}

#[test]
fn the_goaway_of_an_error_is_the_last_frame() {
    let mut side = server();
    side.input.extend([headers(1, POST, false), frame(Kind::Ping, 0, 1, &[0; 8])].concat());
    let Event::Request { stream, .. } = side.expect() else { panic!("no request") };
    assert_eq!(side.event(), Err(Error { kind: InvalidStreamId }));
    side.connection.reset(stream, ErrorCode::Cancel, &mut side.out);
    assert!(!side.connection.is_open(stream));
    assert_eq!(frames(&side.out).last().map(|(header, _)| header.kind), Some(Kind::GoAway));
}

#[test]
fn frames_on_streams() {
    let open = headers(1, POST, false);
    let done = headers(1, GET, true);
    let after = |first: &[u8], then: Vec<u8>| [first, &then].concat();
    let cases: &[(&str, Vec<u8>, Expected)] = &[
        ("DATA with too much padding", after(&open, frame(Kind::Data, 8, 1, b"\x02x")), Conn(InvalidPadding)),
        ("DATA padded without length", after(&open, frame(Kind::Data, 8, 1, b"")), Conn(InvalidFrameSize)),
        ("DATA with all padding", after(&open, frame(Kind::Data, 8, 1, b"\x02xx")), Nothing),
        ("DATA after the end", after(&done, data(1, b"x", false)), Stream(1, StreamClosed)),
        ("HEADERS after the end", after(&done, headers(1, GET, true)), Stream(1, StreamClosed)),
        ("PRIORITY after the end", after(&done, frame(Kind::Priority, 0, 1, &[0; 5])), Nothing),
        ("WINDOW_UPDATE after the end", after(&done, window_update(1, 1)), Nothing),
        ("WINDOW_UPDATE of 0 after the end", after(&done, window_update(1, 0)), Stream(1, ZeroWindowUpdate)),
        ("WINDOW_UPDATE of 3 bytes", after(&open, frame(Kind::WindowUpdate, 0, 1, &[0; 3])), Conn(InvalidFrameSize)),
        ("RST_STREAM of 5 bytes", after(&open, frame(Kind::RstStream, 0, 1, &[0; 5])), Conn(InvalidFrameSize)),
        ("RST_STREAM with an unknown code", after(&open, frame(Kind::RstStream, 0, 1, &[0xff; 4])), Nothing),
        (
            "HEADERS after RST_STREAM",
            [&open, &rst_stream(1)[..], &headers(1, GET, true)].concat(),
            Stream(1, StreamClosed),
        ),
        ("DATA after RST_STREAM", [&open, &rst_stream(1)[..], &data(1, b"x", false)].concat(), Stream(1, StreamClosed)),
        ("RST_STREAM twice", [&open, &rst_stream(1)[..], &rst_stream(1)].concat(), Nothing),
        ("WINDOW_UPDATE after RST_STREAM", [&open, &rst_stream(1)[..], &window_update(1, 1)].concat(), Nothing),
        (
            "an identifier that was passed over",
            after(&headers(5, GET, true), headers(3, GET, true)),
            Conn(InvalidStreamId),
        ),
        ("WINDOW_UPDATE of 0", after(&open, window_update(1, 0)), Stream(1, ZeroWindowUpdate)),
        ("a window above 2^31 - 1", after(&open, window_update(1, MAX_31_BITS)), Stream(1, WindowOverflow)),
        (
            "an initial window that makes one overflow",
            [&open[..], &window_update(1, MAX_31_BITS - 65_535), &setting(4, 65_536)].concat(),
            Conn(WindowOverflow),
        ),
        ("PRIORITY of 4 bytes", after(&open, frame(Kind::Priority, 0, 1, &[0; 4])), Stream(1, InvalidFrameSize)),
        ("PRIORITY on itself", after(&open, frame(Kind::Priority, 0, 1, &[0, 0, 0, 1, 0])), Stream(1, SelfDependency)),
        (
            "HEADERS that depends on itself",
            frame(Kind::Headers, 0x25, 1, &[&[0, 0, 0, 1, 0], &block(GET)[..]].concat()),
            Stream(1, SelfDependency),
        ),
        (
            "HEADERS with priority",
            frame(Kind::Headers, 0x25, 1, &[&[0, 0, 0, 3, 0], &block(GET)[..]].concat()),
            Nothing,
        ),
        ("trailers that don't end", after(&open, headers(1, &[("a", "b")], false)), Stream(1, TrailersWithoutEnd)),
        ("pseudo-header in trailers", after(&open, headers(1, &[(":path", "/")], true)), Stream(1, UnknownPseudoField)),
        (
            "content-length in trailers",
            after(&open, headers(1, &[("content-length", "0")], true)),
            Stream(1, ForbiddenTrailer),
        ),
        (
            "connection in trailers",
            after(&open, headers(1, &[("connection", "x")], true)),
            Stream(1, ConnectionSpecificField),
        ),
        (
            "a name in upper case in trailers",
            after(&open, headers(1, &[("A", "b")], true)),
            Stream(1, InvalidFieldName),
        ),
        ("a line's end in trailers", after(&open, headers(1, &[("a", "b\r\nc")], true)), Stream(1, InvalidFieldValue)),
        ("trailers", after(&open, headers(1, &[("a", "b")], true)), Nothing),
        (
            "trailers of a tunnel",
            after(
                &headers(1, &[(":method", "CONNECT"), (":authority", "a:1")], false),
                headers(1, &[("a", "b")], true),
            ),
            Stream(1, ForbiddenTrailer),
        ),
    ];
    for (what, input, expected) in cases {
        judge(what, server(), input, *expected);
    }
}

#[test]
fn content_length_is_held_against_data() {
    let five = headers(1, &with(POST, &[("content-length", "5")]), false);
    let after = |then: &[Vec<u8>]| [five.clone(), then.concat()].concat();
    let cases: &[(&str, Vec<u8>, Expected)] = &[
        ("as much", after(&[data(1, b"he", false), data(1, b"llo", true)]), Nothing),
        ("as much, then trailers", after(&[data(1, b"hello", false), headers(1, &[("a", "b")], true)]), Nothing),
        ("more", after(&[data(1, b"hello!", false)]), Stream(1, ContentLengthMismatch)),
        (
            "more in two frames",
            after(&[data(1, b"hello", false), data(1, b"!", true)]),
            Stream(1, ContentLengthMismatch),
        ),
        ("less", after(&[data(1, b"he", true)]), Stream(1, ContentLengthMismatch)),
        (
            "less, then trailers",
            after(&[data(1, b"he", false), headers(1, &[("a", "b")], true)]),
            Stream(1, ContentLengthMismatch),
        ),
        ("nothing", headers(1, &with(POST, &[("content-length", "5")]), true), Stream(1, ContentLengthMismatch)),
    ];
    for (what, input, expected) in cases {
        judge(what, server(), input, *expected);
    }
}

#[test]
fn frames_from_a_server() {
    let ok: &[(&str, &str)] = &[(":status", "200")];
    let cases: &[(&str, Vec<u8>, Expected)] = &[
        ("PUSH_PROMISE", frame(Kind::PushPromise, 4, 1, &[0, 0, 0, 2, 0x82]), Conn(UnexpectedPush)),
        ("interim heads", headers(1, &[(":status", "103")], false).repeat(100), Nothing),
        ("interim heads without end", headers(1, &[(":status", "103")], false).repeat(101), Stream(1, TooManyInterims)),
        ("ENABLE_PUSH 1", setting(2, 1), Conn(InvalidSetting)),
        ("HEADERS on an idle stream", headers(7, ok, true), Conn(IdleStream)),
        ("HEADERS on an even stream", headers(2, ok, true), Conn(InvalidStreamId)),
        ("DATA before HEADERS", data(1, b"x", true), Stream(1, DataBeforeHead)),
        ("DATA on an idle stream", data(7, b"x", false), Conn(IdleStream)),
        ("DATA on an even stream", data(2, b"x", false), Conn(IdleStream)),
        ("RST_STREAM on an idle stream", rst_stream(7), Conn(IdleStream)),
        ("WINDOW_UPDATE on an idle stream", window_update(7, 1), Conn(IdleStream)),
        ("GOAWAY that goes up", [goaway(1), goaway(3)].concat(), Conn(GoAwayIncreased)),
        ("RST_STREAM of an error that is none", frame(Kind::RstStream, 0, 1, &[0; 4]), Nothing),
        ("no status", headers(1, &[("a", "b")], true), Stream(1, MissingPseudoField)),
        (
            "a status after fields",
            headers(1, &[("a", "b"), (":status", "200")], true),
            Stream(1, PseudoFieldAfterFields),
        ),
        ("a name in upper case", headers(1, &with(ok, &[("A", "b")]), true), Stream(1, InvalidFieldName)),
        ("a name with a space", headers(1, &with(ok, &[("a b", "c")]), true), Stream(1, InvalidFieldName)),
        ("a line's end in a value", headers(1, &with(ok, &[("a", "b\r\nc")]), true), Stream(1, InvalidFieldValue)),
        ("NUL in a value", headers(1, &with(ok, &[("a", "b\0")]), true), Stream(1, InvalidFieldValue)),
        ("a space before a value", headers(1, &with(ok, &[("a", " b")]), true), Stream(1, InvalidFieldValue)),
        ("connection", headers(1, &with(ok, &[("connection", "close")]), true), Stream(1, ConnectionSpecificField)),
        ("keep-alive", headers(1, &with(ok, &[("keep-alive", "1")]), true), Stream(1, ConnectionSpecificField)),
        (
            "chunked",
            headers(1, &with(ok, &[("transfer-encoding", "chunked")]), true),
            Stream(1, ConnectionSpecificField),
        ),
        ("an upgrade", headers(1, &with(ok, &[("upgrade", "x")]), true), Stream(1, ConnectionSpecificField)),
        (
            "two lengths",
            headers(1, &with(ok, &[("content-length", "1"), ("content-length", "2")]), false),
            Stream(1, InvalidContentLength),
        ),
        (
            "more than the length",
            [headers(1, &with(ok, &[("content-length", "1")]), false), data(1, b"xy", true)].concat(),
            Stream(1, ContentLengthMismatch),
        ),
        (
            "less than the length",
            [headers(1, &with(ok, &[("content-length", "3")]), false), data(1, b"xy", true)].concat(),
            Stream(1, ContentLengthMismatch),
        ),
        (
            "nothing of the length",
            headers(1, &with(ok, &[("content-length", "3")]), true),
            Stream(1, ContentLengthMismatch),
        ),
        (
            "less than the length, then trailers",
            [
                headers(1, &with(ok, &[("content-length", "3")]), false),
                data(1, b"xy", false),
                headers(1, &[("a", "b")], true),
            ]
            .concat(),
            Stream(1, ContentLengthMismatch),
        ),
        ("a second head", [headers(1, ok, false), headers(1, ok, false)].concat(), Stream(1, TrailersWithoutEnd)),
        (
            "a status in trailers",
            [headers(1, ok, false), headers(1, &[(":status", "200")], true)].concat(),
            Stream(1, UnknownPseudoField),
        ),
        (
            "trailers that don't end",
            [headers(1, ok, false), headers(1, &[("a", "b")], false)].concat(),
            Stream(1, TrailersWithoutEnd),
        ),
        (
            "a body with 304",
            [headers(1, &[(":status", "304")], false), data(1, b"x", true)].concat(),
            Stream(1, ContentLengthMismatch),
        ),
        ("two status", headers(1, &[(":status", "200"), (":status", "200")], true), Stream(1, DuplicatePseudoField)),
        ("a path", headers(1, &[(":status", "200"), (":path", "/")], true), Stream(1, UnknownPseudoField)),
        ("a status of two digits", headers(1, &[(":status", "20")], true), Stream(1, InvalidStatus)),
        ("a status of letters", headers(1, &[(":status", "2xx")], true), Stream(1, InvalidStatus)),
        ("status 099", headers(1, &[(":status", "099")], true), Stream(1, InvalidStatus)),
        ("status 101", headers(1, &[(":status", "101")], false), Stream(1, InvalidStatus)),
        ("1xx that ends", headers(1, &[(":status", "103")], true), Stream(1, InterimWithEnd)),
        (
            "1xx with a body",
            headers(1, &[(":status", "103"), ("content-length", "3")], false),
            Stream(1, BodyNotAllowed),
        ),
        ("1xx, then a response", [headers(1, &[(":status", "103")], false), headers(1, ok, true)].concat(), Nothing),
        ("a body for HEAD", [headers(3, ok, false), data(3, b"x", true)].concat(), Stream(3, BodyNotAllowed)),
        ("a length for HEAD", headers(3, &with(ok, &[("content-length", "3")]), true), Nothing),
        (
            "a body with 204",
            [headers(1, &[(":status", "204")], false), data(1, b"x", true)].concat(),
            Stream(1, ContentLengthMismatch),
        ),
        ("HEADERS after the end", [headers(1, ok, true), headers(1, ok, true)].concat(), Conn(StreamClosed)),
        ("DATA after the end", [headers(1, ok, true), data(1, b"x", true)].concat(), Conn(StreamClosed)),
    ];
    for (what, input, expected) in cases {
        judge(what, client(), input, *expected);
    }
}

#[test]
fn what_crosses_our_reset_is_ignored_and_its_window_given_back() {
    let (mut client, mut server) = pair(&Limits::default(), &Limits::default());
    let asked = client.connection.send_request(&LINE, NO_FIELDS, false, &mut client.out).expect("a stream");
    pass(&mut client, &mut server);
    let Event::Request { stream, .. } = server.expect() else { panic!("no request") };
    server.connection.reset(stream, ErrorCode::Cancel, &mut server.out);
    assert_eq!(server.connection.open_streams(), 0);
    client.connection.data_frame(asked, 1000, false, &mut client.out).expect("open");
    client.out.extend_from_slice(&[0; 1000]);
    let trailers: [FieldLine<'_>; 1] = [(b"x-new", b"in the table", false)];
    client.connection.send_trailers(asked, trailers, &mut client.out).expect("open");
    pass(&mut client, &mut server);
    server.nothing();
    pass(&mut server, &mut client);
    assert_eq!(client.expect(), Event::Reset { stream: asked, code: ErrorCode::Cancel });
    client.nothing();
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_tables_stay_the_same() {
    let limits = Limits { concurrent_streams_max: 1, ..Limits::default() };
    let mut server = Side::new(Role::Server, &limits);
    server.input.extend_from_slice(PREFACE);
    server.input.extend(frame(Kind::Settings, 0, 0, b""));
    server.input.extend(headers(1, GET, true));
    let mut inserting = block(GET);
    inserting.extend_from_slice(b"\x40\x03x-a\x01b");
    server.input.extend(frame(Kind::Headers, 5, 3, &inserting));
    assert!(matches!(server.expect(), Event::Request { .. }));
    let event = server.expect();
    assert!(matches!(event, Event::StreamError { stream: StreamRef { id: 3, .. }, kind: TooManyStreams }), "{event:?}");
    server.connection.reset(StreamRef { id: 1, slot: 0 }, ErrorCode::Cancel, &mut server.out);
    let mut indexed = block(GET);
    indexed.push(0x80 | 62);
    server.input.extend(frame(Kind::Headers, 5, 5, &indexed));
    assert!(matches!(server.expect(), Event::Request { .. }));
    assert_eq!(server.message.request.fields[0].value.of(&server.message.text), b"b");
}
