//! Failures, each under its own name.

mod common;

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration;

use common::{DRIVERS, OK, Origin, Server, load, read_head};

/// Every one of `n` requests fails as `kind`, with both drivers, and the exit code says so.
fn all_fail(url: &str, kind: &str, n: u64, arguments: &[&str]) {
    for driver in DRIVERS {
        let count = n.to_string();
        let arguments = [&["-n", &count, "-c", "2", "--driver", driver], arguments].concat();
        let (result, success) = load(url, &arguments);
        let errors = result["errors"].as_object().expect("an object");
        let occurred: Vec<_> = errors.iter().filter(|(_, count)| count.as_u64() != Some(0)).collect();
        assert_eq!(occurred, [(&kind.to_owned(), &n.into())], "{driver}");
        assert_eq!((&result["requests"], &result["succeeded"]), (&n.into(), &0.into()), "{driver}");
        assert!(!success, "{driver}: the exit code hides that every request failed");
    }
}

#[test]
fn refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    all_fail(&format!("http://{address}"), "connect_refused", 10, &[]);
    all_fail(&format!("http://{address}"), "connect_refused", 10, &["--rate", "500"]);
    all_fail(&format!("http://{address}"), "connect_refused", 10, &["--new-connections"]);
}

#[test]
fn connect_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    // SAFETY: the descriptor is the listener's; listening again only makes its queue shorter.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // Fills the queue; from then on the kernel drops what asks to connect.
    let mut held = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        held.push(stream);
        assert!(held.len() < 100, "the queue of connections has no end");
    }
    all_fail(&format!("http://{address}"), "connect_timeout", 4, &["--timeout", "100ms"]);
}

#[test]
fn reset() {
    // Closing with input unread makes the kernel send a reset.
    let server = Server::start(|stream, _| {
        let _ = stream.peek(&mut [0; 1]);
    });
    all_fail(&server.url(), "reset", 10, &[]);
}

#[test]
fn closed_early() {
    let silent = Server::start(|mut stream, _| {
        read_head(&mut stream);
    });
    all_fail(&silent.url(), "closed_early", 10, &[]);
    let halfway = Server::start(|mut stream, _| {
        read_head(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
        let _ = stream.shutdown(Shutdown::Both);
    });
    all_fail(&halfway.url(), "closed_early", 10, &[]);
}

#[test]
fn timeout() {
    let server = Server::answering(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec());
    all_fail(&server.url(), "timeout", 4, &["--timeout", "100ms"]);
    let (result, _) = load(&server.url(), &["-n", "4", "--timeout", "100ms"]);
    assert!(result["latency_ms"]["min"].as_f64() >= Some(100.0), "a timeout counts in the percentiles: {result}");
}

#[test]
fn requests_that_wait_too_long_for_a_connection_time_out_too() {
    let server = Server::answering(|_| Vec::new());
    let arguments = ["-c", "1", "-d", "500ms", "--rate", "100", "--timeout", "200ms"];
    let (result, _) = load(&server.url(), &arguments);
    assert_eq!((&result["errors"]["timeout"], &result["requests"]), (&50.into(), &50.into()));
}

#[test]
fn bad_response() {
    let other = Server::answering(|_| b"SSH-2.0-OpenSSH_9.9\r\n".to_vec());
    all_fail(&other.url(), "bad_response", 10, &[]);
    let more = Server::answering(|_| [OK, b"surplus"].concat());
    all_fail(&more.url(), "bad_response", 10, &[]);
    let (result, _) = load(&other.url(), &["-n", "1"]);
    assert!(result["error_details"]["bad_response"].as_str().is_some_and(|detail| detail.contains("status_line")));
}

#[test]
fn statuses_by_class() {
    let origin = Origin::start(&["--cores", "1", "--error-rate", "1", "--error-status", "503"]);
    all_fail(&origin.url("/"), "status_5xx", 20, &[]);
    all_fail(&origin.url("/?status=404"), "status_4xx", 20, &[]);
}

#[test]
fn a_few_failures_among_many_requests_are_shown_and_do_not_stop_the_run() {
    let server = Server::answering(|number| if number % 10 == 9 { b"nonsense\r\n\r\n".to_vec() } else { OK.to_vec() });
    let (result, success) = load(&server.url(), &["-n", "100", "-c", "1"]);
    assert!(success);
    assert_eq!((&result["responses"], &result["errors"]["bad_response"]), (&90.into(), &10.into()));
    assert_eq!(result["connects"], 10, "a new connection after each bad response but the last");
}
