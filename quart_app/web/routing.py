"""Ends of paths that Werkzeug's own converters do not take: no line feed, no leading slash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from werkzeug.routing import BaseConverter

if TYPE_CHECKING:
    from quart.blueprints import BlueprintSetupState

__all__ = ["add_converters"]


class _Name(BaseConverter):
    """Whatever a client calls a file."""

    regex = r"(?s:.+)"
    part_isolating = False


class _RemoteUrl(BaseConverter):
    """What begins like a URL, in the place of a path."""

    regex = r"(?is:[a-z][a-z0-9+.\-]*:/.+)"
    part_isolating = False


def add_converters(state: BlueprintSetupState) -> None:
    """Let an application's routes have `<name:…>` and `<remote:…>`; for `Blueprint.record`."""
    state.app.url_map.converters |= {"name": _Name, "remote": _RemoteUrl}
