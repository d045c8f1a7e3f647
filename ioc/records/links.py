"""Links from one record to another: FLNK and SDIS, the two that labioc follows, as dbLink of EPICS base reads them.

They stay inside the IOC: one that names nothing served here is refused, when the database is loaded and when it is put.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ioc.records import status as st
from ioc.records.fieldtable import fields_of

if TYPE_CHECKING:
    from ioc.records.record import Record
    from ioc.records.recordset import RecordSet

#: Fields that may name another record.
LINK_FIELDS: Final = frozenset(("FLNK", "SDIS"))

_SEVERITY: Final = ("NMS", "MS", "MSI", "MSS")
_PROCESSING: Final = ("NPP", "PP")


@dataclass(frozen=True, slots=True)
class Link:
    """The record and field that a link names, whether reading it processes that record, and what alarm it hands on."""

    record: str
    field: str
    process: bool
    severity: str


@lru_cache(maxsize=4096)
def parse(text: str) -> Link | None:
    """Read a link; None when it is empty or a constant. Raises ValueError for an option that labioc does not know."""
    words = text.split()
    if not words or constant(text) is not None:
        return None
    options = words[1:]
    for word in options:
        if word not in _SEVERITY and word not in _PROCESSING:
            raise ValueError(f"{word!r} is not one of {', '.join((*_PROCESSING, *_SEVERITY))}")
    record, _, field = words[0].partition(".")
    severity = next((word for word in options if word in _SEVERITY), "NMS")
    return Link(record, field or "VAL", "PP" in options, severity)


def constant(text: str) -> float | None:
    """Return the number that stands in place of a link, None when there is none."""
    try:
        return float(text)
    except ValueError:
        return None


def follow(text: str, database: RecordSet) -> tuple[Link | None, Record | None]:
    """Return a link and the record that it leads to, None where there is none."""
    link = parse(text)
    return link, database.find(link.record) if link is not None else None


def checked(text: str, dbf: str, database: RecordSet) -> str:
    """Return a link as a client reads it back: input links with their options, forward links without.

    Raises ValueError when it does not lead to a field of a record served here.
    """
    link, target = follow(text, database)
    if link is None:
        return text.strip()
    if target is None:
        raise ValueError(f"{link.record!r} is not a record of this IOC")
    if link.field not in fields_of(target.rtyp):
        raise ValueError(f"{target.rtyp} records have no field {link.field!r}")
    name = text.split(maxsplit=1)[0]
    return name if dbf == "FWDLINK" else f"{name} {_PROCESSING[link.process]} {link.severity}"


def read(link: Link, target: Record) -> tuple[int | None, int, int]:
    """Return the integer that a link leads to, None when it is no number, with status and severity handed on."""
    value = target.get(link.field)
    if not isinstance(value, (int, float)):
        return None, st.LINK, st.INVALID
    number = int(value) if math.isfinite(value) else 0
    if link.severity == "MSS":
        return number, target.stat, target.sevr
    if link.severity == "MS" or (link.severity == "MSI" and target.sevr == st.INVALID):
        return number, st.LINK, target.sevr
    return number, st.NO_ALARM, st.NO_ALARM
