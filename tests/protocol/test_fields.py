from __future__ import annotations

import time
from base64 import b64encode
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.protocol.fields import BareItem, Token, parse_dictionary, parse_item


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("?1", True),
        ("?0", False),
        ("0", 0),
        ("-42", -42),
        ("042", 42),
        ("999999999999999", 10**15 - 1),
        ("4.5", Decimal("4.5")),
        ("-123456789012.125", Decimal("-123456789012.125")),
        ('"a \\"b\\" \\\\ c"', 'a "b" \\ c'),
        ('""', ""),
        ("*a/b:c", Token("*a/b:c")),
        (":cHJldGVuZA==:", b"pretend"),
        (":cHJldGVuZA:", b"pretend"),
        ("::", b""),
        ("  1  ", 1),
        ("?1;a;b=2;c=:YQ==:", True),
        ('1;  a="x;y"', 1),
    ],
)
def test_items(text: str, value: BareItem) -> None:
    parsed = parse_item(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "?2",
        "?1 x",
        "1,2",
        "1;",
        "1;A",
        "1;a=",
        "1 ;a",
        "1;a=:=:",
        "--1",
        "1.",
        ".5",
        "1.2345",
        "1234567890123.4",
        "1000000000000000",
        "٤",
        "+1",
        "\t1",
        '"a',
        '"\\a"',
        '"é"',
        '"a\x00"',
        ":a:",
        ":a=b:",
        ":=:",
        ":YQ==",
        ":YQ==: x",
        ":Y Q:",
        ":Y-_Q:",
        "(1 2)",
        "é",
        "@1",
    ],
)
def test_no_items(text: str) -> None:
    with pytest.raises(ValueError):
        parse_item(text)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("", {}),
        ("  ", {}),
        ("a", {"a": True}),
        ("a;x=1", {"a": True}),
        ("a=1,b=2", {"a": 1, "b": 2}),
        ("a=1 \t,\t b=?0;q=0.5 , *c-d_.e=x", {"a": 1, "b": False, "*c-d_.e": "x"}),
        ("a=1, a=2", {"a": 2}),
        ("sha-256=:YQ==:", {"sha-256": b"a"}),
        ("max-size=10, min-size=1", {"max-size": 10, "min-size": 1}),
    ],
)
def test_dictionaries(text: str, members: dict[str, BareItem]) -> None:
    assert parse_dictionary(text) == members


@pytest.mark.parametrize(
    "text",
    [",", "a,", "a=1, ", "a=1,,b=2", ",a", "a b", "A=1", "1=a", "a=", "a= 1", "a =1", "a=(1 2)"],
)
def test_no_dictionaries(text: str) -> None:
    with pytest.raises(ValueError):
        parse_dictionary(text)


def serialized(value: BareItem) -> str:
    """Write an item (RFC 9651, 4.1.3)."""
    if isinstance(value, bool):
        return f"?{value:d}"
    if isinstance(value, bytes):
        return f":{b64encode(value).decode()}:"
    if isinstance(value, str) and not isinstance(value, Token):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)


LIMIT = 10**15 - 1
ITEMS = st.one_of(
    st.booleans(),
    st.integers(-LIMIT, LIMIT),
    st.integers(-LIMIT, LIMIT).map(lambda number: Decimal(number).scaleb(-3)),
    st.binary(max_size=40),
    st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20),
    st.from_regex(r"[A-Za-z*][!#$%&'*+.^_`|~:/0-9A-Za-z-]{0,20}", fullmatch=True).map(Token),
)
KEYS = st.from_regex(r"[a-z*][a-z0-9_.*-]{0,8}", fullmatch=True)


@given(ITEMS)
def test_items_round_trip(value: BareItem) -> None:
    parsed = parse_item(serialized(value))
    assert (type(parsed), parsed) == (type(value), value)


@given(st.dictionaries(KEYS, ITEMS, max_size=5), st.dictionaries(KEYS, ITEMS, max_size=2))
def test_dictionaries_round_trip(
    members: dict[str, BareItem], parameters: dict[str, BareItem]
) -> None:
    tail = "".join(f";{key}={serialized(value)}" for key, value in parameters.items())
    text = ", ".join(f"{key}={serialized(value)}{tail}" for key, value in members.items())
    assert parse_dictionary(text) == members


@given(st.text(alphabet='ab1.?:"\\=;,*() \té', max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_item, parse_dictionary):
        try:
            parse(text)
        except ValueError:
            continue


@pytest.mark.parametrize("text", ["a;" * 50_000, "a, " * 50_000, 'a="' + "\\\\" * 50_000])
def test_long_fields_are_read_in_linear_time(text: str) -> None:
    started = time.process_time()
    with pytest.raises(ValueError):
        parse_dictionary(text + "!")
    assert time.process_time() - started < 1
