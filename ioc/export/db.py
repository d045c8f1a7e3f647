"""The expanded database as one EPICS .db file, for other IOCs, for tools, and for a look at what is served."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ioc.database.dbfile import RecordDef
from ioc.database.macros import quote
from ioc.database.support import DEVICE_TYPE

_SOFT = {"DTYP": "Soft Channel", "SCAN": "Passive"}
_LINKS = frozenset({"INP", "OUT"})


def write_db(records: Iterable[RecordDef], *, soft: bool = False) -> str:
    """Return the text of a .db file.

    With ``soft``, records of a device become soft channels without a link: any softIoc loads them and clients drive
    them; alarm limits, severities and info tags stay.
    """
    return "\n".join(line for record in records for line in _record(record, soft))


def _record(record: RecordDef, soft: bool) -> Iterator[str]:
    yield f"record({record.rtyp}, {quote(record.name)}) {{"
    for name, value in (_softened(record.fields) if soft else record.fields).items():
        yield f"    field({name}, {quote(value)})"
    for name, value in record.info.items():
        yield f"    info({quote(name)}, {quote(value)})"
    for alias in record.aliases:
        yield f"    alias({quote(alias)})"
    yield "}\n"


def _softened(fields: Mapping[str, str]) -> dict[str, str]:
    if fields.get("DTYP") != DEVICE_TYPE:
        return dict(fields)
    return {name: _SOFT.get(name, value) for name, value in fields.items() if name not in _LINKS}
