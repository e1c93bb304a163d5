//! HTTP/2: the client against the origin, the origin against programs that others wrote.

mod common;

use common::{DRIVERS, Origin, certificate, load, program, wait_until};

fn each_origin(arguments: &[&str], test: impl Fn(&Origin, &[&str])) {
    for driver in DRIVERS {
        let arguments = [&["--cores", "1", "--driver", driver], arguments].concat();
        test(&Origin::start(&arguments), &["--h2", "--driver", driver]);
        test(&Origin::start_tls(&arguments), &["--h2", "--driver", driver, "--ca", &certificate().certificate]);
    }
}

#[test]
fn sends_exactly_as_many_requests_as_asked_for() {
    each_origin(&[], |origin, h2| {
        for more in [&["-c", "1"][..], &["-c", "3", "-m", "32"], &["-c", "5", "-m", "7", "--cores", "2"]] {
            let (result, success) = load(&origin.url("/"), &[h2, &["-n", "1000"], more].concat());
            assert!(success, "{result}");
            assert_eq!((&result["responses"], &result["failed"]), (&1000.into(), &0.into()), "{more:?}");
            assert_eq!((&result["body_bytes"], &result["unfinished"]), (&100_000.into(), &0.into()));
            assert_eq!(result["protocol"], "h2");
            assert_eq!(result["connects"].as_u64(), more[1].parse().ok());
        }
    });
}

#[test]
fn bodies_go_both_ways_in_small_and_large_pieces() {
    each_origin(&[], |origin, h2| {
        let post = &["-n", "40", "-c", "2", "-m", "10", "--method", "POST"];
        for (bytes, body) in [(2047, "1"), (2048, "2k"), (70_000, "70000"), (3_000_000, "3M")] {
            let arguments = [h2, post, &["--body-bytes", body]].concat();
            let (result, _) = load(&origin.url(&format!("/?bytes={bytes}")), &arguments);
            assert_eq!((&result["responses"], &result["body_bytes"]), (&40.into(), &(40 * bytes).into()), "{body}");
        }
    });
}

#[test]
fn the_query_decides_and_slow_answers_do_not_hold_up_the_others() {
    each_origin(&["--chunked"], |origin, h2| {
        let (result, success) = load(&origin.url("/?status=404"), &[h2, &["-n", "20", "-c", "1", "-m", "4"]].concat());
        assert!(!success && result["errors"]["status_4xx"] == 20, "{result}");
        let arguments = [h2, &["-n", "100", "-c", "1", "-m", "50"]].concat();
        let (result, _) = load(&origin.url("/?delay_ms=100"), &arguments);
        assert_eq!(result["responses"], 100);
        let latency = &result["latency_ms"];
        assert!(latency["min"].as_f64() >= Some(100.0), "{latency}");
        assert!(result["seconds"].as_f64() < Some(2.0), "one after the other: {result}");
        let (result, _) = load(&origin.url("/"), &[h2, &["-n", "5", "-c", "1", "--method", "HEAD"]].concat());
        assert_eq!((&result["responses"], &result["body_bytes"]), (&5.into(), &0.into()));
    });
}

#[test]
fn the_open_loop_keeps_its_rate() {
    each_origin(&[], |origin, h2| {
        let arguments = [h2, &["-c", "4", "-m", "8", "-d", "1s", "--rate", "1000"]].concat();
        let (result, _) = load(&origin.url("/"), &arguments);
        assert_eq!((&result["mode"], &result["requests"]), (&"open".into(), &1000.into()));
        assert_eq!(result["responses"], 1000);
    });
}

#[test]
fn a_connection_a_request_and_a_server_that_goes_away_after_each() {
    each_origin(&[], |origin, h2| {
        let (result, _) = load(&origin.url("/"), &[h2, &["-n", "50", "-c", "3", "--new-connections"]].concat());
        assert_eq!((&result["responses"], &result["connects"]), (&50.into(), &50.into()), "{result}");
    });
    each_origin(&["--close"], |origin, h2| {
        let (result, _) = load(&origin.url("/"), &[h2, &["-n", "100", "-c", "2", "-m", "4"]].concat());
        assert_eq!((&result["responses"], &result["failed"]), (&100.into(), &0.into()), "{result}");
        assert!(result["connects"].as_u64() >= Some(25), "{result}");
    });
}

#[test]
fn requests_time_out_one_by_one() {
    each_origin(&[], |origin, h2| {
        let arguments = [h2, &["-n", "8", "-c", "1", "-m", "4", "--timeout", "100ms"]].concat();
        let (result, success) = load(&origin.url("/?delay_ms=5000"), &arguments);
        assert!(!success);
        assert_eq!((&result["errors"]["timeout"], &result["requests"]), (&8.into(), &8.into()), "{result}");
    });
}

