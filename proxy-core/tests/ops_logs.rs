//! Access logs of the running process: their lines, and files that are rotated away under load.

mod ops;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ops::client::Client;
use ops::load::{Load, Reuse};
use ops::origin::Origin;
use ops::proxy::{Proxy, simple};
use ops::{free_address, wait_until, wait_within};
use serde_json::Value;

on_both_drivers!(rotation_by_rename_loses_no_line);

fn logging(listen: SocketAddr, endpoint: SocketAddr, logs: &str) -> String {
    format!("access_log: {logs}\n{}", simple(listen, &[endpoint]))
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn lines_are_in_envoys_default_format_and_in_json() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let folder = ops::Folder::new();
    let file = folder.path("access.json");
    let logs = format!(
        "[stdout, {{ path: '{}', format: {{ path: '%PATH%', now: '%REQ(:PATH)%', why: '%RESPONSE_CODE_DETAILS%', status: '%RESPONSE_CODE%', sent: '%BYTES_SENT%', \
         upstream: '%UPSTREAM_HOST%', agent: '%REQ(USER-AGENT)%', listener: '%LISTENER_NAME%', \
         cluster: '%UPSTREAM_CLUSTER%', took: '%DURATION%' }} }}]",
        file.display()
    );
    let proxy = Proxy::start("auto", &logging(listen, origin.address, &logs));
    let mut client = Client::connect(listen).expect("connects");
    let fields = "user-agent: the \"tester\"\r\nx-request-id: abc\r\n";
    assert_eq!(client.request("GET", "/one?x=1", fields).expect("a response").status, 200);
    assert_eq!(client.request("POST", "/two", "content-length: 0\r\n").expect("a response").status, 200);
    assert_eq!(client.request("GET", "/a/../b%7e?c=/../d", "").expect("a response").status, 200);
    assert_eq!(client.request("GET", "/../b", "x-envoy-original-path: /forged\r\n").expect("a response").status, 400);
    wait_until("four lines", || proxy.out.all().len() == 4 && lines(&file).len() == 4);

    let text = &proxy.out.all()[0];
    let (time, rest) = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).expect("a time");
    assert!(time.len() == 24 && time.ends_with('Z'), "{text}");
    let words: Vec<&str> = rest.split(' ').collect();
    assert_eq!(words[..6], ["\"GET", "/one?x=1", "HTTP/1.1\"", "200", "-", "0"], "{text}");
    assert_eq!(words[6], "6", "{text}");
    assert!(words[7].parse::<u64>().is_ok(), "{text}");
    assert!(text.ends_with(&format!("\"test\" \"{}\"", origin.address)), "{text}");
    assert!(text.contains("tester"), "{text}");

    // Both forms of a path that was changed, and what was refused as it came.
    assert!(proxy.out.all()[2].contains("\"GET /a/../b%7e?c=/../d HTTP/1.1\" 200 - "), "{}", proxy.out.all()[2]);
    assert!(proxy.out.all()[3].contains("\"GET /../b HTTP/1.1\" 400 - "), "{}", proxy.out.all()[3]);

    let objects: Vec<Value> = lines(&file)
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(
        (&objects[0]["status"], &objects[0]["sent"]),
        (&Value::from(200), &Value::from(6)),
        "numbers are numbers"
    );
    assert_eq!(objects[0]["upstream"], origin.address.to_string());
    assert_eq!(objects[0]["agent"], "the \"tester\"");
    assert_eq!((&objects[0]["listener"], &objects[0]["cluster"]), (&Value::from("web"), &Value::from("app")));
    assert!(objects[0]["took"].is_u64());
    assert_eq!(
        (&objects[2]["path"], &objects[2]["now"]),
        (&Value::from("/a/../b%7e?c=/../d"), &Value::from("/b~?c=/../d"))
    );
    assert_eq!(
        (&objects[3]["now"], &objects[3]["why"]),
        (&Value::from("/../b"), &Value::from("path_normalization_failed{above_root}"))
    );
    assert_eq!((&objects[1]["path"], &objects[1]["agent"]), (&Value::from("/two"), &Value::Null));
}

