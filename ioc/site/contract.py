"""What the records of a device family have to keep, so that screens, alarm trees and archivers can rely on them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from devices.family import Family
from devices.model import Kind, Signal
from ioc.database.dbfile import DatabaseError, RecordDef
from ioc.database.support import is_of_server
from ioc.site.schema import BINARY_FIELDS, RISING_LIMITS, STATE_FIELDS
from ioc.site.templates import MARKS, labels, load_templates

OUTPUTS = frozenset({"ao", "bo", "mbbo", "longout", "stringout"})
TYPES: Mapping[Kind, frozenset[str]] = {
    Kind.FLOAT: frozenset({"ai", "ao"}),
    Kind.INT: frozenset({"longin", "longout"}),
    Kind.ENUM: frozenset({"bi", "bo", "mbbi", "mbbo"}),
    Kind.TEXT: frozenset({"stringin", "stringout", "lsi"}),
    Kind.ARRAY: frozenset({"waveform"}),
}
ACCESS = {"R": "READONLY", "O": "OPERATOR", "E": "EXPERT"}
"""Access group for each letter of ``info(access, ...)``."""

SEVERITY_FIELDS = frozenset({*RISING_LIMITS.values(), *BINARY_FIELDS, *STATE_FIELDS})
_ARCHIVE = re.compile(r"monitor( [0-9.]+%?)?")


def contract_mistakes(family: Family) -> list[str]:
    """Return a sentence for each way in which the templates of a family and its driver do not fit together."""
    try:
        templates = load_templates(family)
        parts = (templates.device, templates.channel, templates.full)
        records = [record for part in parts if part is not None for record in part.expand(MARKS)]
    except DatabaseError as error:
        return error.errors
    settings = family.example_settings(channels=1)
    if templates.full is not None:
        settings = replace(settings, options={**settings.options, "detail": "full"})
    signals = dict(family.make_driver(settings).signals())
    by_signal = {record.name.removeprefix("P:D:").replace(":", "."): record for record in records}
    found = [f"no record for signal {name}" for name in signals.keys() - by_signal.keys()]
    strange = {name for name in by_signal.keys() - signals.keys() if not is_of_server(name)}
    found += [f"{by_signal[name].name}: the driver has no such signal" for name in strange]
    for name in by_signal.keys() & signals.keys():
        found += [f"{by_signal[name].name}: {text}" for text in _of_signal(signals[name], by_signal)]
    for record in records:
        found += [f"{record.name}: {text}" for text in _of_record(record)]
    return sorted(found)


def _of_signal(signal: Signal, records: Mapping[str, RecordDef]) -> Iterator[str]:
    record = records[signal.name]
    if record.rtyp not in TYPES[signal.kind]:
        yield f"found {record.rtyp}, allowed for a {signal.kind.value}: {', '.join(sorted(TYPES[signal.kind]))}"
    if (record.rtyp in OUTPUTS) != signal.settable:
        yield f"found {record.rtyp}, but the signal is {'a setting' if signal.settable else 'a reading'}"
    if record.fields.get("EGU", "") != signal.unit:
        yield f"found EGU {record.fields.get('EGU', '')!r}, the driver has {signal.unit!r}"
    if labels(record) != signal.labels:
        yield f"found the states {labels(record)}, the driver has {signal.labels}"
    if signal.settable and not signal.name.endswith(".CMD") and f"{signal.name}.RBV" not in records:
        yield f"a setting has a read-back, {record.name}:RBV"


def _of_record(record: RecordDef) -> Iterator[str]:
    fields, access = record.fields, record.info.get("access", "")
    if not fields.get("DESC") or len(fields["DESC"]) > 40:
        yield f"found DESC {fields.get('DESC', '')!r}, allowed: 1 to 40 characters"
    if (access == "R") == (record.rtyp in OUTPUTS) or fields.get("ASG") != ACCESS.get(access):
        yield f"found access {access!r} with ASG {fields.get('ASG')!r}: R READONLY for readings, O OPERATOR or E EXPERT"
    if record.rtyp in OUTPUTS and (fields.get("SCAN") != "Passive" or {"PINI", "DOL", "OMSL", "VAL"} & fields.keys()):
        yield "a setting is written by a put alone: SCAN Passive, and no PINI, DOL, OMSL, VAL"
    if not _ARCHIVE.fullmatch(record.info.get("archive", "monitor")):
        yield f"found info(archive, {record.info['archive']!r}), allowed: monitor, monitor 0.5, monitor 1%"
    if "guidance" not in record.info and any(fields.get(name, "NO_ALARM") != "NO_ALARM" for name in SEVERITY_FIELDS):
        yield "what can alarm by itself has info(guidance, ...) for the operator"
