"""A real nginx with the documented site: only its ports and paths are others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from tests.deploy.programs import DEPLOY
from tests.e2e.clients import session, wire
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager, closing
    from pathlib import Path

    import httpx

    from tests.e2e.clients import Wire
    from tests.server_process import ServerProcess

__all__ = ["SITE", "Nginx"]

SITE = DEPLOY / "nginx" / "quart-app.conf"

STOP_SECONDS = 10

#: What Debian's own `nginx.conf` says around a site, in a directory of the test's.
MAIN = """
{user}
worker_processes 2;
daemon off;
pid nginx.pid;
error_log error.log warn;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    include /etc/nginx/mime.types;
    default_type application/octet-stream;
    gzip on;
    log_format json escape=json '{{"method": "$request_method", "uri": "$request_uri", '
        '"status": $status, "sent": $body_bytes_sent, "upstream": "$upstream_bytes_received"}}';
    access_log access.log json;
    client_body_temp_path bodies;
    proxy_temp_path answers;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include site.conf;
}}
"""


class Nginx:
    """One nginx in front of a service.

    Args:
        program: The program.
        directory: For its files.
        upstream: The service, as nginx names it.
        files: Where the service keeps the bytes.
        changes: More of the documented site that is to be replaced.
    """

    def __init__(
        self,
        program: Path,
        directory: Path,
        upstream: str,
        files: Path,
        changes: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.host, self.port = "127.0.0.1", _free_port()
        self.base_url = f"http://{self.host}:{self.port}"
        self._expected: list[str] = []
        self._errors_seen = 0
        substitutes = {
            "listen 80;": f"listen {self.host}:{self.port};",
            "server unix:/run/quart-app/http.sock;": f"server {upstream};",
            "alias /var/lib/quart-app/files/;": f"alias {files}/;",
            **(changes or {}),
        }
        site = SITE.read_text()
        for documented, own in substitutes.items():
            assert site.count(documented) == 1, documented
            site = site.replace(documented, own)
        (directory / "site.conf").write_text(site)
        user = "user root;" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(MAIN.format(user=user))
        command = [program, "-p", directory, "-e", "error.log", "-c", "nginx.conf"]
        self.process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, start_new_session=True
        )

    def ready(self) -> Nginx:
        eventually(self._accepts, what="nginx starts")
        return self

    def _accepts(self) -> bool:
        assert self.process.poll() is None, self._error_log()
        with socket.socket() as probe:
            return probe.connect_ex((self.host, self.port)) == 0

    # Clients of it.

    def session(self) -> AbstractContextManager[httpx.Client]:
        return session(cast("ServerProcess", self))

    def wire(self, receive_buffer: int | None = None) -> closing[Wire]:
        return wire(cast("ServerProcess", self), receive_buffer)

    # What it says and keeps.

    def requests(self, uri: str) -> list[dict[str, Any]]:
        """What it logged of the requests for a path."""
        lines = (self.directory / "access.log").read_text().splitlines()
        return [request for line in lines if (request := json.loads(line))["uri"] == uri]

    def buffered(self) -> list[Path]:
        """Bodies that it has put on its disk."""
        places = (self.directory / "bodies", self.directory / "answers")
        return [path for place in places for path in place.rglob("*") if path.is_file()]

    def _error_log(self) -> str:
        with suppress(FileNotFoundError):
            return (self.directory / "error.log").read_text()
        return ""

    def expect(self, complaint: str) -> None:
        """Waits for a line in its error log, which then is no fault."""
        eventually(lambda: complaint in self._error_log(), what=complaint)
        self._expected.append(complaint)

    def assert_quiet(self) -> None:
        """It has complained of nothing since this was asked for the last time."""
        lines = self._error_log().splitlines()
        new, self._errors_seen = lines[self._errors_seen :], len(lines)
        assert [line for line in new if not any(map(line.__contains__, self._expected))] == []
        self._expected.clear()

    # Its end.

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(STOP_SECONDS) == 0, self._error_log()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def _free_port() -> int:
    """nginx takes no port 0."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port
