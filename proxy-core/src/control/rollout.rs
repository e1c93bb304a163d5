//! Config → cores. A rollout loads a config, compiles it and publishes the snapshot; a refused config changes nothing.
//! A change of addresses is a rollout of the same config.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use super::certificates;
use super::cores::acks;
use super::dns::{self, Dns};
use super::watch::{self, Stamp};
use super::{Current, Held, Shared};
use crate::config::{self, EndpointAddress, Hostname, Model};
use crate::snapshot::{self, Snapshot};
use crate::stats::{Block, ClusterStat, ServerStat};

/// New names get this long for their first answer; then their clusters start without them.
const FIRST_ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);
/// A core that hasn't taken over a snapshot by then is reported.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(10);

/// Follows the system's words when an address isn't allowed.
const LOW_PORT_HINT: &str = " (low ports need CAP_NET_BIND_SERVICE; `--keep-bind` keeps it when `--user` is given)";

/// Why a config is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cause {
    Signal,
    Admin,
    File(Stamp),
    /// A file that TLS is configured with has changed.
    Certificates,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Cause::Signal => "signal",
            Cause::Admin => "admin API",
            Cause::File(_) => "file change",
            Cause::Certificates => "certificate change",
        }
    }
}

/// The new version, or why the old one stays (or what a core could not take over).
pub(super) type Outcome = Result<u64, String>;

pub(super) struct Request {
    pub(super) cause: Cause,
    pub(super) reply: oneshot::Sender<Outcome>,
}

pub(super) struct Rollout {
    shared: Arc<Shared>,
    dns: Dns,
    answers: mpsc::UnboundedReceiver<dns::Answer>,
    names: Vec<Hostname>,
    version: u64,
    /// The file as it was when it was last read.
    loaded: Option<Stamp>,
    /// Listeners of earlier configs whose sockets a core may still have open.
    closing: Vec<Weak<snapshot::Listener>>,
    held: Held,
}

impl Rollout {
    /// The first rollout: returns when every core serves.
    ///
    /// # Errors
    /// Why the process can't start with this config.
    pub(super) async fn begin(
        shared: Arc<Shared>,
        model: Model,
        name_servers: Vec<SocketAddr>,
        held: Held,
    ) -> Result<Rollout, String> {
        let (dns, answers) = Dns::new(name_servers);
        let loaded = shared.config_path.as_deref().and_then(Stamp::of);
        let (names, closing) = (Vec::new(), Vec::new());
        let mut rollout = Rollout { shared, dns, answers, names, version: 0, loaded, closing, held };
        let acknowledged = rollout.adopt(model).await?;
        match acknowledged.await {
            Ok(Ok(_)) => {
                // From here on these are listeners' addresses like others.
                rollout.held.bound.clear();
                Ok(rollout)
            }
            Ok(Err(why)) => Err(why),
            Err(_) => Err("the first config was not taken over".into()),
        }
    }

    /// Serves requests, file changes and answers of DNS, for ever.
    pub(super) async fn run(mut self, mut requests: mpsc::UnboundedReceiver<Request>) {
        if let Some(path) = self.shared.config_path.clone() {
            let shared = Arc::clone(&self.shared);
            let changed = move |stamp| drop(shared.reload(Cause::File(stamp)));
            tokio::spawn(watch::watch(path, self.loaded, changed));
            tokio::spawn(certificates::watch(Arc::clone(&self.shared)));
        }
        loop {
            tokio::select! {
                Some(request) = requests.recv() => self.serve(request).await,
                Some(answer) = self.answers.recv() => self.take_answers(answer),
                else => return,
            }
        }
    }

