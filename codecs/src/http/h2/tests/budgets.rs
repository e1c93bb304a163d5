//! Floods end the connection with ENHANCE_YOUR_CALM and the name of the budget.

use super::exchange::Side;
use super::*;
use ErrorKind::*;

fn server(limits: &Limits) -> Side {
    let mut server = Side::new(Role::Server, limits);
    server.input.extend_from_slice(PREFACE);
    server.input.extend(frame(Kind::Settings, 0, 0, b""));
    server.nothing();
    server
}

/// Runs through everything; `Ok` if the connection survives.
fn run(server: &mut Side, sent: bool) -> Result<(), ErrorKind> {
    while let Some((event, data)) = server.event().map_err(|error| error.kind)? {
        if let Event::Data { stream, .. } = event {
            server.connection.release(stream, data.len(), &mut server.out);
        }
        if sent {
            server.connection.output_sent();
        }
    }
    Ok(())
}

/// Feeds what `make` makes, for ever new numbers, until the connection ends: with what, and after how many.
fn flood(sent: bool, make: impl Fn(u32) -> Vec<u8>) -> (ErrorKind, u32) {
    let mut server = server(&Limits::default());
    server.input.extend(headers(1, POST, false));
    for number in 0..20_000 {
        server.input.extend(make(number));
        if let Err(kind) = run(&mut server, sent) {
            assert_eq!(kind.code(), ErrorCode::EnhanceYourCalm, "{kind:?}");
            return (kind, number);
        }
    }
    panic!("the connection survives the flood")
}

#[test]
fn each_flood_runs_into_its_budget() {
    let burst = BudgetLimits::default();
    let stream = |number: u32| 3 + 2 * number;
    type Make<'a> = &'a dyn Fn(u32) -> Vec<u8>;
    let cases: &[(ErrorKind, u32, Make<'_>)] = &[
        (TooManyResets, burst.resets.burst, &|n| [headers(stream(n), GET, true), rst_stream(stream(n))].concat()),
        (TooManyStreamErrors, burst.stream_errors.burst, &|n| headers(stream(n), &GET[..2], true)),
        (TooManyStreamErrors, burst.stream_errors.burst, &|n| {
            [headers(stream(n), POST, false), frame(Kind::WindowUpdate, 0, stream(n), &[0; 4])].concat()
        }),
        (SettingsFlood, burst.settings.burst - 1, &|_| frame(Kind::Settings, 0, 0, b"")),
        (SettingsFlood, burst.settings.burst - 1, &|_| frame(Kind::Settings, 1, 0, b"")),
        (PingFlood, burst.pings.burst, &|_| frame(Kind::Ping, 0, 0, &[0; 8])),
        (PingFlood, burst.pings.burst, &|_| frame(Kind::Ping, 1, 0, &[0; 8])),
        (EmptyDataFlood, burst.empty_data.burst, &|_| data(1, b"", false)),
        (EmptyDataFlood, burst.empty_data.burst, &|_| frame(Kind::Data, 8, 1, b"\x01x")),
        (SmallDataFlood, burst.small_data.burst, &|_| data(1, b"x", false)),
        (PriorityFlood, burst.priorities.burst, &|_| frame(Kind::Priority, 0, 1, &[0; 5])),
        (WindowUpdateFlood, burst.window_updates.burst, &|_| frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1])),
        (WindowUpdateFlood, burst.window_updates.burst, &|_| frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 1])),
        (IgnoredFrameFlood, burst.ignored.burst, &|_| b"\0\0\0\x77\0\0\0\0\0".to_vec()),
        // One of them goes to stream 1, the others to nobody.
        (IgnoredFrameFlood, burst.ignored.burst + 1, &|_| rst_stream(1)),
        // 127 of them are served.
        (IgnoredFrameFlood, burst.ignored.burst + 127, &|n| headers(stream(n), GET, true)),
    ];
    for (at, (kind, after, make)) in cases.iter().enumerate() {
        let (found, number) = flood(true, make);
        assert_eq!((found, number), (*kind, *after), "case {at}");
    }
}

#[test]
fn a_header_block_in_too_many_frames_or_bytes() {
    let limits = Limits::default();
    let begin = frame(Kind::Headers, 0, 1, b"");
    let mut flooded = server(&limits);
    flooded.input.extend(&begin);
    for _ in 0..=limits.continuation_frames_max {
        flooded.input.extend(frame(Kind::Continuation, 0, 1, b""));
    }
    assert_eq!(run(&mut flooded, true), Err(ContinuationFlood));
    let mut flooded = server(&limits);
    flooded.input.extend(&begin);
    for _ in 0..=limits.header_block_bytes_max / 16_384 {
        flooded.input.extend(frame(Kind::Continuation, 0, 1, &[0; 16_384]));
    }
    assert_eq!(run(&mut flooded, true), Err(HeaderBlockTooLarge));
}

