//! Header fields: which end at this hop, which are added, which the config changes.

use std::collections::HashSet;

use crate::harness::{Driver, Message, Origin, Proxy, config, http, ok};

/// The request as the origin got it, with `forwarding` in the config and these fields sent.
fn forwarded(driver: Driver, forwarding: &str, fields: &str) -> Message {
    let origin = Origin::saying("ok");
    let proxy = Proxy::start(driver, &http(&[&origin], &format!("forwarding: {{ {forwarding} }},"), ""));
    let response = proxy.client().ask(&format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
    assert_eq!(response.status(), 200);
    origin.request()
}

fn hop_by_hop_fields_end_here_in_both_directions(driver: Driver) {
    let origin = Origin::sending(
        "HTTP/1.1 200 OK\r\nconnection: x-hop, Keep-Alive\r\nkeep-alive: timeout=5\r\nx-hop: 1\r\nx-stays: 2\r\n\
         proxy-connection: keep-alive\r\nupgrade: h2c\r\nproxy-authenticate: Basic\r\nserver: o\r\ncontent-length: 0\r\n\r\n",
    );
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..2 {
        let response = client.ask(
            "GET / HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, X-Private ,, te\r\nx-private: secret\r\nx-public: 1\r\n\
             keep-alive: 3\r\nproxy-connection: close\r\nte: gzip\r\nupgrade: websocket\r\n\r\n",
        );
        for name in ["connection", "keep-alive", "x-hop", "proxy-connection", "upgrade"] {
            assert_eq!(response.field(name), None, "{name}");
        }
        assert_eq!((response.field("x-stays"), response.field("server")), (Some("2"), Some("o")));
        let request = origin.requests().pop().expect("a request");
        for name in ["connection", "keep-alive", "x-private", "proxy-connection", "upgrade"] {
            assert_eq!(request.field(name), None, "{name}");
        }
        assert_ne!(request.field("te"), Some("gzip"));
        assert_eq!(request.field("x-public"), Some("1"));
    }
    assert_eq!(origin.accepted(), 1);
}

fn x_forwarded_for_gets_the_peer_appended(driver: Driver) {
    assert_eq!(forwarded(driver, "", "").field("x-forwarded-for"), Some("127.0.0.1"));
    let request = forwarded(driver, "", "x-forwarded-for: 1.2.3.4\r\n");
    assert_eq!(request.all("x-forwarded-for").join(", ").replace(",1", ", 1"), "1.2.3.4, 127.0.0.1");
    let request = forwarded(driver, "", "X-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8\r\n");
    assert_eq!(request.all("x-forwarded-for").join(", "), "1.2.3.4, 5.6.7.8, 127.0.0.1");
}

fn x_forwarded_for_is_left_alone_where_the_config_says_so(driver: Driver) {
    for forwarding in ["skip_xff_append: true", "use_remote_address: false"] {
        let request = forwarded(driver, forwarding, "x-forwarded-for: 1.2.3.4\r\n");
        assert_eq!(request.field("x-forwarded-for"), Some("1.2.3.4"), "{forwarding}");
        assert_eq!(forwarded(driver, forwarding, "").field("x-forwarded-for"), None, "{forwarding}");
    }
}

fn x_forwarded_proto_is_believed_from_trusted_proxies_only(driver: Driver) {
    let sent = "x-forwarded-proto: https\r\n";
    assert_eq!(forwarded(driver, "", "").field("x-forwarded-proto"), Some("http"));
    assert_eq!(forwarded(driver, "", sent).field("x-forwarded-proto"), Some("http"));
    assert_eq!(forwarded(driver, "trusted_hops: 1", sent).field("x-forwarded-proto"), Some("https"));
    assert_eq!(forwarded(driver, "use_remote_address: false", sent).field("x-forwarded-proto"), Some("https"));
}

fn request_ids_follow_the_rules(driver: Driver) {
    let sent = "x-request-id: mine\r\n";
    let is_uuid = |id: &str| {
        let bytes = id.as_bytes();
        id.len() == 36
            && bytes[14] == b'4'
            && matches!(bytes[19], b'8' | b'9' | b'a' | b'b')
            && id.matches('-').count() == 4
    };
    assert!(is_uuid(forwarded(driver, "", "").field("x-request-id").expect("an id")));
    assert!(is_uuid(forwarded(driver, "", sent).field("x-request-id").expect("an id")), "outsiders' ids are replaced");
    assert_eq!(forwarded(driver, "request_id: preserve", sent).field("x-request-id"), Some("mine"));
    assert!(forwarded(driver, "request_id: preserve", "").field("x-request-id").is_some_and(is_uuid));
    assert_eq!(forwarded(driver, "trusted_hops: 1", sent).field("x-request-id"), Some("mine"));
    assert_eq!(forwarded(driver, "request_id: pass", sent).field("x-request-id"), Some("mine"));
    assert_eq!(forwarded(driver, "request_id: pass", "").field("x-request-id"), None);
}

fn request_ids_are_different(driver: Driver) {
    let origin = Origin::saying("ok");
    let proxy = Proxy::to(driver, &origin);
    let mut client = proxy.client();
    for _ in 0..200 {
        client.get("/");
    }
    let ids: HashSet<String> =
        origin.requests().iter().map(|request| request.field("x-request-id").expect("an id").to_string()).collect();
    assert_eq!(ids.len(), 200);
}

fn via_is_added_both_ways_only_if_named(driver: Driver) {
    let origin = Origin::sending("HTTP/1.1 200 OK\r\nvia: 1.1 inner\r\ncontent-length: 0\r\n\r\n");
    let proxy = Proxy::start(driver, &http(&[&origin], "forwarding: { via: edge },", ""));
    let response = proxy.client().ask("GET / HTTP/1.0\r\nvia: 1.1 outer\r\n\r\n");
    assert_eq!(response.all("via").join(", "), "1.1 inner, 1.1 edge");
    assert_eq!(origin.request().all("via").join(", "), "1.1 outer, 1.0 edge");
    assert_eq!(forwarded(driver, "", "").field("via"), None);
}

fn server_is_passed_on_or_set(driver: Driver) {
    let origin = Origin::sending("HTTP/1.1 200 OK\r\nserver: origin\r\ndate: then\r\ncontent-length: 0\r\n\r\n");
    let response = Proxy::to(driver, &origin).client().get("/");
    assert_eq!((response.field("server"), response.field("date")), (Some("origin"), Some("then")));
    let proxy = Proxy::start(driver, &http(&[&origin], "server_name: edge/1,", ""));
    assert_eq!(proxy.client().get("/").field("server"), Some("edge/1"));
}

fn header_changes_of_a_route_apply_both_ways(driver: Driver) {
    let origin = Origin::sending(
        "HTTP/1.1 200 OK\r\nx-powered-by: php\r\nX-Powered-By: perl\r\ncache-control: no\r\nvary: a\r\ncontent-length: 0\r\n\r\n",
    );
    let routes = "routes: [{ match: { prefix: / }, cluster: app,
        request_headers: { remove: [x-debug, cookie], set: { x-env: prod, user-agent: corelane }, add: { x-tag: [a, b] } },
        response_headers: { remove: x-powered-by, set: { cache-control: max-age=1 }, add: { vary: b } } }]";
    let app = format!("{{ name: app, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(driver, &config(routes, &app));
    let response = proxy.client().ask(
        "GET / HTTP/1.1\r\nhost: a\r\nX-Debug: 1\r\ncookie: a\r\nx-env: dev\r\nX-ENV: test\r\nuser-agent: curl\r\nx-tag: c\r\n\r\n",
    );
    assert_eq!(response.field("x-powered-by"), None);
    assert_eq!(response.field("cache-control"), Some("max-age=1"));
    assert_eq!(response.all("vary"), ["a", "b"]);
    let request = origin.request();
    assert_eq!((request.field("x-debug"), request.field("cookie")), (None, None));
    assert_eq!((request.field("x-env"), request.field("user-agent")), (Some("prod"), Some("corelane")));
    assert_eq!(request.all("x-tag"), ["c", "a", "b"]);
}

