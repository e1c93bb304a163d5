use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::stats::{Registry, ServerStat};

struct Exchange {
    request: &'static [(&'static str, &'static [u8])],
    response: &'static [(&'static str, &'static [u8])],
}

fn find<'a>(fields: &'a [(&str, &'static [u8])], name: &[u8]) -> Option<&'a [u8]> {
    fields.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, value)| *value)
}

impl Fields for Exchange {
    fn request(&self, name: &[u8]) -> Option<&[u8]> {
        find(self.request, name)
    }

    fn response(&self, name: &[u8]) -> Option<&[u8]> {
        find(self.response, name)
    }

    fn trailer(&self, name: &[u8]) -> Option<&[u8]> {
        (name == b"checksum").then_some(b"abc")
    }
}

const EXCHANGE: Exchange = Exchange {
    request: &[
        (":method", b"GET"),
        (":path", b"/a/b?x=1&name=J%20D"),
        (":authority", b"example.com"),
        ("user-agent", b"curl/8 \"x\"\r\n[forged] \xff\x1b"),
        ("x-forwarded-for", b"192.0.2.7"),
    ],
    response: &[("x-envoy-upstream-service-time", b"12"), ("content-type", b"text/plain")],
};

fn record<'a>() -> Record<'a> {
    let mut timing = Timing::default();
    timing.mark(Point::RequestBegin, 1_000);
    timing.mark(Point::RequestEnd, 3_500);
    timing.mark(Point::UpstreamSendBegin, 3_600);
    timing.mark(Point::UpstreamReceiveBegin, 15_000);
    timing.mark(Point::ResponseEnd, 21_900);
    Record {
        start_unix_us: 1_700_000_045_123_456,
        duration_us: 20_900,
        timing,
        protocol: Some(Protocol::Http11),
        status: 503,
        status_details: "upstream reset before response started",
        flags: Flags::from(Flag::UpstreamConnectionFailure).with(Flag::UpstreamRetryLimitExceeded),
        bytes_received: 7,
        bytes_sent: 1234,
        route: "main",
        listener: "web",
        cluster: "app",
        upstream: "10.0.0.1:9001".parse().ok(),
        upstream_name: "app.internal:9001",
        downstream_remote: "[2001:db8:1:2::5]:4711".parse().ok(),
        downstream_direct_remote: "10.1.2.3:5555".parse().ok(),
        attempts: 2,
        connection_id: 9,
        stream_id: 77,
        ..Record::new(&EXCHANGE)
    }
}

fn text(format: &str) -> String {
    let spec = Spec::new(Destination::Stdout, &Template::Text(format.into())).expect("format");
    let mut out = Vec::new();
    spec.render(&record(), &mut out);
    let line = String::from_utf8(out).expect("text");
    line.strip_suffix('\n').expect("newline").to_owned()
}

#[test]
fn the_default_line_is_envoys() {
    assert_eq!(
        text(TEXT_DEFAULT),
        concat!(
            r#"[2023-11-14T22:14:05.123Z] "GET /a/b?x=1&name=J%20D HTTP/1.1" 503 UF,URX 7 1234 20 12 "192.0.2.7" "#,
            r#""curl/8 \x22x\x22\x0d\x0a[forged] \xff\x1b" "-" "example.com" "10.0.0.1:9001""#
        )
    );
}

#[test]
fn operators() {
    for (format, expected) in [
        ("%REQ(x-missing?User-Agent):6%|%REQ(X-MISSING)%|%RESP(Content-Type)%", "curl/8|-|text/plain"),
        ("%TRAILER(Checksum)%|%RESPONSE_TRAILER(none)%", "abc|-"),
        ("%PATH(NQ)%|%PATH(WQ:PATH):4%|%PATH(NQ:ORIG)%|%REQ_WITHOUT_QUERY(:PATH)%", "/a/b|/a/b|-|/a/b"),
        ("%QUERY_PARAM(name)%|%QUERY_PARAM(nam)%|%QUERY_PARAMS(ORIG)%", "J%20D|-|x=1&name=J%20D"),
        ("%REQUEST_DURATION%|%REQUEST_TX_DURATION%|%RESPONSE_DURATION%|%RESPONSE_TX_DURATION%", "2|-|14|6"),
        ("%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%|%COMMON_DURATION(DS_RX_END:DS_RX_BEG)%", "2600|-"),
        ("%RESPONSE_FLAGS_LONG%", "UpstreamConnectionFailure,UpstreamRetryLimitExceeded"),
        ("%RESPONSE_CODE_DETAILS%", "upstream_reset_before_response_started"),
        ("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES):14%", "upstream reset"),
        ("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_PORT%", "[2001:db8:1:2::5]:4711 4711"),
        ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(48)%", "2001:db8:1::/48"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(16)%", "10.1.0.0/16"),
        ("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(0)%", "0.0.0.0/0"),
        ("%UPSTREAM_HOST% %UPSTREAM_HOST_NAME_WITHOUT_PORT% %UPSTREAM_CLUSTER%", "10.0.0.1:9001 app.internal app"),
        ("%UPSTREAM_LOCAL_ADDRESS%|%UPSTREAM_REQUEST_ATTEMPT_COUNT%|%STREAM_ID%|%CONNECTION_ID%", "-|2|77|9"),
        ("%START_TIME(%s.%3f)%", "1700000045.123"),
        ("%EMIT_TIME%", "2023-11-14T22:14:05.144Z"),
        ("100%% %REQUESTED_SERVER_NAME% %ACCESS_LOG_TYPE%", "100% - DownstreamEnd"),
    ] {
        assert_eq!(text(format), expected, "{format}");
    }
}

