//! What clients send over HTTP/1. Everything after a refusal is dropped with its connection; everything that passes has
//! one meaning, whoever reads it.

use crate::run::{Meaning, Row, SMUGGLED};

pub(crate) fn all() -> Vec<Row> {
    [
        both_lengths(),
        transfer_encodings(),
        content_lengths(),
        bodies_like_requests(),
        line_ends(),
        chunks(),
        trailers(),
        names_and_values(),
        hosts_and_targets(),
        connection_options(),
        request_lines(),
        expectations(),
        upgrades(),
        old_versions(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A POST with these field lines, and what is behind the head.
fn post(fields: &str, rest: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n{rest}")
}

fn get(fields: &str) -> String {
    format!("GET /g HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n")
}

fn posted(body: &str) -> Meaning {
    Meaning::new("POST", "/p", body)
}

fn got() -> Meaning {
    Meaning::new("GET", "/g", "")
}

/// Field lines that are refused wherever they come, each in front of a chunked body that one reading would see.
fn refused_fields(class: &'static str, status: u16, lines: &[&str]) -> Vec<Row> {
    let row = |line: &&str| Row::refused(class, status, post(line, "0\r\n\r\n"));
    lines.iter().map(row).collect()
}

fn both_lengths() -> Vec<Row> {
    let whole = SMUGGLED.len();
    let mut rows = vec![
        Row::refused("CL.TE", 400, post("Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\nG")),
        Row::refused(
            "CL.TE",
            400,
            post(&format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", whole + 5), "0\r\n\r\n"),
        ),
        Row::refused(
            "TE.CL",
            400,
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
                &format!("{whole:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
            ),
        ),
        Row::refused("TE.0", 400, post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "0\r\n\r\n")),
    ];
    rows.extend(refused_fields(
        "CL.TE, obfuscated",
        400,
        &[
            "Content-Length: 5\r\nTransfer-Encoding: Chunked\r\n",
            "Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n",
            "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
            "Content-Length: 5\r\nX: y\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked, identity\r\n",
            "Content-Length: 5\r\nTransfer-Encoding:\r\n",
        ],
    ));
    rows
}

fn transfer_encodings() -> Vec<Row> {
    let mut rows = refused_fields(
        "TE.TE, value",
        400,
        &[
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: chunkedx\r\n",
            "Transfer-Encoding: cow\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding: chunked, identity\r\n",
            "Transfer-Encoding: identity, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked, gzip\r\n",
            "Transfer-Encoding: chunked, cow\r\n",
            "Transfer-Encoding: chunked;a=b\r\n",
            "Transfer-Encoding: chunked;\r\n",
            "Transfer-Encoding: chunked chunked\r\n",
            "Transfer-Encoding: \"chunked\"\r\n",
            "Transfer-Encoding: 'chunked'\r\n",
            "Transfer-Encoding: [chunked]\r\n",
            "Transfer-Encoding: ,chunked\r\n",
            "Transfer-Encoding: chunked,\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: \x0bchunked\r\n",
            "Transfer-Encoding: chunked\x0b\r\n",
            "Transfer-Encoding: \x0cchunked\r\n",
            "Transfer-Encoding: \x08chunked\r\n",
            "Transfer-Encoding: chunked\0\r\n",
            "Transfer-Encoding: chunked\x7f\r\n",
            "Transfer-Encoding: \u{a0}chunked\r\n",
            "Transfer-Encoding: chun\u{212a}ed\r\n",
            "Transfer-Encoding: chunked\rx\r\n",
            "Transfer-Encoding: chunked\n\r\n",
            "Transfer-Encoding: chunk\\ed\r\n",
            "Transfer-Encoding: ch%75nked\r\n",
            "Transfer-Encoding: =?utf-8?q?chunked?=\r\n",
        ],
    );
    rows.extend(refused_fields(
        "TE.TE, unsupported",
        501,
        &["Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: deflate\r\n", "Transfer-Encoding: x-gzip\r\n"],
    ));
    rows.extend(refused_fields(
        "TE.TE, name",
        400,
        &[
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding\t: chunked\r\n",
            "Transfer-Encoding\x0b: chunked\r\n",
            "Transfer-Encoding\x0c: chunked\r\n",
            "Transfer-Encoding\0: chunked\r\n",
            "Transfer-Encoding\u{a0}: chunked\r\n",
            "Transfer-Encoding\r: chunked\r\n",
            "Transfer-Encoding\n: chunked\r\n",
            " Transfer-Encoding: chunked\r\n",
            "\tTransfer-Encoding: chunked\r\n",
            "\x0bTransfer-Encoding: chunked\r\n",
            "\u{feff}Transfer-Encoding: chunked\r\n",
            "Transfer Encoding: chunked\r\n",
            "Transfer-Encoding chunked\r\n",
            "Transfer\u{2010}Encoding: chunked\r\n",
            "\"Transfer-Encoding\": chunked\r\n",
            "Transfer-Encoding;: chunked\r\n",
            ":Transfer-Encoding: chunked\r\n",
        ],
    ));
    rows.extend(refused_fields(
        "TE.TE, two fields",
        400,
        &[
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-encoding: x\r\n",
            "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n",
        ],
    ));
    rows.extend(refused_fields(
        "TE.TE, folded or hidden in another field",
        400,
        &[
            "Transfer-Encoding:\r\n chunked\r\n",
            "Transfer-Encoding:\r\n\tchunked\r\n",
            "Transfer-Encoding: chunked\r\n , identity\r\n",
            "X: y\r\n Transfer-Encoding: chunked\r\n",
            "X: y\nTransfer-Encoding: chunked\r\n",
            "X: y\rTransfer-Encoding: chunked\r\n",
            "X: y\0\r\nTransfer-Encoding: chunked\r\n",
            "X\r\nTransfer-Encoding: chunked\r\n",
        ],
    ));
    // What is left are spellings of `chunked` that RFC 9112 allows.
    for line in [
        "Transfer-Encoding: chunked",
        "transfer-encoding:chunked",
        "TRANSFER-ENCODING: CHUNKED",
        "Transfer-Encoding: cHuNkEd",
        "Transfer-Encoding:   chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: \t chunked \t",
    ] {
        let sent = post(&format!("{line}\r\n"), "5\r\nhello\r\n0\r\n\r\n");
        rows.push(Row::passed("TE, as RFC 9112 allows it", sent, [posted("hello")]));
    }
    rows
}

fn content_lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for value in [
        "5, 5",
        "5,6",
        ",5",
        "5,",
        "",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5h",
        "5 5",
        "5.0",
        "5e0",
        "5;",
        "\"5\"",
        "1_0",
        "five",
        "5\x0b",
        "\x0b5",
        "5\0",
        "5\u{a0}",
        "\u{665}",
        "18446744073709551616",
        "18446744073709551621",
        "99999999999999999999999999",
        "5\r\n 6",
        "\r\n 5",
    ] {
        let fields = format!("Content-Length: {value}\r\n");
        rows.push(Row::refused("CL, value", 400, post(&fields, "hello")));
    }
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 0\r\n",
        "Content-Length: 0\r\nContent-Length: 42\r\n",
        "Content-Length: 5\r\ncontent-length: 6\r\n",
        "Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 5\r\n",
    ] {
        rows.push(Row::refused("CL.CL", 400, post(fields, "hello")));
    }
    for fields in [
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        "Content-Length\0: 5\r\n",
        " Content-Length: 5\r\n",
        "Content Length: 5\r\n",
        "Content\u{2010}Length: 5\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
    ] {
        rows.push(Row::refused("CL, name", 400, post(fields, "hello")));
    }
    rows.push(Row::passed("CL", post("Content-Length:   5 \r\n", "hello"), [posted("hello")]));
    let tab = Row::passed("CL", post("Content-Length: \t5\r\n", "hello"), [posted("hello")]);
    rows.push(tab.refused_by(&[("nginx", 400)]));
    rows
}

/// CL.0 and 0.CL: what a length covers is body, however much it looks like a request; what it doesn't is a request.
fn bodies_like_requests() -> Vec<Row> {
    let length = format!("Content-Length: {}\r\n", SMUGGLED.len());
    let chunked = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let mut rows = vec![
        Row::passed("CL.0", post(&length, SMUGGLED), [posted(SMUGGLED)]),
        Row::passed("CL.0", post(&format!("Connection: keep-alive\r\n{length}"), SMUGGLED), [posted(SMUGGLED)]),
        Row::passed("TE.0", post("Transfer-Encoding: chunked\r\n", &chunked), [posted(SMUGGLED)]),
        // The endpoint answers before it has read the body; the body stays one.
        Row::passed(
            "CL.0, answered early",
            format!("POST /early HTTP/1.1\r\nHost: app.test\r\n{length}\r\n{SMUGGLED}"),
            [Meaning::new("POST", "/early", SMUGGLED)],
        ),
        Row::passed(
            "0.CL",
            post("Content-Length: 0\r\n", "GET /g HTTP/1.1\r\nHost: app.test\r\n\r\n"),
            [posted(""), got()],
        ),
        Row::passed("0.CL", post("", "GET /g HTTP/1.1\r\nHost: app.test\r\n\r\n"), [posted(""), got()]),
        Row::passed("0.CL", post("", "hello\r\n\r\n"), [posted("")]).then_refused(400),
        Row::passed("0.CL", [&get(""), "0\r\n\r\n"].concat(), [got()]).then_refused(400),
        Row::passed("pipelining", [get(""), post("", ""), get("")].concat(), [got(), posted(""), got()]),
        Row::passed(
            "one empty line after a body",
            [&post("Content-Length: 2\r\n", "hi"), "\r\n", &get("")].concat(),
            [posted("hi"), got()],
        ),
    ];
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        let meaning = || Meaning::new(method, "/g", SMUGGLED);
        let head = |fields: &str| format!("{method} /g HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n");
        rows.push(Row::passed("a body of a method without", head(&length) + SMUGGLED, [meaning()]));
        let sent = head("Transfer-Encoding: chunked\r\n") + &chunked;
        rows.push(Row::passed("a body of a method without", sent, [meaning()]));
    }
    rows
}

