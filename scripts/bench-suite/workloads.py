"""What is measured: the groups of proxies, the load they get, and what the figures must be."""

from dataclasses import dataclass, field, replace

import configs
import peers
from configs import Mode
from load import Demand

KIB = 1024
MIB = 1024 * KIB

SMALL_BODY_BYTES = 100
BULK_BODY_BYTES = MIB
BULK = Demand(connections=16)


@dataclass
class Target:
    """`proxy` must need at most `ratio_max` times what `other` does of `measure`."""

    proxy: str
    ratio_max: float
    other: str
    measure: str = "cpu_us"


@dataclass
class Bound:
    """`proxy` may need at most `most` bytes of `measure`."""

    proxy: str
    most: int
    measure: str


@dataclass
class Workload:
    name: str
    title: str
    peers: object  # function(Bench, Mode) -> [Peer]
    kind: str = "closed"  # closed, latency, memory or scale: which measurement runs it
    mode: Mode = configs.HTTP
    path: str = "/small"
    demand: Demand = Demand()
    unit: str = "request"  # what is counted
    references: list = field(default_factory=list)  # rows that the others are set against
    targets: list = field(default_factory=list)
    bounds: list = field(default_factory=list)
    note: str = ""
    only: list = field(default_factory=list)  # parts of names; empty for all

    def selected_peers(self, bench):
        """The peers whose names contain one of `only`."""
        every = self.peers(bench, self.mode)
        return [peer for peer in every if not self.only or any(name.lower() in peer.name.lower() for name in self.only)]


def _proxies(bench, mode):
    return [
        peers.corelane(bench, "Corelane uring", "uring", mode),
        peers.corelane(bench, "Corelane epoll", "epoll", mode),
        peers.nginx(bench, mode),
        peers.haproxy(bench, mode),
        *peers.envoys(bench, mode),
    ]


def _http(bench, mode):
    return [peers.forwarder(bench, "null", "forward-null"), *_proxies(bench, mode)]


def _tcp(bench, mode):
    return [
        peers.forwarder(bench, "null", "forward-null"),
        peers.corelane(bench, "Corelane tcp uring", "uring", mode),
        peers.corelane(bench, "Corelane tcp epoll", "epoll", mode),
        peers.nginx_stream(bench),
        peers.haproxy(bench, mode),
        *peers.envoys(bench, mode),
    ]


def _grpc(bench, mode):
    return [
        peers.nginx(bench, mode, "nginx grpc_pass") if peer.name == "nginx" else peer for peer in _proxies(bench, mode)
    ]


def _forwarders(bench, _):
    return [
        peers.forwarder(bench, "null", "forward-null"),
        peers.forwarder(bench, "runtime uring", "forward-runtime", ["--driver", "uring"], ours=True),
        peers.forwarder(bench, "runtime epoll", "forward-runtime", ["--driver", "epoll"], ours=True),
        peers.forwarder(bench, "epoll", "forward-epoll"),
        peers.forwarder(bench, "monoio", "forward-monoio"),
        peers.forwarder(bench, "glommio", "forward-glommio"),
    ]


def _forwarders_bulk(bench, mode):
    sizes = [("4 KiB", 4096, 4096), ("64 KiB", 65536, 512)]
    by_size = [
        peers.forwarder(bench, f"null, {text} buffers", "forward-null", ["--buffer-bytes", size, "--buffers", count])
        for text, size, count in sizes
    ]
    return [*_forwarders(bench, mode), *by_size]


def _bulk(bench, mode):
    rows = _proxies(bench, mode)
    large = peers.nginx(bench, mode, "nginx, 64 KiB buffers", configs.NGINX_LARGE_BUFFERS)
    rows.insert([row.name for row in rows].index("nginx") + 1, large)
    return rows


def _bulk_http(bench, mode):
    return [peers.forwarder(bench, "null", "forward-null"), *_bulk(bench, mode)]


