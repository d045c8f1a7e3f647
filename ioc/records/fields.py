"""What a client sees of a record: its fields, its alarm, and the monitors of both.

A field is looked up where it is set, computed where it is live, or the default of its type. Alarms change as in recGbl
of EPICS base.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Final, NamedTuple, Protocol

from ioc.database.dbfile import RecordDef
from ioc.records import status as st
from ioc.records.convert import INTEGER_RANGES, parse_text
from ioc.records.fieldtable import FLOAT_TYPES, FieldSpec, FieldValue, fields_of

Value = float | int | str | bytes | tuple[float, ...]

PASSIVE = "Passive"

_SHOWN_AS_DEVICE_SAYS = frozenset({"HOPR", "LOPR", "PREC"})
_NOTHING: frozenset[str] = frozenset()
NAN: Final = math.nan


class Meta(NamedTuple):
    """Metadata of one field, limits in the order of the wire; alarm limits that do not count are NaN, as in base."""

    units: str = ""
    precision: int = 0
    disp_high: float = 0.0
    disp_low: float = 0.0
    hihi: float = NAN
    high: float = NAN
    low: float = NAN
    lolo: float = NAN
    ctrl_high: float = 0.0
    ctrl_low: float = 0.0


def type_range(dbf: str) -> tuple[float, float]:
    """Highest and lowest value of a field type, what recGblGetGraphicDouble gives where a record has no limits."""
    if dbf == "FLOAT":
        return 1e30, -1e30
    if dbf in FLOAT_TYPES:
        return 1e300, -1e300
    low, high = INTEGER_RANGES.get(dbf, (0, 0)) if dbf not in ("MENU", "DEVICE") else (0, 0)
    return float(high), float(low)


def default_precision(dbf: str, precision: int) -> int:
    """Precision of a field other than the value: none for integers, at most 15 (recGblGetPrec of base)."""
    if dbf not in FLOAT_TYPES:
        return 0
    return precision if 0 <= precision <= 15 else 15


class Monitor(Protocol):
    """Receives the changes of one field."""

    mask: int

    def event(self, mask: int, shared: dict[object, bytes]) -> None:
        """Take the present value; ``shared`` lives for one event and is common to all its monitors."""


class Fields:
    """What a client can read of a record; a subclass adds its own live fields and metadata.

    ``stat`` and ``sevr`` are the alarm that clients see, ``acks`` the highest severity that is not acknowledged,
    ``ackt`` whether one that has gone must be acknowledged too. Without any monitors these cost one empty slot.
    """

    __slots__ = (
        *("_chosen", "_fields", "_nsev", "_nsta", "acks", "ackt", "alst", "defn", "lalm"),
        *("mlst", "monitors", "name", "rtyp", "sevr", "stat", "udf", "val"),
    )

    version: ClassVar[str] = "none specified"
    live: ClassVar[dict[str, str]] = {
        **{"NAME": "name", "RTYP": "rtyp", "VERS": "version", "VAL": "val", "STAT": "stat", "SEVR": "sevr"},
        **{"ACKS": "acks", "ACKT": "ackt", "UDF": "undefined", "LALM": "lalm", "ALST": "alst", "MLST": "mlst"},
    }
    """Fields that are attributes of the record, by their name."""

    val: Value
    lalm: float
    alst: float
    mlst: float

    def __init__(self, defn: RecordDef, fields: dict[str, FieldValue], undefined: bool) -> None:
        self.defn = defn
        self.name, self.rtyp = defn.name, defn.rtyp
        self._fields = fields
        self._chosen = _NOTHING
        self.udf = undefined
        self.lalm = self.alst = self.mlst = 0
        self.stat, self.sevr = st.UDF, self._undefined_severity() if undefined else st.NO_ALARM
        self.acks, self.ackt = 0, 1
        self._nsta = self._nsev = 0  # the alarm that is being raised while the record is processed
        self.monitors: dict[str, dict[Monitor, None]] | None = None  # in the order of subscribing

    @property
    def undefined(self) -> int:
        """The .UDF field."""
        return int(self.udf)

    @property
    def scan(self) -> str:
        """The .SCAN choice in force."""
        spec = fields_of(self.rtyp)["SCAN"]
        index = self._fields.get("SCAN", 0)
        return spec.choices[index] if isinstance(index, int) else PASSIVE

    def field_type(self, spec: FieldSpec) -> tuple[str, int]:
        """Type (without DBF_) and number of elements of a field."""
        return spec.dbf, 1

    def present_count(self, spec: FieldSpec, long_string: bool) -> int:
        """Elements that a field has now, as a client sees that asks for as many as there are."""
        return len(str(self.get(spec.name)).encode("utf-8", "surrogateescape")) + 1 if long_string else 1

    def get(self, name: str) -> FieldValue:
        """Present value of a field: text, number, index of a choice, or elements of an array.

        Raises KeyError for a field that this record type does not have.
        """
        if name in self.live:
            live: FieldValue = getattr(self, self.live[name])
            return live
        value = self._fields.get(name)
        return fields_of(self.rtyp)[name].default if value is None else value

    def number(self, name: str) -> float:
        """Present value of a numeric field."""
        value = self._fields.get(name)
        if value is None:
            value = fields_of(self.rtyp)[name].default
        return value if isinstance(value, (int, float)) else 0.0

    def _undefined_severity(self) -> int:
        severity = self._fields.get("UDFS")
        return severity if isinstance(severity, int) else st.INVALID

    # ---- alarms and monitors

    def _alarm(self, status: int, severity: object) -> None:
        """Remember an alarm if it is worse than those raised before in this processing (recGblSetSevr)."""
        if isinstance(severity, int) and severity > self._nsev:
            self._nsta, self._nsev = status, severity

    def _reset_alarms(self) -> int:
        """Make the alarms raised the present ones (recGblResetAlarms); return DBE_ALARM when they changed."""
        if self._nsta == self.stat and self._nsev == self.sevr:
            self._nsta = self._nsev = 0
            return 0
        mask = (st.DBE_ALARM if self._nsev != self.sevr else 0) | (st.DBE_VALUE if self._nsta != self.stat else 0)
        status, severity = self._nsta, self._nsev
        self._nsta = self._nsev = 0
        changed = severity != self.sevr
        self.stat, self.sevr = status, severity
        if changed:
            self.post_events("SEVR", st.DBE_VALUE)
        self.post_events("STAT", mask)
        if not self.ackt or severity >= self.acks:
            self.acks = severity
            self.post_events("ACKS", st.DBE_VALUE)
        return st.DBE_ALARM

    def subscribe(self, field: str, monitor: Monitor) -> None:
        """Add a monitor of one field."""
        if self.monitors is None:
            self.monitors = {}
        self.monitors.setdefault(field, {})[monitor] = None

    def unsubscribe(self, field: str, monitor: Monitor) -> None:
        """Remove a monitor; nothing happens when it is not there."""
        if self.monitors is None:
            return
        there = self.monitors.get(field, {})
        there.pop(monitor, None)
        if not there:
            self.monitors.pop(field, None)
        if not self.monitors:
            self.monitors = None

    def post_events(self, field: str, mask: int) -> None:
        """Send an event to the monitors of a field whose mask has one of these bits."""
        if self.monitors is None:
            return
        shared: dict[object, bytes] = {}
        for monitor in self.monitors.get(field, ()):
            if monitor.mask & mask:
                monitor.event(mask, shared)

    def post_all(self, mask: int) -> None:
        """Send an event to the monitors of every field whose mask has one of these bits."""
        for field in tuple(self.monitors or ()):
            self.post_events(field, mask)

    # ---- metadata

    def meta(self, spec: FieldSpec) -> Meta:
        """Units, precision and limits of a field."""
        return Meta()

    def enum_strings(self) -> tuple[str, ...]:
        """States of an enumerated value."""
        return ()

    def state_text(self, index: int) -> str:
        """Text of a state of an enumerated value."""
        return str(index)

    # ---- what a device reports about them

    def set_drive_limits(self, low: float, high: float) -> None:
        """Publish the limits in force for a setting as DRVL, DRVH and control limits.

        Where the database gives no display range, they are that too: a slider needs one.
        """
        self._set_properties({"DRVL": low, "DRVH": high} | self._display_range(low, high))

    def set_display_range(self, low: float, high: float) -> None:
        """Publish the range of the device as LOPR and HOPR, where neither the database nor a client gives one."""
        self._set_properties(self._display_range(low, high))

    def _display_range(self, low: float, high: float) -> dict[str, FieldValue]:
        given = {"HOPR", "LOPR"} & (self.defn.fields.keys() | self._chosen)
        return {} if given else {"LOPR": low, "HOPR": high}

    def set_precision(self, digits: int) -> None:
        """Publish the decimals that the device itself shows, 0 to 15, where a client has not chosen others."""
        if "PREC" not in self._chosen:
            self._set_properties({"PREC": min(max(digits, 0), 15)})

    def _mark(self, spec: FieldSpec, value: FieldValue) -> None:
        """Note that a client has chosen a field that the device would set; the value of the database ends that."""
        if spec.name in _SHOWN_AS_DEVICE_SAYS:
            own = value == parse_text(spec, self.defn.fields.get(spec.name, ""))
            self._chosen = self._chosen - {spec.name} if own else self._chosen | {spec.name}

    def _set_properties(self, values: Mapping[str, FieldValue]) -> None:
        specs = fields_of(self.rtyp)
        changed = [name for name, value in values.items() if name in specs and self.get(name) != value]
        for name in changed:
            self._fields[name] = values[name]
            self.post_events(name, st.DBE_VALUE | st.DBE_LOG)
        if changed:
            self.post_all(st.DBE_PROPERTY)
