"""Who runs: one entry each, with the command that starts it and what it offers."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum, auto
from importlib.util import find_spec

SUBJECT = "quart-app"
LAYER = "layer"


class Feature(Enum):
    """What a workload can ask of a server."""

    RAW = auto()
    FORM = auto()
    DOWNLOAD = auto()
    CROWD = auto()
    DISCARD = auto()
    SLOW = auto()
    WIRE = auto()
    REJECTION = auto()


@dataclass(frozen=True)
class Contender:
    """A server: it listens on a free port, and prints its address once it does.

    Attributes:
        name: What the command line and the tables call it.
        label: What it is, in the words of its users.
        command: Arguments for Python; `{data}` stands for its directory, which it also finds in
            the variable BENCHMARK_DATA.
        offers: Features that it has, and is worth measuring by.
    """

    name: str
    label: str
    command: tuple[str, ...]
    offers: frozenset[Feature]

    def arguments(self, data: str) -> list[str]:
        return [sys.executable, *(part.format(data=data) for part in self.command)]


RAW, FORM, DOWNLOAD, CROWD, DISCARD, SLOW, WIRE, REJECTION = Feature
ALL = frozenset({RAW, FORM, DOWNLOAD, CROWD})
SERVICE = ALL | {SLOW, WIRE, REJECTION}

SERVERS = "benchmarks.servers."
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:0", "--timeout", "3600")
FLASK = f"{SERVERS}flask_app:app"
UVICORN = ("-m", "uvicorn", "--port", "0", "--loop", "uvloop", "--http", "httptools")
HYPERCORN = ("-m", "hypercorn", "--bind", "127.0.0.1:0")
SERVE = ("-m", "quart_app", "serve", "--port", "0", "--data", "{data}")

# The service runs one worker, and so do all others; a sync worker serves one client at a time, so
# that a second one changes nothing for bulk but is Flask's best where many small requests come.
# Against that the service runs two as well.
CONTENDERS = (
    Contender(SUBJECT, "this service, one worker on uvloop", SERVE, SERVICE),
    Contender(
        f"{SUBJECT}-stock",
        "this service on stock Hypercorn and uvloop, without our server layer",
        ("-m", f"{SERVERS}quart_app_stock"),
        SERVICE,
    ),
    Contender(
        f"{SUBJECT}-read-ahead",
        "this service with downloads read ahead instead of sent by the kernel",
        ("-m", f"{SERVERS}quart_app_stock", "--read-ahead"),
        frozenset({RAW, DOWNLOAD}),
    ),
    Contender(
        f"{SUBJECT}-asyncio",
        "this service, one worker on asyncio's own loop",
        (*SERVE, "--loop", "asyncio"),
        ALL,
    ),
    Contender(
        f"{SUBJECT}-2",
        "this service, two workers",
        (*SERVE, "--workers", "2"),
        frozenset({CROWD}),
    ),
    Contender(
        "flask-sync",
        "Flask on gunicorn, one sync worker",
        (*GUNICORN, "--workers", "1", FLASK),
        ALL,
    ),
    Contender(
        "flask-sync-2",
        "Flask on gunicorn, two sync workers",
        (*GUNICORN, "--workers", "2", FLASK),
        frozenset({CROWD}),
    ),
    Contender(
        "flask-gthread",
        "Flask on gunicorn, one gthread worker with 8 threads",
        (*GUNICORN, "--worker-class", "gthread", "--threads", "8", FLASK),
        ALL | {SLOW},
    ),
    Contender(
        "flask-literal",
        "the copied Flask example on gunicorn sync: 4 KiB reads, no digest, fsync or catalog",
        (*GUNICORN, f"{SERVERS}flask_literal:app"),
        frozenset({RAW, DOWNLOAD}),
    ),
    Contender(
        "stock-quart",
        "stock Quart on stock Hypercorn",
        (*HYPERCORN, f"{SERVERS}stock_quart:app"),
        ALL,
    ),
    Contender(
        "starlette",
        "Starlette on uvicorn (uvloop, httptools)",
        (*UVICORN, "--no-access-log", f"{SERVERS}starlette_app:app"),
        ALL if find_spec("python_multipart") else ALL - {FORM},
    ),
    Contender("aiohttp", "aiohttp on uvloop", ("-m", f"{SERVERS}aiohttp_app"), ALL | {SLOW}),
    Contender(
        "aiohttp-asyncio",
        "aiohttp on asyncio's own loop, which has sendfile",
        ("-m", f"{SERVERS}aiohttp_app", "--asyncio"),
        ALL,
    ),
    Contender(
        "blocking-socket",
        "one blocking socket, the limit in Python",
        ("-m", f"{SERVERS}blocking_socket"),
        frozenset({RAW, DOWNLOAD, DISCARD}),
    ),
    Contender(
        "blocking-socket-2",
        "the same with the hash in a second thread",
        ("-m", f"{SERVERS}blocking_socket", "--hash-beside"),
        frozenset({RAW}),
    ),
    Contender(
        LAYER,
        "a bare ASGI application on Hypercorn (uvloop) with our server layer",
        (*HYPERCORN, "--worker-class", "uvloop", f"{SERVERS}bare_app_on_layer:app"),
        frozenset({DISCARD}),
    ),
    Contender(
        "hypercorn",
        "the same application on stock Hypercorn (uvloop)",
        (*HYPERCORN, "--worker-class", "uvloop", f"{SERVERS}bare_app:app"),
        frozenset({DISCARD}),
    ),
    Contender(
        "uvicorn",
        "the same application on uvicorn (uvloop, httptools)",
        (*UVICORN, "--no-access-log", f"{SERVERS}bare_app:app"),
        frozenset({DISCARD}),
    ),
)
