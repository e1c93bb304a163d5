//! Paths that some servers take for another one: none gets past a rule of the config for the path that the endpoint
//! takes it for.

use crate::harness::{Client, Driver, Message, Proxy, config};
use crate::raw::{self, END_HEADERS, END_STREAM, HEADERS, Raw, frame};
use crate::recorder::answer;
use crate::run::{self, Got};
use crate::upstreams::{SECRET, Upstream};

/// What becomes of a path by default.
#[derive(Clone, Copy)]
enum Fate {
    /// It arrives as this.
    Arrives(&'static str),
    /// It is `/secret` to the proxy, too.
    Guarded,
    /// The client is sent to this path.
    Sent(&'static str),
    Refused,
}
use Fate::{Arrives, Guarded, Refused, Sent};

/// Paths that come to `/secret` by some reading, and by another don't.
const PATHS: &[(&str, Fate)] = &[
    ("/secret", Guarded),
    ("/secret/../a", Arrives("/a")),
    ("/secret/..;/a", Refused),
    ("/secrets", Guarded),
    ("/a/../secret", Guarded),
    ("/a/..;/secret", Refused),
    ("/a/.;x=y/secret", Refused),
    ("/a;/../secret", Guarded),
    ("/./secret", Guarded),
    ("/.//secret", Guarded),
    ("//secret", Guarded),
    ("///secret", Guarded),
    ("/%2e/secret", Guarded),
    ("/a/%2e%2e/secret", Guarded),
    ("/a/%2E%2E/secret", Guarded),
    ("/a/.%2e/secret", Guarded),
    ("/a%2f..%2fsecret", Sent("/secret")),
    ("/%2fsecret", Sent("/secret")),
    ("/%5csecret", Sent("/secret")),
    ("/a%5cb?c%5cd", Sent("/a/b?c%5cd")),
    ("/%2f%2fevil.test/", Sent("/evil.test/")),
    ("/a/..\\secret", Guarded),
    ("/\\secret", Guarded),
    ("/%73ecret", Guarded),
    ("/%2573ecret", Arrives("/%2573ecret")),
    ("/SECRET", Arrives("/SECRET")),
    ("/a/%00/../secret", Refused),
    ("/a%00/../../secret", Refused),
    ("/../secret", Refused),
    ("/a/../../secret", Refused),
    ("/a%0d%0a/secret", Arrives("/a%0D%0A/secret")),
    ("/a%20/secret", Arrives("/a%20/secret")),
    ("/a?/../secret", Arrives("/a?/../secret")),
    ("/a/b/../c?//%7e/../x", Arrives("/a/c?//%7e/../x")),
    ("/a%3f/../secret", Guarded),
    ("/a%23/../secret", Guarded),
    ("/%c0%ae%c0%ae/secret", Refused),
    ("/%u002e%u002e/secret", Refused),
    ("/a/...//secret", Arrives("/a/.../secret")),
    ("/%", Refused),
    ("/%zz/secret", Refused),
    ("/a%c3%a4", Arrives("/a%C3%A4")),
    ("/.well-known/a;b=c", Arrives("/.well-known/a;b=c")),
];

/// `/secret` isn't for clients; everything else is.
const ROUTES: &str =
    "routes: [{ match: { prefix: /secret }, respond: { status: 403 } }, { match: { prefix: / }, cluster: app }]";

fn start(driver: Driver, paths: &str, upstream: &Upstream) -> Proxy {
    let app = format!("{{ name: app, endpoints: ['{}'] }}", upstream.address);
    Proxy::start(driver, &config(&format!("{paths} {ROUTES}"), &app))
}

#[track_caller]
fn check(response: &Message, path: &str, fate: Fate) {
    match fate {
        Arrives(arrives) => assert_eq!(response.text(), answer("GET", arrives, b""), "{path}"),
        Guarded => assert_eq!(response.status(), 403, "{path}"),
        Refused => assert_eq!(response.status(), 400, "{path}"),
        Sent(to) => {
            assert_eq!(response.status(), 307, "{path}");
            assert_eq!(response.field("location"), Some(&*format!("http://test{to}")), "{path}");
        }
    }
}

fn have_one_form_by_default(driver: Driver) {
    let upstream = Upstream::none();
    let proxy = start(driver, "", &upstream);
    let mut client = proxy.client();
    for (path, fate) in PATHS {
        check(&client.get(path), path, *fate);
        check(&client.get(&format!("http://test{path}")), path, *fate);
    }
    let counted = |name: &str| proxy.stat(&format!("http.web.{name}"));
    let of = |wanted: fn(&Fate) -> bool| 2 * PATHS.iter().filter(|(_, fate)| wanted(fate)).count() as u64;
    assert_eq!(counted("downstream_rq_failed_path_normalization"), of(|fate| matches!(fate, Refused)));
    assert_eq!(counted("downstream_rq_redirected_with_normalized_path"), of(|fate| matches!(fate, Sent(_))));
    let changed = PATHS.iter().filter(|(path, fate)| match fate {
        Arrives(arrives) => path != arrives,
        Guarded => !path.starts_with("/secret"),
        Sent(_) | Refused => false,
    });
    assert_eq!(counted("downstream_rq_path_normalized"), 2 * changed.count() as u64);
    assert_eq!(counted("downstream_cx_protocol_error"), 0);
}

fn have_one_form_over_http2(driver: Driver) {
    let upstream = Upstream::none();
    let proxy = start(driver, "", &upstream);
    let mut client = Raw::client(proxy.web);
    for (at, (path, fate)) in PATHS.iter().enumerate() {
        let number = 2 * at as u32 + 1;
        let fields = [(":method", "GET"), (":scheme", "http"), (":path", *path), (":authority", "test")];
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, number, &raw::block(&fields)));
        match (run::stream(&mut client, number).expect("an answer"), fate) {
            (Got::Answer(text), Arrives(arrives)) => assert_eq!(text, answer("GET", arrives, b""), "{path}"),
            (Got::OtherStatus, Guarded | Refused | Sent(_)) => {}
            (got, _) => panic!("{path}: {got:?}"),
        }
    }
    assert_eq!(upstream.recorder.requests().len(), PATHS.iter().filter(|(_, fate)| matches!(fate, Arrives(_))).count());
}

