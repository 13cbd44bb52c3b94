"""Wiring: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog
from quart import Quart

from quart_app.data import cannot_use, open_files
from quart_app.errors import CannotStart, QuartAppError
from quart_app.protocol.addresses import AddressPolicy, parse_exception
from quart_app.protocol.multipart import FormLimits
from quart_app.protocol.sites import HostPolicy
from quart_app.services import Converting, Files, Reading, Relaying, Swept, join, sweep
from quart_app.streaming import in_thread, start_threads, stream_bodies
from quart_app.upstream import Client, Connector, tls_context
from quart_app.web import (
    Services,
    converting,
    downloads,
    forbid_storing,
    get_services,
    guard_sites,
    health,
    listing,
    reading,
    refuse_overload,
    relaying,
    render_errors,
    set_services,
    uploads,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from quart_app.settings import Settings

__all__ = ["create_app", "start_draining"]

LOG = structlog.get_logger("quart_app")

#: Longest time that an expired file stays in the catalog. Lists skip expired rows one by one.
EXPIRY_INTERVAL_SECONDS = 10.0


class _Application(Quart):
    """Quart that leaves telling why it cannot start to whoever starts it."""

    def log_exception(self, exception_info: Any) -> None:
        if not isinstance(exception_info[1], CannotStart):
            super().log_exception(exception_info)


def create_app(settings: Settings, bound: Sequence[str] | None = None) -> Quart:
    """Make the application; its storage and catalog open when a server starts it.

    Args:
        settings: As `load_settings` returns them.
        bound: Addresses of the listening sockets, without those at paths; None where another
            server listens.
    """
    app = _Application(__name__, static_folder=None)
    app.config.update(
        STALL_TIMEOUT=settings.stall_timeout,
        DISCARD_SIZE=settings.discard_size,
        DISCARD_TIMEOUT=settings.discard_timeout,
        MAX_CONTENT_LENGTH=None,
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]  # as the contract shows them
    # A redirect would have a client send its body again.
    app.url_map.strict_slashes = False
    app.url_map.merge_slashes = False
    stream_bodies(app)
    render_errors(app)
    forbid_storing(app)
    refuse_overload(app)
    guard_sites(app, _host_policy(settings, bound), settings.cors_origins)
    for blueprint in (uploads, downloads, listing, reading, converting, relaying, health):
        app.register_blueprint(blueprint)

    @app.while_serving
    async def serve() -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            start_threads()
            try:
                files = await stack.enter_async_context(open_files(settings))
                await join(files.store.driver, files.catalog)
                await files.check()
            except (OSError, QuartAppError) as error:
                raise cannot_use(settings, error) from error
            set_services(
                app,
                Services(
                    files=files,
                    relaying=await _open_relaying(settings, files, stack),
                    reading=Reading(settings.data, spill_size=settings.spool_size),
                    converting=Converting(
                        max_ratio=settings.max_ratio, max_size=settings.max_upload_size
                    ),
                    form_limits=FormLimits(max_parts=settings.max_form_parts),
                    accel_redirect=settings.accel_redirect,
                    cache_max_age=settings.cache_max_age,
                ),
            )
            sweeper = asyncio.create_task(_sweep_for_ever(files, settings.sweep_interval))
            yield
            sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await sweeper

    return app


def start_draining(app: Quart) -> None:
    """Have an application say that it is not ready for new work."""
    get_services(app).draining = True


def _host_policy(settings: Settings, bound: Sequence[str] | None) -> HostPolicy | None:
    if settings.allowed_hosts is not None:
        return HostPolicy.chosen(settings.allowed_hosts)
    return None if bound is None else HostPolicy.bound(bound, settings.host)


async def _open_relaying(settings: Settings, files: Files, stack: AsyncExitStack) -> Relaying:
    context = await in_thread(tls_context)
    exceptions = frozenset(map(parse_exception, settings.allow_fetch))
    origins, destinations = (
        Client(Connector(policy, context, stall_timeout=settings.stall_timeout))
        for policy in (AddressPolicy(exceptions), AddressPolicy(everything=True))
    )
    stack.push_async_callback(origins.close)
    stack.push_async_callback(destinations.close)
    pseudonym = f"quart-app-{secrets.token_hex(8)}"
    return Relaying(origins, destinations, settings.proxy_targets, files, pseudonym=pseudonym)


async def _sweep_for_ever(files: Files, interval: float) -> None:
    """Sweep at the start and every `interval` seconds; delete expired files in between."""
    clock = asyncio.get_running_loop().time
    due = clock()
    while True:
        try:
            if clock() >= due:
                due = clock() + interval
                _report(await sweep(files))
            else:
                await files.delete_expired()
        except QuartAppError as error:
            cause = repr(error.__cause__ or error)
            LOG.warning("sweep failed", code=error.code, cause=cause)
        except Exception:
            LOG.exception("sweep failed")  # the next one may succeed
        await asyncio.sleep(max(0.0, min(due - clock(), EXPIRY_INTERVAL_SECONDS)))


def _report(swept: Swept) -> None:
    LOG.info("swept", **asdict(swept))
    if swept.refused:
        LOG.error(
            "sweep stopped: too many stored files are in no catalog entry; list them again with "
            "`quart-app recover`, or set them aside with `quart-app sweep --force`",
            orphans=swept.orphans,
        )
