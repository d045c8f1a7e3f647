"""The fields of a record that name states and give severities."""

from __future__ import annotations

from ioc.database.dbfile import RecordDef
from ioc.site.schema import STATE_FIELDS

SEVERITY_FIELDS = {"HHSV", "HSV", "LSV", "LLSV", "ZSV", "OSV", "COSV", *STATE_FIELDS}

_TEXTS = [name.removesuffix("SV") + "ST" for name in STATE_FIELDS[:16]]


def labels(record: RecordDef) -> tuple[str, ...]:
    """The texts of the states that a record has, in their order."""
    names = ["ZNAM", "ONAM"] if record.rtyp in {"bi", "bo"} else _TEXTS
    return tuple(record.fields[name] for name in names if name in record.fields)
