"""Routes: parse, call one service, answer."""

from quart_app.web.admission import refuse_overload
from quart_app.web.caching import forbid_storing
from quart_app.web.context import Services, get_services, set_services
from quart_app.web.converting import converting
from quart_app.web.downloads import downloads
from quart_app.web.errors import render_errors
from quart_app.web.health import health
from quart_app.web.listing import listing
from quart_app.web.reading import reading
from quart_app.web.relaying import relaying
from quart_app.web.sites import guard_sites
from quart_app.web.uploads import uploads

__all__ = [
    "Services",
    "converting",
    "downloads",
    "forbid_storing",
    "get_services",
    "guard_sites",
    "health",
    "listing",
    "reading",
    "refuse_overload",
    "relaying",
    "render_errors",
    "set_services",
    "uploads",
]
