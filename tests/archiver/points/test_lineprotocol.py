"""Line protocol: what is written is read back, by us and by the rules of the InfluxData documentation."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.points.lineprotocol import Point, escape_key, escape_measurement, parse, quote, split_lines

_NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\\\0"), min_size=1, max_size=12)
_VALUES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20),
)
_POINTS = st.builds(
    Point,
    _NAMES,
    st.dictionaries(_NAMES, _NAMES, max_size=3),
    st.dictionaries(_NAMES, _VALUES, min_size=1, max_size=4),
    st.one_of(st.none(), st.integers(0, 2**63 - 1)),
)


@given(_POINTS)
def test_a_point_is_read_back_as_it_was(point: Point) -> None:
    line = point.line().encode()
    assert b"\n" not in line
    again = parse(line)
    assert again == point
    assert [type(value) for value in again.fields.values()] == [type(value) for value in point.fields.values()]


@given(st.binary(max_size=60))
def test_any_bytes_are_a_point_or_a_value_error(line: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert parse(line).fields


def test_the_examples_of_the_documentation_are_read() -> None:
    assert parse(rb'my\ meas,tag\,one=a\=b,tag2=va\ lue text="a \"quoted\", C:\\dir",n=1i,f=1e3,b=true 42') == Point(
        "my meas",
        {"tag,one": "a=b", "tag2": "va lue"},
        {"text": 'a "quoted", C:\\dir', "n": 1, "f": 1000.0, "b": True},
        42,
    )


def test_names_with_special_characters_are_escaped() -> None:
    assert escape_measurement("a b,c=d") == r"a\ b\,c=d"
    assert escape_key("a b,c=d") == r"a\ b\,c\=d"
    assert escape_key("line\nend\\") == "line\\ end"


def test_a_line_end_in_a_text_stays_in_its_line() -> None:
    point = Point("m", {}, {"text": "first\r\nsecond\nthird"}, 1)
    assert parse(point.line().encode()).fields == {"text": r"first\nsecond\nthird"}
    assert quote("a\nb") == r'"a\\nb"'


def test_a_payload_is_split_into_its_points() -> None:
    payload = b"m a=1 1\nm a=2 2\n\nm a=3 3"
    assert split_lines(payload) == [b"m a=1 1", b"m a=2 2", b"m a=3 3"]
    assert [point.time for point in map(parse, split_lines(payload))] == [1, 2, 3]


@pytest.mark.parametrize(
    "line", [b"", b"m", b"m ", b"m a", b"m a=", b'm a="x', b"m a=1x", b"m a=1 x", b"m,t a=1", b" a=1"]
)
def test_what_is_not_a_point_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(line)


def test_a_long_run_of_backslashes_does_not_take_for_ever() -> None:
    with pytest.raises(ValueError, match="expected"):
        parse(b"m " + b"\\" * 5000)


def test_extreme_numbers_survive() -> None:
    values = {"a": 5e-324, "b": math.pi, "c": -1.7976931348623157e308, "d": 2**53 + 1}
    assert parse(Point("m", {}, dict(values), 1).line().encode()).fields == values
