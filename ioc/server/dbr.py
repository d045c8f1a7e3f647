"""Encode a field for the wire: every DBR type that Channel Access has, with the conversions of base.

Layouts are those of db_access.h: status, then time stamp or metadata, padding, then the elements, all big-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

from ioc.records import Record
from ioc.records.convert import (
    DBR_CHAR,
    DBR_DOUBLE,
    DBR_ENUM,
    DBR_FLOAT,
    DBR_LONG,
    DBR_SHORT,
    DBR_STRING,
    INTEGER_RANGES,
    STRING_SIZE,
    number_text,
    parse_float,
)
from ioc.records.fields import Meta
from ioc.records.fieldtable import ENUM_TYPES, FLOAT_TYPES, LINK_TYPES, FieldSpec

DBR_PUT_ACKT, DBR_PUT_ACKS, DBR_STSACK_STRING, DBR_CLASS_NAME = range(35, 39)
#: Kinds of structure; each has the seven plain types.
PLAIN, STS, TIME, GR, CTRL = range(5)

MAX_STATES: Final = 16
STATE_SIZE: Final = 26
UNITS_SIZE: Final = 8

#: How ``struct`` writes an element of each plain type but text.
CODES: Final = {DBR_SHORT: "h", DBR_FLOAT: "f", DBR_ENUM: "H", DBR_CHAR: "B", DBR_LONG: "i", DBR_DOUBLE: "d"}
_STATUS: Final = struct.Struct(">hh")
_STAMP: Final = struct.Struct(">hhII")
_TIME_DOUBLE: Final = struct.Struct(">hhII4xd")
# Bytes between the header of a structure and its value (the RISC_pad fields of db_access.h).
_STATUS_PAD: Final = {DBR_CHAR: 1, DBR_DOUBLE: 4}
_TIME_PAD: Final = {DBR_SHORT: 2, DBR_ENUM: 2, DBR_CHAR: 3, DBR_DOUBLE: 4}
_FLOAT_MIN: Final = 1.1754943508222875e-38
_FLOAT_MAX: Final = 3.4028234663852886e38

# The wire carries integers of 16, 32 and 8 bits; 8 bits without a sign.
_WIRE_TYPES: Final = {DBR_SHORT: "SHORT", DBR_ENUM: "ENUM", DBR_CHAR: "UCHAR", DBR_LONG: "LONG"}


class CannotConvert(Exception):
    """The value has no meaning in the type that the client asked for."""


def element_size(plain: int) -> int:
    """Bytes of one element of a plain DBR type."""
    return STRING_SIZE if plain == DBR_STRING else struct.calcsize(CODES[plain])


def encode(record: Record, spec: FieldSpec, dbr: int, count: int, long_string: bool = False) -> bytes:
    """Encode ``count`` elements of a field as a DBR structure, without the padding of the message.

    Raises CannotConvert.
    """
    if dbr == DBR_STSACK_STRING:
        head = struct.pack(">hhHH", record.stat, record.sevr, record.ackt, record.acks)
        return head + encode(record, spec, DBR_STRING, 1, long_string)
    if dbr == DBR_CLASS_NAME:
        return record.rtyp.encode().ljust(STRING_SIZE, b"\0")
    if dbr == TIME * 7 + DBR_DOUBLE and spec.name == "VAL" and type(record.val) is float:
        return _TIME_DOUBLE.pack(record.stat, record.sevr, record.seconds, record.nanoseconds, record.val)
    kind, plain = divmod(dbr, 7)
    values = _elements(record, spec, plain, count, long_string)
    return _head(record, spec, kind, plain) + values


def _head(record: Record, spec: FieldSpec, kind: int, plain: int) -> bytes:
    if kind == PLAIN:
        return b""
    if kind == TIME:
        stamp = _STAMP.pack(record.stat, record.sevr, record.seconds, record.nanoseconds)
        return stamp + bytes(_TIME_PAD.get(plain, 0))
    status = _STATUS.pack(record.stat, record.sevr)
    if kind == STS or plain == DBR_STRING:
        return status + bytes(_STATUS_PAD.get(plain, 0))
    if plain == DBR_ENUM:
        return status + _enum_head(record.enum_strings() if spec.dbf == "ENUM" else spec.choices)
    return status + _numeric_head(record.meta(spec), plain, kind == CTRL)


def _enum_head(texts: Sequence[str]) -> bytes:
    shown = [_cut(text, STATE_SIZE) for text in texts[:MAX_STATES]]
    table = b"".join(shown).ljust(MAX_STATES * STATE_SIZE, b"\0")
    return struct.pack(">h", len(shown)) + table


def _numeric_head(meta: Meta, plain: int, control: bool) -> bytes:
    head = b""
    if plain in (DBR_FLOAT, DBR_DOUBLE):
        head = struct.pack(">hxx", meta.precision)
    head += _cut(meta.units, UNITS_SIZE)
    limits = meta[2:] if control else meta[2:-2]
    head += struct.pack(f">{len(limits)}{CODES[plain]}", *(_limit(value, plain) for value in limits))
    return head + b"\0" if plain == DBR_CHAR else head


def _limit(value: float, plain: int) -> float | int:
    """Fit a limit into the type asked for: by way of a 32-bit integer, as base does it; NaN becomes 0."""
    if plain == DBR_DOUBLE:
        return value
    if plain == DBR_FLOAT:
        return to_float32(value)
    number = to_integer(value, DBR_LONG)
    if plain == DBR_LONG:
        return number
    return number & 0xFF if plain == DBR_CHAR else (number + 0x8000) % 0x10000 - 0x8000


def _cut(text: str, size: int) -> bytes:
    """Bytes of a text in a C string of this size."""
    return text.encode("utf-8", "surrogateescape")[: size - 1].ljust(size, b"\0")


def _elements(record: Record, spec: FieldSpec, plain: int, count: int, long_string: bool) -> bytes:
    value = record.get(spec.name)
    if long_string:
        text = str(value).encode("utf-8", "surrogateescape")
        if plain == DBR_CHAR and spec.dbf != "NOACCESS":  # cut like a C string, but for lsi, which has an array here
            text = text[: max(count - 1, 0)]
        return _numbers(padded(text, count), plain)
    if isinstance(value, tuple):
        dbf = record.field_type(spec)[0]
        if plain == DBR_STRING:
            precision = record.meta(spec).precision if dbf in FLOAT_TYPES else 0
            texts = b"".join(_cut(number_text(number, precision), STRING_SIZE) for number in value[:count])
            return texts.ljust(count * STRING_SIZE, b"\0")
        return _numbers(padded(value, count), plain)
    if isinstance(value, str):
        return _from_text(value, plain, spec.dbf in LINK_TYPES) if count else b""
    if isinstance(value, bytes):
        raise CannotConvert(f"{spec.name} has no value of this type")
    if plain == DBR_STRING:
        return _cut(_text(record, spec, value), STRING_SIZE)
    return _numbers((value,), plain)


def _text(record: Record, spec: FieldSpec, value: float | int) -> str:
    """Text of a scalar as DBR_STRING: the state, the choice, or the number with the record's precision."""
    if spec.dbf in ENUM_TYPES:
        index = int(value)
        if spec.dbf == "ENUM":
            return record.state_text(index) if record.field_type(spec)[0] == "ENUM" else str(index)
        return spec.choices[index] if index < len(spec.choices) else str(index)
    if spec.dbf in FLOAT_TYPES:
        return number_text(float(value), record.text_precision(spec))
    return str(int(value))


