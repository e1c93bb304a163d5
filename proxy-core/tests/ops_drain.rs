//! Stopping: what was accepted is answered, what is idle ends, and time is bounded.

mod ops;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use ops::client::Client;
use ops::load::{Load, Reuse};
use ops::origin::Origin;
use ops::proxy::{Proxy, any_cpu, simple, two_cpus};
use ops::{free_address, wait_until};

on_both_drivers!(
    sigterm_under_load_fails_no_request,
    a_drain_ends_the_idle_and_finishes_the_busy,
    the_drain_timeout_cuts_off_what_is_left,
    a_second_signal_stops_at_once,
    a_tcp_session_is_finished_within_the_drain,
    a_tcp_session_that_the_drain_cuts_off_does_not_look_whole,
);

struct Setting {
    origin: Origin,
    listen: SocketAddr,
    proxy: Proxy,
}

fn setting(driver: &str, arguments: &[&str]) -> Setting {
    let origin = Origin::start("origin");
    let listen = free_address();
    let cpu = any_cpu();
    let arguments = [&["--driver", driver, "--cores", &cpu], arguments].concat();
    let proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, |_| {});
    Setting { origin, listen, proxy }
}

impl Setting {
    fn client(&self) -> Client {
        Client::connect(self.listen).expect("connects")
    }

    /// A client that has sent a request which the origin has received.
    fn busy(&self, path: &str) -> Client {
        let mut client = self.client();
        let before = self.origin.requests();
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).expect("sent");
        wait_until("the request to arrive", || self.origin.requests() > before);
        client
    }

    fn wait_until_deaf(&self) {
        wait_until("new connections to be refused", || TcpStream::connect(self.listen).is_err());
    }
}

fn sigterm_under_load_fails_no_request(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let arguments = ["--driver", driver, "--cores", &two_cpus()];
    let mut proxy = Proxy::start_with(&simple(listen, &[origin.address]), &arguments, |_| {});
    let loads = [
        Load::start(listen, 8, Reuse::KeepAlive, &["/", "/large/100000"]),
        Load::start(listen, 4, Reuse::KeepAlive, &["/delay/20", "/trickle/3"]),
        Load::paced(listen, 4, Reuse::KeepAlive, &["/"], Duration::from_millis(350)),
        Load::start(listen, 4, Reuse::Fresh, &["/"]),
    ];
    loads[0].wait_for(500);
    loads[3].wait_for(100);
    proxy.signal(libc::SIGTERM);
    let status = proxy.exit();
    assert_eq!(status.code(), Some(0), "{:#?}", proxy.log.all());
    let tallies = loads.map(Load::stop);
    for tally in &tallies {
        tally.assert_no_failures();
        assert!(tally.refused > 0, "the address is free: {tally:?}");
    }
    assert!(tallies[..3].iter().all(|tally| tally.told_to_close > 0), "`connection: close` was said: {tallies:?}");
    wait_until("the last line of the log", || proxy.log.count("drained") > 0);
}

fn a_drain_ends_the_idle_and_finishes_the_busy(driver: &str) {
    let mut setting = setting(driver, &[]);
    let mut idle = setting.client();
    assert!(!idle.get("/").expect("a response").closes());
    let mut unused = setting.client();
    let mut waiting = setting.busy("/delay/1500");
    let mut trickling = setting.busy("/trickle/20");
    setting.proxy.signal(libc::SIGTERM);
    setting.wait_until_deaf();
    let ready = setting.proxy.get("/ready");
    assert_eq!((ready.status, ready.text().as_str()), (503, "DRAINING\n"));
    let refused = setting.proxy.post("/config/reload");
    assert_eq!(refused.status, 400);
    assert!(refused.text().contains("drains"), "{}", refused.text());
    assert!(idle.ends(), "an idle connection ends");
    assert!(unused.ends(), "and so does one without any request");
    assert!(setting.proxy.running(), "it waits for what is under way");
    let response = waiting.receive().expect("a response");
    assert_eq!((response.status, response.closes()), (200, true), "{response:?}");
    assert!(waiting.ends());
    let response = trickling.receive().expect("a whole response");
    assert_eq!(response.text(), "more".repeat(20));
    assert!(trickling.ends());
    assert_eq!(setting.proxy.exit().code(), Some(0));
}

