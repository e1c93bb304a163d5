//! Flow control, shutting down, and that the cut of the input doesn't matter.

use super::super::flow::ReceiveWindow;
use super::super::frame::FrameHeader;
use super::exchange::{GET as LINE, Side, pair, pass};
use super::*;
use proptest::prelude::*;

#[test]
fn sending_stops_at_the_smaller_window_and_goes_on_when_it_opens() {
    let limits = Limits { stream_window_bytes: 10, ..Limits::default() };
    let (mut client, mut server) = pair(&Limits::default(), &limits);
    let asked = client.connection.send_request(&LINE, NO_FIELDS, false, &mut client.out).expect("a stream");
    assert_eq!(client.connection.send_capacity(asked), 10);
    let granted = client.connection.data_frame(asked, 15, true, &mut client.out).expect("open");
    assert_eq!(granted, Granted { bytes: 10, ended: false });
    client.out.extend_from_slice(&[1; 10]);
    let nothing = client.connection.data_frame(asked, 5, true, &mut client.out).expect("open");
    assert_eq!(nothing, Granted { bytes: 0, ended: false });
    pass(&mut client, &mut server);
    let Event::Request { stream, .. } = server.expect() else { panic!("no request") };
    assert!(matches!(server.expect(), Event::Data { end_stream: false, .. }));
    server.connection.release(stream, 4, &mut server.out);
    assert!(server.out.is_empty(), "less than half the window isn't worth a frame");
    server.connection.release(stream, 3, &mut server.out);
    pass(&mut server, &mut client);
    assert_eq!(client.expect(), Event::Window { stream: Some(asked) });
    assert_eq!(client.connection.send_capacity(asked), 7);
    let granted = client.connection.data_frame(asked, 5, true, &mut client.out).expect("open");
    assert_eq!(granted, Granted { bytes: 5, ended: true });
    assert_eq!(client.connection.data_frame(asked, 5, true, &mut client.out), Err(SendError::Closed));
}

#[test]
fn a_lowered_initial_window_can_go_below_zero() {
    let (mut client, mut server) = pair(&Limits::default(), &Limits::default());
    let asked = client.connection.send_request(&LINE, NO_FIELDS, false, &mut client.out).expect("a stream");
    let before = client.connection.send_capacity(asked);
    client.connection.data_frame(asked, 1000, false, &mut client.out).expect("open");
    client.out.extend_from_slice(&[0; 1000]);
    pass(&mut client, &mut server);
    client.input.extend(setting(4, 400));
    assert_eq!(client.event().expect("valid").map(|event| event.0), Some(Event::SettingsChanged));
    assert_eq!(client.connection.send_capacity(asked), 0);
    client.input.extend(frame(Kind::WindowUpdate, 0, asked.id, &700u32.to_be_bytes()));
    client.nothing();
    assert_eq!(client.connection.send_capacity(asked), 100);
    client.input.extend(setting(4, Limits::default().stream_window_bytes));
    client.nothing();
    assert_eq!(client.connection.send_capacity(asked), before - 1000 + 700);
}

#[test]
fn more_than_a_window_is_an_error_of_its_scope() {
    for (stream_window, connection_window, expected) in [(20_000, 70_000, None), (100_000, 70_000, Some(()))] {
        let limits = Limits {
            stream_window_bytes: stream_window,
            connection_window_bytes: connection_window,
            ..Limits::default()
        };
        let (_, mut server) = pair(&Limits::default(), &limits);
        server.input.extend(headers(1, POST, false));
        for _ in 0..5 {
            server.input.extend(data(1, &[0; 16_000], false));
        }
        let mut stream_error = None;
        let result = loop {
            match server.event() {
                Ok(Some((Event::StreamError { kind, .. }, _))) => stream_error = Some(kind),
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.kind),
            }
        };
        match expected {
            None => assert_eq!((result, stream_error), (Ok(()), Some(ErrorKind::WindowExceeded))),
            Some(()) => assert_eq!((result, stream_error), (Err(ErrorKind::WindowExceeded), None)),
        }
        assert_eq!(ErrorKind::WindowExceeded.code(), ErrorCode::FlowControlError);
    }
}

#[test]
fn a_stream_can_end_while_its_window_is_below_zero() {
    let limits = Limits { stream_window_bytes: 100, ..Limits::default() };
    let (mut out, mut message) = (Vec::new(), Message::default());
    let mut server = Connection::new(Role::Server, &limits, &mut out);
    // The client hears of our window when it has sent more.
    let input = [
        PREFACE.to_vec(),
        frame(Kind::Settings, 0, 0, b""),
        headers(1, POST, false),
        data(1, &[7; 500], false),
        frame(Kind::Settings, flags::ACK, 0, b""),
        data(1, b"", true),
    ];
    let mut at = 0;
    let input = input.concat();
    let ended = loop {
        let step = server.receive(&input[at..], &mut message, &mut out).expect("no error");
        at += step.consumed;
        match step.event {
            Event::Data { end_stream, .. } if end_stream => break true,
            Event::NeedMore | Event::StreamError { .. } => break false,
            _ => {}
        }
    };
    assert!(ended);
}

