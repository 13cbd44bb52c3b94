"""A body on its way through the server to somewhere else, or from there: no disk is needed."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.client import download, proxied
from benchmarks.contenders import Feature
from benchmarks.far_end import far_end
from benchmarks.payload import Payload, form
from benchmarks.sizes import written
from benchmarks.workloads.workload import WARM_UP_SIZE, Figures, Turn, Workload, bulk_figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from benchmarks.client import Address
    from benchmarks.server import Server


def target(address: Address) -> dict[str, str]:
    """The setting that lets a server send bodies there."""
    return {"QUART_APP_PROXY_TARGETS": json.dumps({"default": "http://{}:{}/".format(*address)})}


class Fetch(Workload):
    name = "fetch"
    needs = frozenset({Feature.FETCH})
    origin: Address

    @property
    def title(self) -> str:
        return f"{written(self.plan.size)} from an origin, passed on as they come"

    def room(self, _: int) -> int:
        return 0

    @contextmanager
    def surroundings(self, home: Path) -> Iterator[Mapping[str, str]]:  # noqa: ARG002
        with far_end() as self.origin:
            yield {"QUART_APP_ALLOW_FETCH": json.dumps(["{}:{}".format(*self.origin)])}

    def prepare(self, server: Server) -> Turn:
        def fetch(size: int, sha256: str | None = None) -> None:
            url = "/http://{}:{}/bytes/{}".format(*self.origin, size)
            download(server.address, url, size, sha256)

        def turn() -> Figures:
            _, usage = server.metered(lambda: fetch(self.plan.size))
            return bulk_figures(self.plan.size, usage)

        fetch(WARM_UP_SIZE, Payload(WARM_UP_SIZE).sha256)
        return turn


class Proxy(Workload):
    name = "proxy"
    needs = frozenset({Feature.PROXY})

    @property
    def title(self) -> str:
        return f"{written(self.plan.size)} as the body of a request, sent on to a destination"

    def payload(self, size: int) -> Payload:
        return Payload(size)

    def room(self, servers: int) -> int:
        """Of one that spools what it sends on."""
        return servers and 2 * self.plan.size

    @contextmanager
    def surroundings(self, home: Path) -> Iterator[Mapping[str, str]]:  # noqa: ARG002
        with far_end() as destination:
            yield target(destination)

    def prepare(self, server: Server) -> Turn:
        payload = self.payload(self.plan.size)

        def turn() -> Figures:
            _, usage = server.metered(lambda: proxied(server.address, "/proxy", payload))
            return bulk_figures(payload.size, usage)

        proxied(server.address, "/proxy", self.payload(WARM_UP_SIZE))
        return turn


class FormProxy(Proxy):
    name = "form-proxy"

    @property
    def title(self) -> str:
        return f"{written(self.plan.size)} as the one file of a form, sent on as a form"

    def payload(self, size: int) -> Payload:
        return form(size)
