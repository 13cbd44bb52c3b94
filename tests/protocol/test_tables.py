"""CSV into lines of JSON and back: quotes, cuts, odd values, and errors that name the line."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quart_app.errors import BadRecord, NotText
from quart_app.protocol.codecs import CsvToNdjson, NdjsonToCsv, csv_to_ndjson, ndjson_to_csv
from quart_app.protocol.codecs.contract import MAX_RECORD_LENGTH, OUTPUT_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    from quart_app.protocol.codecs import Codec

    MakeCodec = Callable[[], Codec]

STEPS = [1, 2, 3, 1000]
each_step = pytest.mark.parametrize("step", STEPS)


def converted(codec: Codec, data: bytes | str, step: int = 1_000_000) -> str:
    data = data.encode() if isinstance(data, str) else data
    out = []
    for start in range(0, len(data), step):
        out += [*codec.feed(data[start : start + step]), *codec.flush()]
    return b"".join([*out, *codec.finish()]).decode()


def objects(data: bytes | str, step: int = 1_000_000) -> list[Any]:
    lines = converted(CsvToNdjson(), data, step)
    assert lines == "" or lines.endswith("\n")
    return [json.loads(line) for line in lines.split("\n")[:-1]]


def table(*lines: str, step: int = 1_000_000) -> list[list[str]]:
    text = converted(NdjsonToCsv(), "\n".join(lines), step)
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@each_step
class TestFromCsv:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", []),
            ("a,b\r\n", []),
            ("a,b", []),
            ("a,b\r\n1,2\r\n", [{"a": "1", "b": "2"}]),
            ("a,b\n1,2", [{"a": "1", "b": "2"}]),
            ("a,b\n,\n", [{"a": "", "b": ""}]),
            ("\ufeffa\n1\n", [{"a": "1"}]),
            ('\ufeff"a"\n\ufeff1\n', [{"a": "\ufeff1"}]),
            ('a\n"1,""2""\r\n\n3"\n', [{"a": '1,"2"\r\n\n3'}]),
            ('"a"",",b\n"",""\n', [{'a",': "", "b": ""}]),
            ('a\n"x"', [{"a": "x"}]),
            ('a\n""', [{"a": ""}]),
            ("a\n\n\r\n1\n\n", [{"a": "1"}]),
            ("\n\na\n1\n", [{"a": "1"}]),
            ("%s,é\n%d,€😀\n", [{"%s": "%d", "é": "€😀"}]),
            (" a ,\n 1 ,\x00\n", [{" a ": " 1 ", "": "\x00"}]),
            ("a,b\n1,2\r", [{"a": "1", "b": "2"}]),
            ('a\n"x"\r', [{"a": "x"}]),
        ],
    )
    def test_rows(self, text: str, expected: list[object], step: int) -> None:
        assert objects(text, step) == expected

    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            ("a,b\n1\n", 2, "1 fields where the first row has 2"),
            ("a,b\n1,2\n1,2,3\n", 3, "3 fields"),
            ('a,b\n"x\n\ny",2\n"p\nq"\n', 5, "1 fields"),
            ("a,b\n\n\n1\n", 4, "1 fields"),
            ("a,b,a\n", 1, "two columns"),
            ('a\nx"y\nz\n', 2, "out of place"),
            ('a\n"x"y\nz\n', 2, "out of place"),
            ('a\n1\n "x"\n', 3, "out of place"),
            ("a\n1\rx\n", 2, "out of place"),
            ('a\n1\n"x\ny', 3, "not closed"),
            ('a\n1\n"x""', 3, "not closed"),
            ("a,b\n1,2\n1", 3, "1 fields"),
        ],
    )
    def test_errors(self, text: str, line: int, reason: str, step: int) -> None:
        with pytest.raises(BadRecord) as caught:
            objects(text, step)
        assert caught.value.line == line
        assert caught.value.detail.startswith(f"Line {line}: ")
        assert reason in caught.value.detail

    @pytest.mark.parametrize("data", [b"a\n\xff\n", b"a\n\xe2\x82", b"\xff\xfea\x00"])
    def test_no_text(self, data: bytes, step: int) -> None:
        with pytest.raises(NotText):
            objects(data, step)


FIELDS = st.text(alphabet='a1,"\r\n é😀\x00\ufeff%')


class TestAnyTable:
    @given(
        st.lists(FIELDS, min_size=1, max_size=4, unique=True).flatmap(
            lambda head: st.tuples(
                st.just(head),
                st.lists(st.lists(FIELDS, min_size=len(head), max_size=len(head)), max_size=6),
            )
        ),
        st.sampled_from(["\r\n", "\n"]),
        st.integers(1, 40),
    )
    def test_as_written_by_a_library(
        self, made: tuple[list[str], list[list[str]]], ending: str, step: int
    ) -> None:
        head, rows = made
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator=ending, quoting=csv.QUOTE_ALL).writerows([head, *rows])
        expected = [dict(zip(head, row, strict=True)) for row in rows]
        assert objects(out.getvalue(), step) == expected
        lines = [json.dumps(row) for row in expected]
        if lines:
            assert table(*lines, step=step) == [head, *rows]

    @given(st.text(alphabet='a,"\r\n'), st.integers(1, 5))
    def test_cuts_do_not_matter(self, text: str, step: int) -> None:
        """Neither to what comes out, nor to what is wrong."""
        assert outcome(CsvToNdjson, text, step) == outcome(CsvToNdjson, text, 1_000_000)


def outcome(codec: MakeCodec, text: str, step: int) -> str:
    try:
        return converted(codec(), text, step)
    except BadRecord as error:
        return error.detail


class TestLongRecords:
    """Whether a record is too long depends on it alone, not on how the network cut it."""

    SHORT = 8

    @given(
        st.lists(st.sampled_from(["a", "é" * 4, '"a\n"', '""', '"', ",", "\r", "\n", "\n"])),
        st.integers(1, 20),
    )
    def test_any_cut_of_rows(self, pieces: list[str], step: int) -> None:
        text = "".join(pieces)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(csv_to_ndjson, "MAX_RECORD_LENGTH", self.SHORT)
            assert outcome(CsvToNdjson, text, step) == outcome(CsvToNdjson, text, 1_000_000)

    @given(
        st.lists(st.sampled_from(['{"a":1}', '{"a":10}', '{"a":"é"}', "", " " * 8, " " * 9])),
        st.sampled_from(["", "\n", "\r\n"]),
        st.integers(1, 20),
    )
    def test_any_cut_of_lines(self, lines: list[str], ending: str, step: int) -> None:
        text = "\n".join(lines) + ending
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ndjson_to_csv, "MAX_RECORD_LENGTH", self.SHORT)
            found = outcome(NdjsonToCsv, text, step)
            assert found == outcome(NdjsonToCsv, text, 1_000_000)
            too_long = any(len(line) > self.SHORT for line in text.split("\n"))
            assert ("the line has more than" in found) == too_long

    @pytest.mark.parametrize("step", [500_000, 1_060_000, 10_000_000])
    @pytest.mark.parametrize(
        ("codec", "text", "line"),
        [
            (CsvToNdjson, "a\n%s\n2\n", 2),
            (CsvToNdjson, 'a\n"%s"\n2\n', 2),
            (CsvToNdjson, 'a\n"\n"\n"%s"', 4),
            (NdjsonToCsv, '{"a":1}\n{"a":"%s"}\n{"a":2}\n', 2),
        ],
    )
    def test_too_long(self, codec: MakeCodec, text: str, line: int, step: int) -> None:
        with pytest.raises(BadRecord, match=f"Line {line}: .* has more than 1048576") as caught:
            converted(codec(), text % ("x" * 1_100_000), step)
        assert caught.value.line == line

    def test_row_of_long_fields(self) -> None:
        row = ",".join(["x" * 500_000, "y" * 500_000, "z" * 100_000])
        for step in (500_000, 1_100_000, 10_000_000):
            with pytest.raises(BadRecord, match="Line 2: the row has more than"):
                objects(f"a,b,c\n{row}\n", step)

    def test_many_rows_together_may_be_longer(self) -> None:
        field = "x" * 5000
        assert objects("a\n" + f'"{field}"\n' * 400, 10_000_000) == [{"a": field}] * 400

    @pytest.mark.parametrize(
        ("codec", "beginning"),
        [(CsvToNdjson, 'a\n"'), (CsvToNdjson, "a\n"), (NdjsonToCsv, '{"a":"')],
    )
    def test_what_has_not_ended_is_not_copied_for_every_chunk(
        self, codec: MakeCodec, beginning: str
    ) -> None:
        converting = codec()
        size, chunks = 1_000_000, 100
        list(converting.feed(beginning.encode() + b"x" * size))
        allocated = 0
        tracemalloc.start()
        try:
            for _ in range(chunks):
                tracemalloc.reset_peak()
                before, _ = tracemalloc.get_traced_memory()
                list(converting.feed(b"x"))
                allocated += tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()
        assert allocated < chunks * size / 5


def nested(value: str, depth: int) -> str:
    return "[" * depth + value + "]" * depth


class TestToCsv:
    @each_step
    def test_odd_values(self, step: int) -> None:
        found = table(
            '{"a": "x", "b": 1.10, "c": null, "d": [1, {"é": "€"}], "e": {}, "f": true}',
            "",
            ' {"f": false, "b": 123456789012345678901234567890} \r',
            '{"a": "line\\nbreak, \\"quoted\\" \\u20ac \\ud83d\\ude00", "d": [1.50, "2"], "b": -0}',
            " \t\r",
            '{"b": 1e400}',
            step=step,
        )
        assert found == [
            ["a", "b", "c", "d", "e", "f"],
            ["x", "1.10", "", '[1,{"é":"€"}]', "{}", "true"],
            ["", "123456789012345678901234567890", "", "", "", "false"],
            ['line\nbreak, "quoted" € 😀', "-0", "", '[1.50,"2"]', "", ""],
            ["", "1e400", "", "", "", ""],
        ]

    def test_numbers_stay_as_written_however_deep(self) -> None:
        value = '[1.10,1e400,1E5,-0,{"b":[LONG,true,null,"2"]}]'.replace("LONG", "1" * 10_000)
        assert table(f'{{"a": {value}}}') == [["a"], [value]]
        value = nested("1.0", 200)
        assert table(f'{{"a": {value}}}') == [["a"], [value]]

    def test_rows_end_as_the_standard_says(self) -> None:
        assert converted(NdjsonToCsv(), '{"a":1,"b":""}\n{"a":null}') == "a,b\r\n1,\r\n,\r\n"
        assert converted(NdjsonToCsv(), '{"a":""}') == 'a\r\n""\r\n'

    @pytest.mark.parametrize("text", ["", "\n", " \r\n\n"])
    def test_nothing(self, text: str) -> None:
        assert converted(NdjsonToCsv(), text) == ""

    def test_byte_order_mark(self) -> None:
        assert table('\ufeff{"a": 1}') == [["a"], ["1"]]

    def test_very_long_number(self) -> None:
        assert table('{"a": %s}' % ("1" * 5000)) == [["a"], ["1" * 5000]]

    @each_step
    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            ('{"a":1}\n\n{"a":\n', 3, "no JSON"),
            ('{"a":1} {"a":2}\n', 1, "no JSON"),
            ('{"a":NaN}\n', 1, "no JSON"),
            ("{'a':1}", 1, "no JSON"),
            ("[" * 100_000, 1, "too deeply"),
            ('{"a":%s}' % ("[" * 50_000 + "]" * 50_000), 1, "too deeply"),
            ("\u2028", 1, "no JSON"),
            ('{"a":1}\n[1]\n', 2, "no JSON object"),
            ("1", 1, "no JSON object"),
            ("null", 1, "no JSON object"),
            ('"a"', 1, "no JSON object"),
            ("{}\n", 1, "no members"),
            ('{"a":1}\n{"a":1,"b":2}', 2, "no member 'b'"),
            ('{"a":1}\n{"a":"\\ud800"}', 2, "Unicode"),
            ('{"\\udc00":1}', 1, "Unicode"),
            ('{"a":1,"a":2}', 1, "two members of the same name"),
            ('{"a":1}\n{"a":[{"b":1,"\\u0062":2}]}', 2, "two members of the same name"),
            ('{"a":[Infinity]}', 1, "no JSON"),
            (nested('"\\u0061"', 5000), 1, "too deeply"),
        ],
    )
    def test_errors(self, text: str, line: int, reason: str, step: int) -> None:
        if len(text) > 10_000:
            step = 1000
        with pytest.raises(BadRecord) as caught:
            converted(NdjsonToCsv(), text, step)
        assert caught.value.line == line
        assert reason in caught.value.detail

    @pytest.mark.parametrize("depth", range(250, 1250, 50))
    def test_nested_as_deeply_as_one_part_of_it_can(self, depth: int) -> None:
        value = nested("1", depth)
        expected = {f"a\r\n{value}\r\n", "Line 1: it is nested too deeply."}
        assert outcome(NdjsonToCsv, f'{{"a": {value}}}', 1_000_000) in expected

    def test_no_text(self) -> None:
        with pytest.raises(NotText):
            converted(NdjsonToCsv(), b'{"a":"\xff"}')


class TestBounds:
    def test_fields_up_to_the_longest_record(self) -> None:
        field = "x" * (MAX_RECORD_LENGTH - 2)
        for text in (field, f'"{field}"'):
            assert objects(f"a\n{text}\n", 100_000) == [{"a": field}]

    @pytest.mark.parametrize("beginning", ["a\n", 'a\n"', ""])
    def test_row_without_end(self, beginning: str) -> None:
        codec = CsvToNdjson()
        with pytest.raises(BadRecord, match=r"Line \d: the row has more than"):
            converted(codec, beginning + "x" * (MAX_RECORD_LENGTH + 100_000), 100_000)

    def test_line_without_end(self) -> None:
        with pytest.raises(BadRecord, match="Line 2: the line has more than"):
            converted(NdjsonToCsv(), '{"a":1}\n' + " " * (MAX_RECORD_LENGTH + 100_000), 100_000)

    def test_little_input_with_much_output_comes_in_pieces(self) -> None:
        name = "n" * 100_000
        sizes = [len(piece) for piece in CsvToNdjson().feed(f"{name}\n".encode() + b"1\n" * 100)]
        assert sum(sizes) > 100 * len(name)
        assert max(sizes) < OUTPUT_SIZE + 2 * len(name)
        wide = json.dumps({str(number): 1 for number in range(20_000)})
        lines = "\n".join([wide, *['{"0":1}'] * 100]) + "\n"
        sizes = [len(piece) for piece in NdjsonToCsv().feed(lines.encode())]
        assert max(sizes) < OUTPUT_SIZE + 2 * len(wide)
