"""One function a kind of measurement: each takes a workload, measures its peers and returns a Result."""

import functools
import resource
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field

import peers
from load import Demand, LoadError
from processes import StartError
from workloads import BULK_BODY_BYTES, SMALL_BODY_BYTES

WARM_UP_SECONDS = 1
# Descriptors that this script and a proxy need beside those of the connections held.
SPARE_DESCRIPTORS = 500
SETTLE_SECONDS = 2
SCALE_CONNECTIONS_PER_CORE = 64


@dataclass
class Row:
    """A proxy's figures by name of the measure, one for each round."""

    name: str
    rounds: dict = field(default_factory=dict)
    errors: int = 0

    def add(self, **figures):
        """Figures of a round; None is one that wasn't measured."""
        for measure, figure in figures.items():
            if figure is not None:
                self.rounds.setdefault(measure, []).append(figure)

    def median(self, measure):
        """None if it wasn't measured."""
        return statistics.median(self.rounds[measure]) if measure in self.rounds else None

    def ratio(self, other, measure):
        """Median of the rounds' ratios: what slows a whole round down cancels out."""
        pairs = zip(self.rounds[measure], other.rounds[measure])
        return statistics.median(mine / theirs if theirs else float("inf") for mine, theirs in pairs)


@dataclass
class Result:
    workload: object
    rows: list = field(default_factory=list)
    skipped: list = field(default_factory=list)  # (name, why)
    failed: list = field(default_factory=list)  # (name, why)
    notes: list = field(default_factory=list)

    def row(self, name):
        return next((row for row in self.rows if row.name == name), None)


@dataclass
class Settings:
    rounds: int
    seconds: int
    proxy_cpu: int
    load_cpu: int
    generator: object


def _say(text):
    print(text, file=sys.stderr, flush=True)


def hindrance(workload, settings):
    """Why the workload can't be measured here, or an empty text."""
    if workload.mode.takes_tls and not shutil.which("openssl"):
        return "apt-get install openssl, which makes the certificate"
    if workload.kind == "latency" and not settings.generator.can_open_loop:
        return "needs an open loop: `loadgen http --rate`, cargo build --release -p loadgen"
    return "" if workload.kind == "memory" else settings.generator.missing(workload.demand)


def _start_origin(bench, workload, cpus, workers=1):
    if workload.demand.message_bytes:
        return peers.start_grpc_origin(bench, cpus)
    return peers.start_origin(bench, SMALL_BODY_BYTES, BULK_BODY_BYTES, cpus, workers)


def _start(bench, result, peer, origin, cpus):
    """(Service, port) of a peer that answers correctly, or None with the reason noted in `result`."""
    if peer.missing:
        result.skipped.append((peer.name, peer.missing))
        return None
    try:
        service, port = peer.start(bench, origin, cpus)
    except (StartError, OSError) as error:
        result.failed.append((peer.name, str(error)))
        return None
    try:
        _check(port, result.workload)
    except (OSError, ValueError) as error:
        result.failed.append((peer.name, f"doesn't answer: {error}; {service.last_words()}"))
        service.stop()
        return None
    return service, port


def _url(port, workload):
    return f"http{'s' if workload.mode.takes_tls else ''}://127.0.0.1:{port}{workload.path}"


def _check(port, workload):
    """Raises unless the right body comes through `port`, twice, in the version of HTTP that is to be measured."""
    length = workload.demand.message_bytes
    message = bytes(1) + length.to_bytes(4, "big") + b"x" * length if length else b""
    expected = message or b"x" * (BULK_BODY_BYTES if workload.path == "/bulk" else SMALL_BODY_BYTES)
    url = _url(port, workload)
    for _ in range(2):
        body = _fetch_http2(url, message) if workload.mode.takes_http2 else _fetch(url)
        if body is not None and body != expected:
            raise ValueError("the body came through changed")


def _fetch(url):
    with urllib.request.urlopen(url, timeout=10, context=_tls_context()) as response:
        return response.read()


