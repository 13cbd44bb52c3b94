from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.errors import PreconditionFailed
from quart_app.protocol.conditions import (
    Outcome,
    Validators,
    evaluate,
    http_date,
    parse_http_date,
    range_allowed,
)

MOMENT = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)
NOW = Validators('"now"', MOMENT + timedelta(microseconds=999_999))

SAME = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"

GO, KNOWN, FAIL = Outcome.PROCEED, Outcome.NOT_MODIFIED, None


def outcome(method: str, headers: dict[str, str]) -> Outcome | None:
    try:
        return evaluate(method, headers, NOW)
    except PreconditionFailed:
        return FAIL


@pytest.mark.parametrize(
    ("headers", "read", "write"),
    [
        ({}, GO, GO),
        ({"If-Match": '"now"'}, GO, GO),
        ({"If-Match": '"a, b", "now"'}, GO, GO),
        ({"If-Match": "*"}, GO, GO),
        ({"If-Match": " * "}, GO, GO),
        ({"If-Match": '"old"'}, FAIL, FAIL),
        ({"If-Match": 'W/"now"'}, FAIL, FAIL),
        ({"If-Match": '"NOW"'}, FAIL, FAIL),
        ({"If-Match": "now"}, FAIL, FAIL),
        ({"If-Match": ""}, FAIL, FAIL),
        ({"If-Match": '"*"'}, FAIL, FAIL),
        ({"If-Unmodified-Since": AFTER}, GO, GO),
        ({"If-Unmodified-Since": SAME}, GO, GO),
        ({"If-Unmodified-Since": BEFORE}, FAIL, FAIL),
        ({"If-Unmodified-Since": "yesterday"}, GO, GO),
        ({"If-None-Match": '"now"'}, KNOWN, FAIL),
        ({"If-None-Match": 'W/"now"'}, KNOWN, FAIL),
        ({"If-None-Match": '"old","now"'}, KNOWN, FAIL),
        ({"If-None-Match": '"old" , W/"now"'}, KNOWN, FAIL),
        ({"If-None-Match": "*"}, KNOWN, FAIL),
        ({"If-None-Match": '"old"'}, GO, GO),
        ({"If-None-Match": "now"}, GO, GO),
        ({"If-None-Match": '"ol', "If-Modified-Since": SAME}, GO, GO),
        ({"If-Modified-Since": SAME}, KNOWN, GO),
        ({"If-Modified-Since": AFTER}, KNOWN, GO),
        ({"If-Modified-Since": BEFORE}, GO, GO),
        ({"If-Modified-Since": "0"}, GO, GO),
        # The order of RFC 9110, 13.2.2.
        ({"If-Match": '"now"', "If-Unmodified-Since": BEFORE}, GO, GO),
        ({"If-Match": '"old"', "If-Unmodified-Since": AFTER}, FAIL, FAIL),
        ({"If-Match": '"old"', "If-None-Match": '"now"'}, FAIL, FAIL),
        ({"If-Match": '"now"', "If-None-Match": '"now"'}, KNOWN, FAIL),
        ({"If-Unmodified-Since": BEFORE, "If-None-Match": '"now"'}, FAIL, FAIL),
        ({"If-Match": '"now"', "If-Modified-Since": SAME}, KNOWN, GO),
        ({"If-None-Match": '"old"', "If-Modified-Since": SAME}, GO, GO),
        ({"If-None-Match": '"now"', "If-Modified-Since": BEFORE}, KNOWN, FAIL),
    ],
)
def test_conditions(headers: dict[str, str], read: Outcome | None, write: Outcome | None) -> None:
    assert outcome("GET", headers) is read
    assert outcome("HEAD", headers) is read
    assert outcome("DELETE", headers) is write


@pytest.mark.parametrize(
    ("if_range", "allowed"),
    [
        (None, True),
        ('"now"', True),
        (' "now" ', True),
        ('W/"now"', False),
        ('"old"', False),
        ('"old", "now"', False),
        ("*", False),
        ("", False),
        (SAME, True),
        (BEFORE, False),
        (AFTER, False),
        ("soon", False),
    ],
)
def test_if_range(if_range: str | None, allowed: bool) -> None:
    assert range_allowed(if_range, NOW) is allowed


@pytest.mark.parametrize(
    "text",
    [SAME, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", f" {SAME} "],
)
def test_the_three_forms_of_a_date(text: str) -> None:
    assert parse_http_date(text) == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "now",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 +0200",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Now 1994 08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:49:37 GMT",
        "Sun, 06 Nov 0000 08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT",
        f"{SAME}, {SAME}",
        f"{SAME}\n",
        "1994-11-06T08:49:37Z",
        "9" * 10_000,
    ],
)
def test_no_date(text: str) -> None:
    assert parse_http_date(text) is None


def test_dates_are_written_in_gmt() -> None:
    there = timezone(timedelta(hours=2))
    assert http_date(NOW.last_modified.astimezone(there)) == SAME


@given(st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)))
def test_a_written_date_reads_back_to_the_second(moment: datetime) -> None:
    assert parse_http_date(http_date(moment)) == moment.replace(microsecond=0)


TWO_DIGITS = st.integers(0, 99).map("{:02}".format)
ALMOST_DATES = st.tuples(
    TWO_DIGITS,
    st.sampled_from(["Feb", "Nov", "Now"]),
    TWO_DIGITS,
    TWO_DIGITS,
    TWO_DIGITS,
    TWO_DIGITS,
)


@given(ALMOST_DATES.map(lambda values: "Sun, {} {} 19{} {}:{}:{} GMT".format(*values)))
def test_what_looks_like_a_date_never_raises(text: str) -> None:
    moment = parse_http_date(text)
    assert moment is None or moment.tzinfo is UTC
