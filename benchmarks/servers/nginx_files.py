"""nginx as it serves files, beside a blocking socket that stores what is to be served.

This process is the parent of nginx's, so that what it takes itself counts as a launcher's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
from contextlib import suppress
from http.server import HTTPServer
from pathlib import Path
from tempfile import gettempdir

from benchmarks.servers.blocking_socket import Handler
from benchmarks.servers.store import FILES

CONFIGURATION = """
{user}
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location /upload {{ proxy_pass http://127.0.0.1:{storing}; }}
        location ~ ^/files/([^/]+)/(.*)$ {{
            alias {files}/$1;
            add_header Content-Disposition 'attachment; filename="$2"';
        }}
    }}
}}
"""
POLL_SECONDS = 0.02


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


if __name__ == "__main__":
    storing = HTTPServer(("127.0.0.1", 0), Handler)
    home = Path(gettempdir())
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    places = {"home": home, "files": FILES, "port": port, "storing": storing.server_port}
    (home / "nginx.conf").write_text(CONFIGURATION.format(user=user, **places))
    nginx = subprocess.Popen(["nginx", "-e", "stderr", "-c", home / "nginx.conf"])
    while nginx.poll() is None and not answers(port):
        time.sleep(POLL_SECONDS)
    if nginx.poll() is None:
        print(f"serving on http://127.0.0.1:{port}", flush=True)
        storing.serve_forever()
