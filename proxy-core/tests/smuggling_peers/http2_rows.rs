//! What clients send over HTTP/2, where lengths come with frames and no text has to be parsed, until somebody writes it
//! down for HTTP/1 (downgrade).

use crate::run::{Meaning, SMUGGLED};

type Fields = Vec<(&'static str, &'static str)>;

pub(crate) struct Row {
    pub(crate) class: &'static str,
    pub(crate) fields: Fields,
    /// DATA, if there is any.
    pub(crate) body: Option<Vec<u8>>,
    pub(crate) trailers: Option<Fields>,
    /// The request that arrives; otherwise it is refused: by a reset, the connection's end or an error's status.
    pub(crate) passed: Option<Meaning>,
    /// Programs that refuse what we pass on.
    pub(crate) refused_by: &'static [&'static str],
}

const POST: [(&str, &str); 4] = [(":method", "POST"), (":scheme", "http"), (":path", "/p"), (":authority", "app.test")];

fn with(field: (&'static str, &'static str)) -> Fields {
    [&POST[..], &[field]].concat()
}

fn instead(name: &str, value: &'static str) -> Fields {
    POST.iter().map(|(field, old)| (*field, if *field == name { value } else { old })).collect()
}

fn without(name: &str) -> Fields {
    POST.iter().copied().filter(|(field, _)| *field != name).collect()
}

fn refused(class: &'static str, fields: Fields) -> Row {
    Row { class, fields, body: Some(SMUGGLED.into()), trailers: None, passed: None, refused_by: &[] }
}

fn passed(class: &'static str, fields: Fields, meaning: Meaning) -> Row {
    let body = (!meaning.body.is_empty()).then(|| meaning.body.clone());
    Row { class, fields, body, trailers: None, passed: Some(meaning), refused_by: &[] }
}

fn posted(body: impl AsRef<[u8]>) -> Meaning {
    Meaning::new("POST", "/p", body)
}