    async fn serve(&mut self, request: Request) {
        let Request { cause, reply } = request;
        // The signal or the API were quicker than the watch.
        if let Cause::File(stamp) = cause
            && self.loaded == Some(stamp)
        {
            return;
        }
        self.shared.tell_reloading();
        match self.reload().await {
            Ok(acknowledged) => {
                // The cores take their time and the next request need not wait for them: a mailbox keeps the order.
                let shared = Arc::clone(&self.shared);
                tokio::spawn(async move {
                    let lost = Err("nobody waited for the cores".to_owned());
                    let outcome = acknowledged.await.unwrap_or(lost);
                    shared.tell_ready();
                    let _ = reply.send(outcome);
                });
            }
            Err(why) => {
                self.shared.lane.inc(ServerStat::ConfigReloadFailure);
                let (version, cause) = (self.version, cause.name());
                tracing::error!("config refused ({cause}), version {version} stays in use\n{}", why.trim_end());
                self.shared.tell_ready();
                let _ = reply.send(Err(why));
            }
        }
    }

    async fn reload(&mut self) -> Result<oneshot::Receiver<Outcome>, String> {
        if self.shared.draining() {
            return Err("the process drains and takes no more configs".into());
        }
        let Some(path) = self.shared.config_path.clone() else {
            return Err("the built-in config is in use, there is no file to load".into());
        };
        self.loaded = Stamp::of(&path);
        let running = self.shared.current();
        let before = running.as_ref().map(|running| running.model.tls());
        let model = load(&path, before)?;
        drop(running);
        let acknowledged = self.adopt(model).await;
        if acknowledged.is_ok() {
            self.shared.lane.inc(ServerStat::ConfigReloadSuccess);
        }
        acknowledged
    }

    /// Makes a model the one in use and sends it to the cores.
    async fn adopt(&mut self, model: Model) -> Result<oneshot::Receiver<Outcome>, String> {
        let running = self.shared.current();
        let names = config::hostnames(&model);
        self.first_answers(&model, &names).await;
        let prepared = self.compile(&model, &names).and_then(|snapshot| {
            check_logs(&snapshot)?;
            self.check_addresses(&snapshot, running.as_ref().map(|running| &*running.snapshot))?;
            Ok(snapshot)
        });
        let snapshot = match prepared {
            Ok(snapshot) => snapshot,
            Err(why) => {
                self.dns.follow(&self.names);
                return Err(why);
            }
        };
        if !model.warnings().is_empty() {
            tracing::warn!("{}", model.warnings().to_string().trim_end());
        }
        if let Some(running) = &running
            && running.model.admin.address.0 != model.admin.address.0
        {
            let (kept, wanted) = (&running.model.admin.address.0, &model.admin.address.0);
            tracing::warn!("the admin API stays at {kept}: moving it to {wanted} needs a restart");
        }
        self.dns.follow(&names);
        self.names = names;
        Ok(self.publish(Arc::new(model), snapshot))
    }

    fn compile(&self, model: &Model, names: &[Hostname]) -> Result<Snapshot, String> {
        let resolved = self.dns.resolved(names);
        let inputs = config::Inputs { registry: &self.shared.registry, resolved: &resolved, version: self.version + 1 };
        config::compile(model, &inputs).map_err(|diagnostics| diagnostics.to_string())
    }

