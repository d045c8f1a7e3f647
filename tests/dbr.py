"""Layout of the Channel Access DBR structures as a C client sees them in memory.

Source: db_access.h of EPICS base 7 (structures, padding members) and caeventmask.h. Everything is native byte
order.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache

STRING, SHORT, FLOAT, ENUM, CHAR, LONG, DOUBLE = range(7)
STS, TIME, GR, CTRL = 7, 14, 21, 28  # add a native type to them
PUT_ACKT, PUT_ACKS, STSACK_STRING, CLASS_NAME = 35, 36, 37, 38
READABLE = (*range(35), STSACK_STRING, CLASS_NAME)

DBE_VALUE, DBE_LOG, DBE_ALARM, DBE_PROPERTY = 1, 2, 4, 8

EPICS_EPOCH = 631152000  # 1990-01-01 in Unix seconds

_LETTER = {SHORT: "h", FLOAT: "f", ENUM: "H", CHAR: "B", LONG: "i", DOUBLE: "d"}
_TIME_PAD = {STRING: "", SHORT: "2x", FLOAT: "", ENUM: "2x", CHAR: "3x", LONG: "", DOUBLE: "4x"}
_STS_PAD = {CHAR: "x", DOUBLE: "4x"}

Scalar = float | int | str
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Decoded:
    """One DBR structure; what the type does not carry is None (or empty)."""

    value: Value
    status: int | None = None
    severity: int | None = None
    stamp: float | None = None
    units: str | None = None
    precision: int | None = None
    display: tuple[float, float] | None = None  # low, high
    alarm: tuple[float, float, float, float] | None = None  # lolo, low, high, hihi
    control: tuple[float, float] | None = None  # low, high
    strings: tuple[str, ...] = ()
    ackt: int | None = None
    acks: int | None = None


@cache
def header(dbr_type: int) -> struct.Struct:
    """Everything before the value, padding members included."""
    if dbr_type == STSACK_STRING:
        return struct.Struct("=HHHH")
    if dbr_type in (PUT_ACKT, PUT_ACKS, CLASS_NAME):
        return struct.Struct("=")
    kind, native = divmod(dbr_type, 7)
    letter = _LETTER.get(native, "")
    if kind == 0:
        return struct.Struct("=")
    if kind == 1 or (native == STRING and kind != 2):
        return struct.Struct("=hh" + _STS_PAD.get(native, ""))
    if kind == 2:
        return struct.Struct("=hhII" + _TIME_PAD[native])
    if native == ENUM:
        return struct.Struct("=hhh416s")
    limits = letter * (8 if kind == 4 else 6)
    precision = "h2x" if native in (FLOAT, DOUBLE) else ""
    return struct.Struct(f"=hh{precision}8s{limits}{'x' if native == CHAR else ''}")


def element(dbr_type: int) -> int:
    """Native type of the values in a DBR type."""
    if dbr_type in (PUT_ACKT, PUT_ACKS):
        return ENUM
    return STRING if dbr_type in (STSACK_STRING, CLASS_NAME) else dbr_type % 7


def size(dbr_type: int, count: int) -> int:
    """Bytes of a structure with count values, without the padding after it."""
    native = element(dbr_type)
    return header(dbr_type).size + count * (40 if native == STRING else struct.calcsize(_LETTER[native]))


def text(raw: bytes) -> str:
    """A C string in a fixed buffer: what follows the NUL is not defined."""
    return raw.split(b"\0", 1)[0].decode("latin-1")


def decode_values(native: int, count: int, raw: bytes) -> Value:
    """Values of a native type; a single one comes without its tuple."""
    values: tuple[Scalar, ...]
    if native == STRING:
        values = tuple(text(raw[40 * i : 40 * i + 40]) for i in range(count))
    else:
        values = struct.unpack_from(f"={count}{_LETTER[native]}", raw)
    return values[0] if count == 1 else values


def encode(value: object, native: int) -> tuple[int, bytes]:
    """Count and bytes of a value (or list of values) for a put."""
    if isinstance(value, bytes) and native == CHAR:
        return len(value), value
    items = list(value) if isinstance(value, list | tuple) else [value]
    if native == STRING:
        return len(items), b"".join(str(item).encode("latin-1")[:39].ljust(40, b"\0") for item in items)
    return len(items), struct.pack(f"={len(items)}{_LETTER[native]}", *items)


def decode(dbr_type: int, count: int, raw: bytes) -> Decoded:
    """A structure as named things."""
    head = header(dbr_type)
    value = decode_values(element(dbr_type), count, raw[head.size :])
    fields = head.unpack_from(raw)
    if dbr_type == STSACK_STRING:
        return Decoded(value, status=fields[0], severity=fields[1], ackt=fields[2], acks=fields[3])
    kind, native = divmod(dbr_type, 7)
    if dbr_type == CLASS_NAME or kind == 0:
        return Decoded(value)
    status, severity, *rest = fields
    if kind == 2:
        return Decoded(value, status, severity, stamp=rest[0] + EPICS_EPOCH + rest[1] * 1e-9)
    if kind == 1 or native == STRING:
        return Decoded(value, status, severity)
    if native == ENUM:
        strings = tuple(text(rest[1][26 * i : 26 * i + 26]) for i in range(min(rest[0], 16)))
        return Decoded(value, status, severity, strings=strings)
    precision = rest.pop(0) if native in (FLOAT, DOUBLE) else None
    units, upper_disp, lower_disp, hihi, high, low, lolo, *control = rest
    return Decoded(
        value,
        status,
        severity,
        units=text(units),
        precision=precision,
        display=(lower_disp, upper_disp),
        alarm=(lolo, low, high, hihi),
        control=(control[1], control[0]) if control else None,
    )


def canonical(dbr_type: int, count: int, raw: bytes, *, stamp: bool = False) -> bytes:
    """The bytes that carry meaning: padding, what follows a NUL and (unless asked) time stamps are zeroed."""
    head = header(dbr_type)
    fields: list[object] = []
    for field in head.unpack_from(raw):
        if isinstance(field, bytes):
            width = 26 if len(field) == 416 else len(field)
            parts = [field[i : i + width] for i in range(0, len(field), width)]
            fields.append(b"".join(part.split(b"\0", 1)[0].ljust(width, b"\0") for part in parts))
        else:
            fields.append(field)
    if dbr_type // 7 == 2 and dbr_type < PUT_ACKT and not stamp:
        fields[2:4] = [0, 0]
    body = raw[head.size : size(dbr_type, count)]
    if element(dbr_type) == STRING:
        body = b"".join(body[i : i + 40].split(b"\0", 1)[0].ljust(40, b"\0") for i in range(0, len(body), 40))
    return head.pack(*fields) + body
