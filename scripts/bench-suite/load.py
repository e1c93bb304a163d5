"""Load generators: wrk for a closed loop, Corelane's loadgen for an open one (and for both where wrk isn't there)."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass


class LoadError(Exception):
    """The load generator failed or measured nothing."""


@dataclass
class Load:
    """What one run of a load generator saw."""

    requests: int
    rate: float  # per second
    p50_us: float
    p99_us: float
    errors: int


_UNITS_US = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}


def wrk(url, connections, seconds, cpus, threads=1):
    """`connections` keep-alive connections, each with one request at a time."""
    command = ["wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "--latency", url]
    text = _run(command, cpus, seconds)
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


def loadgen(binary, url, connections, seconds, cpus, rate=None):
    """The project's own generator; with `rate` an open loop, its latency counted from each intended start."""
    command = [binary, "http", url, "--connections", connections, "--duration", f"{seconds}s", "--json"]
    if rate:
        command += ["--rate", int(rate)]
    text = _run([str(word) for word in command], cpus, seconds)
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


def _run(command, cpus, seconds):
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + 60, stdin=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"{command[0]}: {error}") from error
    if done.returncode:
        raise LoadError(f"{os.path.basename(command[0])} failed: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


class Generator:
    """The closed-loop generator that is there, and the open-loop one if it is."""

    def __init__(self, loadgen_binary):
        self.has_wrk = shutil.which("wrk") is not None
        self.loadgen_binary = loadgen_binary if loadgen_binary and _answers(loadgen_binary) else None

    @property
    def closed_name(self):
        return "wrk" if self.has_wrk else "loadgen" if self.loadgen_binary else None

    def closed(self, url, connections, seconds, cpus, threads=1):
        if self.has_wrk:
            return wrk(url, connections, seconds, cpus, threads)
        return loadgen(self.loadgen_binary, url, connections, seconds, cpus)

    def open(self, url, connections, seconds, cpus, rate):
        return loadgen(self.loadgen_binary, url, connections, seconds, cpus, rate)


def _answers(binary):
    """Whether the binary knows the commands and options that are used here."""
    try:
        done = subprocess.run([binary, "http", "--help"], capture_output=True, text=True, timeout=10,
                              stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and "--rate" in done.stdout and "--json" in done.stdout
