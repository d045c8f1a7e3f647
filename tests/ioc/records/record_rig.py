"""Records by themselves, and a monitor that remembers."""

from __future__ import annotations

from ioc.database.dbfile import RecordDef
from ioc.records import Record, RecordSet


def defn(rtyp: str, name: str = "R", device: bool = False, **fields: str) -> RecordDef:
    if device:
        link = "OUT" if rtyp in ("ao", "bo", "mbbo", "longout", "stringout") else "INP"
        fields = {"DTYP": "labioc", link: "@DEV SIG"} | fields
    return RecordDef(name, rtyp, fields, {}, (), "some.template", 7, dict.fromkeys(fields, 8))


def make(rtyp: str, device: bool = True, **fields: str) -> Record:
    return RecordSet.build([defn(rtyp, device=device, **fields)])["R"]


class Watch:
    """A monitor that remembers value, status and severity of each event."""

    def __init__(self, record: Record, mask: int = 5, field: str = "VAL") -> None:
        self.record, self.mask, self.field = record, mask, field
        self.seen: list[tuple[object, int, int]] = []
        record.subscribe(field, self)

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        self.seen.append((self.record.get(self.field), self.record.stat, self.record.sevr))
