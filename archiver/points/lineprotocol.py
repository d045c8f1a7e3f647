r"""InfluxDB line protocol: ``measurement,tag=value field=1.5,other=2i 1700000000000000000``.

Facts are those of the InfluxData documentation, "Line protocol": commas and spaces are escaped in measurements,
these and ``=`` in keys and tag values, ``"`` and ``\`` in string values; integers end in ``i``. One line is one
point here: a line end inside a text is stored as the two characters ``\n``, because not every server that takes
line protocol understands one in the middle of a point.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FieldValue = float | int | bool | str
"""What a field can hold; the type is kept on the way out and back."""

_LINE_ENDS = re.compile(r"\r\n|\r|\n")
_MEASUREMENT = re.compile(r"(?:[^, \\]|\\.|\\)++", re.DOTALL)
_KEY = r"((?:[^,= \\]|\\.|\\)++)"
_TAG = re.compile(rf",{_KEY}={_KEY}", re.DOTALL)
_FIRST_FIELD, _FIELD = (re.compile(rf'{before}{_KEY}=("(?:[^"\\]|\\.)*"|[^, "][^, ]*)', re.DOTALL) for before in " ,")
_ESCAPED_KEY = re.compile(r"\\([,= ])")
_ESCAPED_TEXT = re.compile(r'\\(["\\])')
_TRUE, _FALSE = frozenset(("t", "T", "true", "True", "TRUE")), frozenset(("f", "F", "false", "False", "FALSE"))


def escape_measurement(name: str) -> str:
    """Write a measurement; line ends become spaces, a backslash at the end, which no server can read, is left out."""
    return _one_line(name).replace(",", "\\,").replace(" ", "\\ ")


def escape_key(text: str) -> str:
    """Write a tag key, tag value or field key, with the same rules as a measurement and ``=`` escaped too."""
    return escape_measurement(text).replace("=", "\\=")


def quote(text: str) -> str:
    r"""Write a string value with its quotes; line ends become the two characters ``\n``."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _LINE_ENDS.sub(r"\\\\n", escaped) + '"'


def format_value(value: FieldValue) -> str:
    """Write the value of a field; floats must be finite, integers fit 64 bits."""
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value}i" if isinstance(value, int) else repr(float(value))


@dataclass(frozen=True, slots=True)
class Point:
    """One line, read back; ``time`` is in Unix nanoseconds, None when the line leaves it to the server."""

    measurement: str
    tags: dict[str, str]
    fields: dict[str, FieldValue]
    time: int | None

    def line(self) -> str:
        """Write the point as one line without its end."""
        head = escape_measurement(self.measurement)
        head += "".join(f",{escape_key(key)}={escape_key(value)}" for key, value in self.tags.items())
        fields = ",".join(f"{escape_key(key)}={format_value(value)}" for key, value in self.fields.items())
        return f"{head} {fields}" if self.time is None else f"{head} {fields} {self.time}"


def split_lines(payload: bytes) -> list[bytes]:
    """Return the points of a payload, each without its line end."""
    return [line for line in payload.split(b"\n") if line]


def parse(line: bytes) -> Point:
    """Read one line; raises ValueError that says where it stops being line protocol."""
    text = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
    match = _MEASUREMENT.match(text)
    if match is None:
        raise _wrong(text, 0, "a measurement")
    measurement, at = _plain_key(match[0]), match.end()
    tags: dict[str, str] = {}
    while match := _TAG.match(text, at):
        tags[_plain_key(match[1])], at = _plain_key(match[2]), match.end()
    fields: dict[str, FieldValue] = {}
    while match := (_FIELD if fields else _FIRST_FIELD).match(text, at):
        try:
            fields[_plain_key(match[1])], at = _value(match[2]), match.end()
        except ValueError:
            raise _wrong(text, match.start(2), "a value") from None
    if not fields:
        raise _wrong(text, at, "a tag or a field")
    if at == len(text):
        return Point(measurement, tags, fields, None)
    try:
        return Point(measurement, tags, fields, int(text[at:] if text[at] == " " else ""))
    except ValueError:
        raise _wrong(text, at, "a time stamp in nanoseconds") from None


def _value(word: str) -> FieldValue:
    if word.startswith('"'):
        return _ESCAPED_TEXT.sub(r"\1", word[1:-1])
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    return int(word[:-1]) if word[-1] in "iu" else float(word)


def _wrong(text: str, at: int, wanted: str) -> ValueError:
    return ValueError(f"character {at + 1}: {wanted} expected in {text[:200]!r}")


def _one_line(text: str) -> str:
    return _LINE_ENDS.sub(" ", text).rstrip("\\")


def _plain_key(text: str) -> str:
    return _ESCAPED_KEY.sub(r"\1", text)
