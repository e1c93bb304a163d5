//! Paths that some servers take for another one. The proxy changes none of them: what a route is chosen by is what the
//! endpoint gets, byte for byte, so that a rule of the config never looks at another path than the one that arrives.
//! Whoever keeps a path from clients must know what the endpoint makes of paths (docs/operations.md).

use crate::harness::{Driver, Proxy, config};
use crate::recorder::answer;
use crate::upstreams::Upstream;

/// Paths that come to `/secret` by some reading, and by another don't.
const PATHS: &[&str] = &[
    "/a/../secret",
    "/a/..;/secret",
    "/a;/../secret",
    "/./secret",
    "/.//secret",
    "//secret",
    "///secret",
    "/%2e/secret",
    "/a/%2e%2e/secret",
    "/a/%2E%2E/secret",
    "/a/.%2e/secret",
    "/a%2f..%2fsecret",
    "/%2fsecret",
    "/%5csecret",
    "/a/..\\secret",
    "/\\secret",
    "/%73ecret",
    "/%2573ecret",
    "/SECRET",
    "/a/%00/../secret",
    "/a%00/../../secret",
    "/a%0d%0a/secret",
    "/a%20/secret",
    "/a?/../secret",
    "/a%3f/../secret",
    "/a%23/../secret",
    "/%c0%ae%c0%ae/secret",
    "/%u002e%u002e/secret",
    "/a/...//secret",
    "/%",
    "/%zz/secret",
];

fn arrive_as_they_were_matched(driver: Driver) {
    let upstream = Upstream::none();
    let routes =
        "routes: [{ match: { prefix: /secret }, respond: { status: 403 } }, { match: { prefix: / }, cluster: app }]";
    let app = format!("{{ name: app, endpoints: ['{}'] }}", upstream.address);
    let proxy = Proxy::start(driver, &config(routes, &app));
    let mut client = proxy.client();
    for path in ["/secret", "/secret/../a", "/secret%2f..", "/secrets"] {
        assert_eq!(client.get(path).status(), 403, "{path}");
    }
    assert!(upstream.recorder.requests().is_empty());
    for (at, path) in PATHS.iter().enumerate() {
        assert_eq!(client.get(path).text(), answer("GET", path, b""), "{path}");
        let requests = upstream.recorder.requests();
        assert_eq!((requests.len(), requests[at].target()), (at + 1, *path));
    }
}

/// The part that matched is replaced and not a byte more.
fn are_rewritten_where_they_matched(driver: Driver) {
    let upstream = Upstream::none();
    let routes = "routes: [{ match: { prefix: /v1/ }, cluster: app, prefix_rewrite: /app/ }, \
                  { match: { regex: '/r/.*' }, cluster: app, prefix_rewrite: /fixed }]";
    let app = format!("{{ name: app, endpoints: ['{}'] }}", upstream.address);
    let proxy = Proxy::start(driver, &config(routes, &app));
    let mut client = proxy.client();
    for (path, arrives) in [
        ("/v1/../secret", "/app/../secret"),
        ("/v1//secret", "/app//secret"),
        ("/v1/%2e%2e/x?a=/v1/", "/app/%2e%2e/x?a=/v1/"),
        ("/v1/", "/app/"),
        ("/r/../secret?q", "/fixed?q"),
    ] {
        assert_eq!(client.get(path).text(), answer("GET", arrives, b""), "{path}");
    }
    for path in ["/v1", "//v1/x", "/%761/x", "/V1/x"] {
        assert_eq!(client.get(path).status(), 404, "{path}");
    }
}

on_both_drivers!(arrive_as_they_were_matched, are_rewritten_where_they_matched);
