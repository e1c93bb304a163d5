//! `loadgen http` against the origin and against servers that count.

mod common;

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::{DRIVERS, OK, Origin, Server, command, finish, load, run, wait_until};

#[test]
fn sends_exactly_as_many_requests_as_asked_for() {
    for driver in DRIVERS {
        for arguments in [&["-c", "7"][..], &["-c", "7", "--cores", "2"], &["-c", "3", "--pipeline", "8"]] {
            let server = Server::answering(|_| OK.to_vec());
            let arguments = [&["-n", "1000", "--driver", driver], arguments].concat();
            let (result, success) = load(&server.url(), &arguments);
            assert!(success);
            assert_eq!(server.requests(), 1000, "{driver} {arguments:?}");
            assert_eq!(result["responses"], 1000);
            assert_eq!(result["succeeded"], 1000);
            assert_eq!((&result["failed"], &result["unfinished"]), (&0.into(), &0.into()));
            assert_eq!(result["statuses"]["2xx"], 1000);
            assert_eq!(result["bytes"], 1000 * OK.len());
            assert_eq!(result["body_bytes"], 2000);
            assert_eq!(result["latency_ms"]["count"], 1000);
            assert_eq!(result["driver"], driver);
        }
    }
}

#[test]
fn a_warm_up_is_not_counted() {
    let server = Server::answering(|_| OK.to_vec());
    let (result, _) = load(&server.url(), &["-n", "50", "-c", "2", "--warmup", "200ms"]);
    assert_eq!(result["requests"], 50);
    assert!(server.requests() > 60, "{} requests, of which 50 count", server.requests());
}

#[test]
fn bodies_go_both_ways() {
    let origin = Origin::start(&["--cores", "1"]);
    for driver in DRIVERS {
        let url = origin.url("/?bytes=1000000");
        let arguments = ["-n", "40", "-c", "4", "--driver", driver, "--method", "POST", "--body-bytes", "300k"];
        let (result, _) = load(&url, &arguments);
        assert_eq!((&result["responses"], &result["body_bytes"]), (&40.into(), &40_000_000.into()), "{driver}");
        assert_eq!(result["connects"], 4);
    }
}

#[test]
fn a_new_connection_for_every_request() {
    let origin = Origin::start(&["--cores", "1"]);
    for driver in DRIVERS {
        let (result, _) = load(&origin.url("/"), &["-n", "300", "-c", "5", "--new-connections", "--driver", driver]);
        assert_eq!((&result["responses"], &result["connects"]), (&300.into(), &300.into()), "{driver}");
    }
}

#[test]
fn a_connection_that_the_server_ends_is_made_anew_without_an_error() {
    let origin = Origin::start(&["--cores", "1", "--close"]);
    let (result, _) = load(&origin.url("/"), &["-n", "100", "-c", "5"]);
    assert_eq!((&result["responses"], &result["failed"]), (&100.into(), &0.into()));
    assert!(result["connects"].as_u64() >= Some(100));
}

#[test]
fn the_open_loop_keeps_its_rate() {
    let origin = Origin::start(&["--cores", "1"]);
    for arguments in [&["--driver", "uring"][..], &["--driver", "epoll"], &["--spin", "--cores", "2"]] {
        let arguments = [&["-c", "8", "-d", "2s", "--rate", "300"], arguments].concat();
        let (result, _) = load(&origin.url("/"), &arguments);
        assert_eq!((&result["mode"], &result["requests"]), (&"open".into(), &600.into()), "{arguments:?}");
        let rate = result["rate"].as_f64().expect("a rate");
        assert!((rate - 300.0).abs() <= 15.0, "{rate} instead of 300: {arguments:?}");
    }
}

#[test]
fn the_open_loop_starts_requests_no_earlier_than_due() {
    let arrivals = std::sync::Arc::new(Mutex::new(Vec::new()));
    let noted = arrivals.clone();
    let server = Server::answering(move |_| {
        noted.lock().expect("no panic").push(Instant::now());
        OK.to_vec()
    });
    let (result, _) = load(&server.url(), &["-c", "4", "-n", "200", "--rate", "200", "--cores", "2"]);
    assert_eq!(result["requests"], 200);
    let arrivals = arrivals.lock().expect("no panic");
    assert_eq!(arrivals.len(), 200);
    let total = arrivals[199] - arrivals[0];
    assert!(total >= Duration::from_millis(940), "200 requests at 200/s came within {total:?}");
    let first_half = arrivals.iter().filter(|arrival| **arrival - arrivals[0] < Duration::from_millis(450)).count();
    assert!(first_half <= 105, "{first_half} requests in the first 450 ms");
}

/// A server that stops for half a second, once, whoever asks.
fn stalling_server() -> Server {
    let stall = Mutex::new(());
    Server::answering(move |number| {
        let _turn = stall.lock().expect("no panic");
        if number == 200 {
            std::thread::sleep(Duration::from_millis(500));
        }
        OK.to_vec()
    })
}

