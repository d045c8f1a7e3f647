"""Fields of every record type: type, size, menu, default and what a put to them does.

The table is ``fields.txt`` beside this module; its facts come from the record definitions of EPICS base 7.0.10.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from ioc.database.support import DEVICE_TYPE

LINK_TYPES: Final = frozenset({"INLINK", "OUTLINK", "FWDLINK"})
ENUM_TYPES: Final = frozenset({"MENU", "DEVICE", "ENUM"})
FLOAT_TYPES: Final = frozenset({"FLOAT", "DOUBLE"})

#: Choices of .DTYP that labioc knows: a soft channel, or a signal of a device.
DEVICE_SUPPORT: Final = ("Soft Channel", DEVICE_TYPE)

_STATES: Final = ("ZR", "ON", "TW", "TH", "FR", "FV", "SX", "SV", "EI", "NI", "TE", "EL", "TV", "TT", "FT", "FF")
STATE_STRINGS: Final = tuple(prefix + "ST" for prefix in _STATES)
STATE_SEVERITIES: Final = tuple(prefix + "SV" for prefix in _STATES)
STATE_VALUES: Final = tuple(prefix + "VL" for prefix in _STATES)
FieldValue = float | int | str | bytes | tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of one record type.

    ``dbf`` is the database type without ``DBF_``; ``pp`` says that a put processes the record, ``prop`` that it posts
    a DBE_PROPERTY event, ``nomod`` that clients can't put to it. labioc acts upon the ``implemented`` ones.
    """

    name: str
    dbf: str
    size: int
    choices: tuple[str, ...]
    default: FieldValue
    pp: bool
    prop: bool
    nomod: bool
    implemented: bool


@cache
def _tables() -> tuple[dict[str, tuple[str, ...]], dict[str, list[list[str]]]]:
    """Read ``fields.txt``: the menus by name, and the words of each line by section."""
    menus: dict[str, tuple[str, ...]] = {}
    sections: dict[str, list[list[str]]] = {}
    current: list[list[str]] = []
    text = Path(__file__).with_name("fields.txt").read_text(encoding="ascii")
    for line in text.splitlines():
        if line.startswith("menu "):
            name, _, choices = line[5:].partition(" = ")
            menus[name] = tuple(choices.split(" | "))
        elif line.startswith("["):
            current = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            current.append(line.split())
    return menus, sections


def menu(name: str) -> tuple[str, ...]:
    """Choices of an EPICS menu, by its name in base (``menuScan``)."""
    return _tables()[0][name]


def _initial(dbf: str, text: str, choices: tuple[str, ...]) -> FieldValue:
    if dbf in ENUM_TYPES:
        return choices.index(text) if text in choices else int(text or 0)
    if dbf == "STRING" or dbf in LINK_TYPES:
        return text
    return float(text or 0) if dbf in FLOAT_TYPES else int(text or 0)


def _spec(words: list[str]) -> FieldSpec:
    name, dbf, *rest = words
    options = dict(word.split("=", 1) for word in rest if "=" in word)
    flags = {word for word in rest if "=" not in word}
    choices = DEVICE_SUPPORT if dbf == "DEVICE" else menu(options["menu"]) if "menu" in options else ()
    return FieldSpec(
        name=name,
        dbf=dbf,
        size=int(options.get("size", 40)),
        choices=choices,
        default=_initial(dbf, options.get("initial", ""), choices) if dbf != "NOACCESS" else "",
        pp="pp" in flags,
        prop="prop" in flags,
        nomod="nomod" in flags,
        implemented="acts" in flags,
    )


@cache
def fields_of(rtyp: str) -> dict[str, FieldSpec]:
    """Every field that a client can see on a record of this type, by name.

    Raises KeyError for a record type that labioc does not serve.
    """
    sections = _tables()[1]
    return {words[0]: _spec(words) for words in sections["common"] + sections[rtyp]}


RECORD_TYPES: Final = tuple(name for name in _tables()[1] if name != "common")
"""Those that labioc serves."""
