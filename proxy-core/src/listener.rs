//! A listener on one core: accept, spread over the cores, PROXY protocol, and on to whoever serves the connection.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use codecs::http::HeadLimits;
use runtime::{Accepted, yield_now};

use crate::core::{Generation, HandOver, Registered, World, may_tell};
use crate::log::Record;
use crate::snapshot::{self, Serve};
use crate::stats::{Block, HttpStat, Lane, ListenerStat, ServerStat, TcpStat};
use crate::tls::CoreTls;
use crate::transport::Transport;
use crate::{first_bytes, http, tcp, tls};

/// A core hands a fresh connection over when it holds this many percent of the mean over all cores.
const SHARE_PERCENT_MAX: u64 = 125;

/// How long a listener that closes goes on accepting what had begun its handshake: a long round trip.
const HANDSHAKE_MS: u64 = 100;

/// A listener's definition with what a core derives from it; replaced whole by a new snapshot.
pub(crate) struct Config {
    pub(crate) listener: Arc<snapshot::Listener>,
    pub(crate) generation: Rc<Generation>,
    pub(crate) limits: HeadLimits,
    pub(crate) stats: Lane,
    /// The lane of `http.<prefix>.` or `tcp.<prefix>.`.
    pub(crate) serve_stats: Lane,
    /// Clients speak TLS.
    tls: Option<Rc<CoreTls>>,
}

pub(crate) struct Listener {
    world: Rc<World>,
    config: RefCell<Rc<Config>>,
    accepting: Cell<bool>,
    stop: Cell<bool>,
    stop_waker: RefCell<Option<Waker>>,
    /// Left the config: its connections end with their next response.
    closed: Cell<bool>,
    refusal_told_ms: Cell<Option<u64>>,
    /// The same of `connections_max`.
    full_told_ms: Cell<Option<u64>>,
}

/// One connection from a client, whatever it speaks.
pub(crate) struct Downstream {
    pub(crate) world: Rc<World>,
    pub(crate) listener: Rc<Listener>,
    pub(crate) socket: Transport,
    /// The client, by the PROXY protocol where that is on.
    pub(crate) remote: SocketAddr,
    pub(crate) direct_remote: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) id: u64,
    registered: Option<Registered>,
    ends: Ends,
}

/// Counts the end of a connection when it is dropped.
struct Ends {
    world: Rc<World>,
    stats: Lane,
    block: Arc<Block>,
    born_us: u64,
}

pub(crate) fn head_limits(limits: &snapshot::HttpLimits) -> HeadLimits {
    HeadLimits {
        head_bytes_max: limits.head_bytes_max,
        fields_max: limits.fields_max,
        request_line_bytes_max: limits.request_line_bytes_max,
        chunk_line_bytes_max: limits.chunk_line_bytes_max,
        trailer_bytes_max: limits.trailer_bytes_max,
        ..HeadLimits::default()
    }
}

impl Config {
    /// `before`: what it replaces, of which TLS goes on if it is the same.
    fn new(
        world: &World,
        listener: &Arc<snapshot::Listener>,
        generation: &Rc<Generation>,
        before: Option<&Config>,
    ) -> Rc<Config> {
        let core = world.core.id();
        let (limits, serve) = match &listener.serve {
            Serve::Http(http) => (head_limits(&http.limits), &http.stats),
            Serve::Tcp(tcp) => (HeadLimits::default(), &tcp.stats),
        };
        let same = |before: &&Config| match (&before.listener.tls, &listener.tls) {
            (Some(old), Some(new)) => Arc::ptr_eq(old, new),
            _ => false,
        };
        let tls = match (before.filter(same), &listener.tls) {
            (Some(before), _) => before.tls.clone(),
            (None, Some(tls)) => Some(Rc::new(CoreTls::new(tls, listener.stats.lane(core)))),
            (None, None) => None,
        };
        Rc::new(Config {
            tls,
            listener: listener.clone(),
            generation: generation.clone(),
            limits,
            stats: listener.stats.lane(core),
            serve_stats: serve.lane(core),
        })
    }
}

