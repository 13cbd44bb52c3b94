"""An upload over a long wire, on both versions of HTTP: windows that are too small show here."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import wire
from benchmarks.client import STALL_SECONDS, UnfitError
from benchmarks.contenders import Feature
from benchmarks.payload import Payload, pieces
from benchmarks.sizes import written
from benchmarks.workloads.workload import RSS, Figures, Metric, Turn, Workload, collect_exactly
from quart_app.models import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.client import Address
    from benchmarks.server import Server

VERSIONS = {"http1": "--http1.1", "http2": "--http2-prior-knowledge"}


class LongWire(Workload):
    name = "long-wire"
    needs = frozenset({Feature.WIRE})
    metrics = (
        Metric("http1", "HTTP/1.1 MiB/s", more_is_better=True),
        Metric("http2", "HTTP/2 MiB/s", more_is_better=True),
        Metric("share", "HTTP/2 ÷ HTTP/1.1", compared=False),
        RSS,
    )

    @property
    def title(self) -> str:
        return (
            f"{written(self.plan.wire_size)} by curl over a wire of "
            f"{1000 * wire.ROUND_TRIP_SECONDS:g} ms there and back, "
            f"{wire.BITS_PER_SECOND / 1e6:g} Mbit/s and {written(wire.BUFFER_SIZE)} under way"
        )

    def room(self, servers: int) -> int:
        return 2 * servers * self.plan.wire_size

    def prepare(self, server: Server) -> Turn:
        payload = Payload(self.plan.wire_size)
        source = server.scratch / "payload"
        with source.open("wb") as file:
            file.writelines(pieces(payload.size))
        return partial(self.turn, server, payload, source)

    def turn(self, server: Server, payload: Payload, source: Path) -> Figures:
        rates = {}
        peak = 0
        for name, flag in VERSIONS.items():
            with wire.wire_to(server.address) as address:
                _, usage = server.metered(partial(send, address, source, flag))
            collect_exactly(server, payload)
            rates[name] = payload.size / MIB / usage.seconds
            peak = max(peak, usage.peak_rss)
        return {**rates, "share": rates["http2"] / rates["http1"], "rss": peak / MIB}


def send(address: Address, source: Path, flag: str) -> None:
    command = ["curl", "--silent", "--show-error", "--fail", flag, "--max-time", str(STALL_SECONDS)]
    request = ["--request", "POST", "--header", "Expect:", "--upload-file", str(source)]
    url = "http://{}:{}/upload?name=wire.bin".format(*address)
    done = subprocess.run([*command, *request, url], capture_output=True, text=True)
    if done.returncode:
        raise UnfitError(f"curl {flag}: {done.stderr}")
