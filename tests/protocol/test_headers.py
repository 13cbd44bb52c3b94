from __future__ import annotations

import time

import pytest

from quart_app.protocol.headers import parameters


@pytest.mark.parametrize(
    ("header", "value", "found"),
    [
        ("", "", {}),
        (" Form-Data ", "form-data", {}),
        ("a; B=1;c = 2 ", "a", {"b": "1", "c": "2"}),
        ('a; b="1;c=2"; d=3', "a", {"b": "1;c=2", "d": "3"}),
        (r'a; b="\"; c=\\"', "a", {"b": '"; c=\\'}),
        ('a; b=""', "a", {"b": ""}),
        ("a; b=1; b=2", "a", {"b": "1"}),
        ("a; b=my file.txt; c=1", "a", {"b": "my file.txt", "c": "1"}),
        ("a;;; b; =; c=1", "a", {"c": "1"}),
        ('a; b="open', "a", {"b": '"open'}),
    ],
)
def test_parameters(header: str, value: str, found: dict[str, str]) -> None:
    assert parameters(header) == (value, found)


@pytest.mark.parametrize("piece", [";", "; ", ";a", ';a="', ';a="\\"', ";a= ", "; a ", '="\\'])
def test_any_header_is_split_in_linear_time(piece: str) -> None:
    started = time.process_time()
    parameters(";" + piece * 50_000)
    parameters(";a" + " " * 50_000 + piece)
    assert time.process_time() - started < 1
