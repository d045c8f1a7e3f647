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
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_KEY = re.compile(r"((?:[^,= \\]|\\.|\\)++)=", re.DOTALL)
_TAG_VALUE = re.compile(r"((?:[^,= \\]|\\.|\\)++)", re.DOTALL)
_MEASUREMENT = re.compile(r"((?:[^, \\]|\\.|\\)++)", re.DOTALL)
_PLAIN = re.compile(r"[^, ]+")
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
    return _Parser(line.decode("utf-8", "surrogateescape").rstrip("\r\n")).point()


def _one_line(text: str) -> str:
    return _LINE_ENDS.sub(" ", text).rstrip("\\")


def _plain_key(text: str) -> str:
    return _ESCAPED_KEY.sub(r"\1", text)


class _Parser:
    """Reads one line from left to right."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def point(self) -> Point:
        measurement = _plain_key(self._take(_MEASUREMENT))
        tags: dict[str, str] = {}
        while self._skip(","):
            key = self._key()
            tags[key] = _plain_key(self._take(_TAG_VALUE))
        self._space()
        key = self._key()
        fields = {key: self._value()}
        while self._skip(","):
            key = self._key()
            fields[key] = self._value()
        if self._at == len(self._text):
            return Point(measurement, tags, fields, None)
        self._space()
        stamp = self._text[self._at :]
        try:
            return Point(measurement, tags, fields, int(stamp))
        except ValueError:
            raise self._wrong("a time stamp in nanoseconds") from None

    def _key(self) -> str:
        return _plain_key(self._take(_KEY))

    def _value(self) -> FieldValue:
        if self._text.startswith('"', self._at):
            return _ESCAPED_TEXT.sub(r"\1", self._take(_TEXT))
        word = self._take(_PLAIN, 0)
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
        try:
            return int(word[:-1]) if word[-1] in "iu" else float(word)
        except ValueError:
            self._at -= len(word)
            raise self._wrong("a value") from None

    def _take(self, pattern: re.Pattern[str], group: int = 1) -> str:
        match = pattern.match(self._text, self._at)
        if match is None:
            raise self._wrong("something else")
        self._at = match.end()
        return match[group]

    def _skip(self, character: str) -> bool:
        if self._text.startswith(character, self._at):
            self._at += 1
            return True
        return False

    def _space(self) -> None:
        if not self._skip(" "):
            raise self._wrong("a space")

    def _wrong(self, wanted: str) -> ValueError:
        return ValueError(f"character {self._at + 1}: {wanted} expected in {self._text[:200]!r}")
