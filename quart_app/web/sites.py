"""Requests for hosts that are not this service's, and from pages of other web sites, are refused.

Without access control, whoever reaches the service may use it. A browser reaches it on behalf of
every page that it shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import quart
from quart_cors import cors

from quart_app.errors import CrossSite, UnknownHost
from quart_app.protocol.sites import HostPolicy, is_foreign
from quart_app.web.context import JoinedFields

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["guard_sites"]

#: Methods that change nothing (RFC 9110, 9.2.1). Relaying is a `GET` too: the other server is sent
#: no more than a page could send by itself, without the client's cookies, and no page of another
#: origin may read the answer.
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

#: Paths that answer for any host: a supervisor asks by address, and the answers hold no data.
OPEN_PATHS = {"/healthz", "/readyz"}

#: Fields of answers that clients need and that browsers hide from pages of other origins.
EXPOSED_FIELDS = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Location",
    "Repr-Digest",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
    "WWW-Authenticate",
    "X-Request-Id",
)

#: Seconds for which a browser may use the answer to a preflight again; browsers have limits too.
PREFLIGHT_SECONDS = 7200


def guard_sites(app: quart.Quart, hosts: HostPolicy | None, origins: Iterable[str]) -> None:
    """Check the host and the origin of every request, before its body is read and its route found.

    Args:
        app: The application; others that hold the same blueprints are not affected.
        hosts: Hosts that are answered for; None to judge each connection by its local address.
        origins: Origins whose pages may use the service, in their canonical spelling; `*` for all.
    """
    trusted = frozenset(origins)

    @app.before_request
    async def check() -> None:
        request = quart.request
        authority = request.headers.get("Host", "")
        policy = hosts or HostPolicy.bound(_local_address(request), "")
        asks_health = request.path in OPEN_PATHS and request.method in SAFE_METHODS
        if not (asks_health or policy.admits(authority)):
            raise UnknownHost
        if request.method not in SAFE_METHODS and not _is_trusted(request, authority, trusted):
            raise CrossSite

    if trusted:
        cors(
            app,
            allow_origin=trusted,
            expose_headers=EXPOSED_FIELDS,
            max_age=PREFLIGHT_SECONDS,
        )


def _local_address(request: quart.Request) -> list[str]:
    server = request.scope.get("server")  # none at a Unix socket
    return [server[0]] if server and server[1] is not None else []


def _is_trusted(request: quart.Request, authority: str, trusted: frozenset[str]) -> bool:
    fields = JoinedFields(request.headers)
    origin, fetch_site = (fields.get(name) or "" for name in ("Origin", "Sec-Fetch-Site"))
    if not is_foreign(authority, origin, fetch_site):
        return True
    # No page of another origin can send a token that it was not given: a preflight comes first.
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    has_token = scheme.lower() == "bearer" and bool(token.strip())
    return has_token or bool(origin and trusted & {origin, "*"})