fn line_ends() -> Vec<Row> {
    let mut rows = Vec::new();
    for head in [
        "GET / HTTP/1.1\nHost: app.test\n\n",
        "GET / HTTP/1.1\nHost: app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\n\n",
        "GET / HTTP/1.1\r\nHost: app.test\n\n",
        "\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET / HTTP/1.1\rHost: app.test\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\n\r\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\n\rX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nX: y\rContent-Length: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nX: y\r\rGET /smuggled HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nX: y\n\nGET /smuggled HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\n \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nX: \u{85}\x01\r\n\r\n",
    ] {
        rows.push(Row::refused("line ends", 400, head));
    }
    rows
}

fn chunks() -> Vec<Row> {
    let chunked = |rest: &str| post("Transfer-Encoding: chunked\r\n", rest);
    let mut rows = Vec::new();
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(5000));
    let refused = [
        ("chunk size", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "0X5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "-0\r\n\r\n"),
        ("chunk size", " 5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5 \r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5\t\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5\x0b\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5\0\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5_0\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5g\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "5.0\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "five\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", ";x\r\nhello\r\n0\r\n\r\n"),
        ("chunk size", "\u{665}\r\nhello\r\n0\r\n\r\n"),
        ("chunk size overflow", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("chunk size overflow", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("chunk size overflow", "00000000000000005\r\nhello\r\n0\r\n\r\n"),
        ("chunk size line end", "5\nhello\r\n0\r\n\r\n"),
        ("chunk size line end", "5\rhello\r\n0\r\n\r\n"),
        ("chunk size line end", "5\r\rhello\r\n0\r\n\r\n"),
        ("chunk size line end", "5\n\r\nhello\r\n0\r\n\r\n"),
        ("chunk data end", "5\r\nhello\n0\r\n\r\n"),
        ("chunk data end", "5\r\nhello\r0\r\n\r\n"),
        ("chunk data end", "5\r\nhelloX\r\n0\r\n\r\n"),
        ("chunk data end", "5\r\nhello0\r\n\r\n"),
        ("chunk data end", "5\r\nhello\r\r\n0\r\n\r\n"),
        ("chunk data end", "5\r\nhelloXX0\r\n\r\n"),
        ("chunk extension (TERM.EXT)", "5;x\nhello\r\n0\r\n\r\n"),
        ("chunk extension (TERM.EXT)", "5;\nxx\r\nhello\r\n0\r\n\r\n"),
        ("chunk extension (TERM.EXT)", "5;x\ry\r\nhello\r\n0\r\n\r\n"),
        ("chunk extension (TERM.EXT)", "5;x=\"\n\"\r\nhello\r\n0\r\n\r\n"),
        ("chunk extension (TERM.EXT)", "5;x=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
        ("chunk extension", "5;x=\0\r\nhello\r\n0\r\n\r\n"),
        ("chunk extension", "5;x\x0b\r\nhello\r\n0\r\n\r\n"),
        ("chunk extension, overlong", &long),
        ("last chunk's line end", "0\n\r\n"),
        ("last chunk's line end", "0\r\n\n"),
        ("last chunk's line end", "0\r\n\rX"),
        ("last chunk's line end", "0;x\n\r\n"),
    ];
    for (class, body) in refused {
        rows.push(Row::refused(class, 400, chunked(body)));
    }
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        "5;x\r\nhello\r\n0;y\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\n\r\n",
        "5;x=\"y;z\"\r\nhello\r\n0\r\n\r\n",
        "5;x=\"0\\\"\"\r\nhello\r\n0\r\n\r\n",
        "5;x=\"\r\nhello\r\n0\r\n\r\n",
        "5;;;\r\nhello\r\n0\r\n\r\n",
    ] {
        // Extensions aren't passed on, so that nobody behind us has to read them.
        rows.push(Row::passed("chunks as RFC 9112 allows them", chunked(body), [posted("hello")]));
    }
    let hexes = chunked(&format!("A\r\n{}\r\na\r\n{}\r\n0\r\n\r\n", "x".repeat(10), "y".repeat(10)));
    rows.push(Row::passed("chunk size in both cases", hexes, [posted("xxxxxxxxxxyyyyyyyyyy")]));
    rows.push(
        Row::passed("bytes behind the last chunk", chunked("5\r\nhello\r\n0\r\n\r\nX: y\r\n\r\n"), [posted("hello")])
            .then_refused(400),
    );
    rows
}

fn trailers() -> Vec<Row> {
    let chunked =
        |trailers: &str| post("Transfer-Encoding: chunked\r\n", &format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
    let mut rows = Vec::new();
    for line in [
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: evil.test\r\n",
        "Content-Length : 5\r\n",
        "X: y\n",
        "X: y\r",
        "X: y\0\r\n",
        "X: y\r\n z\r\n",
        " X: y\r\n",
        "GET /smuggled HTTP/1.1\r\n",
        ": y\r\n",
    ] {
        rows.push(Row::refused("trailers", 400, chunked(line)));
    }
    for line in ["X: y\r\n", "Authorization: x\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1\r\n"] {
        rows.push(Row::passed("trailers", chunked(line), [posted("hello")]));
    }
    rows
}

fn names_and_values() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in [
        "X Y: z\r\n",
        "X(Y): z\r\n",
        "X\0Y: z\r\n",
        "X\x7fY: z\r\n",
        "X\u{e9}: z\r\n",
        "X/Y: z\r\n",
        "X[Y]: z\r\n",
        "X,Y: z\r\n",
        "\"X\": y\r\n",
        ": y\r\n",
        "no colon\r\n",
        "X: y\0\r\n",
        "X: \x01\r\n",
        "X: \x1b[0m\r\n",
        "X: y\x7f\r\n",
        "X: y\r\n z\r\n",
        "X:\r\n y\r\n",
        "X: y\r\n\t\r\n",
        "X: y\r\n\x0bz\r\n",
    ] {
        rows.push(Row::refused("field names and values", 400, get(line)));
    }
    // CGI and its like make HTTP_CONTENT_LENGTH of both.
    for line in [
        "Content_Length: 5\r\n",
        "Transfer_Encoding: chunked\r\n",
        "X_Forwarded_For: 127.0.0.1\r\n",
        "x-forwarded_for: 127.0.0.1\r\n",
        "X_Real_IP: 127.0.0.1\r\n",
        "X_Forwarded_Client_Cert: x\r\n",
    ] {
        rows.push(Row::refused("underscores for hyphens", 400, get(line)));
    }
    rows.push(Row::passed("underscores", get("My_Own: x\r\n"), [got()]));
    rows
}

fn hosts_and_targets() -> Vec<Row> {
    let mut rows = Vec::new();
    for head in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nHost: app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nHost: evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\nhOST: evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\r\n Host: evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test, evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: evil.test@app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test/evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\\evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test?evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test#evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test:80:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test:80evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: http://app.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: app.test\0.evil\r\n\r\n",
        "GET http://evil.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET http://app.test/ HTTP/1.1\r\nHost: evil.test\r\n\r\n",
        "GET http://app.test:81/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET http://app.test/ HTTP/1.1\r\n\r\n",
        "GET http://u@app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET http://app.test@evil.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET http:///p HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET http:/app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET ftp://app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET file:///etc/passwd HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET app.test:80 HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET @app.test/ HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "CONNECT /p HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "CONNECT app.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n",
    ] {
        rows.push(Row::refused("hosts and targets", 400, head));
    }
    for (target, path) in [
        ("http://app.test/abs", "/abs"),
        ("HTTP://APP.test/abs", "/abs"),
        ("http://app.test", "/"),
        ("http://app.test:80/abs?q", "/abs?q"),
        ("http://app.test/http://evil.test/", "/http:/evil.test/"),
        ("/http://evil.test/", "/http:/evil.test/"),
        ("//evil.test/p", "/evil.test/p"),
    ] {
        let sent = format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n\r\n");
        // Absolute or not, what goes on is the path.
        rows.push(Row::passed("targets", sent, [Meaning::new("GET", path, "")]));
    }
    rows
}

fn connection_options() -> Vec<Row> {
    let mut rows = Vec::new();
    for option in [
        "Host",
        "Content-Length",
        "content-length, close",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Request-Id",
        "Cookie",
        "Authorization",
        "Expect",
        "Via",
        "Forwarded",
        "keep-alive, host",
        "a b",
        "\"close\"",
    ] {
        let sent = post(&format!("Connection: {option}\r\nContent-Length: 5\r\n"), "hello");
        rows.push(Row::refused("Connection removes what matters", 400, sent));
    }
    let sent = post("Connection: X-Own, keep-alive\r\nX-Own: y\r\nContent-Length: 5\r\n", "hello");
    rows.push(Row::passed("Connection removes what is its sender's", sent, [posted("hello")]));
    let sent = post("Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n");
    rows.push(Row::passed("Connection names the framing, which is by hop anyway", sent, [posted("hello")]));
    let sent = post("Connection: close\r\nContent-Length: 5\r\n", &format!("hello{SMUGGLED}"));
    rows.push(Row::passed("bytes behind the last request", sent, [posted("hello")]).ends());
    rows
}

fn request_lines() -> Vec<Row> {
    let mut rows = Vec::new();
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET\x0b/ HTTP/1.1",
        "GET /\tHTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /a\0 HTTP/1.1",
        "GET /a\x7f HTTP/1.1",
        "GET /\u{e4} HTTP/1.1",
        "GET /#a HTTP/1.1",
        "GET /a?b#c HTTP/1.1",
        "GET a HTTP/1.1",
        "GET ?a HTTP/1.1",
        "GET \\ HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET: / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/1.10",
        "GET / HTTP/01.1",
        "GET / HTTP/1,1",
        "GET / HTTP/1.1 HTTP/1.1",
        "GET / HTTP/1.1\0",
    ] {
        rows.push(Row::refused("request lines", 400, format!("{line}\r\nHost: app.test\r\n\r\n")));
    }
    for line in ["GET / HTTP/1.2", "GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/2.0"] {
        rows.push(Row::refused("versions", 505, format!("{line}\r\nHost: app.test\r\n\r\n")));
    }
    rows
}