impl Listener {
    /// Starts to listen.
    pub(crate) fn open(
        world: &Rc<World>,
        config: &Arc<snapshot::Listener>,
        generation: &Rc<Generation>,
    ) -> std::io::Result<Rc<Listener>> {
        let socket = world.core.listen(config.address, config.backlog)?;
        let listener = Rc::new(Listener {
            world: world.clone(),
            config: RefCell::new(Config::new(world, config, generation, None)),
            accepting: Cell::new(true),
            stop: Cell::new(false),
            stop_waker: RefCell::default(),
            closed: Cell::new(false),
            refusal_told_ms: Cell::new(None),
            full_told_ms: Cell::new(None),
        });
        world.core.spawn(listener.clone().accept(socket));
        Ok(listener)
    }

    pub(crate) fn reconcile(&self, config: &Arc<snapshot::Listener>, generation: &Rc<Generation>) {
        let config = Config::new(&self.world, config, generation, Some(&self.config.borrow()));
        *self.config.borrow_mut() = config;
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.config.borrow().listener.address
    }

    /// Whether a definition is of the same kind of service, which this listener could go on with.
    pub(crate) fn serves_like(&self, config: &snapshot::Listener) -> bool {
        self.config.borrow().listener.serves_like(config)
    }

    pub(crate) fn config(&self) -> Rc<Config> {
        self.config.borrow().clone()
    }

    /// Whether a failed handshake may be told again.
    pub(crate) fn may_tell_refusal(&self) -> bool {
        may_tell(&self.refusal_told_ms, self.world.core.now_ms())
    }

    pub(crate) fn accepting(&self) -> bool {
        self.accepting.get()
    }

    /// Whether connections should end with their next response.
    pub(crate) fn closing(&self) -> bool {
        self.closed.get() || self.world.draining() || self.world.overload().disable_keepalive
    }

    /// What a connection that ends because of `closing` counts as.
    pub(crate) fn closing_stat(&self) -> HttpStat {
        if self.closed.get() || self.world.draining() {
            HttpStat::DownstreamCxDrainClose
        } else {
            HttpStat::DownstreamCxOverloadDisableKeepalive
        }
    }

    pub(crate) fn stop_accepting(&self) {
        self.stop.set(true);
        self.wake();
    }

