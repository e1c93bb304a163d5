"""Results as tables, on the terminal and in docs/benchmarks.md. No figure without the ratios that give it a meaning."""

import os
import platform
import re
import time

KIB = 1024
MIB = 1024 * KIB

_HEAD = """\
# Benchmarks

Written by `scripts/bench`; each section says when and on what. Measure on your own machine before believing any of
it: `scripts/bench --quick` takes a few minutes.

How it is measured: the proxy is pinned to one CPU; the load generator and the origin (nginx, unless the section says
otherwise) share another. All proxies of a table are up during the whole run and take turns, round by round, after a
warm-up each; figures are medians over the rounds. CPU time is what all threads and child processes of the proxy used,
kernel work included, divided by the requests that the load generator completed. A ratio is the median of the rounds'
ratios. Absolute figures depend on the machine and on what else it was doing; **the ratios are the result**.

Every proxy runs one worker, keeps connections alive on both sides, writes no log and is otherwise configured as it
comes. `null` is a forwarder on io_uring that copies bytes and parses nothing: the floor under any proxy on this kernel.
"""


def table(result):
    """Markdown lines of a result: the table, what was missed, targets."""
    lines = {"memory": _memory_table, "scale": _scale_table}.get(result.workload.kind, _closed_table)(result)
    for row in result.rows:
        if row.errors:
            lines.append(f"- {row.name}: **{row.errors} requests failed**")
    lines += [f"- not measured: {name}: {why}" for name, why in result.skipped]
    lines += [f"- **failed**: {name}: {why}" for name, why in result.failed]
    if result.workload.note:
        lines += ["", result.workload.note]
    lines += [line for note in result.notes for line in ("", note)]
    return lines


