//! Many hostile connections at once, and what may become of the proxy meanwhile.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{Client, DEADLINE, Driver, Origin, Proxy, ok};

/// What each of many connections does.
pub(crate) struct Attack {
    pub(crate) connections: usize,
    /// Sent at once.
    pub(crate) first: Vec<u8>,
    /// Sent a byte every [`TRICKLE`] after that, over and over.
    pub(crate) trickle: Vec<u8>,
    pub(crate) reads: bool,
    /// The longest that one of them may last by the config.
    pub(crate) timeout: Duration,
    /// What one of them may cost in resident memory.
    pub(crate) bytes_max: u64,
    /// The counter that says why they ended, and how often it counts each of them.
    pub(crate) counter: &'static str,
    /// The gauge of what they hold; `None` is the listener's connections.
    pub(crate) gauge: Option<&'static str>,
}

impl Default for Attack {
    fn default() -> Attack {
        Attack {
            connections: CONNECTIONS,
            first: Vec::new(),
            trickle: Vec::new(),
            reads: true,
            timeout: TIMEOUT,
            bytes_max: 32 << 10,
            counter: "",
            gauge: None,
        }
    }
}

impl Attack {
    fn begin(&self, address: SocketAddr) -> Vec<Attacker<'_>> {
        let begin = |_| {
            let stream = TcpStream::connect(address).expect("connects");
            stream.set_nonblocking(true).expect("not blocking");
            let mut attacker = Attacker { stream: Some(stream), first: &self.first, trickled: 0 };
            attacker.begin();
            attacker
        };
        (0..self.connections).map(begin).collect()
    }
}

struct Attacker<'a> {
    /// `None`: it has ended.
    stream: Option<TcpStream>,
    /// What is left of that. The kernel may be short of memory for sockets and take a part only, or nothing.
    first: &'a [u8],
    trickled: usize,
}

impl Attacker<'_> {
    /// Sends what is left of the beginning, as far as it goes; it may be over already.
    fn begin(&mut self) {
        let Some(stream) = &mut self.stream else { return };
        while !self.first.is_empty() {
            match stream.write(self.first) {
                Ok(sent) => self.first = &self.first[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.first = &[],
            }
        }
    }

    /// Sends a byte more of `trickle` and reads what there is.
    fn go_on(&mut self, trickle: &[u8], reads: bool) {
        self.begin();
        let Some(stream) = &mut self.stream else { return };
        let blocks = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
        let mut is_open = true;
        if !trickle.is_empty() && self.first.is_empty() {
            match stream.write(&[trickle[self.trickled % trickle.len()]]) {
                Ok(sent) => self.trickled += sent,
                Err(error) => is_open = blocks(&error),
            }
        }
        while is_open && reads {
            match stream.read(&mut [0; 4096]) {
                Ok(0) => is_open = false,
                Ok(_) => {}
                Err(error) if blocks(&error) => return,
                Err(_) => is_open = false,
            }
        }
        if !is_open && reads {
            self.stream = None;
        }
    }
}

pub(crate) const CONNECTIONS: usize = 400;
/// What timeouts are configured to.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(1_500);
/// Shorter than any timeout, so that a timeout that every byte puts off would never come.
const TRICKLE: Duration = Duration::from_millis(100);
/// Beyond the timeout: machines are busy and builds are slow.
const SLACK: Duration = Duration::from_secs(8);

/// As many descriptors as we may have.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both take a pointer to a local that they are done with when they return.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

/// A proxy with a listener `web` for those who behave, and the listener `attacked` for the others.
pub(crate) struct Besieged {
    proxy: Proxy,
    _origin: Origin,
}

