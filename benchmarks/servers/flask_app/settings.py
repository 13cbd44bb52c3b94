"""Settings from the environment, by the names that the service reads too."""

from __future__ import annotations

import json
import os
from pathlib import Path

from quart_app.models import GIB, KIB, MIB

DATA = Path(os.environ.get("QUART_APP_DATA") or os.environ["BENCHMARK_DATA"]).absolute()
#: Bytes that one file may have.
MAX_UPLOAD_SIZE = int(os.environ.get("QUART_APP_MAX_UPLOAD_SIZE", 1024 * GIB))
#: Where bodies are relayed to: name of the target to its URL.
PROXY_TARGETS: dict[str, str] = json.loads(os.environ.get("QUART_APP_PROXY_TARGETS", "{}"))
#: Exceptions, as `host:port`, from the rule that only public addresses are fetched from.
ALLOW_FETCH: list[str] = json.loads(os.environ.get("QUART_APP_ALLOW_FETCH", "[]"))
#: Seconds that another host may keep us waiting, in either direction.
STALL_TIMEOUT = float(os.environ.get("QUART_APP_STALL_TIMEOUT", "60"))

#: Seconds that caches may answer with a file without asking.
CACHE_MAX_AGE = int(os.environ.get("QUART_APP_CACHE_MAX_AGE", "0"))

READ_SIZE = 256 * KIB
#: What the envelope and the fields of a form may add to its files, in bytes.
FORM_OVERHEAD = 2 * MIB
#: Bytes that a compressed one may become.
MAX_EXPANSION = 200
#: Bytes of a spool that stay in memory.
SPILL_SIZE = 1 * MIB
