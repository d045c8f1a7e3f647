"""The record: value, fields, alarms and monitors, processed as the record support of EPICS base does.

A record never touches a device. Readings are posted to it, puts that concern a device leave it through a hook, and it
tells its monitors what has changed. Everything here runs on one thread and returns at once, but for the put hook.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import ClassVar

from ioc.dbfile import RecordDef
from ioc.records import status as st
from ioc.records.alarmed import Alarmed
from ioc.records.convert import from_client
from ioc.records.fieldtable import LINK_TYPES, FieldSpec, FieldValue, fields_of
from ioc.records.meta import Meta
from ioc.records.put import AccessDenied, PutContext, PutRefused

Value = float | int | str | bytes | tuple[float, ...]
PutHook = Callable[["Record", Value, PutContext], Awaitable[None]]

PASSIVE = "Passive"
# Implemented, but settled when the database is loaded, or derived from the value.
_FIXED = frozenset({"INP", "OUT", "DTYP", "ASG", "PINI", "SIZV", "NELM", "FTVL", "OVAL"})


class Record(Alarmed):
    """Base of the record types; a subclass adds its value, its alarms and its metadata.

    ``device`` and ``signal`` name the source when DTYP is labioc, else they are None. ``access`` is the letter of
    ``info(access, ...)``.
    """

    __slots__ = (
        "_device_severity",
        "_device_status",
        "_fields",
        "access",
        "alst",
        "defn",
        "device",
        "lalm",
        "mlst",
        "name",
        "nanoseconds",
        "peers",
        "process_hook",
        "put_hook",
        "refusal_hook",
        "scan_hook",
        "seconds",
        "signal",
        "udf",
        "val",
    )

    rtyp: ClassVar[str] = ""
    is_output: ClassVar[bool] = False
    link_field: ClassVar[str] = "INP"

    val: Value
    lalm: float
    alst: float
    mlst: float

    def __init__(self, defn: RecordDef, fields: dict[str, FieldValue], link: tuple[str, str] | None) -> None:
        self.defn = defn
        self.name = defn.name
        self.device: str | None = link[0] if link else None
        self.signal: str | None = link[1] if link else None
        self.access = defn.info.get("access", "")
        self._fields = fields
        # A value in the database file counts as defined, though the alarm status is UDF until the record is processed;
        # what comes from a device is undefined until it has been read.
        self.udf = link is not None or "VAL" not in fields
        super().__init__(st.UDF, self._undefined_severity() if self.udf else st.NO_ALARM)
        self.seconds = self.nanoseconds = 0
        self._device_status = self._device_severity = 0
        self.peers: Mapping[str, Record] = {}
        self.put_hook: PutHook | None = None
        self.process_hook: Callable[[Record], None] | None = None
        self.scan_hook: Callable[[Record], None] | None = None
        self.refusal_hook: Callable[[Record, str, str, PutContext, str], None] | None = None
        self._initialise()

    # ---- what a subclass defines

    def _initialise(self) -> None:
        """Set the value and what was last posted of it to their start."""
        raise NotImplementedError

    def _accept(self, value: Value) -> Value:
        """Convert a reading to the type of the value. Raises ValueError when it can't be one."""
        raise NotImplementedError

    def _check_alarms(self) -> None:
        """Raise the alarms that the value deserves, by way of ``_alarm``."""

    def _value_mask(self) -> int:
        """Return DBE_VALUE and DBE_LOG as the change since the last posting asks for, and remember the value."""
        raise NotImplementedError

    def _convert(self) -> None:
        """Prepare a soft record's value before its alarms are checked: an input counts as defined from now on."""
        if not self.is_output:
            self.udf = isinstance(self.val, float) and math.isnan(self.val)

    def meta(self, spec: FieldSpec) -> Meta:
        """Units, precision and limits of a field."""
        return Meta()

    def enum_strings(self) -> tuple[str, ...]:
        """States of an enumerated value."""
        return ()

    def state_text(self, index: int) -> str:
        """Text of a state of an enumerated value."""
        return str(index)

    # ---- fields

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
        return len(str(self.get(spec.name)).encode()) + 1 if long_string else 1

    def get(self, name: str) -> FieldValue:
        """Present value of a field: text, number, index of a choice, or elements of an array.

        Raises KeyError for a field that this record type does not have.
        """
        getter = _LIVE.get(name)
        if getter is not None:
            return getter(self)
        value = self._fields.get(name)
        return fields_of(self.rtyp)[name].default if value is None else value

    def number(self, name: str) -> float:
        """Present value of a numeric field."""
        value = self._fields.get(name)
        if value is None:
            value = fields_of(self.rtyp)[name].default
        return value if isinstance(value, (int, float)) else 0.0

    # ---- readings

    def post(self, value: Value | None, stamp: float, severity: int = 0, status: int = 0) -> None:
        """Take a reading made at ``stamp`` (Unix seconds) and process the record with it.

        ``severity`` and ``status`` are what the device says; the record's own limits can only make it worse. Without
        a value the last one and its time stay. A value of the wrong kind is shown as INVALID/READ, never taken over.
        A disabled record holds what it has, as in a C IOC.
        """
        if value is None:
            if severity:
                self._lost(status, severity)
            return
        try:
            accepted = self._accept(value)
        except (ValueError, TypeError, OverflowError):
            self._lost(st.alarm_status("READ"), st.INVALID)
            return
        if self._disabled():
            return
        self.val = accepted
        self.udf = isinstance(accepted, float) and math.isnan(accepted)
        self._device_severity, self._device_status = severity, status
        self._stamp(stamp)
        self._finish()

    def lose(self, status: int) -> None:
        """Mark the record INVALID with this alarm status; the value and its time stay what they were."""
        self._lost(status, st.INVALID)

    def _lost(self, status: int, severity: int) -> None:
        self._device_severity, self._device_status = severity, status
        if not self._disabled():
            self._alarm(status, severity)
            self._publish(self._reset_alarms())

    def set_drive_limits(self, low: float, high: float) -> None:
        """Publish the limits in force for a setting as DRVL, DRVH and control limits.

        Where the database gives no display range, they are that too: a slider needs one.
        """
        values: dict[str, FieldValue] = {"DRVL": low, "DRVH": high}
        if not {"HOPR", "LOPR"} & self.defn.fields.keys():
            values |= {"LOPR": low, "HOPR": high}
        self._set_properties(values)

    def set_precision(self, digits: int) -> None:
        """Publish the decimals that the device itself shows, 0 to 15."""
        self._set_properties({"PREC": min(max(digits, 0), 15)})

    def _set_properties(self, values: Mapping[str, FieldValue]) -> None:
        specs = fields_of(self.rtyp)
        changed = [name for name, value in values.items() if name in specs and self.get(name) != value]
        for name in changed:
            self._fields[name] = values[name]
            self.post_events(name, st.DBE_VALUE | st.DBE_LOG)
        if changed:
            self.post_all(st.DBE_PROPERTY)

    # ---- processing

    def process(self) -> None:
        """Process the record as a forward link or .PROC does: a soft record anew, an input of a device by a read.

        An output of a device is never driven this way; that takes a put.
        """
        if self.device is not None:
            if not self.is_output and self.process_hook is not None:
                self.process_hook(self)
            return
        if not self._disabled():
            self._stamp(time.time())
            self._convert()
            self._finish()

    def _finish(self) -> None:
        if self._device_severity:
            self._alarm(self._device_status, self._device_severity)
        self._check_alarms()
        self._publish(self._reset_alarms())
        link = self._fields.get("FLNK")
        if link:
            target = self.peers.get(str(link).split()[0].removesuffix(".PROC"))
            if target is not None and target is not self:
                target.process()

    def reevaluate(self) -> None:
        """Check the alarms of the present value against limits that have just been changed."""
        if not self._disabled():
            if self._device_severity:
                self._alarm(self._device_status, self._device_severity)
            if self._device_severity < st.INVALID:
                self._check_alarms()
            self._publish(self._reset_alarms())

    def _undefined(self) -> bool:
        if self.udf:
            self._alarm(st.UDF, self._undefined_severity())
        return self.udf

    def _undefined_severity(self) -> int:
        severity = self._fields.get("UDFS")
        return severity if isinstance(severity, int) else st.INVALID

    def _publish(self, mask: int) -> None:
        mask |= self._value_mask()
        if mask:
            self.post_events("VAL", mask)

    def _stamp(self, stamp: float) -> None:
        whole = int(stamp)
        self.seconds = whole - st.EPICS_EPOCH
        self.nanoseconds = int((stamp - whole) * 1e9)

    def _disabled(self) -> bool:
        """Whether DISA equals DISV; shows the DISABLE alarm once when it does."""
        fields = self._fields
        link = fields.get("SDIS")
        if link:
            fields["DISA"] = self._read_link(str(link))
        elif "DISA" not in fields and "DISV" not in fields:
            return False  # the short way of nearly every reading: their defaults differ
        if self.number("DISA") != self.number("DISV"):
            return False
        if self.stat != st.DISABLE:
            self.stat, self.sevr = st.DISABLE, int(self.number("DISS"))
            self.post_events("STAT", st.DBE_VALUE)
            self.post_events("SEVR", st.DBE_VALUE)
            self.post_events("VAL", st.DBE_VALUE | st.DBE_ALARM)
        return True

    def _read_link(self, link: str) -> int:
        name, _, field = link.split(maxsplit=1)[0].partition(".")
        if name in self.peers:
            value = self.peers[name].get(field or "VAL")
            return int(value) if isinstance(value, (int, float)) else 0
        try:
            return int(float(name))
        except ValueError:
            return 0

    # ---- puts

    def text_precision(self, spec: FieldSpec) -> int:
        """Digits behind the point when a floating-point field is read as text; 6 where a type has no precision."""
        return 6

    def convert(self, spec: FieldSpec, element: float | int | bytes) -> FieldValue:
        """Convert one element that a client puts. Raises PutRefused."""
        return from_client(spec, spec.dbf, element)

    def check_device_put(self, spec: FieldSpec, value: Value) -> None:
        """Raise PutRefused when a put must not get as far as the device, whatever the device would say."""
        self.check_put(spec)
        if self._disabled():
            raise PutRefused(f"{self.name} is disabled: DISA equals DISV")
        if isinstance(value, float) and not math.isfinite(value):
            raise PutRefused(f"{self.name}: {value} is not a value")

    def check_put(self, spec: FieldSpec) -> None:
        """Raise PutRefused when no client may put to this field now, whoever it is."""
        if spec.nomod:
            raise AccessDenied(f"{self.name}.{spec.name} can't be written")
        if not spec.implemented or spec.name in _FIXED:
            raise PutRefused(f"{self.name}.{spec.name} is fixed by the database")
        if spec.name != "DISP" and self._fields.get("DISP"):
            raise PutRefused(f"{self.name}: puts are disabled (DISP is 1)")
        if spec.name == "VAL" and self.device is not None and not self.is_output:
            raise AccessDenied(f"{self.name} is read only")

    def convert_array(self, spec: FieldSpec, elements: Sequence[float | int | bytes]) -> Value:
        """Convert the elements that a client puts to an array. Raises PutRefused."""
        raise PutRefused(f"{self.name}.{spec.name} is not an array, {len(elements)} elements found")

    def convert_long(self, spec: FieldSpec, text: bytes) -> Value:
        """Convert a long string that a client puts to a text field. Raises PutRefused."""
        return self.convert(spec, text)

    def concerns_device(self, spec: FieldSpec) -> bool:
        """Whether a put to this field goes to the device, by ``put_device``, and not just to the record."""
        return self.device is not None and self.is_output and spec.name in ("VAL", "PROC")

    def put(self, spec: FieldSpec, value: Value) -> None:
        """Apply a put to the record alone. Raises PutRefused; nothing has changed then."""
        self.check_put(spec)
        if self.concerns_device(spec):
            raise PutRefused(f"{self.name} belongs to a device")
        self._store(spec, value)
        if spec.name == "PROC":
            self.process()
        elif spec.name == "SCAN":
            if self.scan_hook is not None:
                self.scan_hook(self)
        elif self.device is not None:
            self.reevaluate()
            if spec.name in ("DISA", "DISV") and self.process_hook is not None:
                self.process_hook(self)  # what was read while it was disabled is lost; this reads, it never writes
        elif spec.pp and self.scan == PASSIVE:
            self.process()

    async def put_device(self, spec: FieldSpec, value: Value, context: PutContext) -> None:
        """Hand a put to the device and return when it has been applied and read back. Raises PutRefused.

        The put must have passed ``check_device_put``.
        .PROC sends the present value once more, as processing an output does.
        """
        if self.put_hook is None:
            raise PutRefused(f"{self.name}: its device is not served")
        if spec.name == "PROC":
            value = self.val
        await self.put_hook(self, value, context)

    def _store(self, spec: FieldSpec, value: Value) -> None:
        """Change a field and tell its monitors (dbPut)."""
        before = self.get(spec.name) if spec.prop else None
        if spec.name == "VAL":
            self._store_value(value)
            self.udf = False
        elif spec.name == "UDF":
            self.udf = bool(value)
        elif spec.dbf in LINK_TYPES:
            self._fields[spec.name] = str(value)
        else:
            self._fields[spec.name] = value
        if not (spec.name == "VAL" and spec.pp):
            self.post_events(spec.name, st.DBE_VALUE | st.DBE_LOG)
        if spec.prop and self.get(spec.name) != before:
            self.post_all(st.DBE_PROPERTY)

    def _store_value(self, value: Value) -> None:
        self.val = value

    def _put_done(self) -> None:
        """Process a soft record, as any put to its value does."""
        if self.device is None and self.scan == PASSIVE:
            self.process()


_LIVE: dict[str, Callable[[Record], FieldValue]] = {
    "NAME": lambda record: record.name,
    "RTYP": lambda record: record.rtyp,
    "VERS": lambda record: "none specified",
    "VAL": lambda record: record.val,
    "STAT": lambda record: record.stat,
    "SEVR": lambda record: record.sevr,
    "NSTA": lambda record: 0,
    "NSEV": lambda record: 0,
    "ACKS": lambda record: record.acks,
    "ACKT": lambda record: record.ackt,
    "UDF": lambda record: int(record.udf),
    "LALM": lambda record: record.lalm,
    "ALST": lambda record: record.alst,
    "MLST": lambda record: record.mlst,
}


def live_field(name: str, getter: Callable[[Record], FieldValue]) -> None:
    """Let ``get`` compute a field instead of looking it up; the types that have the field share the getter."""
    _LIVE[name] = getter