/// The body is withheld until something has come: a proxy and an endpoint that don't agree on whether it still comes
/// take it for a request (0.CL).
fn expectations() -> Vec<Row> {
    let mut rows = Vec::new();
    let head = |target: &str, expect: &str| {
        let length = SMUGGLED.len();
        format!("POST {target} HTTP/1.1\r\nHost: app.test\r\n{expect}\r\nContent-Length: {length}\r\n\r\n")
    };
    for expect in ["Expect: 100-continue", "expect: 100-CONTINUE", "Expect: \t100-continue "] {
        let passed = || [Meaning::new("POST", "/p", SMUGGLED)];
        rows.push(Row::passed("Expect, body not withheld", [&head("/p", expect), SMUGGLED].concat(), passed()));
        let early = || [Meaning::new("POST", "/early", SMUGGLED)];
        rows.push(Row::passed("Expect, answered at once", [&head("/early", expect), SMUGGLED].concat(), early()));
        // What comes after the answer is the body that was announced, not a request.
        let withheld = Row::passed("Expect, body withheld", head("/early", expect), early());
        rows.push(withheld.then_sent(SMUGGLED).bodiless());
    }
    for expect in [
        "Expect: y 100-continue",
        "Expect: 100-continue, y",
        "Expect: 100-continue, 100-continue",
        "Expect: 100-continue\r\nExpect: 100-continue",
        "Expect: 100-continue\r\nExpect: y",
        "Expect: 100-continue;q=1",
        "Expect: \"100-continue\"",
        "Expect: 200-ok",
        "Expect: 100",
        "Expect:",
    ] {
        rows.push(Row::refused("Expect, obfuscated", 417, [&head("/p", expect), SMUGGLED].concat()));
    }
    for expect in
        ["Expect:\r\n 100-continue", "Expect : 100-continue", "Expect: \x0b100-continue", "Expect: 100-continue\0"]
    {
        rows.push(Row::refused("Expect, obfuscated", 400, head("/p", expect)));
    }
    rows.push(Row::passed("Expect without a body", get("Expect: 100-continue\r\n"), [got()]));
    rows
}

