//! The conformance runner `httpwg` (of crates.io's httpwg-cli): what RFC 9113 asks of a server, case by case.

mod ops;

use std::collections::BTreeSet;
use std::process::Command;

use ops::origin::Origin;
use ops::proxy::{Proxy, simple};
use ops::{free_address, wait_until};

on_both_drivers!(httpwg_finds_only_the_named_exceptions);

/// Cases that a run has at least; fewer would mean that it broke off.
const CASES_MIN: usize = 107;

/// Cases that may fail, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[];

fn httpwg_finds_only_the_named_exceptions(driver: &str) {
    let (origin, listen) = (Origin::start("hello"), free_address());
    let proxy = Proxy::start(driver, &simple(listen, &[origin.address]));
    let output = Command::new("httpwg")
        .args(["--verbose", "--address", &listen.to_string()])
        // How long it waits for what has to come: longer than anything takes.
        .args(["--connect-timeout", "20000", "--frame-timeout", "20000"])
        // Its buffers: 32 MiB instead of 256.
        .env("BUFFET_NUM_BUFS", "8192")
        .env("RUST_LOG", "error")
        .output()
        .expect("httpwg runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let after = |mark: &str| -> BTreeSet<&str> {
        text.lines().filter_map(|line| Some(line.split_once(mark)?.1.trim())).collect()
    };
    let (run, passed) = (after("Running test: "), after("Test passed: "));
    assert!(run.len() >= CASES_MIN, "{} cases: {text}", run.len());
    let failed: BTreeSet<&str> = run.difference(&passed).copied().collect();
    let expected: BTreeSet<&str> = EXCEPTIONS.iter().map(|(case, _)| *case).collect();
    assert_eq!(failed, expected, "{text}");
    wait_until("its connections to end", || proxy.stat("http.web.downstream_cx_http2_active") == 0);
}
