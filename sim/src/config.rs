//! The proxy's config of a run, and how it changes.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use runtime::sim::Random;

pub(crate) const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
/// Always there.
pub(crate) const WEB: SocketAddr = SocketAddr::new(PROXY, 80);
/// Comes and goes with the configs.
pub(crate) const SECOND: SocketAddr = SocketAddr::new(PROXY, 81);
/// Comes with a later config, and stays.
pub(crate) const LATE: SocketAddr = SocketAddr::new(PROXY, 82);
pub(crate) const RAW: SocketAddr = SocketAddr::new(PROXY, 90);

pub(crate) const HTTP1_PORT: u16 = 8080;
pub(crate) const HTTP2_PORT: u16 = 8081;
pub(crate) const TCP_PORT: u16 = 9000;

pub(crate) fn control_machine() -> IpAddr {
    Ipv4Addr::new(10, 0, 3, 1).into()
}

pub(crate) fn client_machine() -> IpAddr {
    Ipv4Addr::new(10, 0, 2, 1).into()
}

pub(crate) fn origin_machine(n: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, n as u8 + 1).into()
}

const BALANCES: [&str; 3] = ["round_robin", "least_request", "random"];

/// What the configs of a run have in common, and what changes.
pub(crate) struct Plan {
    pub(crate) origins: usize,
    /// Origins that are in the config.
    members: Vec<usize>,
    pub(crate) has_second: bool,
    pub(crate) has_late: bool,
    balance: &'static str,
    retries: bool,
    requests_per_connection_max: u64,
    upstream_idle_ms: u64,
    upstream_requests_max: u64,
    connections_max: u64,
}

impl Plan {
    pub(crate) fn draw(random: &mut Random) -> Plan {
        let origins = random.between(1, 3) as usize;
        Plan {
            origins,
            members: (0..origins).collect(),
            has_second: random.chance(500),
            has_late: false,
            balance: random.pick(&BALANCES),
            retries: random.chance(300),
            requests_per_connection_max: if random.chance(200) { random.between(1, 5) } else { 0 },
            upstream_idle_ms: if random.chance(300) { random.between(1, 3_000) } else { 3_600_000 },
            upstream_requests_max: if random.chance(200) { random.between(1, 4) } else { 0 },
            connections_max: if random.chance(200) { random.between(1, 4) } else { 10_000 },
        }
    }

    /// The next config.
    pub(crate) fn change(&mut self, random: &mut Random) {
        self.has_second = random.chance(500);
        self.has_late |= random.chance(500);
        self.members = (0..self.origins).filter(|_| random.chance(700)).collect();
        if self.members.is_empty() {
            self.members.push(random.below(self.origins as u64) as usize);
        }
        self.balance = random.pick(&BALANCES);
        self.upstream_requests_max = if random.chance(200) { random.between(1, 4) } else { 0 };
    }

    pub(crate) fn yaml(&self) -> String {
        let mut out = String::from(
            "access_log: { path: stdout, format: \"%REQ(X-ID)% %RESPONSE_CODE% %RESPONSE_FLAGS%\\n\" }\nlisteners:\n",
        );
        self.http_listener(&mut out, "web", WEB);
        if self.has_second {
            self.http_listener(&mut out, "second", SECOND);
        }
        if self.has_late {
            self.http_listener(&mut out, "late", LATE);
        }
        let _ = write!(
            out,
            "  - name: raw\n    address: {RAW}\n    tcp: {{ cluster: raw, connect_attempts_max: 3, access_log: [] }}\n\
             clusters:\n"
        );
        self.cluster(&mut out, "plain", HTTP1_PORT, "http1");
        self.cluster(&mut out, "second", HTTP2_PORT, "http2");
        self.cluster(&mut out, "raw", TCP_PORT, "http1");
        out
    }

    fn http_listener(&self, out: &mut String, name: &str, address: SocketAddr) {
        let last = self.requests_per_connection_max;
        let _ = write!(
            out,
            "  - name: {name}\n    address: {address}\n    http:\n      upgrades: [websocket]\n      requests_per_connection_max: {last}\n      \
             timeouts: {{ stream_idle: 1h }}\n      routes:\n"
        );
        let retry = "\n          retry: { on: [connect_failure, reset], attempts: 2 }";
        let retry = if self.retries { retry } else { "" };
        let _ =
            writeln!(out, "        - match: {{ prefix: /second/ }}\n          cluster: second\n          timeout: 0s");
        let _ = writeln!(
            out,
            "        - match: {{ prefix: /retried/ }}\n          cluster: plain\n          timeout: 0s{retry}"
        );
        let _ =
            writeln!(out, "        - match: {{ prefix: /calls/ }}\n          cluster: second\n          timeout: 0s");
        let _ = writeln!(
            out,
            "        - match: {{ prefix: /recalls/ }}\n          cluster: second\n          timeout: 0s\n          \
             retry: {{ on: [connect_failure, refused_stream], on_grpc: unavailable, attempts: 2 }}"
        );
        let _ =
            writeln!(out, "        - match: {{ prefix: /plain/ }}\n          cluster: plain\n          timeout: 0s");
    }

    fn cluster(&self, out: &mut String, name: &str, port: u16, protocol: &str) {
        let endpoints: Vec<String> =
            self.members.iter().map(|origin| format!("'{}'", SocketAddr::new(origin_machine(*origin), port))).collect();
        let _ = write!(
            out,
            "  - name: {name}\n    balance: {}\n    endpoints: [{}]\n    protocol: {protocol}\n    idle_timeout: {}ms\n    \
             requests_per_connection_max: {}\n    breaker: {{ connections_max: {} }}\n",
            self.balance,
            endpoints.join(", "),
            self.upstream_idle_ms,
            self.upstream_requests_max,
            self.connections_max,
        );
    }
}