fn upgrades() -> Vec<Row> {
    let websocket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                     Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let refused = "Connection: Upgrade\r\nUpgrade: other\r\n";
    vec![
        // The offer is ignored: what follows is the next request, for us and for whoever is behind us.
        Row::passed(
            "h2c",
            [
                get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
                get(""),
            ]
            .concat(),
            [got(), got()],
        ),
        Row::passed(
            "h2c",
            [
                get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")
                    .as_str(),
                "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            ]
            .concat(),
            [got()],
        )
        .then_refused(505),
        Row::passed("h2c without Connection", [get("Upgrade: h2c\r\n"), get("")].concat(), [got(), got()]),
        // The endpoint doesn't switch: what follows never was a tunnel's.
        // Envoy puts an answer of its own in the place of a 200.
        Row::passed("WebSocket, refused by the endpoint", [get(websocket), get("")].concat(), [got(), got()])
            .not_behind("envoy"),
        Row::passed("Upgrade without Connection", [get("Upgrade: websocket\r\n"), get("")].concat(), [got(), got()]),
        Row::passed("two protocols in two fields", get(&format!("{websocket}Upgrade: h2c\r\n")), [got()]),
        Row::passed("Upgrade of a request in HTTP/1.0 style", get("Connection: Upgrade\r\n"), [got()]),
        // Not a byte of it is in doubt, so the connection goes on.
        Row::passed("another protocol", get(refused), []).then_refused(403).kept(),
    ]
}

fn old_versions() -> Vec<Row> {
    let old = |fields: &str, rest: &str| format!("POST /p HTTP/1.0\r\nHost: app.test\r\n{fields}\r\n{rest}");
    vec![
        Row::refused("TE in HTTP/1.0", 400, old("Transfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        Row::refused("TE in HTTP/1.0", 400, old("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n")),
        Row::refused("TE in HTTP/1.0", 400, old("Connection: keep-alive\r\nTransfer-Encoding: x\r\n", "0\r\n\r\n")),
        Row::passed("HTTP/1.0", old("Content-Length: 5\r\n", &format!("hello{SMUGGLED}")), [posted("hello")]).ends(),
        Row::passed("HTTP/1.0", old("", SMUGGLED), [posted("")]).ends(),
        // An expectation of HTTP/1.0 is none (RFC 9110 10.1.1), and no 100 goes there.
        Row::passed("HTTP/1.0", old("Expect: 100-continue\r\nContent-Length: 5\r\n", "hello"), [posted("hello")])
            .ends(),
        Row::passed(
            "HTTP/1.0, kept",
            old("Connection: keep-alive\r\nContent-Length: 5\r\n", "hello"),
            [posted("hello")],
        ),
    ]
}