fn response_header_changes_apply_to_our_own_replies(driver: Driver) {
    let edits = "response_headers: { remove: [date], set: { server: me, x-a: b }, add: { x-c: d } }";
    let routes = format!(
        "routes: [{{ match: {{ exact: /d }}, respond: {{ status: 200, body: x }}, {edits} }},
         {{ match: {{ exact: /r }}, redirect: {{ path: /d }}, {edits} }}]"
    );
    let proxy = Proxy::start(driver, &config(&routes, ""));
    for path in ["/d", "/r"] {
        let response = proxy.client().get(path);
        assert_eq!((response.field("date"), response.field("server")), (None, Some("me")), "{path}");
        assert_eq!((response.field("x-a"), response.field("x-c")), (Some("b"), Some("d")), "{path}");
    }
}

fn names_order_and_bytes_of_other_fields_are_kept(driver: Driver) {
    let origin = Origin::answering(|request| ok(request.field("x-bytes").unwrap_or("none")));
    let proxy = Proxy::to(driver, &origin);
    let response = proxy
        .client()
        .ask("GET / HTTP/1.1\r\nHost: a\r\nX-Bytes:  \u{fc}ber\t1 \r\nCookie: a\r\nCookie: b\r\nx-empty:\r\n\r\n");
    assert_eq!(response.text(), "\u{fc}ber\t1");
    let request = origin.request();
    assert_eq!((request.all("cookie"), request.field("x-empty")), (vec!["a", "b"], Some("")));
    assert!(request.fields.iter().any(|(name, _)| name == "X-Bytes"), "names keep their case");
}

on_both_drivers!(
    hop_by_hop_fields_end_here_in_both_directions,
    x_forwarded_for_gets_the_peer_appended,
    x_forwarded_for_is_left_alone_where_the_config_says_so,
    x_forwarded_proto_is_believed_from_trusted_proxies_only,
    request_ids_follow_the_rules,
    request_ids_are_different,
    via_is_added_both_ways_only_if_named,
    server_is_passed_on_or_set,
    header_changes_of_a_route_apply_both_ways,
    response_header_changes_apply_to_our_own_replies,
    names_order_and_bytes_of_other_fields_are_kept,
);
