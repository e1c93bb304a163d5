//! Which route a request takes, and what a route does to it.

use crate::harness::{Client, Driver, Origin, Proxy, config};

/// Routes that answer with their names: `(name, match)`.
fn routes(named: &[(&str, &str)]) -> String {
    let routes: Vec<String> = named
        .iter()
        .map(|(name, matches)| format!("{{ match: {{ {matches} }}, respond: {{ status: 200, body: {name} }} }}"))
        .collect();
    config(&format!("routes: [{}]", routes.join(", ")), "")
}

#[track_caller]
fn taken(client: &mut Client, line: &str, fields: &str) -> String {
    let response = client.ask(&format!("{line} HTTP/1.1\r\n{fields}\r\n"));
    if response.status() == 404 { "none".into() } else { response.text() }
}

fn hosts_match_exactly_then_by_the_longest_suffix_then_any(driver: Driver) {
    let proxy = Proxy::start(
        driver,
        &routes(&[
            ("any", "prefix: /any"),
            ("exact", "host: api.example.com"),
            ("suffix", "host: '*.example.com'"),
            ("deep", "host: '*.deep.example.com'"),
            ("several", "host: [one.test, two.test]"),
        ]),
    );
    let mut client = proxy.client();
    for (host, expected) in [
        ("api.example.com", "exact"),
        ("API.Example.COM", "exact"),
        ("api.example.com:8080", "exact"),
        ("api.example.com.", "exact"),
        ("api.example.com.:80", "exact"),
        ("www.example.com", "suffix"),
        ("a.b.example.com", "suffix"),
        ("x.deep.example.com", "deep"),
        ("X.DEEP.example.com:1", "deep"),
        ("deep.example.com", "suffix"),
        ("example.com", "none"),
        ("notexample.com", "none"),
        ("one.test", "several"),
        ("two.test", "several"),
        ("127.0.0.1", "none"),
        ("[::1]:80", "none"),
    ] {
        assert_eq!(taken(&mut client, "GET /", &format!("host: {host}\r\n")), expected, "{host}");
    }
    assert_eq!(taken(&mut client, "GET /any", "host: example.com\r\n"), "any");
    assert_eq!(
        taken(&mut client, "GET /any", "host: api.example.com\r\n"),
        "exact",
        "the host's own routes come first"
    );
    assert_eq!(taken(&mut client, "GET http://one.test/", "host: one.test\r\n"), "several");
}

fn a_host_falls_back_to_the_routes_for_any_host(driver: Driver) {
    let proxy = Proxy::start(driver, &routes(&[("own", "host: a.test, prefix: /own"), ("rest", "prefix: /")]));
    let mut client = proxy.client();
    assert_eq!(taken(&mut client, "GET /own/x", "host: a.test\r\n"), "own");
    assert_eq!(taken(&mut client, "GET /other", "host: a.test\r\n"), "rest");
    assert_eq!(taken(&mut client, "GET /own", "host: b.test\r\n"), "rest");
}

fn paths_match_by_prefix_exactly_or_as_a_whole_by_regex(driver: Driver) {
    let proxy = Proxy::start(
        driver,
        &routes(&[
            ("exact", "exact: /a/b"),
            ("regex", r"regex: '/item/\d+'"),
            ("first", "prefix: /p/"),
            ("never", "prefix: /p/later"),
        ]),
    );
    let mut client = proxy.client();
    for (path, expected) in [
        ("/a/b", "exact"),
        ("/a/b?q=/", "exact"),
        ("/a/b/", "none"),
        ("/A/b", "none"),
        ("/item/42", "regex"),
        ("/item/42?x", "regex"),
        ("/item/42/more", "none"),
        ("/x/item/42", "none"),
        ("/item/", "none"),
        ("/p/", "first"),
        ("/p/later", "first"),
        ("/p", "none"),
        ("/", "none"),
    ] {
        assert_eq!(taken(&mut client, &format!("GET {path}"), "host: a\r\n"), expected, "{path}");
    }
}

fn methods_must_be_the_same(driver: Driver) {
    let proxy = Proxy::start(driver, &routes(&[("read", "methods: [GET, HEAD]"), ("purge", "methods: PURGE")]));
    let mut client = proxy.client();
    for (method, expected) in
        [("GET", "read"), ("PURGE", "purge"), ("POST", "none"), ("PURG", "none"), ("DELETE", "none")]
    {
        assert_eq!(taken(&mut client, &format!("{method} /"), "host: a\r\n"), expected, "{method}");
    }
}

