//! The properties over the kept corpora and over generated messages.

use super::*;
use proptest::prelude::*;
use std::path::Path;

fn replay(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut replayed = 0;
    for entry in std::fs::read_dir(&folder).expect("a corpus") {
        let path = entry.expect("an entry").path();
        let data = std::fs::read(&path).expect("a file");
        if std::panic::catch_unwind(|| property(&data)).is_err() {
            panic!("{} fails", path.display());
        }
        replayed += 1;
    }
    assert!(replayed >= 10, "{}: {replayed} files", folder.display());
}

#[test]
fn corpus_of_requests() {
    replay("requests", requests);
}

#[test]
fn corpus_of_paths() {
    replay("paths", paths);
}

#[test]
fn corpus_of_responses() {
    replay("responses", responses);
}

#[test]
fn corpus_of_chunked_bodies() {
    replay("chunked", chunked);
}

#[test]
fn corpus_of_proxy_headers() {
    replay("proxy_header", proxy_header);
}

#[test]
fn corpus_of_http2_connections() {
    replay("http2", http2);
}

#[test]
fn corpus_of_http2_frames() {
    replay("http2_frames", http2_frames);
}

#[test]
fn corpus_of_grpc() {
    replay("grpc", grpc);
}

#[test]
fn corpus_of_http2_talks() {
    replay("http2_talk", http2_talk);
}

#[test]
fn corpus_of_tls_hellos() {
    replay("tls_hello", tls_hello);
}

#[test]
fn corpus_of_tls_records() {
    replay("tls_records", tls_records);
}

#[test]
fn corpus_of_certificates() {
    replay("certificate", certificate);
}

fn field() -> impl Strategy<Value = String> {
    let odd = prop::sample::select(vec![
        "Connection: close\r\n",
        "Connection: keep-alive, x-drop\r\n",
        "connection: upgrade\r\n",
        "Upgrade: websocket\r\n",
        "TE: trailers, deflate\r\n",
        "Expect: 100-continue\r\n",
        "x-drop: 1\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Host: h\r\n",
        "Empty:\r\n",
        "Padded: \t a b \t \r\n",
        "Folded: a\r\n b\r\n",
        "Bare: a\nB: c\r\n",
        "Spaced : a\r\n",
    ]);
    let known = prop::sample::select(FieldId::ALL.to_vec()).prop_map(FieldId::name);
    prop_oneof![
        2 => odd.prop_map(str::to_owned),
        3 => ("[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}", "[ -~]{0,30}").prop_map(|(name, value)| format!("{name}:{value}\r\n")),
        3 => (known, "[a-z0-9 ,;=/\u{e4}-]{0,20}").prop_map(|(name, value)| format!("{name}: {value}\r\n")),
    ]
}

/// Framing fields and a body that fits them.
fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    let chunks =
        prop::collection::vec((prop::collection::vec(any::<u8>(), 1..60), "(;[a-z]{1,4}(=\"[ -!#-~]*\")?)?"), 0..5);
    let trailers = prop::collection::vec("[a-z]{1,8}: [a-z ]{0,8}\r\n", 0..8);
    prop_oneof![
        1 => Just((String::new(), Vec::new())),
        2 => payload.prop_map(|payload| (format!("Content-Length: {}\r\n", payload.len()), payload)),
        3 => (chunks, trailers).prop_map(|(chunks, trailers)| {
            let mut bytes = Vec::new();
            for (payload, extension) in chunks {
                bytes.extend_from_slice(format!("{:X}{extension}\r\n", payload.len()).as_bytes());
                bytes.extend_from_slice(&payload);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n");
            bytes.extend_from_slice(trailers.concat().as_bytes());
            bytes.extend_from_slice(b"\r\n");
            ("Transfer-Encoding: chunked\r\n".to_owned(), bytes)
        }),
    ]
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => "(GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS|BREW) /[!-\"$-~]{0,40} HTTP/1\\.[01]",
        1 => "(GET|POST) https?://h(:80)?(/[a-z?=&]{0,20})? HTTP/1\\.1",
        1 => prop::sample::select(vec!["OPTIONS * HTTP/1.1".to_owned(), "CONNECT h:443 HTTP/1.1".to_owned()]),
    ];
    ("(\r\n){0,2}", line, prop::collection::vec(field(), 0..6), prop::bool::weighted(0.9), body()).prop_map(
        |(before, line, fields, host, (framing, body))| {
            let host = if host { "Host: h\r\n" } else { "" };
            let mut bytes = format!("{before}{line}\r\n{host}{}{framing}\r\n", fields.concat()).into_bytes();
            bytes.extend_from_slice(&body);
            bytes
        },
    )
}

