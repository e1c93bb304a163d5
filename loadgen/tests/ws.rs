//! WebSocket: the client against the origin's echo, and raw sockets against either.

mod common;

use std::io::{Read, Write};

use common::{DRIVERS, Origin, Server, certificate, load_by, read_head};

#[test]
fn messages_come_back_over_every_transport() {
    for driver in DRIVERS {
        let arguments = ["--cores", "1", "--driver", driver];
        let ca = &certificate().certificate;
        for (origin, tls) in [(Origin::start(&arguments), &[][..]), (Origin::start_tls(&arguments), &["--ca", ca])] {
            for version in [&[][..], &["--h2", "-m", "4"]] {
                for (bytes, count) in [("0", 100), ("125", 100), ("126", 100), ("70000", 50), ("3M", 16)] {
                    let number = count.to_string();
                    let arguments = ["-n", &number, "-c", "2", "--body-bytes", bytes, "--driver", driver];
                    let arguments = [&arguments, tls, version].concat();
                    let (result, success) = load_by("ws", &origin.websocket_url("/echo"), &arguments);
                    assert!(success, "{arguments:?}: {result}");
                    assert_eq!((&result["succeeded"], &result["failed"]), (&count.into(), &0.into()), "{arguments:?}");
                    assert_eq!(result["connects"], 2);
                }
            }
        }
    }
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let origin = Origin::start(&["--cores", "1"]);
    for version in [&[][..], &["--h2", "-m", "2"]] {
        let arguments = [&["-c", "4", "-d", "1s", "--rate", "500"], version].concat();
        let (result, _) = load_by("ws", &origin.websocket_url("/"), &arguments);
        assert_eq!((&result["requests"], &result["responses"]), (&500.into(), &500.into()), "{result}");
    }
}

#[test]
fn the_origin_answers_the_specification_s_example_and_closes_in_order() {
    for driver in DRIVERS {
        let origin = Origin::start(&["--cores", "1", "--driver", driver]);
        let mut stream = origin.connect();
        let request = "GET /chat HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
        // A ping and a text come with the request; then a close.
        stream.write_all(request.as_bytes()).expect("writes");
        stream.write_all(b"\x89\x80\0\0\0\0\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58").expect("writes");
        stream.write_all(b"\x88\x82\0\0\0\0\x03\xe8").expect("writes");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an orderly end");
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8_lossy(&answer[..end]);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        assert_eq!(&answer[end..], b"\x8a\x00\x81\x05Hello\x88\x02\x03\xe8");
    }
}

#[test]
fn a_server_that_refuses_or_sends_something_else_is_an_error() {
    let refuses = Server::answering(|_| common::OK.to_vec());
    let closes = Server::start(|mut stream, _| {
        read_head(&mut stream);
    });
    let lies = Server::answering(|_| {
        let head = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n";
        format!("{head}sec-websocket-accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n").into_bytes()
    });
    for (server, kind) in [(refuses, "bad_response"), (closes, "closed_early"), (lies, "bad_response")] {
        let url = server.url().replace("http", "ws");
        let (result, success) = load_by("ws", &url, &["-n", "4", "-c", "2"]);
        assert!(!success);
        assert_eq!((&result["errors"][kind], &result["requests"]), (&4.into(), &4.into()), "{result}");
    }
}