impl Besieged {
    /// Fields of the attacked listener, and clusters beside `app`, the neighbours' and everybody's.
    pub(crate) fn new(driver: Driver, listener: &str, clusters: &str) -> Besieged {
        raise_file_limit();
        // More than the kernel's buffers hold.
        let large = ok(vec![b'x'; 32 << 20]);
        let origin = Origin::new(move |mut peer| {
            while let Ok(request) = peer.request() {
                let sent = match request.target() {
                    "/large" => peer.wire.send(&large),
                    target => peer.wire.send(ok(target)),
                };
                if !sent {
                    return;
                }
            }
        });
        let proxy = Proxy::start(
            driver,
            &format!(
                "listeners:\n  - {{ name: web, address: '$web', http: {{ routes: [{{ match: {{}}, cluster: app }}] }} }}\n  \
                 - {{ name: attacked, address: '$raw', {listener} }}\n\
                 clusters: [{{ name: app, endpoints: ['{}'] }}, {clusters}]\n",
                origin.address
            ),
        );
        Besieged { proxy, _origin: origin }
    }

    fn listener(&self, stat: &str) -> String {
        format!("listener.{}.{stat}", self.proxy.raw.to_string().replace(':', "_"))
    }

    /// Counters of the attacked listener are given as `listener.name`.
    fn stat(&self, name: &str) -> u64 {
        match name.strip_prefix("listener.") {
            Some(name) => self.proxy.stat(&self.listener(name)),
            None => self.proxy.stat(name),
        }
    }

    /// What has been counted of anything, to see what happened instead.
    fn counted(&self) -> String {
        let stats = self.proxy.admin("/stats").text();
        let lines = stats.lines().filter(|line| !line.ends_with(": 0") && !line.contains("_ms"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Peers that would rather take everything than end: some of them are cut off before there is nothing left, and
    /// that is what the counter says.
    pub(crate) fn sheds(&self, attack: &Attack) {
        let mut neighbours = Neighbours::new(self.proxy.web);
        neighbours.are_well();
        let attackers = attack.begin(self.proxy.raw);
        let began = Instant::now();
        while self.stat(attack.counter) == 0 {
            neighbours.are_well();
            assert!(began.elapsed() < attack.timeout + SLACK, "nobody was cut off\n{}", self.counted());
            std::thread::sleep(TRICKLE);
        }
        neighbours.are_well();
        drop(attackers);
    }

    pub(crate) fn withstands(&self, attack: &Attack) {
        let mut neighbours = Neighbours::new(self.proxy.web);
        neighbours.are_well();
        let gauge = attack.gauge.unwrap_or("listener.downstream_cx_active");
        let (before, counted) = (self.proxy.resident_bytes(), self.stat(attack.counter));
        let mut attackers = attack.begin(self.proxy.raw);
        let began = Instant::now();
        let mut peak = before;
        loop {
            neighbours.are_well();
            peak = peak.max(self.proxy.resident_bytes());
            let done = self.stat(attack.counter) - counted;
            let held = self.stat(gauge);
            if done >= attack.connections as u64 && held == 0 {
                break;
            }
            let elapsed = began.elapsed();
            assert!(
                elapsed < attack.timeout + SLACK,
                "{elapsed:?}: {done} of {} are counted by {}, {gauge} is {held}\n{}",
                attack.connections,
                attack.counter,
                self.counted()
            );
            attackers.iter_mut().for_each(|attacker| attacker.go_on(&attack.trickle, attack.reads));
            std::thread::sleep(TRICKLE);
        }
        neighbours.are_well();
        let each = peak.saturating_sub(before) / attack.connections as u64;
        assert_eq!(self.stat(attack.counter) - counted, attack.connections as u64, "{}", attack.counter);
        eprintln!("{}: {each} bytes a connection, over after {:?}", attack.counter, began.elapsed());
        assert!(each <= attack.bytes_max, "{each} bytes a connection, instead of {}", attack.bytes_max);
    }
}

/// One on a kept connection and one on a new one each time.
struct Neighbours {
    web: SocketAddr,
    kept: Client,
    asked: usize,
}

impl Neighbours {
    fn new(web: SocketAddr) -> Neighbours {
        Neighbours { web, kept: Client::connect(web), asked: 0 }
    }

    fn are_well(&mut self) {
        for _ in 0..5 {
            self.asked += 1;
            let began = Instant::now();
            let target = format!("/neighbour/{}", self.asked);
            assert_eq!(self.kept.get(&target).text(), target);
            assert_eq!(Client::connect(self.web).get(&target).text(), target);
            assert!(began.elapsed() < DEADLINE / 2, "{:?}", began.elapsed());
        }
    }
}
