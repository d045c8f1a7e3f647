"""Where the points of a PV go: measurement, tags, field, and the type that the field has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from archiver.config import PvSpec, Schema
from archiver.points.lineprotocol import escape_key, escape_measurement
from archiver.points.thinning import Group, Row, Thinner, parse_tag
from labioc_ca.events import Value

CONNECTION: Final = "archive_connection"
"""Measurement of changes of connection: tag ``device``, a field 0 or 1 for each PV, named like the PV."""

_INTEGERS: Final = frozenset(
    ("bi", "bo", "mbbi", "mbbo", "mbbiDirect", "mbboDirect", "longin", "longout", "int64in", "int64out")
)
_TEXTS: Final = frozenset(("stringin", "stringout", "lsi", "lso", "waveform", "aai", "aao", "subArray", "compress"))
_LONG_STRINGS: Final = frozenset(("lsi", "lso"))


class FieldType(Enum):
    """Type of a field; InfluxDB keeps that of the first point for ever."""

    FLOAT = "float"
    INTEGER = "integer"
    TEXT = "string"
    BOOLEAN = "boolean"
    NUMBER_OR_TEXT = "any"


def field_type(rtyp: str) -> FieldType:
    """Return the type of the field for a record type; of another IOC's PV numbers are floats, texts are strings."""
    if rtyp in _INTEGERS:
        return FieldType.INTEGER
    if rtyp in _TEXTS:
        return FieldType.TEXT
    return FieldType.FLOAT if rtyp else FieldType.NUMBER_OR_TEXT


def channel_name(pv: PvSpec) -> str:
    """Return what is subscribed to: of a long string record its whole text, which a DBR_STRING would cut to 39 bytes.

    EPICS base, "Channel Access channel names": ``$`` behind a field asks for it as an array of characters.
    """
    return f"{pv.name}.VAL$" if pv.rtyp in _LONG_STRINGS else pv.name


class Series:
    """One PV: how its points begin, and what is remembered of the last event."""

    def __init__(self, pv: PvSpec, schema: Schema) -> None:
        rules = parse_tag(pv.archive)
        self.pv = pv.name
        self.measurement, self.field = place(pv, schema)
        forced = schema.types.get(f"{self.measurement}.{self.field}") or schema.types.get(self.field)
        self.type = FieldType(forced) if forced else field_type(pv.rtyp)
        self.forced = bool(forced)
        device = f",device={escape_key(pv.device)}" if pv.device else ""
        tags = device
        if pv.channel:
            # Existing boards select channel '0', not '00'.
            tags = f",channel={escape_key(str(int(pv.channel)) if pv.channel.isdecimal() else pv.channel)}{device}"
        field = escape_key(self.field)
        self.head = f"{escape_measurement(self.measurement)}{tags} "
        self.field_start = f"{field}="
        self.start = f"{self.head}{field}="
        self.severity_field = f",{field}_sev="
        self.severity_alone = f"{self.head}{field}_sev="
        self.connection = f"{CONNECTION}{device} "
        self.connection_field = f"{escape_key(pv.name)}="
        self.floats = self.type is FieldType.FLOAT or self.type is FieldType.NUMBER_OR_TEXT
        self.thinner = None if rules.every else Thinner(rules)
        self.group: Group | None = None
        self.row: Row | None = None
        self.slot = 0
        self.watched = False
        self.severity = -1  # so that the first point of a run tells it
        self.connected = False
        self.last_ns = self.events = self.points = self.refused = 0
        self.value: Value = None  # of the last event, and its severity
        self.reported = 0
        self.stamp_ns = 0  # that of its point
        self.given_ns = 0  # the one that the IOC gave to it
        self.arrived_ns = 0  # when, by the monotonic clock of the bridge; only where thinner is


@dataclass(frozen=True, slots=True)
class PvState:
    """What became of the events of one PV; ``last_ns`` is the stamp of the last one, 0 before the first.

    ``points`` are those it is in: of a PV of a row, the rows.
    """

    pv: str
    connected: bool
    last_ns: int
    events: int
    points: int
    refused: int


def place(pv: PvSpec, schema: Schema) -> tuple[str, str]:
    """Return the measurement and the field of a PV's points."""
    if schema.per_pv or not pv.field:
        return pv.name, "value"
    return schema.measurement(pv), pv.field


def conflicts(pvs: Iterable[PvSpec], schema: Schema) -> list[str]:
    """Say which PVs would overwrite one another's points, or want one field of a measurement with two types.

    InfluxDB keeps the type of a field that it saw first, for all devices of the measurement, and refuses others.
    """
    errors = []
    owners: dict[str, str] = {}
    fields: dict[tuple[str, str], tuple[FieldType, str]] = {}
    for pv in pvs:
        series = Series(pv, schema)
        owner = owners.setdefault(series.start, pv.name)
        if owner != pv.name:
            errors.append(f"{pv.name}: its points would be those of {owner} ({series.start.rstrip('=')})")
        if series.measurement.startswith("#"):
            errors.append(
                f"{pv.name}: measurement {series.measurement} begins with '#', which makes a comment of each point"
            )
        kind, first = fields.setdefault((series.measurement, series.field), (series.type, pv.name))
        if kind is not series.type:
            errors.append(
                f"{pv.name}: field {series.field} would be {series.type.value}, for {first} it is {kind.value}"
            )
    return errors


def field_types(pvs: Iterable[PvSpec], schema: Schema) -> dict[tuple[str, str], FieldType]:
    """Return the types that the fields of some PVs are sent with, by measurement and field; severities too."""
    types = {}
    for pv in pvs:
        series = Series(pv, schema)
        types[series.measurement, series.field] = series.type
        types[series.measurement, f"{series.field}_sev"] = FieldType.INTEGER
    return types