#[test]
fn unique_ids_are_uuids_and_differ() {
    let id = text("%UNIQUE_ID%");
    let groups: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(groups, [8, 4, 4, 4, 12], "{id}");
    let spec = Spec::new(Destination::Stdout, &Template::Text("%UNIQUE_ID%".into())).expect("format");
    let mut out = Vec::new();
    spec.render(&Record { stream_id: 78, ..record() }, &mut out);
    assert_ne!(id.as_bytes(), out.trim_ascii());
}

#[test]
fn json_is_sorted_typed_and_escaped() {
    let member = |name: &str, format: &str| (name.to_owned(), Template::Text(format.to_owned()));
    let template = Template::Object(vec![
        member("status", "%RESPONSE_CODE%"),
        member("agent", "%REQ(USER-AGENT)%"),
        member("none", "%REQ(X-NONE)%"),
        member("line", "%PROTOCOL% \"%REQ(X-NONE)%\" %BYTES_SENT%"),
        ("nested".to_owned(), Template::Object(vec![member("z", "%DURATION%"), member("a\"", "fixed")])),
        member("port", "%DOWNSTREAM_REMOTE_PORT%"),
        member("cut", "%START_TIME%"),
    ]);
    let mut out = Vec::new();
    Spec::new(Destination::Stdout, &template).expect("format").render(&record(), &mut out);
    let expected = concat!(
        r#"{"agent":"curl/8 \"x\"\r\n[forged] "#,
        "\u{fffd}",
        r#"\u001b","cut":"2023-11-14T22:14:05.123Z","line":"HTTP/1.1 \"-\" 1234","#,
        r#""nested":{"a\"":"fixed","z":20},"none":null,"port":4711,"status":503}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(out.clone()).expect("UTF-8"), expected);
    serde_json::from_slice::<serde_json::Value>(&out).expect("JSON");
}

#[test]
fn mistakes_point_at_the_operator() {
    for (format, offset, width, message, nearest) in [
        ("ab %RESPONSE_CODES% x", 3, 16, "%RESPONSE_CODES% is no operator", Some("RESPONSE_CODE")),
        ("%REQ%", 0, 5, "%REQ%: takes the name of a field, or two as NAME?OTHER", None),
        ("x%REQ(:metod)%", 1, 13, "%REQ%: there is no field `:metod`", None),
        ("%PROTOCOL(1)%", 0, 13, "%PROTOCOL% takes no arguments", None),
        ("%PROTOCOL", 0, 9, "%PROTOCOL is not closed by a percent sign", None),
        ("%REQ(a", 0, 5, "%REQ( has no closing parenthesis", None),
        ("%REQ(a):x%", 0, 8, "%REQ…: is followed by no length in bytes", None),
        ("50% off", 2, 1, "a percent sign begins an operator such as %PROTOCOL%; write %% for the sign", None),
        ("é%START_TIME(%Q)%", 2, 16, "%START_TIME%: `%Q` in the time format is none of strftime's", None),
    ] {
        let error = check(format).expect_err(format);
        assert_eq!(
            (error.offset, error.width, error.message.as_str(), error.nearest),
            (offset, width, message, nearest),
            "{format}"
        );
    }
    let template =
        Template::Object(vec![("a".into(), Template::Object(vec![("b".into(), Template::Text("%DURATIN%".into()))]))]);
    let error = Spec::new(Destination::Stdout, &template).expect_err("mistake");
    assert_eq!(error.member, ["a", "b"]);
    assert_eq!(error.to_string(), "%DURATIN% is no operator; did you mean %DURATION%?");
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("corelane-log-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("folder");
        Folder(path)
    }

    fn spec(&self, file: &str, format: &str) -> Arc<Spec> {
        let template = Template::Text(format.to_owned());
        Arc::new(Spec::new(Destination::File(self.0.join(file)), &template).expect("format"))
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.0.join(file)).unwrap_or_default()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn lines_of_all_cores_reach_their_files_whole() {
    let folder = Folder::new("lines");
    let registry = Registry::new(2);
    let (writer, sinks) = Writer::start(&registry).expect("thread");
    std::thread::scope(|scope| {
        for mut sink in sinks {
            let (one, two) = (folder.spec("one", "%REQ(:METHOD)% %BYTES_SENT%"), folder.spec("two", "%STREAM_ID%"));
            scope.spawn(move || {
                for stream_id in 1..=3_000 {
                    sink.write(&one, &record());
                    sink.write(&two, &Record { stream_id, ..record() });
                    if stream_id % 100 == 0 {
                        sink.flush();
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
        }
    });
    writer.stop();
    let server = registry.server();
    assert_eq!(server.sum(ServerStat::AccessLogWritten) + server.sum(ServerStat::AccessLogDropped), 12_000);
    assert_eq!(server.sum(ServerStat::AccessLogDropped), 0);
    let one = folder.read("one");
    assert_eq!(one.lines().count(), 6_000);
    assert!(one.lines().all(|line| line == "GET 1234"));
    let mut two: Vec<u32> = folder.read("two").lines().map(|line| line.parse().expect("number")).collect();
    two.sort_unstable();
    assert_eq!(two, (1..=3_000).flat_map(|n| [n, n]).collect::<Vec<_>>());
}

#[test]
fn a_full_ring_drops_and_counts_and_never_waits() {
    let folder = Folder::new("full");
    let registry = Registry::new(1);
    let (writer, mut sinks) = Writer::start(&registry).expect("thread");
    let mut sink = sinks.remove(0);
    let spec = folder.spec("log", &"x".repeat(40_000)); // every line is a batch
    let mut lines = 0;
    while registry.server().sum(ServerStat::AccessLogDropped) == 0 {
        sink.write(&spec, &record());
        lines += 1;
        assert!(lines < 100_000, "the writer can't be this fast");
    }
    drop(sink);
    writer.stop();
    let server = registry.server();
    assert_eq!(server.sum(ServerStat::AccessLogWritten) + server.sum(ServerStat::AccessLogDropped), lines);
    assert_eq!(folder.read("log").lines().count() as u64, server.sum(ServerStat::AccessLogWritten));
}

#[test]
fn reopening_follows_a_rotation() {
    let folder = Folder::new("reopen");
    let registry = Registry::new(1);
    let (writer, mut sinks) = Writer::start(&registry).expect("thread");
    let spec = folder.spec("log", "%STREAM_ID%");
    sinks[0].write(&spec, &record());
    sinks[0].flush();
    wait_for("the first line", || folder.read("log") == "77\n");
    std::fs::rename(folder.0.join("log"), folder.0.join("log.1")).expect("rename");
    writer.control().reopen();
    wait_for("reopening", || writer.control().reopened());
    sinks[0].write(&spec, &Record { stream_id: 78, ..record() });
    sinks.clear();
    writer.stop();
    assert_eq!((folder.read("log.1").as_str(), folder.read("log").as_str()), ("77\n", "78\n"));
    assert_eq!(registry.server().sum(ServerStat::AccessLogReopened), 1);
}

#[test]
fn a_disk_error_is_counted_and_writing_goes_on_when_it_is_over() {
    let folder = Folder::new("error");
    let registry = Registry::new(1);
    let (writer, mut sinks) = Writer::start(&registry).expect("thread");
    let spec = folder.spec("later/log", "%STREAM_ID%");
    assert!(spec.try_open().is_err());
    sinks[0].write(&spec, &record());
    sinks[0].flush();
    wait_for("the failure", || registry.server().sum(ServerStat::AccessLogWriteFailed) == 1);
    assert_eq!(registry.server().sum(ServerStat::AccessLogDropped), 1);
    std::fs::create_dir_all(folder.0.join("later")).expect("folder");
    assert!(spec.try_open().is_ok());
    sinks[0].write(&spec, &Record { stream_id: 78, ..record() });
    sinks.clear();
    writer.stop();
    assert_eq!(folder.read("later/log"), "78\n");
}
