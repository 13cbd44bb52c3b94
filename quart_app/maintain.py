"""`quart-app sweep` and `quart-app recover`: work on a data directory, without a server."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from quart_app.data import WithoutCatalog, cannot_use, open_files
from quart_app.errors import CannotStart, QuartAppError
from quart_app.logs import configure_logs
from quart_app.services import Recovered, Swept, recover, sweep
from quart_app.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from quart_app.settings import Settings

__all__ = ["main"]

T = TypeVar("T")

REFUSED = (
    "nothing set aside: too many stored files are in no catalog entry. List them again with "
    "`quart-app recover`, or set them aside with `quart-app sweep --force`."
)


@click.group()
def main() -> None:
    """Work on the data directory that the environment names."""


@main.command("sweep")
@click.option("--dry-run", is_flag=True)
@click.option("--force", is_flag=True)
def sweep_command(*, dry_run: bool, force: bool) -> None:
    """See `quart-app sweep`."""
    swept = _run(_sweep(_settings(), dry_run=dry_run, force=force))
    _print(swept)
    if swept.refused:
        sys.exit(f"quart-app: {REFUSED}")


@main.command("recover")
@click.option("--dry-run", is_flag=True)
def recover_command(*, dry_run: bool) -> None:
    """See `quart-app recover`."""
    _print(_run(_recover(_settings(), dry_run=dry_run)))


async def _sweep(settings: Settings, *, dry_run: bool, force: bool) -> Swept:
    try:
        async with open_files(settings) as files:
            return await sweep(files, dry_run=dry_run, force=force)
    except (OSError, QuartAppError) as error:
        raise cannot_use(settings, error) from error


async def _recover(settings: Settings, *, dry_run: bool) -> Recovered:
    try:
        without = WithoutCatalog.PRETEND if dry_run else WithoutCatalog.MAKE
        async with open_files(settings, without) as files:
            return await recover(files.store.driver, files.catalog, dry_run=dry_run)
    except (OSError, QuartAppError) as error:
        raise cannot_use(settings, error) from error


def _settings() -> Settings:
    settings = load_settings().settings
    configure_logs(settings.log_level, settings.log_format)
    return settings


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except CannotStart as error:
        sys.exit(f"quart-app: {error}")


def _print(result: Swept | Recovered) -> None:
    for name, value in asdict(result).items():
        click.echo(f"{name.replace('_', ' ')}: {int(value)}")


if __name__ == "__main__":
    main()
