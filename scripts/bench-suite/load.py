"""Load generators: wrk for HTTP/1.1, Corelane's loadgen for the rest (and for all where wrk isn't there).

h2load and `openssl s_time` stand in for a loadgen that isn't built.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass


class LoadError(Exception):
    """The load generator failed or measured nothing."""


@dataclass(frozen=True)
class Demand:
    """What the clients do in a closed loop."""

    connections: int = 128
    streams: int = 0  # requests at once on each connection of HTTP/2; 0 is HTTP/1.1
    message_bytes: int = 0  # of unary gRPC calls; 0 is plain GET
    opens_anew: bool = False  # a connection with its TLS handshake for every request


@dataclass
class Load:
    """What one run of a load generator saw."""

    requests: int
    rate: float  # per second
    errors: int
    p50_us: float | None = None
    p99_us: float | None = None


# OpenSSL's settings for wrk and s_time: what TLS costs is decided by the client, the same for all proxies. loadgen
# offers these first by itself.
_OPENSSL_CONFIG = """\
openssl_conf = init
[init]
ssl_conf = modules
[modules]
system_default = client
[client]
MinProtocol = TLSv1.3
Ciphersuites = TLS_AES_128_GCM_SHA256
Groups = X25519
"""
# Enough that some handshake is always under way.
_S_TIME_PROCESSES = 4

_UNITS_US = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}


def wrk(url, demand, seconds, cpus, threads=1, environment=None):
    """Keep-alive connections, each with one request at a time."""
    command = ["wrk", f"-t{threads}", f"-c{demand.connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", url]
    text = _run(command, cpus, seconds, environment)
    requests = re.search(r"(\d+) requests in", text)
    if not requests or not int(requests[1]):
        raise LoadError("wrk completed no request: " + " / ".join(text.split("\n")[-3:]))
    errors = sum(int(count) for count in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    errors += sum(int(count) for count in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    return Load(
        requests=int(requests[1]),
        rate=float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),
        p50_us=_percentile_us(text, "50%"),
        p99_us=_percentile_us(text, "99%"),
        errors=errors,
    )


def _percentile_us(text, percentile):
    value, unit = re.search(rf"^\s+{percentile}\s+([\d.]+)(us|ms|s|m|h)\s*$", text, re.MULTILINE).groups()
    return float(value) * _UNITS_US[unit]


def loadgen(binary, url, demand, seconds, cpus, rate=None):
    """The project's own generator; with `rate` an open loop, its latency counted from each intended start."""
    command = [binary, "http", url, "--connections", demand.connections, "--duration", f"{seconds}s", "--json"]
    if rate:
        command += ["--rate", int(rate)]
    if demand.streams:
        command += ["--h2", "--streams", demand.streams]
    if demand.message_bytes:
        command += ["--grpc", "--body-bytes", demand.message_bytes]
    if demand.opens_anew:
        command += ["--new-connections"]
    if url.startswith("https:"):
        command += ["--insecure"]
    text = _run(command, cpus, seconds)
    try:
        result = json.loads(text[text.index("{"):])
        percentiles, errors = result["latency_ms"]["percentiles"], result["errors"]
        return Load(
            requests=result["requests"],
            rate=result["rate"],
            p50_us=percentiles["50"] * 1e3,
            p99_us=percentiles["99"] * 1e3,
            errors=sum(errors.values()),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LoadError(f"loadgen's result can't be read ({error!r}): {text[:200]}") from error


def h2load(url, demand, seconds, cpus):
    """HTTP/2 by prior knowledge; tells no percentiles."""
    command = ["h2load", f"-c{demand.connections}", f"-m{demand.streams}", f"-D{seconds}", url]
    text = _run(command, cpus, seconds)
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, \d+ errored, (\d+) timeout", text)
    done, _, failed, timed_out = (int(count) for count in counts.groups()) if counts else (0, 0, 0, 0)
    if not done:
        raise LoadError("h2load completed no request: " + " / ".join(text.strip().split("\n")[-6:]))
    return Load(requests=done, rate=float(re.search(r"finished in .*?, ([\d.]+) req/s", text)[1]),
                errors=failed + timed_out)


def s_time(url, seconds, cpus, environment):
    """Full handshakes and nothing after them; tells no percentiles."""
    one = f"openssl s_time -new -connect {url.split('/')[2]} -time {seconds}"
    text = _run(["sh", "-c", f"{one} & " * _S_TIME_PROCESSES + "wait"], cpus, seconds, environment)
    counts = re.findall(r"(\d+) connections in (\d+) real seconds", text)
    handshakes = sum(int(count) for count, _ in counts)
    if not handshakes:
        raise LoadError("openssl s_time completed no handshake: " + text.strip()[-200:])
    return Load(requests=handshakes, rate=sum(int(count) / int(time) for count, time in counts),
                errors=_S_TIME_PROCESSES - len(counts))


def _run(command, cpus, seconds, environment=None):
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=seconds + 60, stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})}, preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"{words[0]}: {error}") from error
    if done.returncode:
        raise LoadError(f"{os.path.basename(words[0])} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


class Generator:
    """The generators that are there; OpenSSL's settings go to `work`."""

    def __init__(self, loadgen_binary, work):
        self.loadgen_binary = loadgen_binary
        self.loadgen_options = _loadgen_options(loadgen_binary)
        config = os.path.join(work, "openssl.cnf")
        with open(config, "w") as output:
            output.write(_OPENSSL_CONFIG)
        self.environment = {"OPENSSL_CONF": config}

    @property
    def can_open_loop(self):
        return "--rate" in self.loadgen_options

    def name(self, demand):
        """What `closed` will use; None if it can't."""
        candidates = [("wrk", shutil.which("wrk")), ("loadgen", self.can_open_loop)]
        if demand.streams:
            candidates = [("loadgen", "--h2" in self.loadgen_options), ("h2load", shutil.which("h2load"))]
            if demand.message_bytes:
                candidates = [("loadgen", "--grpc" in self.loadgen_options)]
        elif demand.opens_anew:
            candidates = [("loadgen", "--insecure" in self.loadgen_options), ("openssl s_time", shutil.which("openssl"))]
        return next((name for name, is_there in candidates if is_there), None)

    def missing(self, demand):
        """How to get a generator where `name` has none."""
        if self.name(demand):
            return ""
        if demand.message_bytes:
            return "needs `loadgen http --grpc`: cargo build --release -p loadgen"
        package = "nghttp2-client" if demand.streams else "openssl" if demand.opens_anew else "wrk"
        return f"no load generator: apt-get install {package}, or cargo build --release -p loadgen"

    def closed(self, url, demand, seconds, cpus, threads=1):
        match self.name(demand):
            case "wrk":
                return wrk(url, demand, seconds, cpus, threads, self.environment)
            case "loadgen":
                return loadgen(self.loadgen_binary, url, demand, seconds, cpus)
            case "h2load":
                return h2load(url, demand, seconds, cpus)
            case "openssl s_time":
                return s_time(url, seconds, cpus, self.environment)
        raise LoadError(self.missing(demand))

    def open(self, url, demand, seconds, cpus, rate):
        return loadgen(self.loadgen_binary, url, demand, seconds, cpus, rate)


def _loadgen_options(binary):
    """The options that the binary knows; none if it isn't there."""
    try:
        done = subprocess.run([binary, "http", "--help"], capture_output=True, text=True, timeout=10,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return set()
    return set(re.findall(r"^\s+(?:-\w, )?(--[\w-]+)", done.stdout, re.MULTILINE)) if done.returncode == 0 else set()
