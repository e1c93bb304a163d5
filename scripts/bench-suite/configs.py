"""Configuration of every proxy under test and of the origin.

Fair means the same for all: one worker, no logs, keep-alive on both sides without a limit that matters here, no
timeout that a run could hit, and otherwise what the product does by itself.
"""

import json
import os
from dataclasses import dataclass

# Longer than any run, in seconds: idle connections must not be closed while they are measured.
IDLE_SECONDS = 3600


@dataclass(frozen=True)
class Mode:
    """What passes through a proxy, and how it is spoken on either side of it."""

    is_tcp: bool = False
    takes_tls: bool = False
    takes_http2: bool = False  # by prior knowledge
    sends_http2: bool = False


HTTP = Mode()


@dataclass(frozen=True)
class Certificate:
    """Files in PEM."""

    chain: str
    key: str
    both: str


@dataclass
class Setup:
    """What every proxy has to be told; `certificate` is there if the mode takes TLS."""

    mode: Mode
    port: int
    admin: int
    origin: int
    work: str
    certificate: Certificate | None


def _nginx(work, workers, body, error_log):
    # As root, workers would change to a user who can't read the bodies served from the build folder.
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
daemon off; {user}
worker_processes {workers}; worker_rlimit_nofile 20000;
pid {work}/nginx.pid; error_log {error_log} crit;
{body}
"""


def _nginx_http(work, server):
    return f"""
events {{ worker_connections 12000; }}
http {{
  access_log off; sendfile on; tcp_nodelay on; default_type text/plain;
  keepalive_timeout {IDLE_SECONDS}s; keepalive_requests 1000000000;
  client_body_temp_path {work}/client; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
  {server}
}}
"""


def nginx_origin(work, port, body_bytes, root, workers):
    """`/small`: a body of `body_bytes` out of the configuration; `/bulk`: the file under `root`."""
    server = f"""
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location = /small {{ return 200 "{'x' * body_bytes}"; }}
    location = /bulk {{ root {root}; }}
  }}"""
    return _nginx(work, workers, _nginx_http(work, server), f"{work}/error.log")


# Directives with which nginx moves long bodies in the pieces that the others use.
NGINX_LARGE_BUFFERS = "proxy_buffers 8 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k;"


def nginx_proxy(setup, tuning=""):
    kind, tls = "", ""
    if setup.mode.takes_tls:
        kind = " ssl"
        # What later versions do by themselves.
        tls = (f"ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate {setup.certificate.chain}; "
               f"ssl_certificate_key {setup.certificate.key};")
    if setup.mode.takes_http2:
        kind += " http2"
    forward = 'proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";'
    if setup.mode.sends_http2:
        forward = "grpc_pass grpc://origin;"
    server = f"""
  upstream origin {{
    server 127.0.0.1:{setup.origin}; keepalive 1024; keepalive_requests 1000000000; keepalive_timeout {IDLE_SECONDS}s;
  }}
  server {{
    listen 127.0.0.1:{setup.port} reuseport backlog=4096{kind}; {tls}
    location / {{
      {forward} proxy_max_temp_file_size 0; {tuning}
    }}
  }}"""
    return _nginx(setup.work, 1, _nginx_http(setup.work, server), f"{setup.work}/error.log")


def nginx_stream(setup, module):
    load = f"load_module {module};\n" if module else ""
    body = f"""
events {{ worker_connections 12000; }}
stream {{
  server {{ listen 127.0.0.1:{setup.port} reuseport backlog=4096; proxy_pass 127.0.0.1:{setup.origin}; }}
}}
"""
    return load + _nginx(setup.work, 1, body, f"{setup.work}/error.log")


def haproxy(setup):
    mode = setup.mode
    front = f" ssl crt {setup.certificate.both} prefer-client-ciphers" if mode.takes_tls else ""
    front += " proto h2" if mode.takes_http2 else ""
    return f"""
global
  nbthread 1
  no strict-limits
  maxconn 12000
defaults
  mode {"tcp" if mode.is_tcp else "http"}
  timeout connect 5s
  timeout client {IDLE_SECONDS}s
  timeout server {IDLE_SECONDS}s
frontend front
  bind 127.0.0.1:{setup.port} backlog 4096{front}
  default_backend origin
backend origin
{"" if mode.is_tcp else "  http-reuse always"}
  server origin 127.0.0.1:{setup.origin}{" proto h2" if mode.sends_http2 else ""}
"""


def envoy(setup, own_io_uring):
    """Bootstrap as JSON."""
    if setup.mode.is_tcp:
        network_filter = {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": _envoy_type("filters.network.tcp_proxy.v3.TcpProxy"),
                "stat_prefix": "front", "cluster": "origin",
            },
        }
    else:
        network_filter = {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": _envoy_type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "front",
                "codec_type": "HTTP2" if setup.mode.takes_http2 else "AUTO",
                "route_config": {"virtual_hosts": [{
                    "name": "all", "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "origin"}}],
                }]},
                "http_filters": [{
                    "name": "envoy.filters.http.router",
                    "typed_config": {"@type": _envoy_type("filters.http.router.v3.Router")},
                }],
            },
        }
    chain = {"filters": [network_filter]}
    if setup.mode.takes_tls:
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _envoy_type("transport_sockets.tls.v3.DownstreamTlsContext"),
                "common_tls_context": {"tls_certificates": [{
                    "certificate_chain": {"filename": setup.certificate.chain},
                    "private_key": {"filename": setup.certificate.key},
                }]},
            },
        }
    cluster = {
        "name": "origin", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [
            {"endpoint": {"address": _envoy_address(setup.origin)}}]}]},
    }
    if setup.mode.sends_http2:
        cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": _envoy_type("upstreams.http.v3.HttpProtocolOptions"),
            "explicit_http_config": {"http2_protocol_options": {}},
        }}
    bootstrap = {
        "admin": {"address": _envoy_address(setup.admin)},
        "static_resources": {
            "listeners": [{"name": "front", "address": _envoy_address(setup.port), "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }
    if own_io_uring:
        name = "envoy.extensions.network.socket_interface.default_socket_interface"
        bootstrap["bootstrap_extensions"] = [{
            "name": name,
            "typed_config": {
                "@type": _envoy_type("network.socket_interface.v3.DefaultSocketInterface"),
                "io_uring_options": {},
            },
        }]
        bootstrap["default_socket_interface"] = name
    return json.dumps(bootstrap, indent=1)


def _envoy_type(name):
    return f"type.googleapis.com/envoy.extensions.{name}"


def _envoy_address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def corelane(setup):
    serve = "http: { routes: [{ match: { prefix: / }, cluster: origin }] }"
    if setup.mode.is_tcp:
        serve = "tcp: { cluster: origin }"
    tls = ""
    if setup.mode.takes_tls:
        tls = f"tls: {{ certificates: [{{ chain: '{setup.certificate.chain}', key: '{setup.certificate.key}' }}] }}"
    return f"""
admin: {{ address: 127.0.0.1:{setup.admin} }}
listeners:
  - name: front
    address: 127.0.0.1:{setup.port}
    {tls}
    {serve}
clusters:
  - name: origin
    endpoints: ['127.0.0.1:{setup.origin}']
    {"protocol: http2" if setup.mode.sends_http2 else ""}
"""