fn rotation_by_rename_loses_no_line(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let folder = ops::Folder::new();
    let file = folder.path("access.log");
    let logs = format!("{{ path: '{}', format: '%RESPONSE_CODE% %PATH%' }}", file.display());
    let proxy = Proxy::start(driver, &logging(listen, origin.address, &logs));
    let load = Load::start(listen, 4, Reuse::KeepAlive, &["/a", "/b"]);
    let rotated: Vec<_> = (1..4)
        .map(|number| {
            load.wait_for(200);
            wait_until("lines in the file", || !lines(&file).is_empty());
            let rotated = folder.path(&format!("access.log.{number}"));
            std::fs::rename(&file, &rotated).expect("renamed");
            proxy.signal(libc::SIGUSR1);
            wait_until("the file to be there again", || file.exists());
            rotated
        })
        .collect();
    load.wait_for(200);
    let tally = load.stop();
    tally.assert_no_failures();
    let count = || rotated.iter().chain([&file]).map(|file| lines(file).len() as u64).sum::<u64>();
    wait_within(Duration::from_secs(15), &format!("{} lines", tally.done), || count() == tally.done);
    for file in rotated.iter().chain([&file]) {
        assert!(lines(file).iter().all(|line| line == "200 /a" || line == "200 /b"), "no line is torn");
    }
    assert_eq!(proxy.stat("server.access_log.reopened"), 3);
    assert_eq!(proxy.stat("server.access_log.dropped"), 0);
    let last = rotated.last().expect("three");
    let size = std::fs::metadata(last).expect("a file").len();
    Client::connect(listen).expect("connects").get("/a").expect("a response");
    wait_until("the new line", || count() == tally.done + 1);
    assert_eq!(std::fs::metadata(last).expect("a file").len(), size, "nothing goes to a file that was rotated away");
}

#[test]
fn every_line_is_written_before_the_process_ends() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let folder = ops::Folder::new();
    let file = folder.path("access.log");
    let config = logging(listen, origin.address, &format!("'{}'", file.display()));
    let mut proxy = Proxy::start("auto", &config);
    let load = Load::start(listen, 4, Reuse::KeepAlive, &["/"]);
    load.wait_for(300);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.exit().code(), Some(0));
    let tally = load.stop();
    tally.assert_no_failures();
    assert_eq!(lines(&file).len() as u64, tally.done);
}

#[test]
fn a_log_that_cannot_be_written_is_refused() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let proxy = Proxy::start("auto", &simple(listen, &[origin.address]));
    let response = proxy.reload(&logging(listen, origin.address, "/nowhere/access.log"));
    assert_eq!(response.status, 400);
    assert!(response.text().contains("/nowhere/access.log"), "{}", response.text());
    assert_eq!(proxy.stat("server.config_version"), 1);
}

#[test]
fn a_full_disk_loses_lines_and_no_requests() {
    let origin = Origin::start("origin");
    let listen = free_address();
    let folder = ops::Folder::new();
    let file = folder.path("access.log");
    std::os::unix::fs::symlink("/dev/full", &file).expect("linked");
    let logs = format!("{{ path: '{}', format: '%PATH%' }}", file.display());
    let proxy = Proxy::start("auto", &logging(listen, origin.address, &logs));
    let mut client = Client::connect(listen).expect("connects");
    for number in 1..=5 {
        assert_eq!(client.get("/lost").expect("a response").status, 200);
        wait_until("the line to be lost", || proxy.stat("server.access_log.dropped") == number);
    }
    assert_eq!(proxy.stat("server.access_log.write_failed"), 5);
    assert_eq!(proxy.stat("server.access_log.written"), 0);
    assert_eq!(proxy.log.count("the access log can't be written"), 1);

    // There is room again.
    let room = folder.path("room.log");
    std::fs::write(&room, "").expect("written");
    std::fs::rename(&room, &file).expect("renamed");
    assert_eq!(client.get("/kept").expect("a response").status, 200);
    wait_until("the line", || lines(&file) == ["/kept"]);
    proxy.wait_for_log("the access log is written again");
    assert_eq!(proxy.stat("server.access_log.dropped"), 5);
}
