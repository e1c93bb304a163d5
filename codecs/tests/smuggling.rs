//! Messages that must be refused: each with the kind of error and the status of the answer. Every one of them is read
//! differently by some pair of real servers, which is what request smuggling lives on.

use codecs::http::h1::{self, BodyDecoder, BodyPart, Error, ErrorKind, RequestOptions, Status};
use codecs::http::{BodyLength, HeadLimits, Method, RequestHead, ResponseHead};
use codecs::{Fault, Scope};

fn request_error(input: &[u8]) -> Result<Status<usize>, Error> {
    let limits = HeadLimits::default();
    h1::parse_request(input, &limits, &RequestOptions::default(), &mut RequestHead::default())
}

fn response_error(input: &[u8], method: Method) -> Result<Status<usize>, Error> {
    h1::parse_response(input, &HeadLimits::default(), method, &mut ResponseHead::default())
}

fn body_error(input: &[u8], limits: &HeadLimits) -> Result<(), Error> {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, limits);
    let mut at = 0;
    loop {
        let event = decoder.decode(&input[at..])?;
        at += event.consumed;
        match event.part {
            BodyPart::Data(_) => {}
            BodyPart::NeedMore => return decoder.on_eof(),
            BodyPart::End => return Ok(()),
        }
    }
}

/// `POST / HTTP/1.1`, a Host and these field lines.
fn post(fields: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes()
}

#[test]
fn line_ends_and_control_characters() {
    use ErrorKind::*;
    let cases: &[(&[u8], ErrorKind)] = &[
        (b"GET / HTTP/1.1\nHost: h\r\n\r\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: h\n\r\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\n", BareLf),
        (b"GET / HTTP/1.1\r\nHost: h\n\n", BareLf),
        (b"GET / HTTP/1.1\r\nA: b\nContent-Length: 5\r\nHost: h\r\n\r\n", BareLf),
        (b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", BareLf),
        (b"\r\n\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", BareLf),
        (b"\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", LeadingEmptyLines),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\rContent-Length: 5\r\n\r\n", BareCr),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\r\n\r\n", BareCr),
        (b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", BareCr),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\r\n\r\n", BareCr),
        (b"GET /\r HTTP/1.1\r\nHost: h\r\n\r\n", BareCr),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA\r: b\r\n\r\n", BareCr),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n", Nul),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA\0: b\r\n\r\n", Nul),
        (b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", Nul),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: \x01\r\n\r\n", InvalidFieldValue),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\x7f\r\n\r\n", InvalidFieldValue),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: \x0bb\r\n\r\n", InvalidFieldValue),
        (b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", SpaceBeforeColon),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding\t: chunked\r\n\r\n", SpaceBeforeColon),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello", SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", ObsFold),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA:\r\n\tc\r\n\r\n", ObsFold),
        (b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", ObsFold),
        (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n", ObsFold),
        (b"GET / HTTP/1.1\r\nHost: h\r\nNoColon\r\n\r\n", MissingColon),
        (b"GET / HTTP/1.1\r\nHost: h\r\n: empty\r\n\r\n", InvalidFieldName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA b: c\r\n\r\n", InvalidFieldName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nA(b): c\r\n\r\n", InvalidFieldName),
        (b"GET / HTTP/1.1\r\nHost: h\r\nContent\xe2\x80\x90Length: 5\r\n\r\n", InvalidFieldName),
        (b"GET / HTTP/1.1\r\nHost: h\r\n\"Content-Length\": 5\r\n\r\n", InvalidFieldName),
    ];
    check(cases, 400);
}

