//! gRPC-Web from clients on HTTP/1.1 and HTTP/2, to a server of gRPC.

use super::in_front_of;
use super::peer::{Server, call};
use crate::harness::{Broken, Driver, Proxy};

on_both_drivers!(
    binary_calls_are_translated,
    calls_in_text_are_translated,
    results_without_a_body_stay_in_the_head,
    text_that_is_not_base64_is_refused,
    faults_are_results_here_too,
    a_response_that_breaks_off_between_messages_ends_with_a_status,
    it_has_to_be_asked_for,
);

const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";
/// `x-left: over` is what the server adds.
const TRAILERS: &[u8] = b"\x80\0\0\0\x1egrpc-status: 0\r\nx-left: over\r\n";

fn ask(proxy: &Proxy, path: &str, content_type: &str, body: &[u8]) -> crate::harness::Message {
    let mut client = proxy.client();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    client.wire.send([head.as_bytes(), body].concat());
    client.response()
}

fn binary_calls_are_translated(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "grpc_web: true,", "", "");
    let answer = ask(&proxy, "/t/Unary", "application/grpc-web+proto", MESSAGE);
    assert_eq!((answer.status(), answer.field("content-type")), (200, Some("application/grpc-web+proto")));
    // The server's head had no sub-type; what the client gets names one.
    assert_eq!(answer.body, [MESSAGE, TRAILERS].concat());
    assert_eq!(answer.trailers, []);
    let seen = &server.seen()[0];
    assert_eq!(
        (seen.fields["content-type"].as_bytes(), seen.fields["te"].as_bytes()),
        (&b"application/grpc+proto"[..], &b"trailers"[..])
    );
    assert_eq!(seen.body, MESSAGE);
    let over2 = call(proxy.web, "/t/Unary", &[("content-type", "application/grpc-web")], &[MESSAGE], false);
    assert_eq!(over2.body, [MESSAGE, TRAILERS].concat());
    assert!(over2.trailers.is_empty() && over2.grpc_status().is_none(), "{over2:?}");
    assert_eq!(proxy.stat("cluster.app.grpc.0"), 2);
}

fn calls_in_text_are_translated(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "grpc_web: true,", "", "");
    // Two groups with padding, one after the other.
    let answer = ask(&proxy, "/t/Unary", "application/grpc-web-text", b"AAAAAAVoZQ==bGxv");
    assert_eq!((answer.status(), answer.field("content-type")), (200, Some("application/grpc-web-text+proto")));
    assert_eq!(server.seen()[0].body, MESSAGE);
    assert!(!server.seen()[0].fields.contains_key("content-length"));
    assert_eq!(answer.text(), "AAAAAAVoZWxsbw==gAAAAB5ncnBjLXN0YXR1czogMA0KeC1sZWZ0OiBvdmVyDQo=");
    // Cut anywhere, and echoed as it comes.
    let pieces: Vec<&[u8]> = b"AAAAAAVoZQ==bGxv".chunks(3).collect();
    let echoed = call(proxy.web, "/t/Echo", &[("content-type", "application/grpc-web-text")], &pieces, false);
    assert_eq!(server.seen()[1].body, MESSAGE);
    assert!(echoed.body.ends_with(b"gAAAAB5ncnBjLXN0YXR1czogMA0KeC1sZWZ0OiBvdmVyDQo="), "{echoed:?}");
}

fn results_without_a_body_stay_in_the_head(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "grpc_web: true,", "", "");
    let answer = ask(&proxy, "/t/Only/5", "application/grpc-web", MESSAGE);
    assert_eq!((answer.status(), answer.field("grpc-status"), answer.body.len()), (200, Some("5"), 0));
    assert_eq!(answer.field("content-type"), Some("application/grpc-web+proto"));
    let answer = ask(&proxy, "/t/Late/5", "application/grpc-web", MESSAGE);
    assert_eq!(answer.body, b"\x80\0\0\0\x1egrpc-status: 5\r\nx-left: over\r\n");
}

fn text_that_is_not_base64_is_refused(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "grpc_web: true,", "", "");
    for body in [&b"AA!A"[..], b"AAAAA", b"A==="] {
        let answer = ask(&proxy, "/t/Unary", "application/grpc-web-text", body);
        assert_eq!((answer.status(), answer.field("grpc-status")), (200, Some("13")));
    }
}

fn faults_are_results_here_too(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "grpc_web: true,", "", "");
    let lost = ask(&proxy, "/nowhere", "application/grpc-web-text", b"AAAA");
    assert_eq!((lost.status(), lost.field("grpc-status")), (200, Some("12")));
    assert_eq!(lost.field("content-type"), Some("application/grpc-web-text+proto"));
}

fn a_response_that_breaks_off_between_messages_ends_with_a_status(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "grpc_web: true,", "", "");
    let broken = ask(&proxy, "/t/BreakBetween", "application/grpc-web", MESSAGE);
    let (message, end) = broken.body.split_at(MESSAGE.len());
    assert_eq!((message, end[0], &end[5..20]), (MESSAGE, 0x80, &b"grpc-status: 14"[..]));
    assert_eq!(u32::from_be_bytes(end[1..5].try_into().expect("a length")) as usize, end.len() - 5);
    let text = ask(&proxy, "/t/BreakBetween", "application/grpc-web-text", b"AAAAAAVoZWxsbw==").text();
    assert!(text.starts_with("AAAAAAVoZWxsbw==gAAA"), "{text}");
    let over2 = call(proxy.web, "/t/BreakBetween", &[("content-type", "application/grpc-web")], &[MESSAGE], false);
    assert_eq!((over2.body, over2.reset), (broken.body, None));
    // Within a message there is no place for it.
    let mut client = proxy.client();
    client.send("POST /t/Break HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc-web\r\ncontent-length: 0\r\n\r\n");
    let (bytes, end) = client.wire.rest();
    assert!(end == Broken::Reset, "{end:?}: {:?}", String::from_utf8_lossy(&bytes));
    assert_eq!(proxy.stat("cluster.app.grpc.14"), 3);
}

fn it_has_to_be_asked_for(driver: Driver) {
    let server = Server::start();
    let proxy = in_front_of(driver, &server, "", "", "");
    let answer = ask(&proxy, "/t/Unary", "application/grpc-web", MESSAGE);
    assert_eq!((answer.field("content-type"), answer.body.as_slice()), (Some("application/grpc"), MESSAGE));
    assert_eq!(server.seen()[0].fields["content-type"], "application/grpc-web");
}
