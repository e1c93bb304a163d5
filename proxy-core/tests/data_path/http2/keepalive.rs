//! PINGs: a peer that is silent is asked whether it is still there.

use super::raw::{PING, Raw, frame, get};
use crate::harness::{Driver, Origin, Proxy, config, eventually, http};

const ACK: u8 = 1;
const SETTINGS: &str = "keepalive_interval: 100ms, keepalive_timeout: 400ms";

fn a_client_that_answers_stays_and_one_that_does_not_is_closed(driver: Driver) {
    let origin = Origin::saying("here");
    let proxy = Proxy::start(driver, &http(&[&origin], &format!("http2: {{ {SETTINGS} }},"), ""));
    let mut alive = Raw::client(proxy.web);
    // Longer than a silent one would live.
    for _ in 0..8 {
        let ping = alive.expect(PING);
        assert_eq!(ping.payload.len(), 8);
        alive.send(frame(PING, ACK, 0, &ping.payload));
    }
    alive.send(get(1));
    assert_eq!(alive.request(), Some(1), "a response");
    assert_eq!(proxy.stat("http.web.http2.keepalive_timeout"), 0);

    let mut silent = Raw::client(proxy.web);
    silent.expect(PING);
    silent.wire.rest();
    eventually("it was counted", || proxy.stat("http.web.http2.keepalive_timeout") >= 1);
}

fn an_endpoint_that_does_not_answer_is_given_up(driver: Driver) {
    let origin = Origin::new(|peer| {
        if let Some(mut raw) = Raw::endpoint(peer.wire) {
            raw.request();
            // Reads, and says nothing.
            raw.wire.rest();
        }
    });
    let app = format!("{{ name: app, protocol: http2, {SETTINGS}, endpoints: ['{}'] }}", origin.address);
    let proxy = Proxy::start(driver, &config("routes: [{ match: {}, cluster: app }]", &app));
    assert_eq!(proxy.client().post("/", "body").status(), 503);
    assert_eq!(proxy.stat("cluster.app.http2.keepalive_timeout"), 1);
    eventually("the connection is closed", || origin.open() == 0);
}

on_both_drivers!(
    a_client_that_answers_stays_and_one_that_does_not_is_closed,
    an_endpoint_that_does_not_answer_is_given_up,
);
