from __future__ import annotations

from email.parser import BytesParser

from hypothesis import given
from hypothesis import strategies as st

from quart_app.models import ByteRange
from quart_app.protocol.byteranges import byteranges_parts, new_boundary

CONTENT = bytes(range(256)) * 4
RANGES = st.tuples(st.integers(0, 1000), st.integers(1, 24)).map(
    lambda ends: ByteRange(ends[0], sum(ends))
)


@given(st.lists(RANGES, min_size=1, max_size=6))
def test_another_parser_reads_the_body_back(ranges: list[ByteRange]) -> None:
    boundary = new_boundary()
    frame = byteranges_parts(ranges, len(CONTENT), "text/plain; charset=utf-8", boundary)
    body = b"".join(prefix + CONTENT[part.start : part.stop] for prefix, part in frame.prefixes)
    body += frame.closing
    assert len(body) == frame.content_length
    field = f"Content-Type: multipart/byteranges; boundary={boundary}\r\n\r\n"
    message = BytesParser().parsebytes(field.encode() + body)
    assert not message.defects
    assert [
        (part["Content-Type"], part["Content-Range"], part.get_payload(decode=True))
        for part in message.walk()
        if part is not message
    ] == [
        (
            "text/plain; charset=utf-8",
            f"bytes {r.start}-{r.stop - 1}/1024",
            CONTENT[r.start : r.stop],
        )
        for r in ranges
    ]


def test_the_bytes_on_the_wire() -> None:
    frame = byteranges_parts([ByteRange(0, 2), ByteRange(8, 9)], 10, "image/png", "b")
    head = b"\r\n--b\r\nContent-Type: image/png\r\nContent-Range: bytes "
    assert frame.prefixes == (
        (head + b"0-1/10\r\n\r\n", ByteRange(0, 2)),
        (head + b"8-8/10\r\n\r\n", ByteRange(8, 9)),
    )
    assert frame.closing == b"\r\n--b--\r\n"


def test_boundaries_are_long_and_never_the_same() -> None:
    boundaries = {new_boundary() for _ in range(100)}
    assert len(boundaries) == 100
    assert {len(boundary) for boundary in boundaries} == {32}