fn of_upgrades_have_one_form(driver: Driver) {
    let upstream = Upstream::none();
    let proxy = start(driver, "", &upstream);
    let ask = |path: &str| {
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        proxy.client().ask(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n{upgrade}\r\n")).status()
    };
    assert_eq!(ask("/a/../secret"), 403);
    assert_eq!(ask("/../upgrade"), 400);
    assert_eq!(ask("/a/../upgrade"), 101);
    assert_eq!(upstream.recorder.requests()[0].target(), "/upgrade");
}

/// Without the rules a route sees what arrives, byte for byte.
fn arrive_as_they_were_matched_without_rules(driver: Driver) {
    let upstream = Upstream::none();
    let off = "paths: { normalize: false, merge_slashes: false, escaped_slashes: keep },";
    let proxy = start(driver, off, &upstream);
    let mut client = proxy.client();
    for path in ["/secret", "/secret/../a", "/secret%2f..", "/secrets"] {
        assert_eq!(client.get(path).status(), 403, "{path}");
    }
    assert!(upstream.recorder.requests().is_empty());
    let paths = PATHS.iter().map(|(path, _)| *path).filter(|path| !path.starts_with("/secret"));
    for (at, path) in paths.enumerate() {
        assert_eq!(client.get(path).text(), answer("GET", path, b""), "{path}");
        let requests = upstream.recorder.requests();
        assert_eq!((requests.len(), requests[at].target()), (at + 1, path));
    }
}

fn have_escaped_slashes_as_asked_for(driver: Driver) {
    let upstream = Upstream::none();
    for (treatment, path, fate) in [
        ("keep", "/a%2fb%5c", Arrives("/a%2Fb%5C")),
        ("keep", "/a%2f..%2fsecret", Refused),
        ("reject", "/a%2fb", Refused),
        ("reject", "/a%5cb", Refused),
        ("unescape", "/a%2fb?%2f", Arrives("/a/b?%2f")),
        ("unescape", "/a%2f..%5csecret", Guarded),
    ] {
        let proxy = start(driver, &format!("paths: {{ escaped_slashes: {treatment} }},"), &upstream);
        check(&proxy.client().get(path), path, fate);
    }
    // A call can't be sent elsewhere: 13 is INTERNAL, as for any 400.
    let proxy = start(driver, "", &upstream);
    let call = "content-type: application/grpc\r\nte: trailers\r\ncontent-length: 0\r\n";
    let response = proxy.client().ask(&format!("POST /a%2fb HTTP/1.1\r\nhost: test\r\n{call}\r\n"));
    assert_eq!((response.status(), response.field("grpc-status")), (200, Some("13")));
    assert_eq!(proxy.stat("http.web.downstream_rq_redirected_with_normalized_path"), 0);
}

/// What some server or other makes of a path: everything decoded, parameters taken off, cut at NUL.
fn readings(target: &str, without_parameters: bool) -> Vec<String> {
    let path = target.split('?').next().unwrap_or_default();
    let parameters = |path: &str| {
        let segments = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default());
        segments.collect::<Vec<_>>().join("/")
    };
    let mut forms = vec![path.to_string()];
    if without_parameters {
        forms.push(parameters(path));
    }
    let decoded: Vec<String> = forms.iter().map(|form| decode(form).replace('\\', "/")).collect();
    forms.extend(decoded);
    if without_parameters {
        forms.extend(forms.clone().iter().map(|form| parameters(form)));
    }
    forms.extend(forms.clone().iter().map(|form| form.split('\0').next().unwrap_or_default().to_string()));
    let resolved: Vec<String> = forms.iter().flat_map(|form| [resolve(form, false), resolve(form, true)]).collect();
    forms.extend(resolved);
    forms
}

