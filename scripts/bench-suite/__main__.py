"""Command line of scripts/bench; see there."""

import argparse
import atexit
import os
import shutil
import signal
import subprocess
import sys

import measure
import processes
import report
from load import Generator, LoadError
from peers import Bench
from processes import StartError
from workloads import BY_NAME, WORKLOADS

PAGE = os.path.join("docs", "benchmarks.md")


def _arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measures Corelane beside a null forwarder, nginx, HAProxy and Envoy.",
        epilog="workloads: " + "; ".join(f"{workload.name} ({workload.title})" for workload in WORKLOADS),
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: all")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s, and docs/benchmarks.md stays as it is")
    parser.add_argument("--rounds", type=int, help="rounds (default 5)")
    parser.add_argument("--seconds", type=int, help="seconds of one run of one proxy (default 5)")
    parser.add_argument("--proxy-cpu", type=int, default=0, help="CPU of the proxy (default 0)")
    parser.add_argument("--load-cpu", type=int, default=1, help="CPU of the load generator and the origin (default 1)")
    parser.add_argument("--only", action="append", metavar="NAME", help="only proxies whose name contains NAME")
    parser.add_argument("--no-build", action="store_true", help="take the release binaries as they are")
    parser.add_argument("--no-write", action="store_true", help="leave docs/benchmarks.md as it is")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.workloads if name not in BY_NAME]
    if unknown:
        parser.error(f"unknown workload {unknown[0]}; there are {', '.join(BY_NAME)}")
    return arguments


def _build():
    command = ["cargo", "build", "--release", "--bins", "-p", "bench", "-p", "corelane", "-p", "loadgen"]
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        sys.exit("scripts/bench: the build failed")


def main():
    arguments = _arguments()
    cpus = {arguments.proxy_cpu, arguments.load_cpu}
    if len(cpus) < 2 or not cpus <= os.sched_getaffinity(0):
        sys.exit(f"scripts/bench: needs two CPUs of its own, and {sorted(cpus)} aren't available")
    if not shutil.which("nginx"):
        sys.exit("scripts/bench: the origin is nginx, which is missing: apt-get install nginx")
    if not arguments.no_build:
        _build()
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    bench = Bench(work=os.path.abspath(os.path.join(target, "bench")),
                  binaries=os.path.abspath(os.path.join(target, "release")))
    generator = Generator(bench.binary("loadgen"), bench.folder("load"))
    quick = arguments.quick
    settings = measure.Settings(
        rounds=arguments.rounds or (2 if quick else 5), seconds=arguments.seconds or (2 if quick else 5),
        proxy_cpu=arguments.proxy_cpu, load_cpu=arguments.load_cpu, generator=generator,
    )
    atexit.register(processes.stop_all)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))

    sections, has_failed = {}, False
    for name in arguments.workloads or BY_NAME:
        workload = BY_NAME[name]
        workload.only = arguments.only or []
        bench.versions.clear()
        if hindrance := measure.hindrance(workload, settings):
            result = measure.Result(workload, skipped=[(workload.name, hindrance)])
        else:
            result = measure.KINDS[workload.kind](bench, workload, settings)
        load = "loadgen at a fixed rate" if workload.kind == "latency" else generator.name(workload.demand)
        section = report.section(result, bench.versions, settings, load)
        print("\n" + section + "\n", flush=True)
        if result.rows:
            sections[name] = section
        has_failed |= bool(result.failed) or any(row.errors for row in result.rows)
    if sections and not (quick or arguments.no_write or arguments.only):
        report.write_page(PAGE, sections, list(BY_NAME))
        print(f"wrote {PAGE}", file=sys.stderr)
    sys.exit(1 if has_failed else 0)


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
except (StartError, LoadError) as error:
    sys.exit(f"scripts/bench: {error}")