def _from_text(text: str, plain: int, is_link: bool) -> bytes:
    if plain == DBR_STRING:
        return _cut(text, STRING_SIZE)
    blank = not text.strip()
    if blank and is_link and plain == DBR_DOUBLE:
        return _numbers((math.nan,), plain)
    if blank and (plain == DBR_ENUM or (is_link and plain != DBR_CHAR)):
        raise CannotConvert("an empty text is not a number")
    try:
        number = 0 if blank else parse_float(text)
    except ValueError:
        raise CannotConvert(f"{text!r} is not a number") from None
    return _numbers((number,), plain)


def _numbers(values: Sequence[float | int], plain: int) -> bytes:
    if plain == DBR_STRING:
        return b"".join(_cut(str(value), STRING_SIZE) for value in values)
    if plain == DBR_DOUBLE:
        return struct.pack(f">{len(values)}d", *values)
    if plain == DBR_FLOAT:
        return struct.pack(f">{len(values)}f", *map(to_float32, values))
    return struct.pack(f">{len(values)}{CODES[plain]}", *(to_integer(value, plain) for value in values))


def to_integer(value: float | int, dbr: int) -> int:
    """Fit a number into an integer DBR type; it saturates, and what is not a number becomes 0."""
    low, high = INTEGER_RANGES[_WIRE_TYPES[dbr]]
    if isinstance(value, float):
        if math.isnan(value):
            return 0
        if math.isinf(value):
            return high if value > 0 else low
        value = int(value)
    if dbr == DBR_CHAR and -128 <= value < 0:
        return value & 0xFF
    return min(max(value, low), high)


def to_float32(value: float | int) -> float:
    """Fit a number into a single-precision float: one too large or too small becomes the largest or smallest one."""
    if value and abs(value) < _FLOAT_MIN:
        return math.copysign(_FLOAT_MIN, value)
    try:
        struct.pack(">f", value)
    except OverflowError:
        return math.copysign(_FLOAT_MAX, value)
    return float(value)


def padded(values: Sequence[float], count: int) -> tuple[float, ...]:
    """Return exactly ``count`` elements, filled up with zeros."""
    return tuple(values[:count]) + (0,) * (count - len(values))