#[test]
fn a_server_of_http_1_is_told_from_one_of_http_2() {
    let server = common::Server::answering(|_| common::OK.to_vec());
    let (result, success) = load(&server.url(), &["--h2", "-n", "3", "-c", "1", "--timeout", "500ms"]);
    assert!(!success && result["failed"] == 3, "{result}");
}

#[test]
fn an_origin_that_dies_shows_in_the_errors() {
    for driver in DRIVERS {
        let origin = Origin::start(&["--cores", "1", "--driver", driver]);
        let url = origin.url("/?delay_ms=300");
        let arguments = ["http", &url, "--h2", "-c", "2", "-m", "5", "-n", "10", "--json", "--driver", driver];
        let child = common::command(&arguments).stdout(std::process::Stdio::piped()).spawn().expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(150));
        drop(origin);
        let output = common::finish(child);
        let result: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!((&result["failed"], &result["responses"]), (&10.into(), &0.into()), "{result}");
    }
}

#[test]
fn h2load_meets_no_failure() {
    for driver in DRIVERS {
        for origin in [
            Origin::start(&["--cores", "1", "--driver", driver]),
            Origin::start_tls(&["--cores", "1", "--driver", driver]),
        ] {
            for (path, count) in [("/", "5000"), ("/?bytes=300000", "200"), ("/?delay_ms=3&bytes=3000", "500")] {
                let text = program("h2load", &["-n", count, "-c", "4", "-m", "32", &origin.url(path)]);
                let expected = format!("{count} succeeded, 0 failed, 0 errored, 0 timeout");
                assert!(text.contains(&expected), "{path}: {text}");
            }
        }
    }
}

#[test]
fn nghttp_and_curl_get_what_the_origin_serves() {
    let origin = Origin::start(&["--cores", "1"]);
    let text = program("nghttp", &["-nv", "-w", "10", "--no-dep", &origin.url("/?bytes=5000&status=203")]);
    assert!(text.contains(":status: 203") && text.contains("content-length: 5000"), "{text}");
    let upload = vec![b'u'; 2_000_000];
    let file = format!("{}/upload-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::write(&file, upload).expect("a file");
    let (body, url) = (format!("@{file}"), origin.url("/?bytes=70000"));
    let format = "%{http_version} %{http_code} %{size_upload} %{size_download}";
    let arguments = ["-sS", "--http2-prior-knowledge", "--data-binary", &body, "-o", "/dev/null", "-w", format, &url];
    assert_eq!(program("curl", &arguments), "2 200 2000000 70000");
    std::fs::remove_file(&file).expect("the file is ours");
}

#[test]
fn nginx_answers_the_client_and_goes_away_in_between() {
    let folder = format!("{}/nginx-{}", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    std::fs::create_dir_all(&folder).expect("a folder");
    let free =
        || std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let (plain, tls, files) = (free(), free(), certificate());
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};"))
        .concat();
    let config = format!(
        "pid {folder}/pid; error_log {folder}/log; daemon off; events {{}}
         http {{ access_log off; keepalive_requests 100; {temporary}
         server {{ listen {plain} http2; listen {tls} ssl http2; location / {{ return 200 hello; }}
         ssl_certificate {}; ssl_certificate_key {}; }} }}",
        files.certificate, files.key
    );
    std::fs::write(format!("{folder}/conf"), config).expect("a file");
    let started = std::process::Command::new("nginx").args(["-c", &format!("{folder}/conf")]).spawn();
    let mut nginx = started.expect("nginx starts");
    wait_until("nginx", || std::net::TcpStream::connect(plain).is_ok());
    for (url, more) in [(format!("http://{plain}/"), &[][..]), (format!("https://{tls}/"), &["--insecure"])] {
        let arguments = [&["--h2", "-n", "5000", "-c", "4", "-m", "16"], more].concat();
        let (result, _) = load(&url, &arguments);
        assert_eq!((&result["responses"], &result["failed"]), (&5000.into(), &0.into()), "{result}");
        assert!(result["connects"].as_u64() >= Some(50), "a hundred requests each: {result}");
        let arguments = [&["--h2", "-n", "100", "-c", "4", "--new-connections"], more].concat();
        let (result, _) = load(&url, &arguments);
        assert_eq!((&result["responses"], &result["connects"]), (&100.into(), &100.into()), "{result}");
    }
    let pid = nginx.id().to_string();
    let _ = std::process::Command::new("kill").arg(&pid).status();
    let _ = nginx.wait();
    let _ = std::fs::remove_dir_all(&folder);
}
