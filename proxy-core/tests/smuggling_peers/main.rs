//! The published classes of request smuggling and desynchronisation, from end to end: each row of the tables says what
//! a client (or an endpoint) sends and what may come of it. Behind the proxy stands a recorder, directly or behind
//! nginx, HAProxy or Envoy, which read what we send by rules of their own. After each row a request on the same
//! connection, where it is open, and one on a fresh connection must get their own answers, and the recorder must have
//! seen precisely the requests that the row says. The codec's own tables (`codecs/tests/smuggling.rs`) know the kind of
//! each error.

#[macro_use]
#[path = "../data_path/harness/mod.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests of the data path")]
mod harness;
#[path = "../data_path/http2/raw.rs"]
#[allow(dead_code, reason = "shared with the tests of the data path")]
mod raw;

mod http1_rows;
mod http2_rows;
mod paths;
mod recorder;
mod responses;
mod run;
mod tunnels;
mod upstreams;

use harness::Driver;
use upstreams::Upstream;

fn no_class_of_http1_smuggles(driver: Driver) {
    run::http1(driver, &Upstream::none());
}

fn no_class_of_http1_smuggles_to_nginx(driver: Driver) {
    run::http1(driver, &Upstream::nginx());
}

fn no_class_of_http1_smuggles_to_haproxy(driver: Driver) {
    run::http1(driver, &Upstream::haproxy());
}

fn no_class_of_http1_smuggles_to_envoy(driver: Driver) {
    run::http1(driver, &Upstream::envoy());
}

fn no_class_of_http2_smuggles(driver: Driver) {
    run::http2(driver, &Upstream::none());
}

fn no_class_of_http2_smuggles_to_nginx(driver: Driver) {
    run::http2(driver, &Upstream::nginx());
}

fn no_class_of_http2_smuggles_to_haproxy(driver: Driver) {
    run::http2(driver, &Upstream::haproxy());
}

fn no_class_of_http2_smuggles_to_envoy(driver: Driver) {
    run::http2(driver, &Upstream::envoy());
}

on_both_drivers!(
    no_class_of_http1_smuggles,
    no_class_of_http1_smuggles_to_nginx,
    no_class_of_http1_smuggles_to_haproxy,
    no_class_of_http1_smuggles_to_envoy,
    no_class_of_http2_smuggles,
    no_class_of_http2_smuggles_to_nginx,
    no_class_of_http2_smuggles_to_haproxy,
    no_class_of_http2_smuggles_to_envoy,
);