def _grid(header, rows):
    yield "| " + " | ".join(header) + " |"
    yield "|---|" + "---:|" * (len(header) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _closed_table(result):
    if not result.rows:
        return []
    unit = result.workload.unit
    measure = "p99_us" if result.workload.kind == "latency" else "cpu_us"
    references = [row for row in (result.row(name) for name in result.workload.references) if row]
    title = "p99" if measure == "p99_us" else "CPU"
    header = ["proxy", f"CPU µs/{unit}", "min–max", *[f"{title} × {row.name}" for row in references],
              f"{unit}s/s", "p50", "p99", "CPU busy"]
    cells = []
    for row in result.rows:
        times = row.rounds["cpu_us"]
        cells.append([
            row.name, _figure(row.median("cpu_us")), f"{_figure(min(times))}–{_figure(max(times))}",
            *[f"{row.ratio(reference, measure):.2f}" for reference in references],
            f"{row.median('rate'):,.0f}", _time(row.median("p50_us")), _time(row.median("p99_us")),
            f"{row.median('busy'):.0%}",
        ])
    return [*_grid(header, cells), "", *_targets(result)]


def _targets(result):
    for target in result.workload.targets:
        row, other = result.row(target.proxy), result.row(target.other)
        if row and other:
            ratio = row.ratio(other, target.measure)
            what = "p99" if target.measure == "p99_us" else "CPU time"
            yield (f"- target: {what} of {row.name} ≤ {target.ratio_max} × {other.name}: {ratio:.2f}, "
                   f"{_verdict(ratio <= target.ratio_max)}")


def _memory_table(result):
    if not result.rows:
        return []
    references = [row for row in (result.row(name) for name in result.workload.references) if row]
    header = ["proxy", "base", *[f"base × {row.name}" for row in references], "bytes per idle connection",
              *[f"per connection × {row.name}" for row in references], "connections"]
    cells = [[
        row.name, f"{row.median('base_bytes') / MIB:.1f} MiB",
        *[f"{row.ratio(reference, 'base_bytes'):.2f}" for reference in references],
        f"{row.median('idle_bytes'):,.0f}",
        *[f"{row.ratio(reference, 'idle_bytes'):.2f}" for reference in references],
        f"{row.median('connections'):,.0f}",
    ] for row in result.rows]
    return [*_grid(header, cells), "", *_bounds(result)]


def _bounds(result):
    for bound in result.workload.bounds:
        row = result.row(bound.proxy)
        if row:
            figure = row.median(bound.measure)
            size, unit = (MIB, "MiB") if bound.most >= MIB else (KIB, "KiB")
            what = f"base ≤ {bound.most / size:g} {unit}"
            if bound.measure == "idle_bytes":
                what = f"≤ {bound.most / size:g} {unit} per idle connection"
            yield f"- target: {bound.proxy}: {what}: {figure / size:.2f} {unit}, {_verdict(figure <= bound.most)}"


def _scale_table(result):
    header = ["proxy", "CPU µs/request", "× one core", "requests/s", "busiest core over mean", "p50", "p99"]
    cells, targets = [], []
    for one, two in zip(result.rows[::2], result.rows[1::2]):
        for row in (one, two):
            cells.append([
                row.name, _figure(row.median("cpu_us")), f"{row.ratio(one, 'cpu_us'):.2f}", f"{row.median('rate'):,.0f}",
                f"{row.median('spread'):.2f}", _time(row.median("p50_us")), _time(row.median("p99_us")),
            ])
        ratio, spread = two.ratio(one, "cpu_us"), two.median("spread")
        targets += [
            f"- target: {two.name} ≤ 1.05 × one core: {ratio:.2f}, {_verdict(ratio <= 1.05)}",
            f"- target: {two.name}: load spread within 1.25 × of the mean: {spread:.2f}, {_verdict(spread <= 1.25)}",
        ]
    return [*_grid(header, cells), "", *targets] if cells else []


def _figure(number):
    return f"{number:,.0f}" if number >= 100 else f"{number:.1f}"


def _time(microseconds):
    return "–" if microseconds is None else f"{microseconds / 1000:.2f} ms"


def _verdict(is_met):
    return "met" if is_met else "**missed**"


def machine():
    """CPU model, CPUs, memory and kernel; never the host's name."""
    with open("/proc/cpuinfo") as cpuinfo:
        model = re.search(r"model name\s*:\s*(.+)", cpuinfo.read())
    virtual = ", virtual machine" if os.path.exists("/sys/hypervisor") or _has_flag("hypervisor") else ""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model[1] if model else platform.machine()
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as setting:
        congestion_control = setting.read().strip()
    return (f"{name}, {os.cpu_count()} CPUs{virtual}, {memory_gib:.0f} GiB, Linux {platform.release()}, "
            f"TCP congestion control {congestion_control}")


def _has_flag(flag):
    with open("/proc/cpuinfo") as cpuinfo:
        return re.search(rf"^flags\s*:.*\b{flag}\b", cpuinfo.read(), re.MULTILINE) is not None


def section(result, versions, settings, generator):
    """A section of the page."""
    products = "".join(f", {name} {version}" for name, version in sorted(versions.items()))
    has_rounds = result.rows and result.workload.kind != "memory"
    rounds = f"; {settings.rounds} rounds of {settings.seconds} s, {generator}" if has_rounds else ""
    lines = [f"## {result.workload.title}", "", *table(result), "",
             f"{time.strftime('%Y-%m-%d')}; {machine()}{rounds}{products}."]
    return "\n".join(lines)


def write_page(path, sections, order):
    """Replaces the sections measured (by workload name), keeps the others, orders all as in `order`."""
    kept = {}
    if os.path.exists(path):
        with open(path) as page:
            found = re.findall(r"<!-- bench:(\S+) -->\n(.*?)\n<!-- /bench -->", page.read(), re.DOTALL)
        kept = dict(found)
    kept.update(sections)
    parts = [_HEAD] + [f"<!-- bench:{name} -->\n{kept[name]}\n<!-- /bench -->\n" for name in order if name in kept]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as page:
        page.write("\n".join(parts))
