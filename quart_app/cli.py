"""Arguments → settings → application and server."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from quart_app.errors import CannotStart
from quart_app.logs import configure_logs
from quart_app.server.launcher import Launcher
from quart_app.settings import BadSettings, Loaded, Settings, as_variables, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]

WORKER_COMMAND = (sys.executable, "-m", "quart_app.worker")

#: Commands that need storage and catalog run in this module, so that the launcher imports neither.
MAINTAIN_COMMAND = (sys.executable, "-m", "quart_app.maintain")


def _settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command one flag for every setting."""
    for name, field in reversed(Settings.model_fields.items()):
        default = "" if field.default is None else f"  [default: {field.default}]"
        flag = f"--{name.replace('_', '-')}"
        command = click.option(flag, name, help=f"{field.description}{default}")(command)
    return command


def _loaded(flags: dict[str, Any]) -> Loaded:
    try:
        return load_settings(flags)
    except BadSettings as error:
        raise click.UsageError(str(error)) from error


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="quart-app")
def main() -> None:
    """Files of any size in and out, with flat memory.

    Every setting can be given as a flag, as an environment variable (QUART_APP_PORT for --port)
    or in a TOML file (--config); flags win over variables, variables over the file.
    """


@main.command("serve")
@_settings_options
def serve_command(**flags: Any) -> None:
    """Run the service until SIGTERM or SIGINT; SIGHUP restarts its workers in turn."""
    settings = _loaded(flags).settings
    configure_logs(settings.log_level, settings.log_format)
    try:
        launcher = Launcher(settings, WORKER_COMMAND, os.environ | as_variables(flags))
        sys.exit(asyncio.run(launcher.run()))
    except CannotStart as error:
        sys.exit(f"quart-app: {error}" if str(error) else 1)


@main.command("settings")
@_settings_options
def settings_command(**flags: Any) -> None:
    """Print every setting with its value and where that came from."""
    settings, origins = _loaded(flags)
    rows = [(name, str(getattr(settings, name)), origins[name]) for name in origins]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, origin in rows:
        click.echo(f"{name:{widths[0]}}  {value:{widths[1]}}  {origin}")


@main.command("sweep")
@_settings_options
@click.option("--dry-run", is_flag=True, help="Only count; change nothing.")
@click.option("--force", is_flag=True, help="Set files without an entry aside, however many.")
def sweep_command(*, dry_run: bool, force: bool, **flags: Any) -> None:
    """Delete expired files and leftovers now; may run beside the service.

    A stored file that no catalog entry names for a day is set aside, and removed a week later.
    Where such files are many, nothing is set aside, and the exit code is 1.
    """
    _maintain("sweep", flags, dry_run=dry_run, force=force)


@main.command("recover")
@_settings_options
@click.option("--dry-run", is_flag=True, help="Only count; change nothing.")
def recover_command(*, dry_run: bool, **flags: Any) -> None:
    """List files again, after a lost catalog, from the records beside their bytes.

    Stop the service before. Files keep their ids, names, types and times.
    """
    _maintain("recover", flags, dry_run=dry_run)


def _maintain(command: str, flags: dict[str, Any], **options: bool) -> None:
    _loaded(flags)
    chosen = [f"--{name.replace('_', '-')}" for name, value in options.items() if value]
    arguments = [*MAINTAIN_COMMAND, command, *chosen]
    os.execve(sys.executable, arguments, os.environ | as_variables(flags))  # noqa: S606  # no shell