#[test]
fn request_lines_and_targets() {
    use ErrorKind::*;
    let cases: &[(&[u8], ErrorKind)] = &[
        (b"GET /\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET / a HTTP/1.1\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET / http/1.1\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET / HTTP/01.1\r\nHost: h\r\n\r\n", InvalidRequestLine),
        (b"GET\t/\tHTTP/1.1\r\nHost: h\r\n\r\n", InvalidMethod),
        (b" GET / HTTP/1.1\r\nHost: h\r\n\r\n", InvalidMethod),
        (b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", InvalidMethod),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", InvalidMethod),
        (b"G\xc3\x89T / HTTP/1.1\r\nHost: h\r\n\r\n", InvalidMethod),
        (b"GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET /\xff HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET /#a HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET /?a#b HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET ?a HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET http://h?a HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"GET http:/h/ HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", InvalidTarget),
        (b"CONNECT h: HTTP/1.1\r\nHost: h:\r\n\r\n", InvalidTarget),
        (b"CONNECT http://h:1/ HTTP/1.1\r\nHost: h:1\r\n\r\n", InvalidTarget),
        (b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", InvalidScheme),
        (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", AsteriskFormNotAllowed),
        (b"GET h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", AuthorityFormNotAllowed),
    ];
    check(cases, 400);
    let versions: &[(&[u8], ErrorKind)] = &[
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", UnsupportedVersion),
        (b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", UnsupportedVersion),
        (b"GET / HTTP/0.9\r\nHost: h\r\n\r\n", UnsupportedVersion),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", UnsupportedVersion),
    ];
    check(versions, 505);
}

#[test]
fn http10_is_refused_where_it_is_not_allowed() {
    let limits = HeadLimits::default();
    let strict = RequestOptions { http10: false };
    let input = b"GET / HTTP/1.0\r\n\r\n";
    let error = h1::parse_request(input, &limits, &strict, &mut RequestHead::default()).unwrap_err();
    assert_eq!((error.kind, error.status()), (ErrorKind::UnsupportedVersion, 505));
}

#[test]
fn lengths() {
    use ErrorKind::*;
    let cases: Vec<(Vec<u8>, ErrorKind)> = [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", ContentLengthWithTransferEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", ContentLengthWithTransferEncoding),
        ("Transfer-Encoding: chunked\r\ncontent-length: 0\r\n", ContentLengthWithTransferEncoding),
        ("Content-Length: 5\r\nContent-Length: 6\r\n", SeveralContentLengths),
        ("Content-Length: 5\r\nCONTENT-LENGTH: 5\r\n", SeveralContentLengths),
        ("Content-Length: 5, 5\r\n", SeveralContentLengths),
        ("Content-Length: 5,6\r\n", SeveralContentLengths),
        ("Content-Length: ,5\r\n", SeveralContentLengths),
        ("Content-Length: \r\n", InvalidContentLength),
        ("Content-Length: +5\r\n", InvalidContentLength),
        ("Content-Length: -5\r\n", InvalidContentLength),
        ("Content-Length: 0x5\r\n", InvalidContentLength),
        ("Content-Length: 5 5\r\n", InvalidContentLength),
        ("Content-Length: 5.0\r\n", InvalidContentLength),
        ("Content-Length: 5;\r\n", InvalidContentLength),
        ("Content-Length: \"5\"\r\n", InvalidContentLength),
        ("Content-Length: \u{665}\r\n", InvalidContentLength),
        ("Content-Length: five\r\n", InvalidContentLength),
        ("Content-Length: 1_0\r\n", InvalidContentLength),
        ("Content-Length: 18446744073709551616\r\n", InvalidContentLength),
        ("Content-Length: 99999999999999999999999999\r\n", InvalidContentLength),
        ("Transfer-Encoding: chunked, chunked\r\n", ChunkedTwice),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", ChunkedTwice),
        ("Transfer-Encoding: chunked, gzip\r\n", ChunkedNotLast),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", ChunkedNotLast),
        ("Transfer-Encoding: identity\r\n", UnknownTransferCoding),
        ("Transfer-Encoding: identity, chunked\r\n", UnknownTransferCoding),
        ("Transfer-Encoding: xchunked\r\n", UnknownTransferCoding),
        ("Transfer-Encoding: chunkedx\r\n", UnknownTransferCoding),
        ("Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", UnknownTransferCoding),
        ("Transfer-Encoding: x chunked\r\n", InvalidTransferEncoding),
        ("Transfer-Encoding: chunked;a=b\r\n", InvalidTransferEncoding),
        ("Transfer-Encoding: \"chunked\"\r\n", InvalidTransferEncoding),
        ("Transfer-Encoding: 'chunked'\r\n", UnknownTransferCoding),
        ("Transfer-Encoding: ,chunked\r\n", InvalidTransferEncoding),
        ("Transfer-Encoding: chunked,\r\n", InvalidTransferEncoding),
        ("Transfer-Encoding:\r\n", InvalidTransferEncoding),
        ("Transfer-Encoding: [chunked]\r\n", InvalidTransferEncoding),
        ("Transfer-Encoding: chun\u{212a}ed\r\n", InvalidTransferEncoding),
    ]
    .map(|(fields, kind)| (post(fields), kind))
    .into();
    for (input, kind) in &cases {
        check_one(input, *kind, 400);
    }
    let http10 = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    check_one(http10, TransferEncodingInHttp10, 400);
    for coding in ["gzip", "gzip, chunked", "Deflate,chunked", "x-compress"] {
        let input = post(&format!("Transfer-Encoding: {coding}\r\n"));
        check_one(&input, UnsupportedTransferCoding, 501);
    }
    check_one(b"CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 5\r\n\r\n", BodyNotAllowed, 400);
}

#[test]
fn hosts() {
    use ErrorKind::*;
    let cases: &[(&[u8], ErrorKind)] = &[
        (b"GET / HTTP/1.1\r\n\r\n", MissingHost),
        (b"GET http://h/ HTTP/1.1\r\n\r\n", MissingHost),
        (b"GET / HTTP/1.1\r\nX-Host: h\r\n\r\n", MissingHost),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", SeveralHosts),
        (b"GET / HTTP/1.1\r\nHost: h\r\nHOST: i\r\n\r\n", SeveralHosts),
        (b"GET / HTTP/1.0\r\nHost: h\r\nHost: i\r\n\r\n", SeveralHosts),
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: user@h\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h:x\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h:65536\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h:-1\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h:1:2\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: [1.2.3.4]\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h%2\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h\\i\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h?x\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: h#x\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", InvalidHost),
        (b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n", InvalidHost),
        (b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", InvalidHost),
        (b"GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", InvalidHost),
        (b"GET http://i/ HTTP/1.1\r\nHost: h\r\n\r\n", HostMismatch),
        (b"GET http://h:8080/ HTTP/1.1\r\nHost: h\r\n\r\n", HostMismatch),
        (b"GET http://h/ HTTP/1.1\r\nHost: h:443\r\n\r\n", HostMismatch),
        (b"GET http://h/ HTTP/1.0\r\nHost: i\r\n\r\n", HostMismatch),
        (b"CONNECT h:443 HTTP/1.1\r\nHost: i:443\r\n\r\n", HostMismatch),
    ];
    check(cases, 400);
}

#[test]
fn connection_options_that_would_remove_what_matters() {
    for option in ["Host", "content-length", "X-Forwarded-For", "cookie", "Authorization", "close, via"] {
        let input = post(&format!("Connection: {option}\r\nContent-Length: 0\r\n"));
        check_one(&input, ErrorKind::ForbiddenConnectionOption, 400);
    }
    check_one(&post("Connection: a b\r\n"), ErrorKind::InvalidFieldValue, 400);
    let many = (0..33).map(|n| format!("a{n},")).collect::<String>();
    check_one(&post(&format!("Connection: {many}\r\n")), ErrorKind::TooManyConnectionOptions, 431);
}

#[test]
fn expectations() {
    for expect in [
        "y 100-continue",
        "100-continue, y",
        "100-continue\r\nExpect: 100-continue",
        "y\r\nExpect: 100-continue",
        "100-continue\r\nExpect: y",
        "100",
        "",
    ] {
        let input = post(&format!("Expect: {expect}\r\nContent-Length: 5\r\n"));
        check_one(&input, ErrorKind::UnknownExpectation, 417);
    }
}

#[test]
fn names_that_underscores_make_another_s() {
    for name in ["Content_Length", "transfer_encoding", "X_Forwarded_For", "X-Forwarded_For", "x_real-ip"] {
        check_one(&post(&format!("{name}: 5\r\n")), ErrorKind::AmbiguousFieldName, 400);
    }
    for name in ["_content-length", "X_Forwarded_Fo", "User_Id", "x_y", "__", &"_".repeat(100)] {
        request_error(&post(&format!("{name}: 5\r\n"))).expect(name);
    }
}

#[test]
fn responses() {
    use ErrorKind::*;
    let cases: &[(&str, ErrorKind)] = &[
        ("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", BareLf),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", BareCr),
        ("HTTP/1.1 200 O\rK\r\n\r\n", BareCr),
        ("HTTP/1.1 200 O\0K\r\n\r\n", Nul),
        ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", ObsFold),
        ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", SpaceBeforeColon),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", SeveralContentLengths),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            ContentLengthWithTransferEncoding,
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", UnsupportedTransferCoding),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", TransferEncodingInHttp10),
        ("HTTP/1.1 204 No\r\nContent-Length: x\r\n\r\n", InvalidContentLength),
        ("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", BodyNotAllowed),
        ("HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n", BodyNotAllowed),
        ("HTTP/2.0 200 OK\r\n\r\n", UnsupportedVersion),
        ("HTTP/1.1 20 OK\r\n\r\n", InvalidStatusLine),
        ("HTTP/1.1 2000 OK\r\n\r\n", InvalidStatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", InvalidStatusLine),
        ("HTTP/1.1 +20 OK\r\n\r\n", InvalidStatusLine),
        ("HTTP/1.1  200 OK\r\n\r\n", InvalidStatusLine),
        ("HTTX/1.1 200 OK\r\n\r\n", InvalidStatusLine),
        ("<html>", InvalidStatusLine),
        ("SSH-2.0-x\r\n", InvalidStatusLine),
    ];
    for (input, kind) in cases {
        let error = response_error(input.as_bytes(), Method::Get).expect_err(input);
        assert_eq!((error.kind, error.status()), (*kind, 502), "{input}");
    }
}

#[test]
fn chunks() {
    use ErrorKind::*;
    let cases: &[(&[u8], ErrorKind)] = &[
        (b"5\nhello\r\n0\r\n\r\n", BareLf),
        (b"5\rhello\r\n0\r\n\r\n", BareCr),
        (b"5;a\nhello\r\n0\r\n\r\n", BareLf),
        (b"5\r\nhello\n0\r\n\r\n", InvalidChunkEnd),
        (b"5\r\nhello\r0\r\n\r\n", InvalidChunkEnd),
        (b"5\r\nhelloX\r\n0\r\n\r\n", InvalidChunkEnd),
        (b"5\r\nhello0\r\n\r\n", InvalidChunkEnd),
        (b"0\r\n\n", BareLf),
        (b"0\r\n\rX", BareCr),
        (b"\r\nhello", InvalidChunkSize),
        (b" 5\r\nhello", InvalidChunkSize),
        (b"5 \r\nhello", InvalidChunkSize),
        (b"+5\r\nhello", InvalidChunkSize),
        (b"-1\r\nhello", InvalidChunkSize),
        (b"0x5\r\nhello", InvalidChunkSize),
        (b"5g\r\nhello", InvalidChunkSize),
        (b";a\r\nhello", InvalidChunkSize),
        (b"5 5\r\nhello", InvalidChunkSize),
        (b"5_0\r\nhello", InvalidChunkSize),
        (b"10000000000000000\r\n", ChunkSizeOverflow),
        (b"00000000000000005\r\nhello", ChunkSizeOverflow),
        (b"5;a=\0\r\nhello", InvalidChunkExtension),
        (b"5;a\x0b\r\nhello", InvalidChunkExtension),
        (b"0\r\nContent-Length: 5\r\n\r\n", ForbiddenTrailer),
        (b"0\r\nTransfer-Encoding: chunked\r\n\r\n", ForbiddenTrailer),
        (b"0\r\nHost: h\r\n\r\n", ForbiddenTrailer),
        (b"0\r\nA : b\r\n\r\n", SpaceBeforeColon),
        (b"0\r\nA: b\n\r\n", BareLf),
        (b"0\r\nA: b\rc\r\n\r\n", BareCr),
        (b"0\r\nA: b\0\r\n\r\n", Nul),
        (b"0\r\nA: b\r\n c\r\n\r\n", ObsFold),
        (b"0\r\nGET / HTTP/1.1\r\n\r\n", MissingColon),
        (b"0\r\n: b\r\n\r\n", InvalidFieldName),
        (b"5\r\nhell", Truncated),
        (b"5\r\nhello\r\n0\r\n", Truncated),
        (b"0\r\n\r", Truncated),
        (b"", Truncated),
    ];
    for (input, kind) in cases {
        let error = body_error(input, &HeadLimits::default()).expect_err(&String::from_utf8_lossy(input));
        assert_eq!((error.kind, error.status()), (*kind, 400), "{}", String::from_utf8_lossy(input));
    }
}

#[test]
fn every_error_closes_the_connection_and_has_its_own_token() {
    let mut tokens = std::collections::HashSet::new();
    for &kind in ErrorKind::ALL {
        let error = Error::new(kind, h1::Side::Request);
        assert_eq!((error.fault(), error.scope()), (Fault::Peer, Scope::Connection));
        assert!(tokens.insert(error.as_str()), "{}", error.as_str());
        assert!(!error.as_str().contains(char::is_whitespace));
        assert!((400..=505).contains(&error.status()));
    }
}

fn check(cases: &[(&[u8], ErrorKind)], status: u16) {
    for (input, kind) in cases {
        check_one(input, *kind, status);
    }
}

/// The error must be the same for the whole input and when it arrives a byte at a time.
fn check_one(input: &[u8], kind: ErrorKind, status: u16) {
    let text = String::from_utf8_lossy(input);
    let error = request_error(input).expect_err(&text);
    assert_eq!((error.kind, error.status()), (kind, status), "{text:?}");
    let slow = (0..=input.len()).find_map(|end| request_error(&input[..end]).err()).expect("an error at the end");
    assert_eq!(slow, error, "a byte at a time: {text:?}");
}
