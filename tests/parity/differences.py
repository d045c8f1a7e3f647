"""What may differ between labioc and a C IOC, each with its reason; in prose in docs/reference/differences.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache


@dataclass(frozen=True)
class InTranscript:
    """A difference in what a scenario shows: ``pattern`` is blanked in the lines of both servers."""

    scenarios: str
    pattern: str
    reason: str


@dataclass(frozen=True)
class InField:
    """A difference in a field: ``keys`` matches ``RTYP.FIELD aspect``."""

    keys: str
    reason: str


TRANSCRIPTS: tuple[InTranscript, ...] = ()

_TEXT_AS_NUMBER = "base reads memory beyond a text, or refuses, when it is asked for as ENUM or CHAR"

FIELDS: tuple[InField, ...] = (
    *(InField(f"*.RTYP DBR {dbr_type} *", _TEXT_AS_NUMBER) for dbr_type in (4, 11, 18, 25, 32)),
    *(
        InField(f"*.{field} DBR {dbr_type} *", _TEXT_AS_NUMBER)
        for field in ("DESC", "EGU", "ZNAM", "ZRST", "FLNK")
        for dbr_type in (3, 10, 17, 24, 31)
    ),
    *(InField(f"lsi.VAL DBR {dbr_type} *", _TEXT_AS_NUMBER) for dbr_type in (3, 10, 17, 24, 31, 37)),
    *(
        InField(f"F_S[IO] as DBR * DBR {dbr_type}", _TEXT_AS_NUMBER)
        for dbr_type in (3, 4, 10, 11, 17, 18, 24, 25, 31, 32)
    ),
    InField("F_S[IO] as DBR 2 * DBR *", "a large float put to a text keeps more digits"),
    InField("*.DTYP DBR 31 *", "the choices of DTYP are the device supports that a server has"),
    InField("*.DTYP DBR 24 *", "the choices of DTYP are the device supports that a server has"),
    *(
        InField(f"waveform.VAL DBR {dbr_type} *", "an array without elements reads as 0, for it has its full length")
        for dbr_type in (0, 7, 14, 21, 28, 37)
    ),
    InField("waveform.VAL DBR 38 *", "the record type is reported once, not once per element"),
    InField("bi.UDF *", "reading the fields of a bi in base clears its UDF"),
    InField("F_L[IO] as DBR 0 1e3 *", "base reads the text 1e3 as the integer 1, labioc as 1000"),
    InField("F_S[IO] as DBR 0 1e3 DBR *", "base reads the text 1e3 as the integer 1"),
    InField("F_MBB[IO] as DBR 0 put 1e3", "base reads the text 1e3 as the state 1"),
    InField("waveform.BUSY DBR 29 *", "limits of a field that no client displays"),
)


def tolerated(scenario: str, lines: list[str]) -> list[str]:
    """The lines with everything blanked that may differ."""
    for difference in TRANSCRIPTS:
        if fnmatchcase(scenario, difference.scenarios):
            lines = [re.sub(difference.pattern, "(differs)", line) for line in lines]
    return lines


@cache
def tolerated_field(key: str) -> bool:
    """Whether a field may differ in this aspect."""
    return any(fnmatchcase(key, difference.keys) for difference in FIELDS)