#[test]
fn a_large_head_takes_continuation_frames() {
    let large = Limits { header_list_bytes_max: 1 << 20, ..Limits::default() };
    let (mut client, mut server) = pair(&large, &large);
    let value = "\\".repeat(40_000);
    let fields: [FieldLine<'_>; 1] = [(b"x-large", value.as_bytes(), false)];
    client.connection.send_request(&LINE, fields, true, &mut client.out).expect("a stream");
    assert!(client.out.len() > value.len() + 3 * FRAME_HEADER_BYTES);
    pass(&mut client, &mut server);
    assert!(matches!(server.expect(), Event::Request { end_stream: true, .. }));
    let field = server.message.request.fields[0];
    assert_eq!(field.value.of(&server.message.text), value.as_bytes());
}

#[test]
fn a_graceful_end_takes_two_steps() {
    let (mut client, mut server) = pair(&Limits::default(), &Limits::default());
    server.connection.go_away_notice(&mut server.out);
    let first = client.connection.send_request(&LINE, NO_FIELDS, true, &mut client.out).expect("a stream");
    pass(&mut client, &mut server);
    let Event::Request { stream, .. } = server.expect() else { panic!("still served") };
    server.connection.go_away(ErrorCode::NoError, &mut server.out);
    let second = client.connection.send_request(&LINE, NO_FIELDS, true, &mut client.out).expect("nothing heard yet");
    pass(&mut client, &mut server);
    server.nothing();
    assert!(server.connection.is_draining() && server.connection.open_streams() == 1);
    pass(&mut server, &mut client);
    for last in [MAX_31_BITS, first.id] {
        let event = client.expect();
        assert!(matches!(event, Event::GoAway { last_stream, .. } if last_stream == last), "{event:?}");
        assert_eq!(client.connection.is_open(second), last == MAX_31_BITS);
    }
    assert_eq!(client.connection.send_request(&LINE, NO_FIELDS, true, &mut client.out), Err(OpenError::Draining));
    server.connection.send_response(stream, 204, NO_FIELDS, true, &mut server.out).expect("open");
    pass(&mut server, &mut client);
    assert_eq!(client.expect(), Event::Response { stream: first, end_stream: true });
    assert_eq!((client.connection.open_streams(), server.connection.open_streams()), (0, 0));
}

#[test]
fn a_client_stays_within_the_peer_s_number_of_streams() {
    let limits = Limits { concurrent_streams_max: 2, ..Limits::default() };
    let (mut client, mut server) = pair(&Limits::default(), &limits);
    let first = client.connection.send_request(&LINE, NO_FIELDS, true, &mut client.out).expect("a stream");
    client.connection.send_request(&LINE, NO_FIELDS, true, &mut client.out).expect("a stream");
    assert_eq!(client.connection.can_open(), Err(OpenError::TooManyStreams));
    client.connection.reset(first, ErrorCode::Cancel, &mut client.out);
    assert_eq!(client.connection.can_open(), Ok(()));
    pass(&mut client, &mut server);
    assert!(matches!(server.expect(), Event::Request { .. }));
    assert!(matches!(server.expect(), Event::Request { .. }));
    assert!(matches!(server.expect(), Event::Reset { code: ErrorCode::Cancel, .. }));
}

#[test]
fn a_ping_comes_back() {
    let (mut client, mut server) = pair(&Limits::default(), &Limits::default());
    server.connection.ping(*b"12345678", &mut server.out);
    pass(&mut server, &mut client);
    client.nothing();
    pass(&mut client, &mut server);
    assert_eq!(server.expect(), Event::PingAck { payload: *b"12345678" });
}

/// Events as they are when the input is fed in steps; DATA that follows DATA of the same stream is one.
fn events(input: &[u8], steps: &[usize]) -> (Vec<String>, Vec<u8>, Option<ErrorKind>) {
    let mut server = Side::new(Role::Server, &Limits::default());
    let mut seen: Vec<String> = Vec::new();
    let (mut rest, mut body) = (input, None::<(StreamRef, Vec<u8>)>);
    for step in steps.iter().copied().cycle() {
        let (now, later) = rest.split_at(step.clamp(1, rest.len().max(1)).min(rest.len()));
        server.input.extend_from_slice(now);
        rest = later;
        loop {
            let (event, data) = match server.event() {
                Err(error) => return (seen, server.out, Some(error.kind)),
                Ok(None) => break,
                Ok(Some(event)) => event,
            };
            if let Event::Data { stream, end_stream, .. } = event {
                let (_, bytes) = body.get_or_insert((stream, Vec::new()));
                bytes.extend_from_slice(&data);
                if end_stream {
                    seen.push(format!("{:?} {:?}", stream.id, body.take()));
                }
                continue;
            }
            seen.extend(body.take().map(|body| format!("{body:?}")));
            let text = match event {
                Event::Request { .. } | Event::Trailers { .. } => String::from_utf8_lossy(&server.message.text),
                _ => "".into(),
            };
            let event = match event {
                Event::GoAway { last_stream, code, .. } => format!("{last_stream} {code:?}"),
                event => format!("{event:?}"),
            };
            seen.push(format!("{event} {text}"));
        }
        if rest.is_empty() {
            break;
        }
    }
    seen.extend(body.map(|body| format!("{body:?}")));
    (seen, server.out, None)
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![Just(1u32), Just(3), Just(5), Just(0)];
    let any_frame = (0u8..11, any::<u8>(), id, proptest::collection::vec(any::<u8>(), 0..20));
    let any_frame = any_frame.prop_map(|(kind, flags, id, payload)| {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags];
        frame.extend_from_slice(&id.to_be_bytes());
        frame.extend_from_slice(&payload);
        frame
    });
    prop_oneof![
        1 => any_frame,
        3 => Just(headers(1, POST, false)),
        3 => Just(headers(3, POST, false)),
        2 => Just(headers(5, GET, true)),
        1 => Just([frame(Kind::Headers, 0, 1, &block(POST)), frame(Kind::Continuation, 4, 1, &block(&[("a", "b")]))].concat()),
        4 => (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..300), 0u8..9).prop_map(|(end, payload, padding)| {
            let payload = [&[padding], &payload[..], &vec![0; usize::from(padding)]].concat();
            frame(Kind::Data, flags::PADDED | u8::from(end), 1, &payload)
        }),
        2 => proptest::collection::vec(any::<u8>(), 0..300).prop_map(|payload| data(3, &payload, false)),
        1 => Just(headers(1, &[("t", "v")], true)),
        1 => Just(rst_stream(3)),
        1 => Just(setting(4, 1)),
        1 => Just(frame(Kind::Ping, 0, 0, b"payloads")),
        1 => Just(frame(Kind::GoAway, 0, 0, &[0; 10])),
    ]
}

