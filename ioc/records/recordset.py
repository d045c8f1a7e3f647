"""All records of an IOC: built from the expanded database, found by name or alias."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Final

from ioc.database.dbfile import DatabaseError, RecordDef
from ioc.database.support import DEVICE_TYPE, KEEP_TAG, parse_link
from ioc.records.analog import AnalogInput, AnalogOutput, IntegerOutput, IntegerRecord
from ioc.records.array import Waveform
from ioc.records.convert import parse_text
from ioc.records.discrete import BinaryOutput, BinaryRecord, MultiBitOutput, MultiBitRecord
from ioc.records.fieldtable import FieldValue, fields_of
from ioc.records.links import LINK_FIELDS
from ioc.records.put import PutRefused
from ioc.records.record import Record
from ioc.records.text import MAX_LONG_STRING, LongString, StringInput, StringOutput

_CLASSES: Final[dict[str, type[Record]]] = {
    "ai": AnalogInput,
    "ao": AnalogOutput,
    "bi": BinaryRecord,
    "bo": BinaryOutput,
    "mbbi": MultiBitRecord,
    "mbbo": MultiBitOutput,
    "longin": IntegerRecord,
    "longout": IntegerOutput,
    "stringin": StringInput,
    "stringout": StringOutput,
    "lsi": LongString,
    "waveform": Waveform,
}
_WAVEFORM_TYPES: Final = frozenset(["CHAR", "UCHAR", "SHORT", "USHORT", "LONG", "ULONG", "FLOAT", "DOUBLE"])


def _where(defn: RecordDef, field: str) -> str:
    return f"{defn.file}:{defn.field_lines.get(field, defn.line)}: record {defn.name}: field {field}"


@lru_cache(maxsize=4096)
def _read_field(rtyp: str, name: str, text: str) -> FieldValue:
    """Value of one field of a definition. Raises ValueError with the reason."""
    spec = fields_of(rtyp).get(name)
    if spec is None:
        raise ValueError(f"{rtyp} records have no such field")
    if not spec.implemented or (spec.nomod and name not in ("SIZV", "NELM", "FTVL")):
        raise ValueError("labioc does not implement this field")
    if spec.dbf == "NOACCESS":
        return text
    value = parse_text(spec, text)
    if name == "FTVL" and spec.choices[int(str(value))] not in _WAVEFORM_TYPES:
        raise ValueError(f"{text!r} is not one of {', '.join(sorted(_WAVEFORM_TYPES))}")
    if name == "SIZV" and isinstance(value, int) and not 16 <= value <= MAX_LONG_STRING:
        raise ValueError(f"{value} is outside 16 .. {MAX_LONG_STRING}")
    return value


def make_record(defn: RecordDef, errors: list[str]) -> Record | None:
    """Make the record of a definition, or append the reasons why there is none to ``errors``."""
    cls = _CLASSES.get(defn.rtyp)
    if cls is None:
        known = ", ".join(_CLASSES)
        errors.append(f"{defn.file}:{defn.line}: record {defn.name}: no record type {defn.rtyp!r}; known: {known}")
        return None
    before = len(errors)
    fields: dict[str, FieldValue] = {}
    for name, text in defn.fields.items():
        try:
            fields[name] = _read_field(defn.rtyp, name, text)
        except ValueError as error:
            errors.append(f"{_where(defn, name)}: {error}")
    link, link_field = None, "OUT" if cls.is_output else "INP"
    source = defn.fields.get(link_field, "")
    if defn.fields.get("DTYP") == DEVICE_TYPE:
        try:
            link = parse_link(source)
        except ValueError as error:
            errors.append(f"{_where(defn, link_field)}: {error}")
    elif source.strip():
        errors.append(f"{_where(defn, link_field)}: a soft record of labioc has no such link")
    if link and cls.is_output and fields.get("PINI"):
        errors.append(f"{_where(defn, 'PINI')}: an output of a device is never written at start")
    if len(errors) > before:
        return None
    record = cls(defn, fields, link)
    if KEEP_TAG in defn.info:
        try:
            record.convert(fields_of(defn.rtyp)["VAL"], defn.info[KEEP_TAG].encode())
        except PutRefused as error:
            errors.append(f"{defn.file}:{defn.line}: record {defn.name}: info({KEEP_TAG}): {error}")
    return record


class RecordSet(dict[str, Record]):
    """The records by name; ``aliases`` are further names of some of them, ``time`` gives Unix time in seconds.

    ``on_regroup`` is called when a client has changed the group of access security of a record.
    """

    def __init__(self, records: dict[str, Record], aliases: dict[str, str], time: Callable[[], float]) -> None:
        super().__init__(records)
        self.aliases = aliases
        self.time = time
        self.on_regroup: Callable[[], object] = lambda: None
        for record in records.values():
            record.database = self

    @classmethod
    def build(cls, definitions: Iterable[RecordDef], time: Callable[[], float] = time.time) -> RecordSet:
        """Make all records; soft ones are stamped with ``time`` when they are processed.

        Raises DatabaseError with every mistake of every record: unknown types and fields, bad values, duplicate names.
        """
        errors: list[str] = []
        records: dict[str, Record] = {}
        aliases: dict[str, str] = {}
        for defn in definitions:
            record = make_record(defn, errors)
            if defn.name in records:
                other = records[defn.name].defn
                errors.append(
                    f"{defn.file}:{defn.line}: record {defn.name}: already defined in {other.file}:{other.line}"
                )
            elif record is not None:
                records[defn.name] = record
            aliases.update(dict.fromkeys(defn.aliases, defn.name))
        errors += [f"alias {alias}: there is a record of that name" for alias in aliases if alias in records]
        whole = cls(records, aliases, time)
        for record in records.values():
            if not LINK_FIELDS.isdisjoint(record.defn.fields):
                errors += whole._load_links(record)
        if errors:
            raise DatabaseError(errors)
        return whole

    def _load_links(self, record: Record) -> Iterator[str]:
        """Settle the links of a record to others, and yield what is wrong with them."""
        for name in sorted(LINK_FIELDS & record.defn.fields.keys()):
            try:
                record.load_link(fields_of(record.rtyp)[name], record.defn.fields[name])
            except ValueError as error:
                yield f"{_where(record.defn, name)}: {error}"

    def find(self, name: str) -> Record | None:
        """Record of this name or alias, None when there is none."""
        return self.get(name) or self.get(self.aliases.get(name, ""))

    def start(self) -> None:
        """Process the soft records that ask for it with PINI."""
        for record in self.values():
            if record.device is None and record.get("PINI"):
                record.process()