pub(crate) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    let fields = |class, fields: &[(&'static str, &'static str)]| -> Vec<Row> {
        fields.iter().map(|field| refused(class, with(*field))).collect()
    };
    rows.extend(fields(
        "H2.TE",
        &[
            ("transfer-encoding", "chunked"),
            ("transfer-encoding", "identity"),
            ("transfer-encoding", ""),
            ("transfer-encoding ", "chunked"),
            ("Transfer-Encoding", "chunked"),
            ("transfer-encoding\0", "chunked"),
            ("transfer-encoding: chunked\r\nx", "y"),
        ],
    ));
    rows.extend(fields(
        "H2.CL",
        &[
            ("content-length", "0"),
            ("content-length", "5"),
            ("content-length", "9999"),
            ("content-length", "+42"),
            ("content-length", "-1"),
            ("content-length", "42, 42"),
            ("content-length", "0x2a"),
            ("content-length", ""),
            ("content-length", "18446744073709551658"),
            ("Content-Length", "42"),
        ],
    ));
    let lengths = [("content-length", "42"), ("content-length", "0")];
    rows.push(refused("H2.CL, two fields", [&POST[..], &lengths].concat()));
    rows.extend(fields(
        "a connection's fields",
        &[
            ("connection", "close"),
            ("connection", "keep-alive, content-length"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("upgrade", "websocket"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("te", "trailers, chunked"),
        ],
    ));
    rows.extend(fields(
        "H2.X, a value that would be several lines",
        &[
            ("x", "y\r\nz: w"),
            ("x", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"),
            ("x", "y\r\nTransfer-Encoding: chunked"),
            ("x", "y\nTransfer-Encoding: chunked"),
            ("x", "y\rTransfer-Encoding: chunked"),
            ("x", "y\0"),
            ("x", "\0"),
            ("x", " y"),
            ("x", "y "),
            ("x", "\ty"),
            ("cookie", "a=b\r\nTransfer-Encoding: chunked"),
            ("user-agent", "a\r\nTransfer-Encoding: chunked"),
        ],
    ));
    rows.extend(fields(
        "H2.X, a name that would be something else",
        &[
            ("x: y\r\nz", "w"),
            ("x\r\n\r\nGET /smuggled HTTP/1.1\r\nHost", "app.test"),
            ("x\nz", "w"),
            ("x\0", "y"),
            ("x:", "y"),
            ("x:y", "z"),
            (":x", "y"),
            ("", "y"),
            ("x y", "z"),
            (" x", "y"),
            ("x ", "y"),
            ("x\t", "y"),
            ("x\x7f", "y"),
            ("X", "y"),
            ("x\u{e9}", "y"),
            ("x(", "y"),
        ],
    ));
    rows.extend(
        [
            (":method", "G T"),
            (":method", "GET / HTTP/1.1\r\nHost: app.test\r\n\r\nGET"),
            (":method", "GET\r\n"),
            (":method", "GET\n"),
            (":method", "GET\0"),
            (":method", "GET /smuggled HTTP/1.1\r\nx: y"),
            (":method", "G(T"),
            (":method", ""),
            (":path", ""),
            (":path", "p"),
            (":path", "/a b"),
            (":path", "/a\tb"),
            (":path", "/ HTTP/1.1\r\nHost: app.test\r\n\r\nGET /smuggled"),
            (":path", "/a\r\nx: y"),
            (":path", "/a\n"),
            (":path", "/a\0"),
            (":path", "/a\x7f"),
            (":path", "/\u{e4}"),
            (":path", "/#a"),
            (":path", "*"),
            (":path", "http://evil.test/"),
            (":path", "http://app.test/p"),
            (":path", "@evil.test/"),
            (":path", "?a"),
            (":scheme", "ftp"),
            (":scheme", "http\r\nx: y"),
            (":scheme", "http://evil.test/?"),
            (":scheme", ""),
            (":authority", "u@app.test"),
            (":authority", "app.test/evil"),
            (":authority", "app.test evil.test"),
            (":authority", "app.test\r\nx: y"),
            (":authority", "app.test\n"),
            (":authority", "app.test\0"),
            (":authority", "app.test:x"),
            (":authority", "app.test#evil"),
            (":authority", ""),
        ]
        .map(|(name, value)| refused("pseudo-headers", instead(name, value))),
    );
    rows.extend([":method", ":scheme", ":path"].map(|name| refused("a pseudo-header is missing", without(name))));
    rows.push(refused("neither :authority nor host", without(":authority")));
    rows.extend(fields(
        "pseudo-headers twice, or not of requests",
        &[
            (":method", "GET"),
            (":path", "/smuggled"),
            (":scheme", "http"),
            (":authority", "app.test"),
            (":status", "200"),
            (":unknown", "x"),
            (":protocol", "websocket"),
        ],
    ));
    rows.push(refused("a pseudo-header behind a field", [vec![("x", "y")], POST.to_vec()].concat()));
    rows.extend(fields(
        ":authority and host",
        &[("host", "evil.test"), ("host", "app.test:81"), ("host", ""), ("host", "a b")],
    ));
    let hosts = [("host", "app.test"), ("host", "app.test")];
    rows.push(refused(":authority and host", [&POST[..], &hosts].concat()));
    for trailers in [
        vec![("content-length", "5")],
        vec![("transfer-encoding", "chunked")],
        vec![("host", "evil.test")],
        vec![(":path", "/smuggled")],
        vec![("x", "y\r\nz: w")],
        vec![("x y", "z")],
        vec![("connection", "close")],
        vec![("X", "y")],
    ] {
        rows.push(Row { trailers: Some(trailers), ..refused("trailers", POST.to_vec()) });
    }

    let get = || vec![(":method", "GET"), (":scheme", "http"), (":path", "/g"), (":authority", "app.test")];
    let got = |body: &str| Meaning::new("GET", "/g", body);
    let length = |fields: Fields, length: &'static str| [fields, vec![("content-length", length)]].concat();
    rows.extend([
        passed("a body like a request", POST.to_vec(), posted(SMUGGLED)),
        passed("a body like a request", length(POST.to_vec(), "42"), posted(SMUGGLED)),
        passed("a body like a request", get(), got(SMUGGLED)),
        passed("a body like the end of a chunked one", POST.to_vec(), posted(format!("0\r\n\r\n{SMUGGLED}"))),
        passed("no body", get(), got("")),
        passed("no body", length(POST.to_vec(), "0"), posted("")),
        passed("te: trailers", with(("te", "trailers")), posted("hello")),
        passed("host that agrees", with(("host", "app.test")), posted("hello")),
        passed("host alone", [without(":authority"), vec![("host", "app.test")]].concat(), posted("hello")),
        passed("an absolute path", instead(":path", "//evil.test/p"), Meaning::new("POST", "/evil.test/p", "hello")),
        Row { trailers: Some(vec![("x", "y")]), ..passed("trailers", POST.to_vec(), posted("hello")) },
        passed("expect", with(("expect", "100-continue")), posted(SMUGGLED)),
    ]);
    rows.push(refused("expect, obfuscated", with(("expect", "y 100-continue"))));
    rows
}