proptest! {
    #[test]
    fn any_cut_of_the_input_gives_the_same(
        pieces in proptest::collection::vec(piece(), 0..20),
        steps in proptest::collection::vec(1usize..60, 1..5),
    ) {
        let input = [&PREFACE[..], &frame(Kind::Settings, 0, 0, b""), &pieces.concat()].concat();
        let whole = events(&input, &[usize::MAX]);
        prop_assert_eq!(events(&input, &[1]), whole.clone());
        prop_assert_eq!(events(&input, &steps), whole);
    }

    #[test]
    fn a_receive_window_adds_up_and_never_stays_closed(
        size in 1u32..1000,
        moves in proptest::collection::vec((any::<bool>(), 0u32..500), 0..60),
    ) {
        let mut window = ReceiveWindow::new(size, size);
        let (mut available, mut held) = (size, 0);
        for (receives, bytes) in moves {
            if receives {
                let bytes = bytes.min(available);
                prop_assert!(window.debit(bytes));
                available -= bytes;
                held += bytes;
            } else {
                let bytes = bytes.min(held);
                held -= bytes;
                available += window.release(bytes).unwrap_or(0);
            }
            prop_assert_eq!(window.sum(), i64::from(size));
            prop_assert!(available > 0 || held > 0, "nothing is held and nothing may come");
        }
        prop_assert!(!window.debit(available + 1));
    }
}

/// Streams whose data nobody takes leave the others what is left, and all of it.
#[test]
fn held_data_does_not_keep_back_what_others_need() {
    let window = 100_000;
    let limits = Limits { stream_window_bytes: window, connection_window_bytes: 4 * window, ..Limits::default() };
    let (_, mut server) = pair(&Limits::default(), &limits);
    server.input.extend(frame(Kind::Settings, 1, 0, b""));
    server.nothing();
    for id in [1, 3, 5, 7] {
        server.input.extend(headers(id, POST, false));
        assert!(matches!(server.expect(), Event::Request { .. }));
    }
    // Three hold all that they may.
    for id in [1, 3, 5] {
        for _ in 0..10 {
            server.input.extend(data(id, &[0; 10_000], false));
            assert!(matches!(server.expect(), Event::Data { .. }));
        }
    }
    let stream = StreamRef { id: 7, slot: 3 };
    let mut allowed = i64::from(window);
    for _ in 0..200 {
        server.input.extend(data(7, &[0; 10_000], false));
        allowed -= 10_000;
        assert!(allowed >= 0, "the connection's window stays shut");
        assert!(matches!(server.expect(), Event::Data { .. }));
        server.out.clear();
        server.connection.release(stream, 10_000, &mut server.out);
        let mut rest = &server.out[..];
        while let Some(header) = FrameHeader::parse(rest) {
            if header.kind == Kind::WindowUpdate && header.stream == 0 {
                allowed += i64::from(u32::from_be_bytes(rest[9..13].try_into().expect("four bytes")));
            }
            rest = &rest[9 + header.length as usize..];
        }
    }
}