fn headers_must_match_all(driver: Driver) {
    let proxy = Proxy::start(
        driver,
        &routes(&[
            ("exact", "headers: [{ name: x-a, exact: one }]"),
            ("prefix", "headers: [{ name: x-a, prefix: pre }]"),
            ("suffix", "headers: [{ name: x-a, suffix: fix }]"),
            ("contains", "headers: [{ name: x-a, contains: mid }]"),
            ("regex", "headers: [{ name: x-a, regex: '[0-9]+' }]"),
            ("both", "headers: [{ name: x-b }, { name: x-c, exact: c }]"),
            ("lacks", "headers: [{ name: x-b, present: false }, { name: accept, contains: json }]"),
            ("not", "headers: [{ name: x-d, exact: no, invert: true }, { name: x-d }]"),
            ("authority", "headers: [{ name: ':authority', suffix: ':81' }]"),
            ("path", "headers: [{ name: ':path', contains: '?x' }]"),
            ("method", "headers: [{ name: ':method', exact: PUT }]"),
        ]),
    );
    let mut client = proxy.client();
    for (fields, expected) in [
        ("X-A: one\r\n", "exact"),
        ("x-a: One\r\n", "none"),
        ("x-a: prefer\r\n", "prefix"),
        ("x-a: suffix\r\n", "suffix"),
        ("x-a: amidst\r\n", "contains"),
        ("x-a: 123\r\n", "regex"),
        ("x-a: 123x\r\n", "none"),
        ("x-b: \r\nx-c: c\r\n", "both"),
        ("x-b: 1\r\n", "none"),
        ("accept: text/json\r\n", "lacks"),
        ("accept: text/json\r\nx-b: 1\r\n", "none"),
        ("x-d: yes\r\n", "not"),
        ("x-d: no\r\n", "none"),
        ("", "none"),
    ] {
        assert_eq!(taken(&mut client, "GET /", &format!("host: a\r\n{fields}")), expected, "{fields:?}");
    }
    assert_eq!(taken(&mut client, "GET /", "host: a:81\r\n"), "authority");
    assert_eq!(taken(&mut client, "GET /?x", "host: a\r\n"), "path");
    assert_eq!(taken(&mut client, "PUT /", "host: a\r\n"), "method");
}

fn several_headers_of_a_name_count_as_one(driver: Driver) {
    let proxy = Proxy::start(
        driver,
        &routes(&[
            ("joined", "headers: [{ name: x-a, exact: 'one,two' }]"),
            ("second", "headers: [{ name: x-a, exact: two }]"),
            ("not", "headers: [{ name: x-b, exact: one, invert: true }, { name: x-b }]"),
        ]),
    );
    let mut client = proxy.client();
    assert_eq!(taken(&mut client, "GET /", "host: a\r\nx-a: one\r\nX-A: two\r\n"), "joined");
    assert_eq!(taken(&mut client, "GET /", "host: a\r\nx-a: zero\r\nx-a: two\r\n"), "none");
    assert_eq!(taken(&mut client, "GET /", "host: a\r\nx-b: one\r\nx-b: two\r\n"), "not");
}

fn query_parameters_must_match_all(driver: Driver) {
    let proxy = Proxy::start(
        driver,
        &routes(&[
            ("exact", "query: [{ name: lang, exact: en }]"),
            ("present", "query: [{ name: debug }]"),
            ("regex", "query: [{ name: page, regex: '[0-9]+' }]"),
            ("encoded", "query: [{ name: q, contains: '%20' }]"),
            ("lacks", "query: [{ name: a }, { name: b, present: false }]"),
        ]),
    );
    let mut client = proxy.client();
    for (query, expected) in [
        ("?lang=en", "exact"),
        ("?x=y&lang=en&z", "exact"),
        ("?lang=en2", "none"),
        ("?xlang=en", "none"),
        ("?debug", "present"),
        ("?debug=", "present"),
        ("?debugger", "none"),
        ("?page=12", "regex"),
        ("?page=12a", "none"),
        ("?q=a%20b", "encoded"),
        ("?a", "lacks"),
        ("?a&b", "none"),
        ("?", "none"),
        ("", "none"),
    ] {
        assert_eq!(taken(&mut client, &format!("GET /{query}"), "host: a\r\n"), expected, "{query}");
    }
}