#[test]
fn a_stall_shows_in_the_percentiles_of_the_open_loop() {
    let percentile = |result: &serde_json::Value, name: &str| {
        result["latency_ms"]["percentiles"][name].as_f64().expect("a percentile")
    };
    // 200 of the 800 requests fall due during the stall and wait for 250 ms on average.
    for driver in DRIVERS {
        let arguments = ["-c", "4", "-d", "2s", "--rate", "400", "--driver", driver];
        let (open, _) = load(&stalling_server().url(), &arguments);
        assert_eq!(open["responses"], 800);
        assert!(percentile(&open, "90") >= 200.0, "{driver}: {open}");
        assert!(open["latency_ms"]["max"].as_f64() >= Some(450.0), "{driver}: {open}");
    }
    // The closed loop stalls with the server: four requests notice.
    let (closed, _) = load(&stalling_server().url(), &["-c", "4", "-n", "2000"]);
    assert!(percentile(&closed, "90") < 200.0, "{closed}");
    assert!(closed["latency_ms"]["max"].as_f64() >= Some(450.0), "{closed}");
}

#[test]
fn requests_under_way_at_the_end_are_waited_for() {
    let origin = Origin::start(&["--cores", "1", "--delay", "300ms"]);
    let (result, _) = load(&origin.url("/"), &["-c", "5", "-d", "100ms"]);
    assert_eq!((&result["responses"], &result["unfinished"]), (&5.into(), &0.into()));
    assert_eq!(result["rate"], 0.0, "none of them was complete in time");
    assert!(result["latency_ms"]["min"].as_f64() >= Some(300.0));
}

#[test]
fn an_interrupt_prints_what_was_gathered() {
    for driver in DRIVERS {
        let server = Server::answering(|number| {
            // The last ones hang, so that something is under way.
            if number >= 500 { Vec::new() } else { OK.to_vec() }
        });
        let url = server.url();
        let arguments = ["http", &url, "-c", "3", "-d", "120s", "--timeout", "100s", "--json", "--driver", driver];
        let child = command(&arguments).stdout(Stdio::piped()).spawn().expect("starts");
        wait_until("requests", || server.requests() >= 503);
        let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(killed.expect("kill runs").success());
        let began = Instant::now();
        let output = finish(child);
        assert!(began.elapsed() < Duration::from_secs(10), "ended after {:?}", began.elapsed());
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&result["interrupted"], &result["responses"]), (&true.into(), &500.into()), "{driver}");
        assert_eq!(result["unfinished"], 3);
        assert!(output.status.success());
    }
}

#[test]
fn json_has_every_key_even_when_nothing_was_answered() {
    let server = Server::start(|_, _| {});
    let (failed, _) = load(&server.url(), &["-n", "3", "-c", "1"]);
    let origin = Origin::start(&["--cores", "1"]);
    let (good, _) = load(&origin.url("/"), &["-n", "10"]);
    let keys =
        |value: &serde_json::Value| value.as_object().expect("an object").keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&good), keys(&failed));
    assert_eq!(keys(&good["errors"]), keys(&failed["errors"]));
    assert!(failed["latency_ms"].is_null());
    let percentiles = good["latency_ms"]["percentiles"].as_object().expect("an object");
    let values: Vec<f64> = ["50", "75", "90", "95", "99", "99.9", "99.99"]
        .iter()
        .map(|name| percentiles[*name].as_f64().expect("a number"))
        .collect();
    assert_eq!(percentiles.len(), values.len());
    assert!(values.is_sorted(), "{values:?}");
    for key in ["rate", "bytes_per_second", "seconds"] {
        assert!(good[key].as_f64() > Some(0.0), "{key}");
    }
}

#[test]
fn the_table_says_the_same_in_words() {
    let origin = Origin::start(&["--cores", "1", "--status", "404"]);
    let output = run(&["http", &origin.url("/"), "-n", "1200", "-c", "2"]);
    let text = String::from_utf8(output.stdout).expect("text");
    for part in ["1,200 responses, 0 failed", "4xx 1,200", "99.99 %", "status 4xx", "closed loop, 2 connections"] {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
    assert!(!output.status.success(), "no request succeeded");
}

#[test]
fn nonsense_is_refused_before_anything_is_sent() {
    for (arguments, reason) in [
        (&["http", "ftp://localhost/"][..], "aren't supported"),
        (&["ws", "http://localhost/"], "aren't supported"),
        (&["http", "http://localhost:1/", "--insecure"], "is for TLS"),
        (&["http", "http://localhost:1/", "-m", "2"], "needs --h2"),
        (&["http", "https://localhost:1/", "--ca", "/nonexistent"], "can't read"),
        (&["origin", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"], "can't read"),
        (&["http", "http://localhost:1/", "-d", "0s"], "no time for a request"),
        (&["http", "http://localhost:1/", "-H", "broken"], "is no header"),
        (&["http", "http://name.invalid/", "-n", "1"], "can't resolve"),
        (&["origin", "--listen", "192.0.2.1:1"], "can't listen"),
    ] {
        let output = run(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(errors.contains(reason), "{arguments:?}: {errors}");
    }
}
