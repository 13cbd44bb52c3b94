"""Who runs: one entry each, with the command that starts it and what it offers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum, auto
from shutil import which

SUBJECT = "quart-app"
LAYER = "layer"


class Feature(Enum):
    """What a workload can ask of a server."""

    RAW = auto()
    FORM = auto()
    DOWNLOAD = auto()
    SMALL_UPLOAD = auto()
    SMALL_DOWNLOAD = auto()
    RANGES = auto()
    FETCH = auto()
    PROXY = auto()
    READ = auto()
    DISCARD = auto()
    SLOW_CLIENT = auto()
    SLOW_READER = auto()
    SLOW_DISK = auto()
    SLOW_DESTINATION = auto()
    WIRE = auto()
    REJECTION = auto()
    MEMORY = auto()


@dataclass(frozen=True)
class Contender:
    """A server: it listens on a free port, and prints its address once it does.

    Attributes:
        name: What the command line and the tables call it.
        colour: Its own in all plots, of one family with its kin.
        label: What it is, in the words of its users.
        command: Arguments for Python; `{data}` stands for its directory, which it also finds in
            the variable BENCHMARK_DATA.
        offers: Features that it has, and is worth measuring by.
        program: What has to be installed beside Python for it to run.
        most_rounds: Enough turns, for one that takes so long that it would be most of a run.
    """

    name: str
    colour: str
    label: str
    command: tuple[str, ...]
    offers: frozenset[Feature]
    program: str | None = None
    most_rounds: int | None = None

    @property
    def is_absent(self) -> bool:
        return self.program is not None and which(self.program) is None

    def arguments(self, data: str) -> list[str]:
        return [sys.executable, *(part.format(data=data) for part in self.command)]


DISCARD = Feature.DISCARD
BULK = frozenset({Feature.RAW, Feature.FORM, Feature.DOWNLOAD})
SMALL = frozenset({Feature.SMALL_UPLOAD, Feature.SMALL_DOWNLOAD})
FILES = BULK | SMALL | {Feature.RANGES}
RELAY = frozenset({Feature.FETCH, Feature.PROXY})
SLOW = frozenset({Feature.SLOW_CLIENT, Feature.SLOW_READER, Feature.SLOW_DISK})

SERVERS = "benchmarks.servers."
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--timeout", "3600")
GTHREAD = (*GUNICORN, "--worker-class", "gthread", "--threads")
FLASK = f"{SERVERS}flask_app:app"
UVICORN = ("-m", "uvicorn", "--port", "0", "--loop", "uvloop", "--http", "httptools")
HYPERCORN = ("-m", "hypercorn", "--bind", "127.0.0.1:0")
SERVE = ("-m", "quart_app", "serve", "--port", "0", "--data", "{data}")

# The service runs one worker, and so do all others; a sync worker serves one client at a time, so
# that a second one changes nothing for bulk but is Flask's best where many small requests come.
# Against that the service runs two as well.
CONTENDERS = (
    Contender(
        SUBJECT,
        "#1c5fc4",
        "this service, one worker on uvloop",
        SERVE,
        frozenset(Feature) - {DISCARD},
    ),
    Contender(
        f"{SUBJECT}-stock",
        "#8fb8f0",
        "this service on stock Hypercorn and uvloop, without our server layer",
        ("-m", f"{SERVERS}quart_app_variants"),
        frozenset(
            {
                Feature.RAW,
                Feature.DOWNLOAD,
                Feature.SLOW_CLIENT,
                Feature.WIRE,
                Feature.REJECTION,
            }
        ),
    ),
    Contender(
        f"{SUBJECT}-read-ahead",
        "#6c8fc7",
        "this service with downloads read ahead instead of sent by the kernel",
        ("-m", f"{SERVERS}quart_app_variants", "--read-ahead"),
        frozenset({Feature.RAW, Feature.DOWNLOAD}),
    ),
    Contender(
        f"{SUBJECT}-asyncio",
        "#5b90de",
        "this service, one worker on asyncio's own loop",
        (*SERVE, "--loop", "asyncio"),
        frozenset({Feature.RAW, Feature.DOWNLOAD}),
    ),
    Contender(
        f"{SUBJECT}-2", "#123c80", "this service, two workers", (*SERVE, "--workers", "2"), SMALL
    ),
    Contender(
        "flask-sync",
        "#ec8a1c",
        "Flask on gunicorn, one sync worker",
        (*GUNICORN, "--workers", "1", FLASK),
        FILES | RELAY | {Feature.READ, Feature.MEMORY},
    ),
    Contender(
        "flask-sync-2",
        "#b65c0c",
        "Flask on gunicorn, two sync workers",
        (*GUNICORN, "--workers", "2", FLASK),
        SMALL,
    ),
    Contender(
        "flask-gthread",
        "#f5b565",
        "Flask on gunicorn, one gthread worker with 8 threads",
        (*GTHREAD, "8", FLASK),
        FILES | RELAY | SLOW | {Feature.SLOW_DESTINATION},
    ),
    Contender(
        "flask-gthread-1000",
        "#8a4410",
        "Flask on gunicorn, one gthread worker with 1,000 threads",
        (*GTHREAD, "1000", "--worker-connections", "2000", FLASK),
        SLOW | {Feature.SLOW_DESTINATION},
    ),
    Contender(
        "flask-literal",
        "#f3d3a4",
        "the copied Flask example on gunicorn sync: 4 KiB reads, no digest, fsync or catalog",
        (*GUNICORN, f"{SERVERS}flask_literal:app"),
        frozenset({Feature.RAW, Feature.DOWNLOAD}),
    ),
    Contender(
        "stock-quart",
        "#8d63b5",
        "stock Quart on stock Hypercorn",
        (*HYPERCORN, f"{SERVERS}stock_quart:app"),
        BULK | SMALL,
        most_rounds=2,
    ),
    Contender(
        "starlette",
        "#2f9e44",
        "Starlette on uvicorn (uvloop, httptools)",
        (*UVICORN, "--no-access-log", f"{SERVERS}starlette_app:app"),
        FILES,
    ),
    Contender(
        "aiohttp", "#0f9d9d", "aiohttp on uvloop", ("-m", f"{SERVERS}aiohttp_app"), FILES | SLOW
    ),
    Contender(
        "aiohttp-asyncio",
        "#84d2d2",
        "aiohttp on asyncio's own loop, which has sendfile",
        ("-m", f"{SERVERS}aiohttp_app", "--asyncio"),
        frozenset({Feature.DOWNLOAD, Feature.RANGES}),
    ),
    Contender(
        "nginx",
        "#c2255c",
        "nginx, one worker with sendfile; what it serves was stored by a blocking socket",
        ("-m", f"{SERVERS}nginx_files"),
        frozenset({Feature.DOWNLOAD, Feature.RANGES, Feature.SMALL_DOWNLOAD, Feature.SLOW_READER}),
        program="nginx",
    ),
    Contender(
        "blocking-socket",
        "#555555",
        "one blocking socket, the limit in Python",
        ("-m", f"{SERVERS}blocking_socket"),
        frozenset({Feature.RAW, Feature.DOWNLOAD, DISCARD}) | RELAY,
    ),
    Contender(
        "blocking-socket-2",
        "#a0a0a0",
        "the same with the hash in a second thread",
        ("-m", f"{SERVERS}blocking_socket", "--hash-beside"),
        frozenset({Feature.RAW}),
    ),
    Contender(
        LAYER,
        "#3b78d4",
        "a bare ASGI application on Hypercorn (uvloop) with our server layer",
        (*HYPERCORN, "--worker-class", "uvloop", f"{SERVERS}bare_app_on_layer:app"),
        frozenset({DISCARD}),
    ),
    Contender(
        "hypercorn",
        "#c3a1dc",
        "the same application on stock Hypercorn (uvloop)",
        (*HYPERCORN, "--worker-class", "uvloop", f"{SERVERS}bare_app:app"),
        frozenset({DISCARD}),
    ),
    Contender(
        "uvicorn",
        "#8fd19e",
        "the same application on uvicorn (uvloop, httptools)",
        (*UVICORN, "--no-access-log", f"{SERVERS}bare_app:app"),
        frozenset({DISCARD}),
    ),
)