def _fetch_http2(url, message):
    """The body; with a `message`, that of a gRPC call's answer. None without curl: Python speaks no HTTP/2."""
    if not _has_curl():
        return None
    command = ["curl", "--http2-prior-knowledge", "--silent", "--show-error", "--fail", "--max-time", "10", url]
    if message:
        command += ["-H", "content-type: application/grpc", "-H", "te: trailers", "--data-binary", "@-"]
    done = subprocess.run(command, capture_output=True, input=message)
    if done.returncode:
        raise ValueError(done.stderr.decode(errors="replace").strip())
    return done.stdout


@functools.cache
def _has_curl():
    if shutil.which("curl"):
        return True
    _say("answers over HTTP/2 aren't checked: apt-get install curl")
    return False


@functools.cache
def _tls_context():
    """Takes any certificate, and TLS 1.3 alone, because that is what the load generators speak."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def closed(bench, workload, settings):
    """CPU time a request under a closed loop, rounds interleaved over the peers."""
    return _rounds(bench, workload, settings, settings.generator.closed)


def latency(bench, workload, settings):
    """Latency under an open loop at half the rate that saturates nginx."""
    result = Result(workload)
    nginx = peers.nginx(bench)
    origin, origin_port = _start_origin(bench, workload, {settings.load_cpu})
    started = _start(bench, result, nginx, origin_port, {settings.proxy_cpu})
    if not started:
        origin.stop()
        return result
    service, port = started
    url = _url(port, workload)
    try:
        loads = [settings.generator.closed(url, workload.demand, settings.seconds, {settings.load_cpu})
                 for _ in range(3)]
    finally:
        service.stop()
        origin.stop()
    rate = statistics.median(load.rate for load in loads) / 2

    def at_half(url, demand, seconds, cpus):
        return settings.generator.open(url, demand, seconds, cpus, rate)

    result = _rounds(bench, workload, settings, at_half)
    result.notes.append(f"nginx's saturation rate was {2 * rate:,.0f} requests/s; the load is {rate:,.0f} requests/s.")
    return result


def _rounds(bench, workload, settings, generate):
    result = Result(workload)
    origin, origin_port = _start_origin(bench, workload, {settings.load_cpu})
    running = {}
    for peer in workload.selected_peers(bench):
        started = _start(bench, result, peer, origin_port, {settings.proxy_cpu})
        if started:
            running[peer.name] = started
            result.rows.append(Row(peer.name))
    try:
        for number in range(settings.rounds):
            for row in list(result.rows):
                service, port = running[row.name]
                url = _url(port, workload)
                try:
                    generate(url, workload.demand, WARM_UP_SECONDS, {settings.load_cpu})
                    figures = _one_run(service, generate, url, workload.demand, settings)
                except LoadError as error:
                    result.failed.append((row.name, f"round {number + 1}: {error}"))
                    result.rows.remove(row)
                    continue
                row.errors += figures.pop("errors")
                row.add(**figures)
                _say(f"{workload.name} {number + 1}/{settings.rounds} {row.name}: "
                     f"{figures['cpu_us']:.2f} µs/{workload.unit}, {figures['rate']:,.0f}/s")
    finally:
        for service, _ in running.values():
            service.stop()
        origin.stop()
    return result


def _one_run(service, generate, url, demand, settings):
    before, start = service.cpu(), time.monotonic()
    load = generate(url, demand, settings.seconds, {settings.load_cpu})
    used, elapsed = service.cpu().since(before), time.monotonic() - start
    return {
        "cpu_us": used * 1e6 / load.requests, "rate": load.rate, "p50_us": load.p50_us, "p99_us": load.p99_us,
        "busy": used / elapsed, "errors": load.errors,
    }


def memory(bench, workload, settings):
    """Resident memory after a few requests, and how much many idle keep-alive connections add."""
    result = Result(workload)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(workload.demand.connections, most - SPARE_DESCRIPTORS)
    if count < workload.demand.connections:
        result.notes.append(f"The limit of {most} descriptors allows {count} connections only.")
    origin, origin_port = _start_origin(bench, workload, {settings.load_cpu})
    try:
        for peer in workload.selected_peers(bench):
            started = _start(bench, result, peer, origin_port, {settings.proxy_cpu})
            if not started:
                continue
            service, port = started
            row = Row(peer.name)
            try:
                _measure_memory(row, service, port, workload, count)
                result.rows.append(row)
                _say(f"{workload.name} {row.name}: {row.median('base_bytes') / 2**20:.1f} MiB, "
                     f"{row.median('idle_bytes'):,.0f} bytes a connection")
            except (OSError, ValueError) as error:
                result.failed.append((peer.name, f"idle connections: {error}"))
            finally:
                service.stop()
    finally:
        origin.stop()
    return result


def _measure_memory(row, service, port, workload, count):
    for _ in range(20):
        _check(port, workload)
    time.sleep(SETTLE_SECONDS)
    base, base_proportional = service.memory_bytes()
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", port), 10))
            if workload.mode.takes_tls:
                held[-1] = _tls_context().wrap_socket(held[-1])
            _ask(held[-1], workload.path)
        time.sleep(SETTLE_SECONDS)
        resident, _ = service.memory_bytes()
        # A proxy that dropped some of them would look better than it is.
        for connection in held[:: max(1, count // 500)]:
            _ask(connection, workload.path)
    finally:
        for connection in held:
            connection.close()
    row.add(base_bytes=base, base_proportional_bytes=base_proportional, idle_bytes=(resident - base) / count,
            connections=count)


def _ask(connection, path):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"x" * SMALL_BODY_BYTES):
        received = connection.recv(4096)
        if not received:
            raise ValueError(f"closed after {len(answer)} bytes")
        answer += received


def scale(bench, workload, settings):
    """CPU time a request on one core and on two, the same load per core."""
    result = Result(workload)
    cpus = [settings.proxy_cpu, settings.load_cpu]
    everywhere = set(cpus)
    groups = []
    try:
        for peer in workload.selected_peers(bench):
            for count, words in ((1, "one core"), (2, "two cores")):
                used = set(cpus[:count])
                origin, origin_port = _start_origin(bench, workload, everywhere, 2)
                started = _start(bench, result, peer, origin_port, used)
                if not started:
                    origin.stop()
                    break
                row = Row(f"{peer.name}, {words}")
                result.rows.append(row)
                groups.append((row, *started, origin, used))
        for number in range(settings.rounds):
            for row, service, port, _, used in groups:
                url = _url(port, workload)
                demand = Demand(connections=SCALE_CONNECTIONS_PER_CORE * len(used))
                settings.generator.closed(url, demand, WARM_UP_SECONDS, everywhere, 2)
                before = service.cpu()
                load = settings.generator.closed(url, demand, settings.seconds, everywhere, 2)
                after = service.cpu()
                row.errors += load.errors
                row.add(cpu_us=after.since(before) * 1e6 / load.requests, rate=load.rate, p50_us=load.p50_us,
                        p99_us=load.p99_us, spread=_spread(before, after, len(used)))
                _say(f"scale {number + 1}/{settings.rounds} {row.name}: {row.rounds['cpu_us'][-1]:.2f} µs/request")
    except LoadError as error:
        result.failed.append(("scale", str(error)))
        result.rows.clear()
    finally:
        for _, service, _, origin, _ in groups:
            service.stop()
            origin.stop()
    return result


def _spread(before, after, cores):
    """CPU time of the busiest core's thread over the mean of all the cores' threads."""
    used = sorted((ns - before.task_ns.get(task, 0) for task, ns in after.task_ns.items()), reverse=True)[:cores]
    return used[0] / statistics.mean(used) if used and used[0] else 1.0


KINDS = {"closed": closed, "latency": latency, "memory": memory, "scale": scale}
