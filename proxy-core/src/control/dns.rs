//! Endpoint names → addresses, again and again.
//!
//! Each name has a task of its own that resolves it, tells the answer, and sleeps as long as DNS says the answer holds.
//! A failure keeps the last good addresses.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::watch::Stamp;
use crate::config::Hostname;

/// An answer is used at least this long, whatever its lifetime.
const TTL_MIN: Duration = Duration::from_secs(1);
/// And no longer than this: a mistake with a lifetime of a week must not last a week.
const TTL_MAX: Duration = Duration::from_secs(300);
/// What the resolver gives names that don't come from DNS (the hosts file, localhost): a day. Their real lifetime is
/// the cluster's refresh interval.
const TTL_NOT_DNS: Duration = Duration::from_secs(86_000);
/// Addresses of one name that become endpoints; the lowest, so that they stay the same from answer to answer. Each costs
/// every core memory and pools, and who answers for a name isn't always who runs the proxy.
const ADDRESSES_MAX: usize = 1024;
/// Names resolved at once.
const LOOKUPS_MAX: usize = 64;

/// One resolution.
pub(super) struct Answer {
    pub(super) host: String,
    pub(super) outcome: Outcome,
    pub(super) took: Duration,
}

pub(super) enum Outcome {
    /// And how many were left out: they were too many, or none that a connection can be made to.
    Addresses(Vec<IpAddr>, usize),
    /// The name exists and has no address.
    Empty,
    Failed(String),
}

/// The names that are being resolved and what is known of them.
pub(super) struct Dns {
    lookup: Arc<Lookup>,
    answers: mpsc::UnboundedSender<Answer>,
    tasks: HashMap<String, Task>,
    /// Last good addresses, sorted.
    known: HashMap<String, Vec<IpAddr>>,
    /// Names that have been answered at least once, good or bad.
    tried: HashSet<String>,
}

struct Task {
    refresh: Duration,
    join: JoinHandle<()>,
}

impl Dns {
    /// With the system's resolver configuration, or these name servers instead. Must be called within the runtime.
    pub(super) fn new(name_servers: Vec<SocketAddr>) -> (Dns, mpsc::UnboundedReceiver<Answer>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        let lookup = Lookup { name_servers, slots: Semaphore::new(LOOKUPS_MAX), resolver: Mutex::default() };
        let lookup = Arc::new(lookup);
        (Dns { lookup, answers, tasks: HashMap::new(), known: HashMap::new(), tried: HashSet::new() }, receiver)
    }

    /// Resolves these names from now on and no others. What goes on being asked for keeps its rhythm.
    pub(super) fn follow<'a>(&mut self, names: impl IntoIterator<Item = &'a Hostname>) {
        let mut wanted: BTreeMap<&str, u64> = BTreeMap::new();
        for name in names {
            let refresh_ms = wanted.entry(&name.host).or_insert(u64::MAX);
            *refresh_ms = name.refresh_ms.min(*refresh_ms);
        }
        self.tasks.retain(|host, task| {
            let same = wanted.get(host.as_str()).is_some_and(|&ms| Duration::from_millis(ms) == task.refresh);
            if !same {
                task.join.abort();
            }
            same
        });
        for (host, refresh_ms) in &wanted {
            let (lookup, answers) = (Arc::clone(&self.lookup), self.answers.clone());
            self.tasks.entry((*host).to_owned()).or_insert_with_key(|host| {
                let refresh = Duration::from_millis(*refresh_ms);
                Task { refresh, join: tokio::spawn(follow(host.clone(), refresh, lookup, answers)) }
            });
        }
        self.known.retain(|host, _| wanted.contains_key(host.as_str()));
        self.tried.retain(|host| wanted.contains_key(host.as_str()));
    }

    /// Whether every followed name has been answered at least once.
    pub(super) fn settled(&self) -> bool {
        self.tasks.keys().all(|host| self.tried.contains(host))
    }

    /// Takes in an answer. Returns whether addresses have changed.
    pub(super) fn take(&mut self, answer: &Answer) -> bool {
        if !self.tasks.contains_key(&answer.host) {
            return false;
        }
        self.tried.insert(answer.host.clone());
        match &answer.outcome {
            Outcome::Addresses(addresses, _) if self.known.get(&answer.host) != Some(addresses) => {
                self.known.insert(answer.host.clone(), addresses.clone());
                true
            }
            _ => false,
        }
    }

    /// Addresses by "host:port", as [`crate::config::Inputs`] takes them.
    pub(super) fn resolved(&self, names: &[Hostname]) -> HashMap<String, Vec<SocketAddr>> {
        let mut resolved = HashMap::new();
        for name in names {
            if let Some(addresses) = self.known.get(&name.host) {
                resolved.insert(name.key(), addresses.iter().map(|ip| SocketAddr::new(*ip, name.port)).collect());
            }
        }
        resolved
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.tasks.values().for_each(|task| task.join.abort());
    }
}

