//! gRPC: unary calls against the origin's echo, and against servers that answer otherwise.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;

use codecs::http::h2::{Connection, ErrorCode, Event, FieldLine, Limits, Message, NO_FIELDS, Role, StreamRef};
use common::{DRIVERS, Origin, Server, certificate, load, load_by};

#[test]
fn calls_come_back_with_a_status() {
    for driver in DRIVERS {
        let arguments = ["--cores", "1", "--driver", driver];
        let ca = &certificate().certificate;
        for (origin, tls) in [(Origin::start(&arguments), &[][..]), (Origin::start_tls(&arguments), &["--ca", ca])] {
            let url = origin.url("/package.Service/Method");
            for (bytes, count, message) in [("0", "100", 5), ("100", "1000", 105), ("2M", "20", (2 << 20) + 5)] {
                let arguments = ["-n", count, "-c", "2", "-m", "10", "--body-bytes", bytes, "--driver", driver];
                let (result, success) = load_by("grpc", &url, &[&arguments, tls].concat());
                assert!(success, "{result}");
                let count: u64 = count.parse().expect("a number");
                assert_eq!((&result["grpc_statuses"]["0"], &result["succeeded"]), (&count.into(), &count.into()));
                assert_eq!(result["body_bytes"], message * count, "the message comes back");
            }
            let (result, _) = load(&url, &[&["--grpc", "-n", "10", "-c", "1"], tls].concat());
            assert_eq!((&result["succeeded"], &result["protocol"]), (&10.into(), &"grpc".into()));
        }
    }
}

/// A server of HTTP/2 that does with each request, counted from 0 on each connection, what `answer` does.
fn server(answer: impl Fn(u32, &mut Connection, StreamRef, &mut Vec<u8>) + Send + Sync + 'static) -> Server {
    Server::start(move |mut stream: TcpStream, _| {
        let (mut out, mut message, mut input) = (Vec::new(), Message::default(), Vec::new());
        let mut connection = Connection::new(Role::Server, &Limits::default(), &mut out);
        let (mut requests, mut buffer) = (0, [0; 16 * 1024]);
        loop {
            while let Ok(step) = connection.receive(&input, &mut message, &mut out) {
                input.drain(..step.consumed);
                match step.event {
                    Event::NeedMore => break,
                    Event::Data { stream, end_stream: true, .. } | Event::Request { stream, end_stream: true } => {
                        answer(requests, &mut connection, stream, &mut out);
                        requests += 1;
                    }
                    _ => {}
                }
            }
            if stream.write_all(&out).is_err() || (connection.is_draining() && connection.open_streams() == 0) {
                return;
            }
            out.clear();
            match stream.read(&mut buffer) {
                Ok(n @ 1..) => input.extend_from_slice(&buffer[..n]),
                _ => return,
            }
        }
    })
}

const GRPC: FieldLine<'static> = (b"content-type", b"application/grpc", false);

#[test]
fn statuses_are_counted_wherever_they_stand() {
    let server = server(|number, connection, stream, out| {
        let status = (b"grpc-status".as_slice(), [b"0".as_slice(), b"14", b"5", b"99"][number as usize % 4], false);
        if number % 4 == 1 {
            // Trailers only.
            connection.send_response(stream, 200, [GRPC, status], true, out).expect("an open stream");
        } else {
            connection.send_response(stream, 200, [GRPC], false, out).expect("an open stream");
            connection.send_trailers(stream, [status], out).expect("an open stream");
        }
    });
    let (result, success) = load_by("grpc", &format!("{}/a.B/C", server.url()), &["-n", "40", "-c", "1", "-m", "4"]);
    assert!(success);
    assert_eq!(result["grpc_statuses"], serde_json::json!({ "0": 10, "14": 10, "5": 10, "none": 10 }));
    assert_eq!((&result["succeeded"], &result["responses"]), (&10.into(), &40.into()));
    assert_eq!((&result["errors"]["grpc_status"], &result["failed"]), (&30.into(), &0.into()));
}

#[test]
fn streams_that_are_reset_fail_and_those_that_a_goaway_spares_are_sent_again() {
    let resets = server(|number, connection, stream, out| match number % 5 {
        4 => connection.reset(stream, ErrorCode::InternalError, out),
        _ => connection.send_response(stream, 200, NO_FIELDS, true, out).expect("an open stream"),
    });
    let (result, _) = load(&resets.url(), &["--h2", "-n", "50", "-c", "1", "-m", "3"]);
    assert_eq!((&result["responses"], &result["errors"]["reset"]), (&40.into(), &10.into()), "{result}");
    assert!(result["error_details"]["reset"].as_str().is_some_and(|detail| detail.contains("InternalError")));
    let leaves = server(|number, connection, stream, out| {
        if number == 5 {
            connection.go_away(ErrorCode::NoError, out);
        }
        connection.send_response(stream, 200, NO_FIELDS, true, out).expect("an open stream");
    });
    let (result, _) = load(&leaves.url(), &["--h2", "-n", "60", "-c", "1", "-m", "8"]);
    assert_eq!((&result["responses"], &result["failed"]), (&60.into(), &0.into()), "{result}");
    assert!(result["connects"].as_u64() >= Some(6), "{result}");
}