def _scale(bench, mode):
    return [peers.corelane(bench, "Corelane uring", "uring", mode), peers.corelane(bench, "Corelane epoll", "epoll", mode)]


_REFERENCES = ["nginx", "HAProxy", "Envoy"]
_HTTP_REFERENCES = ["null", *_REFERENCES]
_BULK_REFERENCES = ["nginx", "nginx, 64 KiB buffers", "HAProxy", "Envoy"]

_TLS = Mode(takes_tls=True)
_TLS_SETTINGS = ("nginx has `ssl_protocols TLSv1.2 TLSv1.3`, the default of its later versions, and HAProxy "
                 "`prefer-client-ciphers`, which is what the others do.")
_TLS_NOTE = ("A P-256 certificate; TLS 1.3 with AES-128-GCM and X25519 throughout, because that is what the clients "
             f"offer (loadgen: what it offers first). {_TLS_SETTINGS} The origin is plain.")
_H2_STREAMS = Demand(connections=16, streams=32)

WORKLOADS = [
    Workload(
        "forwarders", "Forwarders: bytes to and fro, nothing parsed", _forwarders, references=["null", "monoio"],
        targets=[Target("runtime uring", 1.1, "null"), Target("runtime uring", 1.0, "runtime epoll")],
        note="The same forwarder on different foundations; the load is that of `small`.",
    ),
    Workload(
        "forwarders-bulk", "Forwarders, 1 MiB bodies", _forwarders_bulk, path="/bulk", demand=BULK,
        references=["null", "monoio"], note="Buffers of 16 KiB where the name gives no size.",
    ),
    Workload(
        "small", "HTTP/1.1 keep-alive, 100-byte body, 128 connections", _http, references=_HTTP_REFERENCES,
        targets=[
            Target("Corelane uring", 1.25, "null"), Target("Corelane uring", 0.8, "nginx"),
            Target("Corelane uring", 0.25, "Envoy"), Target("Corelane uring", 1.0, "Corelane epoll"),
        ],
    ),
    Workload(
        "tcp", "TCP proxy, the same load", _tcp, mode=Mode(is_tcp=True),
        references=["null", "nginx stream", "HAProxy tcp", "Envoy tcp"],
        targets=[Target("Corelane tcp uring", 1.1, "null"), Target("Corelane tcp uring", 1.0, "Corelane tcp epoll")],
    ),
    Workload(
        "bulk", "1 MiB bodies, 16 connections", _bulk_http, path="/bulk", demand=BULK,
        references=["null", *_BULK_REFERENCES],
        targets=[Target("Corelane uring", 0.9, "nginx"), Target("Corelane uring", 0.9, "nginx, 64 KiB buffers")],
        note="nginx buffers responses as it does by default, but never in files (`proxy_max_temp_file_size 0`): its disk "
             "writes would count against it. Its default buffers are small, so a second row has it with larger ones: "
             "`" + configs.NGINX_LARGE_BUFFERS + "`",
    ),
    Workload(
        "h2-h1", "HTTP/2 in, HTTP/1.1 out: 16 connections of 32 streams, 100-byte body", _proxies,
        mode=Mode(takes_http2=True), demand=_H2_STREAMS, references=_REFERENCES,
        targets=[Target("Corelane uring", 0.75, "HAProxy"), Target("Corelane uring", 0.2, "Envoy")],
        note="Plain, by prior knowledge. The origin is that of `small`.",
    ),
    Workload(
        "h2-h2", "HTTP/2 in and out: unary gRPC calls of 100 bytes, 16 connections of 32 streams", _grpc,
        mode=Mode(takes_http2=True, sends_http2=True), path="/bench.Echo/Call",
        demand=replace(_H2_STREAMS, message_bytes=SMALL_BODY_BYTES),
        references=["nginx grpc_pass", "HAProxy", "Envoy"],
        targets=[Target("Corelane uring", 0.6, "HAProxy"), Target("Corelane uring", 0.15, "Envoy")],
        note="Plain, by prior knowledge on both sides. The origin is `loadgen origin`, which echoes the message. nginx "
             "speaks HTTP/2 to an origin with `grpc_pass`, a call at a time on each connection.",
    ),
    Workload(
        "h2-bulk", "1 MiB bodies over HTTP/2: 4 connections of 4 streams", _bulk, mode=Mode(takes_http2=True),
        path="/bulk", demand=Demand(connections=4, streams=4), references=_BULK_REFERENCES,
        targets=[Target("Corelane uring", 1.0, "nginx"), Target("Corelane uring", 1.0, "nginx, 64 KiB buffers")],
        note="HTTP/2 in, HTTP/1.1 out, plain. nginx as in `bulk`.",
    ),
    Workload(
        "tls", "HTTP/1.1 over TLS, keep-alive, 100-byte body, 128 connections", _proxies, mode=_TLS,
        references=_REFERENCES, targets=[Target("Corelane uring", 0.75, "nginx"), Target("Corelane uring", 0.25, "Envoy")],
        note=_TLS_NOTE,
    ),
    Workload(
        "tls-handshakes", "Full TLS handshakes", _proxies, mode=_TLS, demand=Demand(connections=16, opens_anew=True),
        unit="handshake", references=_REFERENCES,
        targets=[Target("Corelane uring", 1.0, "HAProxy"), Target("Corelane uring", 1.0, "Envoy")],
        note="A new connection for every request: connecting, a handshake without resumption (session tickets are sent as "
             "each product does by itself), one small request and the end, all in the figure. Where the generator is "
             "`openssl s_time`, there is no request. " + _TLS_NOTE,
    ),
    Workload(
        "tls-bulk", "1 MiB bodies over TLS, 16 connections", _bulk, mode=_TLS, path="/bulk", demand=BULK,
        references=_BULK_REFERENCES,
        targets=[Target("Corelane uring", 1.0, "nginx"), Target("Corelane uring", 1.0, "nginx, 64 KiB buffers")],
        note="nginx as in `bulk`. " + _TLS_NOTE,
    ),
    Workload(
        "latency", "Latency at half of nginx's saturation rate", _http, kind="latency", references=["nginx"],
        targets=[Target("Corelane uring", 1.0, "nginx", "p99_us")],
        note="Open loop: requests start on schedule whether or not earlier ones were answered, and latency counts from "
             "the scheduled start.",
    ),
    Workload(
        "memory", "Memory", _proxies, kind="memory", demand=Demand(connections=10_000), references=_REFERENCES,
        bounds=[Bound("Corelane uring", 12 * MIB, "base_bytes"), Bound("Corelane uring", 3 * KIB // 2, "idle_bytes")],
        note="Resident memory of all the proxy's processes; kernel socket memory isn't in it, and is the same for all. "
             "A connection is counted once it has had one request answered and is idle. nginx allocates the 12,000 "
             "connections that it is configured for at the start, so most of what they cost is in its base.",
    ),
    Workload(
        "memory-tls", "Memory of idle TLS connections", _proxies, kind="memory", mode=_TLS,
        demand=Demand(connections=2000), references=_REFERENCES,
        bounds=[Bound("Corelane uring", 12 * KIB, "idle_bytes")],
        note="As above, but every connection is TLS 1.3, with the handshake behind it. " + _TLS_SETTINGS,
    ),
    Workload(
        "scale", "Two cores against one, the same load per core", _scale, kind="scale",
        note="64 connections a core. On two CPUs the load generator and the origin have to share the cores with the proxy: "
             "in both runs they have two threads each over both CPUs, so that a core of the proxy gets half of its "
             "traffic from its own CPU and half from the other. This shows what cores cost each other, not how the rate "
             "grows with them; that takes a machine with CPUs to spare.",
    ),
]
BY_NAME = {workload.name: workload for workload in WORKLOADS}