fn the_drain_timeout_cuts_off_what_is_left(driver: &str) {
    let mut setting = setting(driver, &["--drain-timeout", "700ms"]);
    let mut endless = setting.busy("/trickle/600");
    let mut silent = setting.busy("/delay/60000");
    let mut halfway = setting.client();
    halfway.send("GET / HTTP/1.1\r\nhos").expect("sent");
    let began = Instant::now();
    setting.proxy.signal(libc::SIGTERM);
    assert!(endless.receive().is_err(), "a response that was cut off doesn't look whole");
    let response = silent.receive().expect("an answer: nothing of the response had been sent");
    assert_eq!((response.status, response.closes()), (503, true), "{response:?}");
    assert_eq!(setting.proxy.exit_within(Duration::from_secs(15)).code(), Some(0));
    assert!(began.elapsed() >= Duration::from_millis(700), "not before its time");
}

fn a_second_signal_stops_at_once(driver: &str) {
    let mut setting = setting(driver, &[]);
    let mut endless = setting.busy("/trickle/600");
    setting.proxy.signal(libc::SIGTERM);
    setting.wait_until_deaf();
    assert!(setting.proxy.running());
    setting.proxy.signal(libc::SIGTERM);
    assert_eq!(setting.proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    assert!(endless.receive().is_err());
}

fn a_tcp_session_is_finished_within_the_drain(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let config = simple(listen, &[origin.address])
        .replace("http: { routes: [{ match: { prefix: / }, cluster: app }] }", "tcp: { cluster: app }");
    let mut proxy = Proxy::start(driver, &config);
    let mut session = Client::connect(listen).expect("connects");
    session.get("/").expect("a response");
    proxy.signal(libc::SIGTERM);
    wait_until("new connections to be refused", || TcpStream::connect(listen).is_err());
    assert_eq!(session.get("/").expect("the session goes on").text(), "origin");
    assert!(proxy.running());
    drop(session);
    assert_eq!(proxy.exit().code(), Some(0));
}

fn a_tcp_session_that_the_drain_cuts_off_does_not_look_whole(driver: &str) {
    let origin = Origin::start("origin");
    let listen = free_address();
    let config = simple(listen, &[origin.address])
        .replace("http: { routes: [{ match: { prefix: / }, cluster: app }] }", "tcp: { cluster: app }");
    let proxy = Proxy::start_with(&config, &["--driver", driver, "--drain-timeout", "300ms"], |_| {});
    let mut session = TcpStream::connect(listen).expect("connects");
    session.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    session.write_all(b"GET /trickle/600 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    session.read_exact(&mut [0; 20]).expect("the beginning of a response");
    proxy.signal(libc::SIGTERM);
    let error = session.read_to_end(&mut Vec::new()).expect_err("no orderly end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn sigint_drains_too() {
    let mut setting = setting("auto", &[]);
    let mut waiting = setting.busy("/delay/600");
    setting.proxy.signal(libc::SIGINT);
    assert_eq!(waiting.receive().expect("a response").text(), "origin");
    assert_eq!(setting.proxy.exit().code(), Some(0));
}

#[test]
fn drained_listeners_leave_the_process_running() {
    let mut setting = setting("auto", &[]);
    let mut idle = setting.client();
    idle.get("/").expect("a response");
    assert_eq!(setting.proxy.post("/drain_listeners").text(), "OK\n");
    setting.wait_until_deaf();
    assert!(idle.ends());
    setting.proxy.wait_for_log("drained");
    assert!(setting.proxy.running());
    assert_eq!(setting.proxy.get("/ready").text(), "DRAINING\n");
    setting.proxy.signal(libc::SIGTERM);
    assert_eq!(setting.proxy.exit().code(), Some(0), "one signal suffices then");
}

#[test]
fn a_graceful_drain_ends_the_process() {
    let mut setting = setting("auto", &[]);
    let mut waiting = setting.busy("/delay/600");
    assert_eq!(setting.proxy.post("/drain_listeners?graceful").text(), "OK\n");
    let response = waiting.receive().expect("a response");
    assert_eq!((response.text().as_str(), response.closes()), ("origin", true));
    assert_eq!(setting.proxy.exit().code(), Some(0));
}

#[test]
fn quitquitquit_waits_for_nobody() {
    let mut setting = setting("auto", &[]);
    let mut endless = setting.busy("/trickle/600");
    assert_eq!(setting.proxy.post("/quitquitquit").text(), "OK\n");
    assert_eq!(setting.proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
    assert!(endless.receive().is_err());
}

#[test]
fn a_client_that_never_reads_does_not_hold_up_a_second_signal() {
    let mut setting = setting("auto", &[]);
    let mut stuck = TcpStream::connect(setting.listen).expect("connects");
    stuck.write_all(b"GET /large/20000000 HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    wait_until("the request to arrive", || setting.origin.requests() == 1);
    setting.proxy.signal(libc::SIGTERM);
    setting.wait_until_deaf();
    setting.proxy.signal(libc::SIGTERM);
    assert_eq!(setting.proxy.exit_within(Duration::from_secs(10)).code(), Some(0));
}
