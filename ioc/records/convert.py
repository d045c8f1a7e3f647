"""Conversions between field types and Channel Access types, as dbConvert of EPICS base does them.

Field types are those of the record definitions without ``DBF_``; Channel Access types are the seven plain DBR numbers.
"""

from __future__ import annotations

import math
from typing import Final

from ioc.records.fieldtable import ENUM_TYPES, FLOAT_TYPES, LINK_TYPES, FieldSpec, FieldValue

DBR_STRING, DBR_SHORT, DBR_FLOAT, DBR_ENUM, DBR_CHAR, DBR_LONG, DBR_DOUBLE = range(7)

STRING_SIZE: Final = 40

#: Plain DBR type under which a field of each type is offered to clients (mapDBFToDBR of db_access).
NATIVE: Final = {
    **dict.fromkeys(("STRING", *LINK_TYPES), DBR_STRING),
    **dict.fromkeys(("CHAR", "UCHAR"), DBR_CHAR),
    "SHORT": DBR_SHORT,
    **dict.fromkeys(("USHORT", "LONG"), DBR_LONG),
    "FLOAT": DBR_FLOAT,
    **dict.fromkeys(("ULONG", "INT64", "UINT64", "DOUBLE"), DBR_DOUBLE),
    **dict.fromkeys(ENUM_TYPES, DBR_ENUM),
}

INTEGER_RANGES: Final = {
    "CHAR": (-(2**7), 2**7 - 1),
    "UCHAR": (0, 2**8 - 1),
    "SHORT": (-(2**15), 2**15 - 1),
    **dict.fromkeys(("USHORT", *ENUM_TYPES), (0, 2**16 - 1)),
    "LONG": (-(2**31), 2**31 - 1),
    "ULONG": (0, 2**32 - 1),
    "INT64": (-(2**63), 2**63 - 1),
    "UINT64": (0, 2**64 - 1),
}


def parse_integer(text: str) -> int:
    """Read an integer as C does: decimal, 0x hexadecimal or 0 octal, blanks around it allowed.

    Raises ValueError.
    """
    word = text.strip()
    if "_" in word:
        raise ValueError(f"{text!r} is not an integer")
    digits = word.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1] in "01234567":
        return int(word, 8)
    return int(word, 0)


def parse_float(text: str) -> float:
    """Read a number as strtod does: decimal, exponent, 0x hexadecimal, nan and inf. Raises ValueError."""
    word = text.strip()
    if "_" in word:
        raise ValueError(f"{text!r} is not a number")
    if word.lstrip("+-")[:2].lower() == "0x":
        return float.fromhex(word)
    return float(word)


def choice(spec: FieldSpec, text: str) -> int:
    """Index of a menu choice given by its text or its number."""
    if text in spec.choices:
        return spec.choices.index(text)
    try:
        index = parse_integer(text)
    except ValueError:
        index = -1
    if 0 <= index < len(spec.choices):
        return index
    raise ValueError(f"{text!r} is not one of {', '.join(map(repr, spec.choices))}")


def check_range(dbf: str, number: int) -> int:
    """Return an integer that a field of this type can hold. Raises ValueError otherwise.

    A CHAR also takes 128 to 255, the bytes of text, as the negative numbers that they are in C.
    """
    low, high = INTEGER_RANGES[dbf]
    if dbf == "CHAR" and high < number <= 0xFF:
        return number - 0x100
    if not low <= number <= high:
        raise ValueError(f"{number} is outside {low} .. {high}")
    return number


def parse_text(spec: FieldSpec, text: str) -> FieldValue:
    """Value of a field as a database file spells it. Raises ValueError with the reason.

    An empty text leaves a number at its default, as in a database file of base.
    """
    if spec.dbf == "STRING":
        if len(text.encode("utf-8", "surrogateescape")) >= spec.size:
            raise ValueError(f"{text!r} is longer than {spec.size - 1} characters")
        return text
    if spec.dbf in LINK_TYPES:
        return text.strip()
    if not text.strip():
        return spec.default
    if spec.dbf in ("MENU", "DEVICE"):
        return choice(spec, text)
    try:
        if spec.dbf in FLOAT_TYPES:
            return parse_float(text)
        number = parse_integer(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of type {spec.dbf}") from None
    return check_range(spec.dbf, number)


def number_text(value: float | int, precision: int) -> str:
    """Format a number for DBR_STRING with the rules of cvtDoubleToString in base.

    Fixed point with ``precision`` digits; large numbers get fewer digits or an exponent. A precision that makes no
    sense counts as 17.
    """
    if isinstance(value, int):
        return str(value)
    precision = precision if 0 <= precision <= 17 else 17
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return f"{value:>{precision + 7}}"
    if precision > 8 or abs(value) > 1e7:
        if precision > 8 or abs(value) > 1e16:
            return f"{value:{precision + 7}.{precision}e}"
        return f"{value:.{min(precision, 3)}f}"
    # Halves round away from zero, unlike printf, because base counts in integers here.
    scale = 10**precision
    magnitude = abs(value)
    whole = int(magnitude)
    fraction = int((magnitude - whole) * scale * 10)
    fraction = fraction // 10 + (fraction % 10 >= 5)
    if fraction >= scale:
        whole, fraction = whole + 1, fraction - scale
    sign = "-" if value < 0 else ""
    return f"{sign}{whole}.{fraction:0{precision}d}" if precision else f"{sign}{whole}"