/// Decodes once, as leniently as anybody: overlong UTF-8 and `%u`, too.
fn decode(path: &str) -> String {
    let lenient =
        [("%c0%ae", "."), ("%C0%AE", "."), ("%c0%af", "/"), ("%C0%AF", "/"), ("%u002e", "."), ("%u002f", "/")];
    let path = lenient.iter().fold(path.to_string(), |path, (from, to)| path.replace(from, to));
    let mut out = String::new();
    let mut rest = path.as_str();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        match rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte as char);
                rest = &rest[at + 3..];
            }
            None => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out + rest
}

fn resolve(path: &str, merged_first: bool) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1).filter(|segment| !merged_first || !segment.is_empty()) {
        match segment {
            "." => {}
            ".." => _ = segments.pop(),
            name => segments.push(name),
        }
    }
    segments.retain(|segment| !segment.is_empty());
    format!("/{}", segments.join("/"))
}

/// Every way to `/secret` that these parts make up.
fn ways() -> Vec<String> {
    let parts = [
        "",
        "/",
        "/.",
        "/%2e",
        "/a/..",
        "/a/%2E%2e",
        "/..",
        "/a/..;",
        "/a/.;b",
        "/;a",
        "/a;b/..",
        "\\",
        "/a\\..",
        "%2f",
        "%5c",
        "/a%2f..",
        "/a/..%2f",
        "/a/%252e%252e",
        "/%c0%ae",
        "/a/%c0%ae%c0%ae",
        "/%u002e",
        "/a/%00/..",
        "/a//..",
        "/%2f",
    ];
    let names =
        ["/secret", "/%73ecret", "%2fsecret", "%5Csecret", "\\secret", "/secret;x", "/s%65cret%2fx", "/secret%00"];
    let mut ways: Vec<String> = PATHS.iter().map(|(path, _)| path.to_string()).collect();
    for first in parts {
        for second in parts {
            ways.extend(names.iter().map(|name| format!("{first}{second}{name}")).filter(|way| way.starts_with('/')));
        }
    }
    ways
}

