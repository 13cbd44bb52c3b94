"""ASGI scopes of requests whose target is not in origin form."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from quart_app.protocol.targets import parse_target

__all__ = ["resolved"]


def resolved(scope: Any) -> dict[str, Any]:
    """Return the members of a scope that change when its target is brought into origin form.

    Args:
        scope: Scope of a request or of a WebSocket, with the target as the client wrote it.

    Raises:
        BadTarget: The target or the host is malformed or missing.
    """
    hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
    host = hosts[0].decode("latin-1") if hosts else ""
    path = scope["raw_path"].decode("ascii")
    target = parse_target(scope.get("method", "GET"), path, host, scope["http_version"])
    if (target.path, target.host) == (path, host):
        return {}
    others = [field for field in scope["headers"] if field[0].lower() != b"host"]
    return {
        "path": unquote(target.path),
        "raw_path": target.path.encode(),
        "headers": [(b"host", target.host.encode()), *others],
    }