fn redirects_change_what_they_name_and_keep_the_rest(driver: Driver) {
    let redirects = [
        ("host: s.test", "scheme: https", "https://s.test/x/y?q"),
        ("host: h.test", "host: new.test", "http://new.test/x/y?q"),
        ("host: p.test", "port: 8443", "http://p.test:8443/x/y?q"),
        ("host: f.test", "path: /z", "http://f.test:81/z?q"),
        ("host: g.test", "path: /z, strip_query: true", "http://g.test:81/z"),
        ("host: w.test, prefix: /x/", "prefix_rewrite: /new/, status: 308", "http://w.test:81/new/y?q"),
        (
            "host: q.test",
            "scheme: https, host: a.test, port: 444, path: /p, strip_query: true, status: 302",
            "https://a.test:444/p",
        ),
    ];
    let routes: Vec<String> = redirects
        .iter()
        .map(|(matches, to, _)| format!("{{ match: {{ {matches} }}, redirect: {{ {to} }} }}"))
        .collect();
    let proxy = Proxy::start(driver, &config(&format!("routes: [{}]", routes.join(", ")), ""));
    let mut client = proxy.client();
    for (matches, to, location) in redirects {
        let host = matches[6..].split(',').next().unwrap_or("");
        let response = client.ask(&format!("GET /x/y?q HTTP/1.1\r\nhost: {host}:81\r\n\r\n"));
        let status = if to.contains("308") {
            308
        } else if to.contains("302") {
            302
        } else {
            301
        };
        assert_eq!((response.status(), response.field("location")), (status, Some(location)), "{matches} → {to}");
        assert_eq!(response.field("content-length"), Some("0"));
    }
}

fn redirects_name_the_scheme_that_the_client_used(driver: Driver) {
    for (forwarding, scheme) in [("", "http"), ("trusted_hops: 1", "https"), ("use_remote_address: false", "https")] {
        let routes = "routes: [{ match: { prefix: / }, redirect: { path: /z } }]";
        let proxy = Proxy::start(driver, &config(&format!("forwarding: {{ {forwarding} }}, {routes}"), ""));
        for (path, location) in [("/x", "/z"), ("/a%2fb", "/a/b")] {
            let sent = format!("GET {path} HTTP/1.1\r\nhost: a\r\nx-forwarded-proto: https\r\n\r\n");
            let response = proxy.client().ask(&sent);
            let location = format!("{scheme}://a{location}");
            assert_eq!(response.field("location"), Some(location.as_str()), "{forwarding}");
        }
    }
}

fn forwarded_requests_are_rewritten(driver: Driver) {
    let origin = Origin::saying("ok");
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(
        driver,
        &config(
            "routes: [{ match: { prefix: /old/ }, cluster: app, prefix_rewrite: /new/ },
             { match: { exact: /e }, cluster: app, prefix_rewrite: /f },
             { match: { regex: '/r/.*' }, cluster: app, prefix_rewrite: /s },
             { match: { prefix: /h }, cluster: app, host_rewrite: internal.test },
             { match: {}, cluster: app, prefix_rewrite: /api/ }]",
            &app,
        ),
    );
    let mut client = proxy.client();
    for (path, rewritten, host) in [
        ("/old/a/b?c=/old/", "/new/a/b?c=/old/", "a"),
        ("/e?x", "/f?x", "a"),
        ("/r/1/2?y", "/s?y", "a"),
        ("/h", "/h", "internal.test"),
        ("/z?w", "/api/z?w", "a"),
    ] {
        assert_eq!(client.ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).status(), 200);
        let request = origin.requests().pop().expect("a request");
        assert_eq!((request.target(), request.field("host")), (rewritten, Some(host)), "{path}");
    }
    client.ask("OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(origin.requests().pop().expect("a request").target(), "*");
    let rewritten = client.ask("GET http://a/h HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(rewritten.status(), 200);
    assert_eq!(origin.requests().pop().expect("a request").field("host"), Some("internal.test"));
}

on_both_drivers!(
    hosts_match_exactly_then_by_the_longest_suffix_then_any,
    a_host_falls_back_to_the_routes_for_any_host,
    paths_match_by_prefix_exactly_or_as_a_whole_by_regex,
    methods_must_be_the_same,
    headers_must_match_all,
    several_headers_of_a_name_count_as_one,
    query_parameters_must_match_all,
    redirects_change_what_they_name_and_keep_the_rest,
    redirects_name_the_scheme_that_the_client_used,
    forwarded_requests_are_rewritten,
);