#[test]
fn a_header_block_that_decodes_to_many_times_its_size() {
    let mut bomb = server(&Limits::default());
    // An entry of 4000 bytes, then a byte for each time that it comes again.
    let mut payload = block(GET);
    payload.extend_from_slice(b"\x40\x01a\x7f\xa1\x1e");
    payload.extend_from_slice(&[b'x'; 4000]);
    payload.extend_from_slice(&[0x80 | 62; 10_000]);
    bomb.input.extend(frame(Kind::Headers, 5, 1, &payload));
    assert_eq!(run(&mut bomb, true), Err(HeaderBlockTooLarge));
    assert!(bomb.message.text.len() < 70_000);
}

#[test]
fn replies_that_nobody_reads() {
    let limits = Limits { pending_replies_max: 20, ..Limits::default() };
    let mut server = server(&limits);
    for _ in 0..25 {
        server.input.extend(frame(Kind::Ping, 0, 0, &[0; 8]));
    }
    assert_eq!(run(&mut server, false), Err(TooManyReplies));
}

#[test]
fn seconds_and_useful_work_fill_the_budgets_again() {
    let mut server = server(&Limits::default());
    server.input.extend(headers(1, POST, false));
    for _ in 0..50 {
        for _ in 0..10 {
            server.input.extend(frame(Kind::Ping, 0, 0, &[0; 8]));
            server.input.extend(frame(Kind::Priority, 0, 1, &[0; 5]));
        }
        server.connection.tick(1);
        assert_eq!(run(&mut server, true), Ok(()));
    }
    for _ in 0..1000 {
        server.input.extend(data(1, b"", false));
        server.input.extend(data(1, b"x", false));
    }
    assert_eq!(run(&mut server, true), Ok(()));
    for number in 0..1000 {
        let (done, reset) = (StreamRef { id: 3 + 4 * number, slot: 1 }, 5 + 4 * number);
        server.input.extend(headers(done.id, GET, true));
        assert_eq!(run(&mut server, true), Ok(()));
        server.connection.send_response(done, 200, NO_FIELDS, true, &mut server.out).expect("open");
        server.input.extend(headers(reset, GET, true));
        server.input.extend(rst_stream(reset));
        assert_eq!(run(&mut server, true), Ok(()));
        server.out.clear();
    }
}

/// A server that answers before it has read the request resets the stream behind its answer (RFC 9113 8.1).
#[test]
fn a_reset_behind_each_answer_is_no_flood() {
    let mut client = Side::new(Role::Client, &Limits::default());
    client.input.extend(frame(Kind::Settings, 0, 0, b""));
    client.nothing();
    let line = RequestLine { method: b"GET", scheme: b"http", authority: b"a", path: b"/", protocol: None };
    for _ in 0..3 * BudgetLimits::default().ignored.burst {
        let stream = client.connection.send_request(&line, NO_FIELDS, true, &mut client.out).expect("a stream");
        client.input.extend(headers(stream.id, &[(":status", "200")], true));
        client.input.extend(frame(Kind::RstStream, 0, stream.id, &[0; 4]));
        assert_eq!(run(&mut client, true), Ok(()));
        client.out.clear();
    }
}

#[test]
fn small_pieces_among_large_ones_are_no_flood_nor_are_those_that_are_answered() {
    let burst = BudgetLimits::default().small_data.burst;
    let mut server = server(&Limits::default());
    server.input.extend(headers(1, POST, false));
    for _ in 0..3 * burst {
        server.input.extend(data(1, b"x", false));
        server.input.extend(data(1, &[b'x'; SMALL_DATA_BYTES as usize], false));
        assert_eq!(run(&mut server, true), Ok(()));
        server.out.clear();
    }
    let stream = StreamRef { id: 1, slot: 0 };
    server.connection.send_response(stream, 200, NO_FIELDS, false, &mut server.out).expect("open");
    for _ in 0..3 * burst {
        server.input.extend(data(1, b"ping", false));
        assert_eq!(run(&mut server, true), Ok(()));
        server.input.extend(frame(Kind::WindowUpdate, 0, 1, &[0, 0, 0, 1]));
        server.input.extend(frame(Kind::WindowUpdate, 0, 0, &[0, 0, 0, 1]));
        assert_eq!(server.connection.data_frame(stream, 1, false, &mut server.out).expect("open").bytes, 1);
        server.out.clear();
    }
}

/// Who has only so much window can't send more at once.
#[test]
fn a_piece_that_fills_its_window_is_no_crumb() {
    let limits = Limits { stream_window_bytes: 1, ..Limits::default() };
    let mut server = server(&limits);
    server.input.extend(frame(Kind::Settings, 1, 0, b""));
    server.input.extend(headers(1, POST, false));
    for _ in 0..3 * limits.budgets.small_data.burst {
        server.input.extend(data(1, b"x", false));
        assert_eq!(run(&mut server, true), Ok(()));
        server.out.clear();
    }
}