    /// Lets the listener see what has changed.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.stop_waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn close(&self) {
        self.closed.set(true);
        self.stop_accepting();
    }

    async fn accept(self: Rc<Listener>, socket: runtime::Listener) {
        let told_ms = Cell::new(None);
        let mut paused = false;
        let closing = self.world.core.timer();
        let mut refusing = false;
        loop {
            let accepted = poll_fn(|context| {
                if self.stop.get() && !std::mem::replace(&mut refusing, true) {
                    socket.refuse_handshakes();
                    closing.set(self.world.core.now_ms() + HANDSHAKE_MS);
                }
                let pause = self.world.overload().stop_accepting && !refusing;
                if std::mem::replace(&mut paused, pause) != pause {
                    if pause { socket.pause() } else { socket.resume() }
                }
                if closing.expired() {
                    return Poll::Ready(None);
                }
                let accepted = socket.poll_accept();
                if accepted.is_pending() {
                    *self.stop_waker.borrow_mut() = Some(context.waker().clone());
                }
                accepted.map(Some)
            })
            .await;
            match accepted {
                None => break,
                Some(Ok(accepted)) => {
                    self.spread(accepted);
                    // One in a turn of the core's loop: however many come at once, who is there waits for the beginning
                    // of one. The others keep their place.
                    yield_now().await;
                }
                Some(Err(error)) => {
                    self.config.borrow().stats.inc(ListenerStat::DownstreamAcceptError);
                    if may_tell(&told_ms, self.world.core.now_ms()) {
                        tracing::warn!(%error, address = %socket.address(), "accepting pauses");
                    }
                }
            }
        }
        // Connections that are made already are served to their first response's end.
        for accepted in socket.finish().await {
            self.serve(&self.world, accepted);
        }
        self.accepting.set(false);
    }

    /// Keeps a fresh connection, or hands it to the least loaded core if this one holds more than its share.
    fn spread(self: &Rc<Listener>, accepted: Accepted) {
        let config = self.config();
        let Some(core) = self.less_loaded(&config) else {
            return self.serve(&self.world, accepted);
        };
        let me = self.world.core.id();
        let message = HandOver { listener: config.listener.address, accepted, from: me };
        let mut peers = self.world.peers.borrow_mut();
        let refused = match peers[core].as_mut() {
            Some(peer) => peer.send(message).err(),
            None => Some(message),
        };
        drop(peers);
        match refused {
            Some(message) => self.serve(&self.world, message.accepted),
            None => {
                self.world.handed.borrow_mut()[core] += 1;
                config.stats.inc(ListenerStat::DownstreamCxHandedOver);
            }
        }
    }

    fn less_loaded(&self, config: &Config) -> Option<usize> {
        let (cores, me) = (self.world.cores, self.world.core.id());
        if cores < 2 {
            return None;
        }
        let handed = self.world.handed.borrow();
        let load = |core: usize| {
            let held = config.listener.stats.part(core, ListenerStat::DownstreamCxActive);
            // Connections on their way to that core count as its own.
            held + handed[core].wrapping_sub(self.world.adopted.get(core, me))
        };
        let total: u64 = (0..cores).map(load).sum();
        let mine = load(me) + 1;
        if mine * cores as u64 * 100 <= (total + 1) * SHARE_PERCENT_MAX {
            return None;
        }
        let least = (0..cores).min_by_key(|core| load(*core))?;
        (least != me && load(least) + 1 < mine).then_some(least)
    }

    /// Takes a connection to this core and starts its task.
    pub(crate) fn serve(self: &Rc<Listener>, world: &Rc<World>, accepted: Accepted) {
        let config = self.config();
        let (bound, block) = (config.listener.connections_max, &config.listener.stats);
        if bound > 0 && block.gauge(ListenerStat::DownstreamCxActive) >= u64::from(bound) {
            config.stats.inc(ListenerStat::DownstreamCxOverflow);
            if may_tell(&self.full_told_ms, world.core.now_ms()) {
                let name = &config.listener.name;
                tracing::warn!(
                    connections_max = bound,
                    "listener `{name}` has as many connections as it may: others are closed"
                );
            }
            return;
        }
        if world.is_crowded() {
            config.stats.inc(ListenerStat::DownstreamGlobalCxOverflow);
            return;
        }
        world.server_stats.gauge_inc(ServerStat::TotalConnections);
        let socket = world.core.adopt(accepted);
        config.stats.inc(ListenerStat::DownstreamCxTotal);
        config.stats.gauge_inc(ListenerStat::DownstreamCxActive);
        let ends = Ends {
            world: world.clone(),
            stats: config.stats.clone(),
            block: block.clone(),
            born_us: world.core.now_us(),
        };
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let direct_remote = socket.peer_address().unwrap_or(unknown);
        // Boxed: whatever holds it while it waits stays small.
        let downstream = Box::new(Downstream {
            id: world.next_id(),
            remote: direct_remote,
            direct_remote,
            local: socket.local_address().unwrap_or(unknown),
            world: world.clone(),
            listener: self.clone(),
            socket: Transport::Plain(socket),
            registered: None,
            ends,
        });
        world.core.spawn(begin(downstream));
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = &self.block;
        self.world.server_stats.gauge_dec(ServerStat::TotalConnections);
        self.stats.gauge_dec(ListenerStat::DownstreamCxActive);
        self.stats.inc(ListenerStat::DownstreamCxDestroy);
        self.stats.observe_us(ListenerStat::DownstreamCxLengthMs, self.world.core.now_us() - self.born_us);
    }
}

