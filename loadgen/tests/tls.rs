//! TLS at both ends.

mod common;

use std::io::Write;

use common::{DRIVERS, OK, Origin, Server, certificate, load, program, run};

#[test]
fn requests_and_bodies_go_over_tls() {
    for driver in DRIVERS {
        let origin = Origin::start_tls(&["--cores", "1", "--driver", driver]);
        let ca = &certificate().certificate;
        for (path, more, bodies) in [
            ("/", &["-n", "500", "-c", "4"][..], 50_000),
            ("/", &["-n", "200", "-c", "2", "--pipeline", "8"], 20_000),
            ("/?bytes=1000000", &["-n", "20", "-c", "4", "--method", "POST", "--body-bytes", "300k"], 20_000_000),
        ] {
            let arguments = [&["--ca", ca, "--driver", driver], more].concat();
            let (result, success) = load(&origin.url(path), &arguments);
            assert!(success, "{driver} {more:?}: {result}");
            assert_eq!((&result["body_bytes"], &result["failed"]), (&bodies.into(), &0.into()), "{driver} {more:?}");
            assert_eq!(result["tls"]["version"], "TLSv1.3");
            assert_eq!(result["connects"], result["tls"]["handshakes"]);
        }
    }
}

#[test]
fn new_connections_shake_hands_in_full_unless_sessions_are_resumed() {
    for driver in DRIVERS {
        let origin = Origin::start_tls(&["--cores", "1", "--driver", driver]);
        for (more, version, resumes) in [
            (&[][..], "TLSv1.3", false),
            (&["--tls-max", "1.2"], "TLSv1.2", false),
            (&["--resume"], "TLSv1.3", true),
            (&["--resume", "--tls-max", "1.2"], "TLSv1.2", true),
        ] {
            let arguments = ["-n", "60", "-c", "3", "--new-connections", "--insecure", "--driver", driver];
            let (result, _) = load(&origin.url("/"), &[&arguments, more].concat());
            let tls = &result["tls"];
            assert_eq!((&result["responses"], &tls["handshakes"]), (&60.into(), &60.into()), "{driver} {more:?}");
            assert_eq!(tls["version"], version);
            let resumed = tls["resumed"].as_u64().expect("a number");
            assert!(if resumes { resumed >= 50 } else { resumed == 0 }, "{driver} {more:?}: {resumed} resumed");
        }
    }
}

#[test]
fn what_fails_about_tls_is_counted_as_such_and_said() {
    let origin = Origin::start_tls(&["--cores", "1"]);
    let plain = Server::answering(|_| OK.to_vec());
    let plain_url = plain.url().replace("http", "https");
    let silent = Server::start(|stream, _| drop(stream.peek(&mut [0; 1])));
    let silent_url = silent.url().replace("http", "https");
    let ca = &certificate().certificate;
    for (url, more, reason) in [
        (origin.url("/"), &[][..], "unknown_ca"),
        (origin.url("/"), &["--ca", ca, "--sni", "elsewhere.example"], "bad_name"),
        (plain_url, &["--insecure", "--timeout", "300ms"], ""),
        (silent_url, &["--insecure"], ""),
    ] {
        let (result, success) = load(&url, &[&["-n", "3", "-c", "1"], more].concat());
        assert!(!success && result["failed"] == 3, "{result}");
        if !reason.is_empty() {
            assert_eq!(result["errors"]["tls"], 3, "{result}");
            let detail = result["error_details"]["tls"].as_str().expect("words");
            assert!(detail.contains(reason), "{detail}");
        }
    }
    let (result, _) = load(&origin.url("/"), &["-n", "3", "-c", "1", "--ca", ca, "--sni", "localhost"]);
    assert_eq!(result["succeeded"], 3);
}

#[test]
fn a_client_of_plain_http_gets_no_answer_from_a_port_with_tls() {
    let origin = Origin::start_tls(&["--cores", "1"]);
    let mut stream = origin.connect();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").expect("writes");
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
    assert!(!rest.starts_with(b"HTTP/"), "{rest:?}");
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let files = certificate();
    let output = run(&["origin", "--tls-cert", &files.certificate, "--tls-key", &files.certificate]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("TLS"));
}

#[test]
fn curl_and_openssl_get_what_the_origin_serves() {
    let origin = Origin::start_tls(&["--cores", "1"]);
    let ca = &certificate().certificate;
    for version in ["--http1.1", "--http2"] {
        for (tls, bytes) in [("--tlsv1.3", 100), ("--tlsv1.2", 3_000_000)] {
            let url = origin.url(&format!("/?bytes={bytes}"));
            let format = "%{http_version} %{size_download}";
            let mut arguments = vec!["-sS", version, tls, "--cacert", ca, "-o", "/dev/null", "-w", format, &url];
            if tls == "--tlsv1.2" {
                arguments.extend(["--tls-max", "1.2"]);
            }
            let expected = format!("{} {bytes}", if version == "--http2" { "2" } else { "1.1" });
            assert_eq!(program("curl", &arguments), expected);
        }
    }
    let address = origin.address.to_string();
    let shown = program("sh", &["-c", &format!("openssl s_client -connect {address} -alpn h2 </dev/null 2>/dev/null")]);
    assert!(shown.contains("ALPN protocol: h2"), "{shown}");
}
