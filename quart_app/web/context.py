"""What the routes reach: the services of the application, and the request that streams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import quart
from werkzeug.datastructures import MIMEAccept

from quart_app.errors import NotStarted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from werkzeug.datastructures import Headers

    from quart_app.protocol.multipart import FormLimits
    from quart_app.services import Converting, Files, Reading, Relaying
    from quart_app.streaming import StreamingRequest

__all__ = [
    "JoinedFields",
    "Services",
    "get_services",
    "preferred_type",
    "services",
    "set_services",
    "streaming_request",
]

EXTENSION = "quart_app"


@dataclass(kw_only=True)
class Services:
    """What the application does, for its routes.

    Attributes:
        files: Stored files.
        relaying: Files of other servers.
        reading: Bodies that are not stored.
        converting: Bodies that are converted as they arrive.
        form_limits: Bounds on forms.
        accel_redirect: Internal location of nginx that holds the stored files, or None.
        cache_max_age: Seconds that caches may answer with a file without asking.
        draining: Whether the service is stopping.
    """

    files: Files
    relaying: Relaying
    reading: Reading
    converting: Converting
    form_limits: FormLimits
    accel_redirect: str | None = None
    cache_max_age: int = 0
    draining: bool = False


@dataclass(frozen=True, slots=True)
class JoinedFields:
    """Header fields, those sent on several lines joined as one (RFC 9110, 5.3)."""

    headers: Headers

    def get(self, name: str) -> str | None:
        """Give the value of a field, or None."""
        return ", ".join(self.headers.getlist(name)) or None


def preferred_type(request: quart.Request, offered: Sequence[str]) -> str:
    """Give the media type that a client likes best, the first where it does not say.

    Parameters, as in `application/json; charset=utf-8`, are left aside: none tells two types that
    are offered here apart.
    """
    accepted = request.accept_mimetypes
    bare = MIMEAccept((kind.partition(";")[0].strip(), quality) for kind, quality in accepted)
    return bare.best_match(offered, default=offered[0])


def set_services(app: quart.Quart, value: Services) -> None:
    """Give an application its services."""
    app.extensions[EXTENSION] = value


def get_services(app: quart.Quart) -> Services:
    """Return the services of an application.

    Raises:
        NotStarted: The server has not started the application, or knows no lifespan (ASGI).
    """
    if EXTENSION not in app.extensions:
        raise NotStarted
    return cast("Services", app.extensions[EXTENSION])


def services() -> Services:
    """Give the services of the application that answers this request."""
    return get_services(quart.current_app)


def streaming_request() -> StreamingRequest:
    """Give the current request."""
    return cast("StreamingRequest", quart.request._get_current_object())  # type: ignore[attr-defined]  # noqa: SLF001