    /// Refuses listeners whose address can't be had. The cores bind with SO_REUSEPORT, which would let them share a port
    /// with a stranger; so the port is tried once without. Ports that the running config has are ours, and so are those
    /// that the cores are about to let go; whether we may bind them (again) has to be tried all the same.
    fn check_addresses(&self, snapshot: &Snapshot, running: Option<&Snapshot>) -> Result<(), String> {
        let kept = |new: &snapshot::Listener| {
            let same = |old: &Arc<snapshot::Listener>| old.address == new.address && old.serves_like(new);
            let held = self.held.inherited.contains(&new.address) || self.held.bound.contains(&new.address);
            held || running.is_some_and(|running| running.listeners.iter().any(same))
        };
        let running = running.iter().flat_map(|running| &running.listeners).cloned();
        let ours: HashSet<u16> = running
            .chain(self.closing.iter().filter_map(Weak::upgrade))
            .map(|listener| listener.address.port())
            .collect();
        let mut wrong = String::new();
        for listener in snapshot.listeners.iter().filter(|listener| !kept(listener)) {
            let Err(error) = runtime::try_address(listener.address) else { continue };
            let hint = match error.kind() {
                io::ErrorKind::AddrInUse if ours.contains(&listener.address.port()) => continue,
                io::ErrorKind::PermissionDenied => LOW_PORT_HINT,
                _ => "",
            };
            wrong += &format!("listener {} can't have {}: {error}{hint}\n", listener.name, listener.address);
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Sends a snapshot to the cores. The receiver gets the version when all have acknowledged it.
    fn publish(&mut self, model: Arc<Model>, snapshot: Snapshot) -> oneshot::Receiver<Outcome> {
        let (start, snapshot) = (Instant::now(), Arc::new(snapshot));
        self.version = snapshot.version;
        let before = self.shared.current();
        count_membership(&snapshot, before.as_ref().map(|before| &*before.snapshot));
        self.closing.retain(|listener| listener.strong_count() > 0);
        self.closing.extend(before.iter().flat_map(|before| &before.snapshot.listeners).map(Arc::downgrade));
        self.shared.set_current(Current { model, snapshot: Arc::clone(&snapshot), since: SystemTime::now() });
        self.shared.lane.inc(ServerStat::ConfigRollouts);
        let mut cores = self.shared.cores();
        let (acks, answers) = acks(cores.count());
        cores.publish(&snapshot, acks);
        drop(cores);
        let (acknowledged, receiver) = oneshot::channel();
        let (shared, version) = (Arc::clone(&self.shared), snapshot.version);
        drop(snapshot);
        tokio::spawn(async move {
            let outcome = match answers.all(ACKNOWLEDGE_TIMEOUT).await {
                Ok(()) => {
                    tracing::info!(version, took = ?start.elapsed(), "config in use on every core");
                    Ok(version)
                }
                Err(wrong) => {
                    let wrong = wrong.join("\n");
                    tracing::error!(version, "config not wholly in use\n{wrong}");
                    Err(format!("config version {version} is not wholly in use:\n{wrong}\n"))
                }
            };
            shared.lane.observe_us(ServerStat::ConfigRolloutTime, start.elapsed().as_micros() as u64);
            shared.registry.retire_unused();
            let _ = acknowledged.send(outcome);
        });
        receiver
    }

    /// Starts to resolve what is new among the names and waits a little for first answers.
    async fn first_answers(&mut self, model: &Model, names: &[Hostname]) {
        // The running config's names go on until the new one is accepted; of a name in both the new interval counts.
        let new: HashSet<&str> = names.iter().map(|name| name.host.as_str()).collect();
        let kept: Vec<Hostname> = self.names.iter().filter(|name| !new.contains(name.host.as_str())).cloned().collect();
        self.dns.follow(names.iter().chain(&kept));
        let deadline = tokio::time::Instant::now() + FIRST_ANSWERS_TIMEOUT;
        while !self.dns.settled() {
            match tokio::time::timeout_at(deadline, self.answers.recv()).await {
                Ok(Some(answer)) => {
                    let changed = self.dns.take(&answer);
                    self.count_answer(model, &answer, changed);
                }
                Ok(None) | Err(_) => {
                    tracing::warn!("not all endpoint names could be resolved in time; their clusters start without");
                    return;
                }
            }
        }
    }

    /// Takes in all answers that are there and rolls out what they change, once.
    fn take_answers(&mut self, first: dns::Answer) {
        let Some(current) = self.shared.current() else { return };
        let mut changed = false;
        let mut next = Some(first);
        while let Some(answer) = next {
            let this_changed = self.dns.take(&answer);
            self.count_answer(&current.model, &answer, this_changed);
            changed |= this_changed;
            next = self.answers.try_recv().ok();
        }
        if !changed {
            return;
        }
        match self.compile(&current.model, &self.names) {
            Ok(snapshot) => drop(self.publish(current.model, snapshot)),
            Err(why) => tracing::error!("new addresses can't be taken over\n{why}"),
        }
    }

    /// Counts an answer for the process and for every cluster of the model that has the name.
    fn count_answer(&self, model: &Model, answer: &dns::Answer, changed: bool) {
        let lane = &self.shared.lane;
        lane.inc(ServerStat::DnsQueries);
        let outcome = match &answer.outcome {
            dns::Outcome::Addresses(..) => ClusterStat::UpdateSuccess,
            dns::Outcome::Empty => ClusterStat::UpdateEmpty,
            dns::Outcome::Failed(why) => {
                lane.inc(ServerStat::DnsFailures);
                tracing::warn!(name = answer.host, "can't be resolved, the last addresses stay: {why}");
                ClusterStat::UpdateFailure
            }
        };
        let left_out = match answer.outcome {
            dns::Outcome::Addresses(_, left_out) => left_out as u64,
            _ => 0,
        };
        if left_out > 0 && changed {
            tracing::warn!(name = answer.host, left_out, "not all of its addresses become endpoints");
        }
        let has =
            |address: &EndpointAddress| matches!(address, EndpointAddress::Name { host, .. } if *host == answer.host);
        let clusters = model.clusters.iter();
        for cluster in clusters.filter(|cluster| cluster.endpoints.iter().any(|endpoint| has(&endpoint.address))) {
            let lane = self.shared.registry.cluster(&cluster.name.0).control_lane();
            lane.inc(ClusterStat::UpdateAttempt);
            lane.inc(outcome);
            lane.add(ClusterStat::UpdateLeftOut, left_out);
            if !changed {
                lane.inc(ClusterStat::UpdateNoRebuild);
            }
            lane.observe_us(ClusterStat::UpdateDuration, answer.took.as_micros() as u64);
        }
    }
}

/// `before`: of the config in use.
fn load(path: &Path, before: Option<&config::Tls>) -> Result<Model, String> {
    let loaded = match before {
        Some(before) => config::load_after(path, before),
        None => config::load(path),
    };
    loaded.map_err(|diagnostics| diagnostics.to_string())
}

/// Refuses logs whose file can't be opened.
fn check_logs(snapshot: &Snapshot) -> Result<(), String> {
    let wrong: Vec<String> = snapshot
        .logs
        .iter()
        .filter_map(|log| log.try_open().err().map(|error| format!("access log {}: {error}\n", log.destination())))
        .collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.concat()) }
}

