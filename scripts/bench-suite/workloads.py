"""What is measured: the groups of proxies, the load they get, and what the figures must be."""

from dataclasses import dataclass, field

import configs
import peers

SMALL_BODY_BYTES = 100
SMALL_CONNECTIONS = 128
BULK_BODY_BYTES = 1 << 20
BULK_CONNECTIONS = 16


@dataclass
class Target:
    """`proxy` must need at most `ratio_max` times what `other` does of `measure`."""

    proxy: str
    ratio_max: float
    other: str
    measure: str = "cpu_us"


@dataclass
class Workload:
    name: str
    title: str
    peers: object  # function(Bench) -> [Peer]
    kind: str = "closed"  # closed, latency, memory or scale: which measurement runs it
    path: str = "/small"
    connections: int = SMALL_CONNECTIONS
    references: list = field(default_factory=list)  # rows that the others are set against
    targets: list = field(default_factory=list)
    note: str = ""


def _http(bench):
    return [
        peers.forwarder(bench, "null", "forward-null"),
        peers.corelane(bench, "Corelane uring", "uring"),
        peers.corelane(bench, "Corelane epoll", "epoll"),
        peers.nginx(bench),
        peers.haproxy(bench),
        *peers.envoys(bench),
    ]


def _tcp(bench):
    return [
        peers.forwarder(bench, "null", "forward-null"),
        peers.corelane(bench, "Corelane tcp uring", "uring", "tcp"),
        peers.corelane(bench, "Corelane tcp epoll", "epoll", "tcp"),
        peers.nginx_stream(bench),
        peers.haproxy(bench, "tcp"),
        *peers.envoys(bench, "tcp"),
    ]


def _forwarders(bench):
    return [
        peers.forwarder(bench, "null", "forward-null"),
        peers.forwarder(bench, "runtime uring", "forward-runtime", ["--driver", "uring"], ours=True),
        peers.forwarder(bench, "runtime epoll", "forward-runtime", ["--driver", "epoll"], ours=True),
        peers.forwarder(bench, "epoll", "forward-epoll"),
        peers.forwarder(bench, "monoio", "forward-monoio"),
        peers.forwarder(bench, "glommio", "forward-glommio"),
    ]


def _forwarders_bulk(bench):
    sizes = [("4 KiB", 4096, 4096), ("64 KiB", 65536, 512)]
    by_size = [
        peers.forwarder(bench, f"null, {text} buffers", "forward-null", ["--buffer-bytes", size, "--buffers", count])
        for text, size, count in sizes
    ]
    return [*_forwarders(bench), *by_size]


def _bulk(bench):
    large = peers.nginx(bench, "nginx, 64 KiB buffers", configs.NGINX_LARGE_BUFFERS)
    rows = _http(bench)
    rows.insert([row.name for row in rows].index("nginx") + 1, large)
    return rows


def _memory(bench):
    # The null forwarder would need two descriptors a connection and says nothing about idle HTTP connections.
    return [peer for peer in _http(bench) if peer.name != "null"]


def _scale(bench):
    return [peers.corelane(bench, "Corelane uring", "uring"), peers.corelane(bench, "Corelane epoll", "epoll")]


_HTTP_REFERENCES = ["null", "nginx", "HAProxy", "Envoy"]

WORKLOADS = [
    Workload(
        "forwarders", "Forwarders: bytes to and fro, nothing parsed", _forwarders, references=["null", "monoio"],
        targets=[Target("runtime uring", 1.1, "null"), Target("runtime uring", 1.0, "runtime epoll")],
        note="The same forwarder on different foundations; the load is that of `small`.",
    ),
    Workload(
        "forwarders-bulk", "Forwarders, 1 MiB bodies", _forwarders_bulk, path="/bulk", connections=BULK_CONNECTIONS,
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
        "tcp", "TCP proxy, the same load", _tcp, references=["null", "nginx stream", "HAProxy tcp", "Envoy tcp"],
        targets=[Target("Corelane tcp uring", 1.1, "null"), Target("Corelane tcp uring", 1.0, "Corelane tcp epoll")],
    ),
    Workload(
        "bulk", "1 MiB bodies, 16 connections", _bulk, path="/bulk", connections=BULK_CONNECTIONS,
        references=["null", "nginx", "nginx, 64 KiB buffers", "HAProxy", "Envoy"],
        targets=[Target("Corelane uring", 0.9, "nginx"), Target("Corelane uring", 0.9, "nginx, 64 KiB buffers")],
        note="nginx buffers responses as it does by default, but never in files (`proxy_max_temp_file_size 0`): its disk "
             "writes would count against it. Its default buffers are small, so a second row has it with larger ones: "
             "`" + configs.NGINX_LARGE_BUFFERS + "`",
    ),
    Workload(
        "latency", "Latency at half of nginx's saturation rate", _http, kind="latency", references=["nginx"],
        targets=[Target("Corelane uring", 1.0, "nginx", "p99_us")],
        note="Open loop: requests start on schedule whether or not earlier ones were answered, and latency counts from "
             "the scheduled start.",
    ),
    Workload(
        "memory", "Memory", _memory, kind="memory", references=["nginx", "HAProxy", "Envoy"],
        note="Resident memory of all the proxy's processes; kernel socket memory isn't in it, and is the same for all. "
             "A connection is counted once it has had one request answered and is idle. nginx allocates the 12,000 "
             "connections that it is configured for at the start, so most of what they cost is in its base.",
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
