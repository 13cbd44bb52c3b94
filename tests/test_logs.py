"""Log lines: one event each, valid JSON, without control characters, bounded."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

#: Logs what clients and other servers may have chosen; SECRET stands in every URL.
PROGRAM = r"""
import logging, sys, threading, warnings
import structlog
from quart_app.logs import configure_logs

configure_logs("debug", sys.argv[1])
own, foreign = structlog.get_logger("quart_app.x"), logging.getLogger("other")
URL = "https://user:SECRET@host/a?b=SECRET"

class Odd(Exception):
    def __str__(self):
        return f"one\n2026-01-01 [info] forged {URL} \x1b]0;x \x9b \u202e \ud800"

def deep(number):
    return deep(number + 1)

def fail(how):
    try:
        raise Odd
    except Odd as error:
        if how == "cause":
            raise KeyError(f"\x1b {URL}") from error
        raise ExceptionGroup("\n", [Odd(), ValueError(URL)]) from None

own.warning("a \x1b\n forged", cause=repr(Odd()), raw="\r\n\x9b\u202e\ud800", odd=object())
own.info("numbers", n=10**5000, f=float("nan"), g=float("inf"), b=b"\x1b", d={"\x1b": [URL] * 99})
own.info("long", **{f"k{i}": "\x1b" * 100_000 for i in range(100)})
foreign.warning("%s \x1b", URL, extra={"k\n": "\u2028"})
for how in ("cause", "group"):
    try:
        fail(how)
    except Exception:
        own.exception("it failed")
        foreign.error("it failed", exc_info=True)
try:
    deep(0)
except RecursionError as error:
    own.error("deep", exc_info=error)
own.error("no exception", exc_info=True)
logging.getLogger("hpack.hpack").debug("field: SECRET")
logging.getLogger("httpx").info("SECRET")
warnings.warn("\x1b")
thread = threading.Thread(target=fail, args=["cause"])
thread.start()
thread.join()
raise Odd
"""

#: Bytes of the longest line: each character of a value takes at most twelve.
MAX_LINE = 200_000


def logged(style: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, style], capture_output=True, timeout=60)
    assert done.returncode == 1
    text = done.stderr.decode()
    assert "SECRET" not in text
    assert all(line.isprintable() for line in text.split("\n")), text
    return text.splitlines()


def test_json() -> None:
    lines = logged("json")
    events: list[dict[str, Any]] = [json.loads(line, parse_constant=int) for line in lines]
    assert [event["event"] for event in events if event["logger"] != "py.warnings"] == [
        r"a \x1b\n forged", "numbers", "long", r"https://host/a \x1b", *["it failed"] * 4, "deep",
        "no exception", "uncaught exception in a thread", "uncaught exception",
    ]  # fmt: skip
    assert all({"level", "logger", "timestamp"} <= event.keys() for event in events)
    assert max(map(len, lines)) < MAX_LINE
    for event in events:
        for key, value in event.items():
            shown = value.replace("\n", "") if key == "exception" else str(value)
            assert (key + shown).isprintable()
    [traceback] = [event["exception"] for event in events if event["event"] == "deep"]
    assert traceback.count("in deep") == 39
    assert traceback.endswith("RecursionError: maximum recursion depth exceeded")
    chained = events[4]["exception"]
    assert chained.index("Odd: one") < chained.index("direct cause") < chained.index("KeyError: ")


def test_text() -> None:
    """Of an event that has a traceback, no line but the first can be taken for an event."""
    lines = logged("text")
    events = [line for line in lines if line.startswith("20")]
    assert len(events) == 13
    assert not any(line.startswith("2026-01-01") for line in lines)
    assert any(
        line.startswith(r"Odd: one\n2026-01-01 [info] forged https://host/a") for line in lines
    )
    assert any(line.startswith("  | Odd: one") for line in lines)
