"""One function a kind of measurement: each takes a workload, measures its peers and returns a Result."""

import os
import resource
import socket
import statistics
import sys
import time
import urllib.request
from dataclasses import dataclass, field

import peers
from load import LoadError
from processes import StartError
from workloads import BULK_BODY_BYTES, SMALL_BODY_BYTES

WARM_UP_SECONDS = 1
IDLE_CONNECTIONS = 10_000
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
        for measure, figure in figures.items():
            self.rounds.setdefault(measure, []).append(figure)

    def median(self, measure):
        return statistics.median(self.rounds[measure])

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
        _check(port, result.workload.path)
    except (OSError, ValueError) as error:
        result.failed.append((peer.name, f"doesn't answer: {error}; {service.last_words()}"))
        service.stop()
        return None
    return service, port


def _check(port, path):
    """Raises unless the right body comes through `port`, twice."""
    expected = BULK_BODY_BYTES if path == "/bulk" else SMALL_BODY_BYTES
    for _ in range(2):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            if response.read() != b"x" * expected:
                raise ValueError("the body came through changed")


def closed(bench, workload, settings):
    """CPU time a request under a closed loop, rounds interleaved over the peers."""
    return _rounds(bench, workload, settings, settings.generator.closed)


def latency(bench, workload, settings):
    """Latency under an open loop at half the rate that saturates nginx."""
    result = Result(workload)
    if not settings.generator.loadgen_binary:
        result.skipped.append(("latency", "needs an open loop: `loadgen http --rate`, cargo build --release -p loadgen"))
        return result
    nginx = peers.nginx(bench)
    origin, origin_port = peers.start_origin(bench, SMALL_BODY_BYTES, BULK_BODY_BYTES, {settings.load_cpu})
    started = _start(bench, result, nginx, origin_port, {settings.proxy_cpu})
    if not started:
        origin.stop()
        return result
    service, port = started
    url = f"http://127.0.0.1:{port}{workload.path}"
    try:
        loads = [settings.generator.closed(url, workload.connections, settings.seconds, {settings.load_cpu})
                 for _ in range(3)]
    finally:
        service.stop()
        origin.stop()
    rate = statistics.median(load.rate for load in loads) / 2

    def at_half(url, connections, seconds, cpus):
        return settings.generator.open(url, connections, seconds, cpus, rate)

    result = _rounds(bench, workload, settings, at_half)
    result.notes.append(f"nginx's saturation rate was {2 * rate:,.0f} requests/s; the load is {rate:,.0f} requests/s.")
    return result


def _rounds(bench, workload, settings, generate):
    result = Result(workload)
    origin, origin_port = peers.start_origin(bench, SMALL_BODY_BYTES, BULK_BODY_BYTES, {settings.load_cpu})
    running = {}
    for peer in workload.peers(bench):
        started = _start(bench, result, peer, origin_port, {settings.proxy_cpu})
        if started:
            running[peer.name] = started
            result.rows.append(Row(peer.name))
    try:
        for number in range(settings.rounds):
            for row in list(result.rows):
                service, port = running[row.name]
                url = f"http://127.0.0.1:{port}{workload.path}"
                try:
                    generate(url, workload.connections, WARM_UP_SECONDS, {settings.load_cpu})
                    figures = _one_run(service, generate, url, workload.connections, settings)
                except LoadError as error:
                    result.failed.append((row.name, f"round {number + 1}: {error}"))
                    result.rows.remove(row)
                    continue
                row.errors += figures.pop("errors")
                row.add(**figures)
                _say(f"{workload.name} {number + 1}/{settings.rounds} {row.name}: {figures['cpu_us']:.2f} µs/request, "
                     f"{figures['rate']:,.0f}/s")
    finally:
        for service, _ in running.values():
            service.stop()
        origin.stop()
    return result


def _one_run(service, generate, url, connections, settings):
    before, start = service.cpu(), time.monotonic()
    load = generate(url, connections, settings.seconds, {settings.load_cpu})
    used, elapsed = service.cpu().since(before), time.monotonic() - start
    return {
        "cpu_us": used * 1e6 / load.requests, "rate": load.rate, "p50_us": load.p50_us, "p99_us": load.p99_us,
        "busy": used / elapsed, "errors": load.errors,
    }


def memory(bench, workload, settings):
    """Resident memory after a few requests, and how much 10,000 idle keep-alive connections add."""
    result = Result(workload)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    count = min(IDLE_CONNECTIONS, most - SPARE_DESCRIPTORS)
    if count < IDLE_CONNECTIONS:
        result.notes.append(f"The limit of {most} descriptors allows {count} connections only.")
    origin, origin_port = peers.start_origin(bench, SMALL_BODY_BYTES, BULK_BODY_BYTES, {settings.load_cpu})
    try:
        for peer in workload.peers(bench):
            started = _start(bench, result, peer, origin_port, {settings.proxy_cpu})
            if not started:
                continue
            service, port = started
            row = Row(peer.name)
            try:
                _measure_memory(row, service, port, workload.path, count)
                result.rows.append(row)
                _say(f"memory {row.name}: {row.median('base_bytes') / 2**20:.1f} MiB, "
                     f"{row.median('idle_bytes'):,.0f} bytes a connection")
            except (OSError, ValueError) as error:
                result.failed.append((peer.name, f"idle connections: {error}"))
            finally:
                service.stop()
    finally:
        origin.stop()
    return result


def _measure_memory(row, service, port, path, count):
    for _ in range(20):
        _check(port, path)
    time.sleep(SETTLE_SECONDS)
    base, base_proportional = service.memory_bytes()
    held = []
    try:
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", port), 10))
            _ask(held[-1], path)
        time.sleep(SETTLE_SECONDS)
        resident, _ = service.memory_bytes()
        # A proxy that dropped some of them would look better than it is.
        for connection in held[:: max(1, count // 500)]:
            _ask(connection, path)
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
        for peer in workload.peers(bench):
            for count, words in ((1, "one core"), (2, "two cores")):
                used = set(cpus[:count])
                origin, origin_port = peers.start_origin(bench, SMALL_BODY_BYTES, BULK_BODY_BYTES, everywhere, 2)
                started = _start(bench, result, peer, origin_port, used)
                if not started:
                    origin.stop()
                    break
                row = Row(f"{peer.name}, {words}")
                result.rows.append(row)
                groups.append((row, *started, origin, used))
        for number in range(settings.rounds):
            for row, service, port, _, used in groups:
                url = f"http://127.0.0.1:{port}{workload.path}"
                connections = SCALE_CONNECTIONS_PER_CORE * len(used)
                settings.generator.closed(url, connections, WARM_UP_SECONDS, everywhere, 2)
                before = service.cpu()
                load = settings.generator.closed(url, connections, settings.seconds, everywhere, 2)
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
