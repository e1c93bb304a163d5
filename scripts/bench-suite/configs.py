"""Configuration of every proxy under test and of the origin.

Fair means the same for all: one worker, no logs, keep-alive on both sides without a limit that matters here, no
timeout that a run could hit, and otherwise what the product does by itself.
"""

import json
import os

# Longer than any run, in seconds: idle connections must not be closed while they are measured.
IDLE_SECONDS = 3600


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


def nginx_origin(work, port, body_bytes, root, workers=1):
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


def nginx_proxy(work, port, origin, tuning=""):
    server = f"""
  upstream origin {{
    server 127.0.0.1:{origin}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout {IDLE_SECONDS}s;
  }}
  server {{
    listen 127.0.0.1:{port} reuseport backlog=4096;
    location / {{
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_max_temp_file_size 0; {tuning}
    }}
  }}"""
    return _nginx(work, 1, _nginx_http(work, server), f"{work}/error.log")


def nginx_stream(work, port, origin, module):
    load = f"load_module {module};\n" if module else ""
    body = f"""
events {{ worker_connections 12000; }}
stream {{
  server {{ listen 127.0.0.1:{port} reuseport backlog=4096; proxy_pass 127.0.0.1:{origin}; }}
}}
"""
    return load + _nginx(work, 1, body, f"{work}/error.log")


def haproxy(port, origin, mode):
    http = "  http-reuse always\n" if mode == "http" else ""
    return f"""
global
  nbthread 1
  no strict-limits
  maxconn 12000
defaults
  mode {mode}
  timeout connect 5s
  timeout client {IDLE_SECONDS}s
  timeout server {IDLE_SECONDS}s
frontend front
  bind 127.0.0.1:{port} backlog 4096
  default_backend origin
backend origin
{http}  server origin 127.0.0.1:{origin}
"""


def envoy(port, origin, mode, admin, own_io_uring):
    """Bootstrap as JSON. `mode` is http or tcp."""
    if mode == "http":
        network_filter = {
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": {
                "@type": _envoy_type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                "stat_prefix": "front",
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
    else:
        network_filter = {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {
                "@type": _envoy_type("filters.network.tcp_proxy.v3.TcpProxy"),
                "stat_prefix": "front", "cluster": "origin",
            },
        }
    bootstrap = {
        "admin": {"address": _envoy_address(admin)},
        "static_resources": {
            "listeners": [{
                "name": "front", "address": _envoy_address(port), "filter_chains": [{"filters": [network_filter]}],
            }],
            "clusters": [{
                "name": "origin", "type": "STATIC", "connect_timeout": "5s",
                "load_assignment": {"cluster_name": "origin", "endpoints": [{"lb_endpoints": [
                    {"endpoint": {"address": _envoy_address(origin)}}]}]},
            }],
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


def corelane(port, origin, mode, admin):
    serve = "http: { routes: [{ match: { prefix: / }, cluster: origin }] }" if mode == "http" else "tcp: { cluster: origin }"
    return f"""
admin: {{ address: 127.0.0.1:{admin} }}
listeners:
  - name: front
    address: 127.0.0.1:{port}
    {serve}
clusters:
  - name: origin
    endpoints: ['127.0.0.1:{origin}']
"""