fn response() -> impl Strategy<Value = Vec<u8>> {
    let line = "HTTP/1\\.[01] (100|101|103|200|204|304|404|503|[0-9]{3})( [ -~\u{e4}]{0,12})?";
    (line, prop::collection::vec(field(), 0..6), body()).prop_map(|(line, fields, (framing, body))| {
        let mut bytes = format!("{line}\r\n{}{framing}\r\n", fields.concat()).into_bytes();
        bytes.extend_from_slice(&body);
        bytes
    })
}

/// A seed and several messages in a row, some with bytes damaged.
fn stream(message: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2);
    (any::<u8>(), prop::collection::vec(message, 1..4), damage).prop_map(|(seed, messages, damage)| {
        let mut bytes = vec![seed];
        bytes.extend(messages.concat());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

/// Kept HTTP/2 connections one after the other, some with bytes damaged.
fn http2_connection() -> impl Strategy<Value = Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/http2");
    let files = std::fs::read_dir(folder).expect("a corpus");
    let kept = files.map(|file| std::fs::read(file.expect("an entry").path()).expect("a file"));
    let kept: Vec<_> = kept.filter(|data| !data.is_empty()).collect();
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (prop::collection::vec(prop::sample::select(kept), 1..6), damage).prop_map(|(connections, damage)| {
        let mut bytes = vec![connections[0][0]];
        // Each connection on streams of its own.
        for (number, frames) in connections.iter().enumerate() {
            let mut rest = &frames[1..];
            while let Some((header, tail)) = rest.split_first_chunk::<9>() {
                let mut header = *header;
                if header[8] != 0 {
                    header[8] = header[8].wrapping_add(4 * number as u8);
                }
                let length = u16::from_be_bytes([header[1], header[2]]);
                let (payload, tail) = tail.split_at(usize::from(length).min(tail.len()));
                bytes.extend_from_slice(&header);
                bytes.extend_from_slice(payload);
                rest = tail;
            }
        }
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn generated_http2_connections(data in http2_connection()) {
        http2(&data);
    }

    #[test]
    fn generated_http2_talks(data in prop::collection::vec(any::<u8>(), 0..600)) {
        http2_talk(&data);
    }

    #[test]
    fn generated_requests(data in stream(request())) {
        requests(&data);
    }

    #[test]
    fn generated_responses(data in stream(response())) {
        responses(&data);
    }

    #[test]
    fn generated_chunked_bodies(data in stream(body().prop_map(|(_, body)| body))) {
        chunked(&data);
    }

    #[test]
    fn any_bytes(data: Vec<u8>) {
        requests(&data);
        responses(&data);
        chunked(&data);
        proxy_header(&data);
        http2(&data);
        http2_frames(&data);
        grpc(&data);
    }
}

/// The generator must make messages that are accepted, or the properties above prove nothing.
#[test]
fn most_generated_requests_are_accepted() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let accepted = (0..500)
        .filter(|_| {
            let data = request().new_tree(&mut runner).expect("a request").current();
            let (messages, _) = read_requests(&data, 0, data.len());
            messages.first().is_some_and(|message| message.complete)
        })
        .count();
    assert!(accepted > 125, "{accepted} of 500");
}
