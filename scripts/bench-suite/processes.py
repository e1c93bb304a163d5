"""Processes under test: started on given CPUs, measured through /proc, ended whatever happens."""

import ctypes
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass

START_SECONDS_MAX = 20
STOP_SECONDS_MAX = 5
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_running = []


class StartError(Exception):
    """A process ended, or didn't listen, when it should have."""


@dataclass
class CpuSample:
    """CPU time that a tree of processes has used."""

    task_ns: dict  # by thread id
    ticks: int  # of all threads, ended ones included

    def since(self, before):
        """Seconds of CPU time from `before` to this sample.

        Per-thread times are exact to the nanosecond but vanish with their thread; then the coarser sums of the
        processes are used.
        """
        if before.task_ns.keys() - self.task_ns.keys():
            return (self.ticks - before.ticks) / TICKS_PER_SECOND
        return sum(ns - before.task_ns.get(task, 0) for task, ns in self.task_ns.items()) / 1e9


class Service:
    """A process (with its children) pinned to `cpus`; its output goes to `log`."""

    def __init__(self, name, command, cpus, log):
        self.name, self.log = name, log

        def prepare():
            os.sched_setaffinity(0, cpus)
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True, preexec_fn=prepare,
            )
        _running.append(self)

    def wait_for_port(self, port):
        """Returns once something accepts on `port`; StartError if the process ends or time runs out first."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise StartError(f"ended with status {self.process.returncode}: {self.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise StartError(f"doesn't listen after {START_SECONDS_MAX} s: {self.last_words()}")

    def last_words(self):
        with open(self.log, errors="replace") as log:
            lines = [line.strip() for line in log if line.strip()]
        return " / ".join(lines[-3:])[-400:] or "no output"

    def cpu(self):
        """A CpuSample of the process and its descendants."""
        task_ns, ticks = {}, 0
        for pid in self.pids():
            try:
                ticks += sum(int(field) for field in _stat_fields(pid)[11:13])
                for task in os.listdir(f"/proc/{pid}/task"):
                    with open(f"/proc/{pid}/task/{task}/schedstat") as schedstat:
                        task_ns[task] = int(schedstat.read().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                continue
        return CpuSample(task_ns, ticks)

    def pids(self):
        """The process and its descendants."""
        parents = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    parents[int(entry)] = int(_stat_fields(entry)[1])
                except (FileNotFoundError, ProcessLookupError):
                    continue
        found = [self.process.pid]
        for pid in found:
            found.extend(child for child, parent in parents.items() if parent == pid)
        return found

    def memory_bytes(self):
        """(resident, proportional) sizes summed over the processes; pages that they share count once in the latter."""
        resident = proportional = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/smaps_rollup") as rollup:
                for line in rollup:
                    name, _, rest = line.partition(":")
                    if name == "Rss":
                        resident += int(rest.split()[0]) * 1024
                    elif name == "Pss":
                        proportional += int(rest.split()[0]) * 1024
        return resident, proportional

    def stop(self):
        """Ends the whole process group: politely, then not."""
        if self in _running:
            _running.remove(self)
        self._signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            pass
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass


def stop_all():
    """Ends every service still running."""
    for service in list(_running):
        service.stop()


def free_port():
    """A TCP port that nobody listens on, outside the range that outgoing connections take theirs from."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as setting:
        first_ephemeral, last_ephemeral = (int(word) for word in setting.read().split())
    while True:
        port = free_port.next
        free_port.next = 20000 if port >= 65000 else port + 1
        if first_ephemeral <= port <= last_ephemeral:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


free_port.next = 20000 + os.getpid() % 10000


def _stat_fields(pid):
    """Fields of /proc/PID/stat from the state on; the command's name before it may hold anything."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()