/// Brings the clusters' gauges of endpoints up to date.
fn count_membership(snapshot: &Snapshot, before: Option<&Snapshot>) {
    let addresses = |cluster: &crate::snapshot::Cluster| -> Vec<(SocketAddr, u32)> {
        cluster.endpoints.iter().map(|endpoint| (endpoint.address, endpoint.weight)).collect()
    };
    let known: HashMap<*const Block, Vec<(SocketAddr, u32)>> = before
        .iter()
        .flat_map(|before| &before.clusters)
        .map(|cluster| (Arc::as_ptr(&cluster.stats), addresses(cluster)))
        .collect();
    for cluster in &snapshot.clusters {
        let lane = cluster.stats.control_lane();
        let endpoints = cluster.endpoints.len() as u64;
        lane.set(ClusterStat::MembershipTotal, endpoints);
        lane.set(ClusterStat::MembershipHealthy, endpoints);
        let heaviest = cluster.endpoints.iter().map(|endpoint| u64::from(endpoint.weight)).max();
        lane.set(ClusterStat::MaxHostWeight, heaviest.unwrap_or(0));
        if known.get(&Arc::as_ptr(&cluster.stats)) != Some(&addresses(cluster)) {
            lane.inc(ClusterStat::MembershipChange);
        }
    }
}