/// One name's task.
async fn follow(host: String, refresh: Duration, lookup: Arc<Lookup>, answers: mpsc::UnboundedSender<Answer>) {
    loop {
        let start = Instant::now();
        let (outcome, lifetime) = lookup.resolve(&host, refresh).await;
        let answer = Answer { host: host.clone(), outcome, took: start.elapsed() };
        if answers.send(answer).is_err() {
            return;
        }
        tokio::time::sleep(lifetime).await;
    }
}

/// How long an answer is used that says of itself that it holds for so long.
fn lifetime(told: Duration, refresh: Duration) -> Duration {
    if told >= TTL_NOT_DNS { refresh } else { told.clamp(TTL_MIN, TTL_MAX.max(refresh)) }
}

/// What of an answer may become endpoints. A connection to 0.0.0.0 would reach this very host.
fn usable(mut addresses: Vec<IpAddr>) -> Outcome {
    addresses.sort_unstable();
    addresses.dedup();
    let told = addresses.len();
    let is_host = |ip: &IpAddr| match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    };
    addresses.retain(is_host);
    addresses.truncate(ADDRESSES_MAX);
    let left_out = told - addresses.len();
    if addresses.is_empty() { Outcome::Empty } else { Outcome::Addresses(addresses, left_out) }
}

struct Lookup {
    name_servers: Vec<SocketAddr>,
    slots: Semaphore,
    /// The resolver and the stamps of the files that it was made from.
    resolver: Mutex<Option<(Vec<Option<Stamp>>, TokioResolver)>>,
}

impl Lookup {
    /// Resolves a name and says for how long the answer holds.
    async fn resolve(&self, host: &str, refresh: Duration) -> (Outcome, Duration) {
        let _slot = self.slots.acquire().await;
        let resolver = match self.resolver() {
            Ok(resolver) => resolver,
            Err(error) => return (Outcome::Failed(error), refresh),
        };
        match resolver.lookup_ip(host).await {
            Ok(found) => {
                let lifetime = lifetime(found.valid_until().saturating_duration_since(Instant::now()), refresh);
                (usable(found.iter().collect()), lifetime)
            }
            Err(error) if error.is_no_records_found() && !error.is_nx_domain() => (Outcome::Empty, refresh),
            Err(error) => (Outcome::Failed(error.to_string()), refresh),
        }
    }

    /// The resolver; made anew when `/etc/resolv.conf` or `/etc/hosts` has changed.
    fn resolver(&self) -> Result<TokioResolver, String> {
        let stamps: Vec<_> =
            ["/etc/resolv.conf", "/etc/hosts"].into_iter().map(|path| Stamp::of(Path::new(path))).collect();
        let mut made = self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, resolver)) = &*made
            && *from == stamps
        {
            return Ok(resolver.clone());
        }
        let resolver = self.make().map_err(|error| format!("no resolver: {error}"))?;
        *made = Some((stamps, resolver.clone()));
        Ok(resolver)
    }

    fn make(&self) -> Result<TokioResolver, hickory_resolver::net::NetError> {
        let mut builder = if self.name_servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = self.name_servers.iter().map(|address| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
                NameServerConfig::new(address.ip(), true, connections.into())
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        let options = builder.options_mut();
        // The tasks keep time themselves; a cache would only make them miss a change.
        options.cache_size = 0;
        // Both families at once would send half of the connections of a host without IPv6 into the void.
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        builder.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_hold_neither_for_nothing_nor_for_ever() {
        let seconds = Duration::from_secs;
        let refresh = seconds(5);
        for (told, used) in [(0, 1), (1, 1), (60, 60), (300, 300), (301, 300), (604_800, 5), (u64::from(u32::MAX), 5)] {
            assert_eq!(lifetime(seconds(told), refresh), seconds(used), "{told}");
        }
        assert_eq!(lifetime(seconds(3_000), seconds(600)), seconds(600), "asked for less often");
    }

    #[test]
    fn addresses_are_bounded_and_of_hosts() {
        let parsed =
            |texts: &[&str]| texts.iter().map(|text| text.parse().expect("an address")).collect::<Vec<IpAddr>>();
        let nobody = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "::ffff:0.0.0.0"];
        assert!(matches!(usable(parsed(&nobody)), Outcome::Empty));
        let Outcome::Addresses(kept, left_out) = usable(parsed(&["0.0.0.0", "10.0.0.2", "10.0.0.1", "10.0.0.2"]))
        else {
            panic!("no addresses");
        };
        assert_eq!((kept, left_out), (parsed(&["10.0.0.1", "10.0.0.2"]), 1));
        let many = (0..3_000_u32).rev().map(|at| IpAddr::from((0x0a00_0000 + at).to_be_bytes())).collect();
        let Outcome::Addresses(kept, left_out) = usable(many) else { panic!("no addresses") };
        assert_eq!((kept.len(), left_out), (ADDRESSES_MAX, 3_000 - ADDRESSES_MAX));
        assert_eq!(kept.first(), Some(&IpAddr::from([10, 0, 0, 0])));
    }
}