async fn begin(mut downstream: Box<Downstream>) {
    let waker = poll_fn(|context| Poll::Ready(context.waker().clone())).await;
    downstream.registered = Some(downstream.world.register(waker));
    let config = downstream.listener.config();
    if config.listener.proxy_protocol {
        let core = downstream.world.core.clone();
        if !core.recycled(first_bytes::read_proxy_header(&mut downstream, &config)).await {
            return;
        }
    }
    if let Some(tls) = &config.tls {
        let core = downstream.world.core.clone();
        match core.recycled(tls::secure(downstream, &config, tls)).await {
            Some(secured) => downstream = secured,
            None => return,
        }
    }
    match &config.listener.serve {
        Serve::Http(_) => {
            drop(config);
            http::serve(downstream).await;
        }
        Serve::Tcp(_) => {
            let core = downstream.world.core.clone();
            core.recycled(tcp::serve(downstream, config)).await;
        }
    }
}

impl Downstream {
    /// Whether the connection is over its longest life.
    pub(crate) fn over_age(&self, duration_max_ms: u64) -> bool {
        duration_max_ms > 0 && self.age_us() >= duration_max_ms * 1_000
    }

    pub(crate) fn born_us(&self) -> u64 {
        self.ends.born_us
    }

    pub(crate) fn age_us(&self) -> u64 {
        self.world.core.now_us() - self.ends.born_us
    }

    /// Tells an access log what the handshake led to.
    pub(crate) fn log_tls<'a>(&'a self, record: &mut Record<'a>) {
        if let Some(facts) = self.socket.tls() {
            record.tls_version = facts.version;
            record.tls_cipher = facts.cipher;
            record.tls_group = facts.group.unwrap_or_default();
            record.requested_server_name = facts.server_name.as_deref().unwrap_or_default();
            record.peer = facts.peer.as_ref().map(|peer| &peer.facts);
            record.handshake_us = Some(facts.handshake_us);
        }
    }

    pub(crate) fn count_http_begin(&self, stats: &Lane) {
        stats.inc(HttpStat::DownstreamCxTotal);
        stats.gauge_inc(HttpStat::DownstreamCxActive);
        stats.gauge_inc(HttpStat::DownstreamCxHttp1Active);
    }

    pub(crate) fn count_http_end(&self, stats: &Lane) {
        stats.gauge_dec(HttpStat::DownstreamCxActive);
        stats.gauge_dec(HttpStat::DownstreamCxHttp1Active);
        stats.inc(HttpStat::DownstreamCxDestroy);
        stats.observe_us(HttpStat::DownstreamCxLengthMs, self.age_us());
    }

    /// Counts a connection on as HTTP/2 that was counted as HTTP/1 until its first bytes came.
    pub(crate) fn count_http2_begin(&self, stats: &Lane) {
        stats.inc(HttpStat::DownstreamCxHttp2Total);
        stats.gauge_inc(HttpStat::DownstreamCxHttp2Active);
        stats.gauge_dec(HttpStat::DownstreamCxHttp1Active);
    }

    pub(crate) fn count_http2_end(&self, stats: &Lane) {
        stats.gauge_dec(HttpStat::DownstreamCxActive);
        stats.gauge_dec(HttpStat::DownstreamCxHttp2Active);
        stats.inc(HttpStat::DownstreamCxDestroy);
        stats.observe_us(HttpStat::DownstreamCxLengthMs, self.age_us());
    }

    pub(crate) fn count_tcp_begin(&self, stats: &Lane) {
        stats.inc(TcpStat::DownstreamCxTotal);
        stats.gauge_inc(TcpStat::DownstreamCxActive);
    }
}
