"""Wiring: the only place that names concrete classes."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import structlog
from quart import Quart

from quart_app.catalog import SqlCatalog
from quart_app.errors import CannotStart, QuartAppError
from quart_app.protocol.addresses import AddressPolicy, parse_exception
from quart_app.protocol.multipart import FormLimits
from quart_app.protocol.sites import HostPolicy
from quart_app.services import Converting, Files, Reading, Relaying
from quart_app.storage import LocalDriver, Store
from quart_app.streaming import in_thread, stream_bodies
from quart_app.upstream import Client, Connector, tls_context
from quart_app.web import (
    Services,
    converting,
    downloads,
    get_services,
    guard_sites,
    health,
    listing,
    reading,
    relaying,
    render_errors,
    set_services,
    uploads,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from quart_app.settings import Settings

__all__ = ["create_app", "start_draining"]

LOG = structlog.get_logger("quart_app")


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
    guard_sites(app, _host_policy(settings, bound), settings.cors_origins)
    for blueprint in (uploads, downloads, listing, reading, converting, relaying, health):
        app.register_blueprint(blueprint)

    @app.while_serving
    async def serve() -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            try:
                files = await _open_files(settings, stack)
            except (OSError, QuartAppError) as error:
                raise CannotStart(f"cannot use {settings.data}: {_reason(error)}") from error
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


def _reason(error: BaseException) -> str:
    cause = error.__cause__ or error
    text = cause.strerror if isinstance(cause, OSError) else None
    return text or str(cause).partition("\n")[0]


async def _open_files(settings: Settings, stack: AsyncExitStack) -> Files:
    blobs = settings.data / "files"
    await in_thread(_make_directory, blobs)
    catalog = await SqlCatalog.open(settings.data / "catalog.db")
    stack.push_async_callback(catalog.close)
    files = Files(Store(LocalDriver(blobs), max_size=settings.max_upload_size), catalog)
    await files.check()
    return files


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


def _make_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


async def _sweep_for_ever(files: Files, interval: float) -> None:
    while True:
        try:
            removed = await files.sweep()
            LOG.info("swept", removed=removed)
        except QuartAppError as error:
            LOG.warning("sweep failed", code=error.code, cause=repr(error.__cause__))
        except Exception:
            LOG.exception("sweep failed")  # and is tried again
        await asyncio.sleep(interval)
