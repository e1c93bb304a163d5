//! The wall clock jumps while the proxy runs, by hours and by decades, forwards and backwards: as when a machine starts
//! without a battery and hears of the time later. What is measured is measured by the monotonic clock; what is told is
//! told by the new time.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConfig, HandshakeKind, StreamOwned};

use crate::certificates::{Ca, Files};
use crate::ops::client::Client;
use crate::ops::origin::Origin;
use crate::ops::proxy::{Proxy, any_cpu};
use crate::ops::shim::Shim;
use crate::ops::{free_address, wait_until};
use crate::peers::{client_config, get, session, tcp, tls_origin};

on_both_drivers!(a_clock_that_is_stepped_disturbs_nothing);

const HOUR_S: i64 = 3_600;
const DAY_S: i64 = 24 * HOUR_S;

fn config(web: SocketAddr, certificate: &Files, origin: SocketAddr, secure: SocketAddr, ca: &Ca) -> String {
    format!(
        "access_log: {{ path: stdout, format: '%REQ(:PATH)% %START_TIME(%s)% %DURATION% %START_TIME(%a, %d %b %Y %H:%M)%' }}\n\
         listeners:\n  - {{ name: web, address: '{web}', tls: {{ certificates: {}, allow_plain: true }}, http: {{ routes: [\n\
         {{ match: {{ prefix: /secure }}, cluster: secure }},\n\
         {{ match: {{ prefix: /delay/ }}, cluster: app, timeout: 2s }},\n\
         {{ match: {{ prefix: / }}, cluster: app }}] }} }}\n\
         clusters:\n  - {{ name: app, endpoints: ['{origin}'] }}\n\
         \x20 - {{ name: secure, endpoints: ['{secure}'], requests_per_connection_max: 1, tls: {{ ca: '{}', sni: app.test }} }}\n",
        certificate.config(),
        ca.pem().display(),
    )
}

/// Seconds of a processor that the process has used.
fn cpu_s(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let times = behind_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks"));
    // USER_HZ is 100 wherever Linux runs.
    times.sum::<f64>() / 100.0
}

/// The words of the `number`th line about this path, from 1.
fn logged(proxy: &Proxy, path: &str, number: usize) -> Vec<String> {
    let mut words = Vec::new();
    wait_until("a line in the access log", || {
        let lines = proxy.out.all();
        let found = lines.iter().filter(|line| line.starts_with(&format!("{path} "))).nth(number - 1);
        words = found.map(|line| line.splitn(4, ' ').map(str::to_owned).collect()).unwrap_or_default();
        !words.is_empty()
    });
    words
}

/// A handshake and a request; how the handshake went.
fn over_tls(web: SocketAddr, config: &Arc<ClientConfig>) -> HandshakeKind {
    let mut stream = StreamOwned::new(session(config, "app.test"), tcp(web));
    assert_eq!(get(&mut stream, "/tls").expect("a response").status, 200);
    stream.conn.handshake_kind().expect("it's over")
}

fn tells_the_time(proxy: &Proxy, shim: &Shim, client: &mut Client, dates: &mut usize, path: &str) {
    let response = client.get(path).expect("a response");
    assert_eq!(response.status, 200);
    let words = logged(proxy, path, 1);
    let (began, took_ms): (i64, u64) = (words[1].parse().expect("seconds"), words[2].parse().expect("ms"));
    let now = shim.unix_s().max(0);
    assert!((began - now).abs() < HOUR_S / 2, "{words:?} at {now}");
    assert!(took_ms < 60_000, "{words:?}");
    // The two may have been written in different minutes.
    wait_until("a date that is the log's", || {
        let response = client.get("/date").expect("a response");
        let date = response.header("date").expect("a date").to_owned();
        *dates += 1;
        date.starts_with(&logged(proxy, "/date", *dates)[3])
    });
}

fn a_clock_that_is_stepped_disturbs_nothing(driver: &str) {
    let (shim, ca) = (Shim::new(), Ca::new());
    let files = ca.issue("web", &["app.test"]);
    let origin = Origin::start("origin");
    let secure = tls_origin(&files, |stream| {
        let mut buffer = [0; 4096];
        while let Ok(1..) = stream.read(&mut buffer) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").and_then(|()| stream.flush());
        }
    });
    let web = free_address();
    let text = config(web, &files, origin.address, secure, &ca);
    let cpu = any_cpu();
    let mut proxy = Proxy::start_with(&text, &["--driver", driver, "--cores", &cpu], |command| shim.preload(command));
    let tls = client_config(&ca, &rustls::version::TLS13);
    assert_eq!(over_tls(web, &tls), HandshakeKind::Full);
    let mut kept = Client::connect(web).expect("connects");
    let mut dates = 0;
    tells_the_time(&proxy, &shim, &mut kept, &mut dates, "/start");

    let to_1970 = -shim.unix_s() + 5;
    for (round, step) in [3 * HOUR_S, 30 * DAY_S, -30 * DAY_S, to_1970, 0].into_iter().enumerate() {
        // One request is under way when it happens, and nothing of it is late.
        let mut under_way = Client::connect(web).expect("connects");
        under_way.send("GET /delay/1000 HTTP/1.1\r\nhost: test\r\n\r\n").expect("sends");
        wait_until("a request under way", || proxy.stat("cluster.app.upstream_rq_active") == 1);
        shim.set_clock(step);
        assert_eq!(under_way.receive().expect("a response").status, 200, "{step}");
        assert!(logged(&proxy, "/delay/1000", round + 1)[2].parse::<u64>().expect("ms") < 60_000, "{step}");
        // A time that runs out does so when it should.
        let began = Instant::now();
        assert_eq!(under_way.get("/delay/9000").expect("a response").status, 504, "{step}");
        assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());

        tells_the_time(&proxy, &shim, &mut kept, &mut dates, &format!("/round{round}"));
        over_tls(web, &tls);
        wait_until("a session that is resumed", || over_tls(web, &tls) == HandshakeKind::Resumed);
        // In 1970 the endpoint's certificate isn't valid yet.
        if step != to_1970 {
            assert_eq!(kept.get("/secure").expect("a response").status, 200, "{step}");
        }
        for page in ["/ready", "/server_info", "/clusters", "/listeners", "/certs", "/config_dump", "/stats"] {
            assert_eq!(proxy.get(page).status, 200, "{page} {step}");
        }
        assert_eq!(proxy.reload(&text.replace("timeout: 2s", &format!("timeout: {}ms", 2_000 + round))).status, 200);
        // Nothing goes round and round.
        let before = cpu_s(proxy.pid());
        std::thread::sleep(Duration::from_secs(1));
        let used = cpu_s(proxy.pid()) - before;
        assert!(used < 0.5, "{step}: {used} s of a processor in a second");
    }
    assert_eq!(proxy.stat("http.web.downstream_cx_idle_timeout"), 0);
    proxy.signal(libc::SIGTERM);
    assert_eq!(proxy.exit().code(), Some(0));
}