fn never_pass_as_another_than_they_are_read_as(driver: Driver) {
    let upstream = Upstream::none();
    for (rules, without_parameters) in [
        ("", false),
        ("paths: { escaped_slashes: unescape },", false),
        ("paths: { escaped_slashes: reject, parameters: reject },", true),
    ] {
        let proxy = start(driver, rules, &upstream);
        let mut client = proxy.client();
        let mut passed = 0;
        for way in ways() {
            let before = upstream.recorder.requests().len();
            let status = client.get(&way).status();
            assert!(matches!(status, 200 | 307 | 400 | 403), "{way}: {status}");
            for request in &upstream.recorder.requests()[before..] {
                passed += 1;
                for reading in readings(request.target(), without_parameters) {
                    assert!(!reading.starts_with("/secret"), "{rules} {way} arrived as {}", request.target());
                }
            }
        }
        assert!(passed > 10, "{passed}");
    }
}

fn get_no_secret(driver: Driver, upstream: &Upstream) {
    // The server behind would tell, if it were asked.
    let direct = Client::connect(upstream.address).get("/a/../%73ecret").text();
    assert!(direct == SECRET || upstream.name == "haproxy", "{direct}");
    assert_eq!(Client::connect(upstream.address).get("/%73ecret").text(), SECRET);
    let proxy = start(driver, "", upstream);
    let mut client = proxy.client();
    for way in ways() {
        let response = client.get(&way);
        assert_ne!(response.text(), SECRET, "{way}");
        if response.status() == 200 {
            let requests = upstream.recorder.requests();
            let target = requests.last().expect("a request").target();
            assert_eq!(response.text(), answer("GET", target, b""), "{way}");
        }
    }
}

fn get_no_secret_of_nginx(driver: Driver) {
    get_no_secret(driver, &Upstream::nginx());
}

fn get_no_secret_of_haproxy(driver: Driver) {
    get_no_secret(driver, &Upstream::haproxy());
}

fn get_no_secret_of_envoy(driver: Driver) {
    get_no_secret(driver, &Upstream::envoy());
}

/// The part that matched is replaced and not a byte more; nothing climbs out of what stands in its place.
fn are_rewritten_where_they_matched(driver: Driver) {
    let upstream = Upstream::none();
    let routes = "routes: [{ match: { prefix: /v1/ }, cluster: app, prefix_rewrite: /app/ }, \
                  { match: { prefix: /x }, cluster: app, prefix_rewrite: /files/ }, \
                  { match: { regex: '/r/.*' }, cluster: app, prefix_rewrite: /fixed }]";
    let app = format!("{{ name: app, endpoints: ['{}'] }}", upstream.address);
    let proxy = Proxy::start(driver, &config(routes, &app));
    let mut client = proxy.client();
    for (path, arrives) in [
        ("/v1/a/../x", "/app/x"),
        ("/v1//a", "/app/a"),
        ("//v1/a", "/app/a"),
        ("/%761/a", "/app/a"),
        ("/v1/%2e/x?a=/v1/", "/app/x?a=/v1/"),
        ("/v1/", "/app/"),
        ("/r/a/../secret?q", "/fixed?q"),
        ("/xy?a=../", "/files/y?a=../"),
    ] {
        assert_eq!(client.get(path).text(), answer("GET", arrives, b""), "{path}");
    }
    for (path, status) in [
        ("/v1", 404),
        ("/V1/x", 404),
        ("/v1/../a", 404),
        ("/x../secret", 400),
        ("/x%2e./secret", 400),
        ("/x..", 400),
        ("/x.", 400),
    ] {
        assert_eq!(client.get(path).status(), status, "{path}");
    }
}

on_both_drivers!(
    have_one_form_by_default,
    have_one_form_over_http2,
    of_upgrades_have_one_form,
    arrive_as_they_were_matched_without_rules,
    have_escaped_slashes_as_asked_for,
    never_pass_as_another_than_they_are_read_as,
    get_no_secret_of_nginx,
    get_no_secret_of_haproxy,
    get_no_secret_of_envoy,
    are_rewritten_where_they_matched,
);
