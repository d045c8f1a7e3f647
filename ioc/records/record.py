"""The record: value, fields, alarms and monitors, processed as the record support of EPICS base does.

A record never touches a device. Readings are posted to it, puts that concern a device go to its source, and
changes are posted to its monitors. Everything here runs on one thread and returns at once, but for such a put.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ioc.database.dbfile import RecordDef
from ioc.records import links
from ioc.records import status as st
from ioc.records.fields import PASSIVE, Fields, Value
from ioc.records.fieldtable import LINK_TYPES, FieldSpec, FieldValue
from ioc.records.put import NO_SOURCE, AccessDenied, PutContext, PutRefused, Source, from_client

if TYPE_CHECKING:
    from ioc.records.recordset import RecordSet

# Implemented, but settled when the database is loaded, or derived from the value.
_FIXED = frozenset({"INP", "OUT", "DTYP", "PINI", "SIZV", "NELM", "FTVL", "OVAL"})
# Fields that last a moment, that say whether a value is shown at all, or who may write.
_MOMENTARY = frozenset({"VAL", "PROC", "UDF", "UDFS", "ACKS", "ACKT", "DISA", "DISV", "ASG"})
# Fields with which the same reading once more may cause an event, or process another record.
_EACH_TIME = frozenset({"FLNK", "SDIS", "COSV", "HYST", "MPST", "APST"})


class Record(Fields):
    """Base of the record types; a subclass adds its value, its alarms and its metadata.

    ``device`` and ``signal`` name the source when DTYP is labioc, else they are None. ``access`` is the letter of
    ``info(access, ...)``. ``source`` and ``database`` are set by those who serve it.
    """

    __slots__ = (
        "_active",
        "_device_severity",
        "_device_status",
        "_quiet",
        "_repeats",
        "_settled",
        "access",
        "database",
        "device",
        "nanoseconds",
        "seconds",
        "signal",
        "source",
    )

    is_output: ClassVar[bool] = False
    database: RecordSet

    def __init__(self, defn: RecordDef, fields: dict[str, FieldValue], link: tuple[str, str] | None) -> None:
        self.device: str | None = link[0] if link else None
        self.signal: str | None = link[1] if link else None
        self.access = defn.info.get("access", "")
        # A value in the database file counts as defined, though the alarm status is UDF until the record is processed;
        # what comes from a device is undefined until it has been read.
        super().__init__(defn, fields, link is not None or "VAL" not in fields)
        self.seconds = self.nanoseconds = 0
        self._device_status = self._device_severity = 0
        self._active = False
        self._settled = False  # whether all that follows from the value has been done
        # what follows from the fields, once it was needed: see NumberRecord._quiet_range and _can_repeat
        self._quiet: tuple[float, float] | None = None
        self._repeats: bool | None = None
        self.source: Source = NO_SOURCE
        self._initialise()

    def load_link(self, spec: FieldSpec, text: str) -> None:
        """Settle a link of the database file, once the records are there. Raises ValueError.

        A constant in SDIS is the DISA to begin with.
        """
        self._fields[spec.name] = links.checked(text, spec.dbf, self.database)
        number = links.constant(text)
        if spec.name == "SDIS" and number is not None:
            self._fields.setdefault("DISA", int(number))

    # ---- what a subclass defines

    def _initialise(self) -> None:
        """Set the value and what was last posted of it to their start."""
        raise NotImplementedError

    def _accept(self, value: Value) -> Value:
        """Convert a reading to the type of the value. Raises ValueError when it can't be one."""
        raise NotImplementedError

    def _check_alarms(self) -> None:
        """Raise the alarms that the value deserves, by way of ``_alarm``."""
        self._undefined()

    def _value_mask(self) -> int:
        """Return DBE_VALUE and DBE_LOG as the change since the last posting asks for, and remember the value."""
        raise NotImplementedError

    def _can_repeat(self) -> bool:
        """Whether the same reading once more may do something but move the time."""
        return not _EACH_TIME.isdisjoint(self._fields)

    def _convert(self) -> None:
        """Prepare a soft record's value before its alarms are checked: an input counts as defined from now on."""
        if not self.is_output:
            self.udf = isinstance(self.val, float) and math.isnan(self.val)

    # ---- readings

    def post(self, value: Value | None, stamp: float, severity: int = 0, status: int = 0) -> None:
        """Take a reading made at ``stamp`` (Unix seconds) and process the record with it.

        ``severity`` and ``status`` are what the device says; the record's own limits can only make it worse. Without
        a value the last one and its time stay. A value of the wrong kind is shown as INVALID/READ, never taken over.
        A disabled record holds what it has, as in a C IOC.
        """
        if self._settled and value == self.val and severity == self._device_severity and status == self._device_status:
            self._stamp(stamp)  # nothing else would change
            return
        if value is None:
            if severity:
                self.lose(status, severity)
            return
        try:
            accepted = self._accept(value)
        except (ValueError, TypeError, OverflowError):
            self.lose(st.alarm_status("READ"))
            return
        if self._disabled():
            return
        self._settled = False
        self.val = accepted
        self.udf = isinstance(accepted, float) and math.isnan(accepted)
        self._device_severity, self._device_status = severity, status
        self._stamp(stamp)
        self._finish()
        if self._repeats is None:
            self._repeats = self._can_repeat()
        self._settled = not self._repeats

    def lose(self, status: int, severity: int = st.INVALID) -> None:
        """Show this alarm; the value and its time stay what they were."""
        self._device_severity, self._device_status = severity, status
        self._settled = False
        if not self._disabled():
            self._alarm(status, severity)
            self._publish(self._reset_alarms())

    # ---- processing

    def process(self) -> None:
        """Process the record as a forward link or .PROC does: a soft record anew, an input of a device by a read.

        An output of a device is never driven this way; that takes a put.
        """
        if self.device is not None:
            if not self.is_output:
                self.source.read(self)
            return
        if not self._disabled():
            self._stamp(self.database.time())
            self._convert()
            self._finish()

    def _finish(self) -> None:
        if self._device_severity:
            self._alarm(self._device_status, self._device_severity)
        self._check_alarms()
        self._publish(self._reset_alarms())
        if "FLNK" in self._fields:
            self._forward(str(self._fields["FLNK"]))

    def _forward(self, text: str) -> None:
        """Process the record that FLNK names."""
        if (target := links.follow(text, self.database)[1]) is not None:
            self._drive(target)

    def _drive(self, target: Record) -> None:
        """Process a record that a link leads to; a chain that comes back here ends here, as PACT ends it in base."""
        if not self._active:
            self._active = True
            try:
                target.process_passive()
            finally:
                self._active = False

    def process_passive(self) -> None:
        """Process the record by way of a link: only if it is not scanned by itself, nor being processed already."""
        if self.scan == PASSIVE and not self._active:
            self.process()

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

    def _publish(self, mask: int) -> int:
        """Post the value as alarms (``mask``) and its change ask for; return the mask of the events."""
        mask |= self._value_mask()
        if mask:
            self.post_events("VAL", mask)
        return mask

    @property
    def stamp(self) -> float:
        """Unix time in seconds of the value."""
        return self.seconds + st.EPICS_EPOCH + self.nanoseconds * 1e-9

    def _stamp(self, stamp: float) -> None:
        whole = int(stamp)
        self.seconds = whole - st.EPICS_EPOCH
        self.nanoseconds = int((stamp - whole) * 1e9)

    def _disabled(self) -> bool:
        """Whether DISA equals DISV; shows the DISABLE alarm once when it does."""
        fields = self._fields
        if "SDIS" in fields:
            self._read_disable(str(fields["SDIS"]))
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

    def _read_disable(self, text: str) -> None:
        """Take DISA from where SDIS leads; a constant there counts when the database is loaded, as in base."""
        link, target = links.follow(text, self.database)
        if link is not None and target is not None:
            if link.process:
                self._drive(target)
            number, status, severity = links.read(link, target)
            self._alarm(status, severity)
            if number is not None:
                self._fields["DISA"] = number

    # ---- puts

    def text_precision(self, spec: FieldSpec) -> int:
        """Digits behind the point when a floating-point field is read as text; 6 where a type has no precision."""
        return 6

    def convert(self, spec: FieldSpec, element: float | int | bytes) -> FieldValue:
        """Convert one element that a client puts. Raises PutRefused."""
        value = from_client(spec, spec.dbf, element)
        if spec.name not in links.LINK_FIELDS:
            return value
        try:
            return links.checked(str(value), spec.dbf, self.database)
        except ValueError as error:
            raise PutRefused(f"{self.name}.{spec.name}: {error}") from None

    def check_device_put(self, spec: FieldSpec, value: Value) -> None:
        """Raise PutRefused when a put must not get as far as the device, whatever the device would say."""
        self.check_put(spec)
        if self._disabled():
            raise PutRefused(f"{self.name} is disabled: DISA equals DISV")
        if isinstance(value, float) and not math.isfinite(value):
            raise PutRefused(f"{self.name}: {value} is not a value")

    def check_put(self, spec: FieldSpec) -> None:
        """Raise PutRefused when no client at all may put to this field now."""
        if spec.nomod:
            raise AccessDenied(f"{self.name}.{spec.name} can't be written")
        if not spec.implemented or spec.name in _FIXED:
            raise PutRefused(f"{self.name}.{spec.name} is fixed by the database")
        self.check_enabled(spec)
        if spec.name == "VAL" and self.device is not None and not self.is_output:
            raise AccessDenied(f"{self.name} is read only")

    def is_tunable(self, spec: FieldSpec) -> bool:
        """Whether a client may change this field for good: a limit, a severity, SCAN, a dead-band, DISP, a text.

        Not so the value and what lasts a moment, nor DISA, DISV and UDFS: a record that starts disabled shows no alarm
        for a value that it never had. Links and ASG belong to the database.
        """
        fixed = spec.nomod or not spec.implemented or spec.name in _FIXED
        return not fixed and spec.name not in _MOMENTARY and spec.dbf not in LINK_TYPES

    def preset(self, spec: FieldSpec, value: FieldValue) -> None:
        """Give a tunable field another value before the record is served."""
        self._settled, self._quiet, self._repeats = False, None, None
        self._fields[spec.name] = value
        self._mark(spec, value)

    def number_limits(self) -> tuple[float, float]:
        """Return what a put of a number must lie between."""
        return -math.inf, math.inf

    def check_enabled(self, spec: FieldSpec) -> None:
        """Raise PutRefused while DISP keeps clients from putting anything, acknowledgements included."""
        if spec.name != "DISP" and self._fields.get("DISP"):
            raise PutRefused(f"{self.name}: puts are disabled (DISP is 1)")

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
            self.source.rescan(self)
        elif self.device is not None:
            self.reevaluate()
            if spec.name in ("DISA", "DISV"):
                self.source.read(self)  # what was read while it was disabled is lost; this reads, it never writes
        elif spec.pp and self.scan == PASSIVE:
            self.process()

    def put_by(self, spec: FieldSpec, value: Value, context: PutContext) -> None:
        """Apply a put of a client to the record alone, and have it noted. Raises PutRefused."""
        before = self.get(spec.name)
        self.put(spec, value)
        self.source.applied(self, spec, before, value, context)

    async def put_device(self, spec: FieldSpec, value: Value, context: PutContext) -> None:
        """Hand a put to the device and return when it has been applied and read back. Raises PutRefused.

        The put must have passed ``check_device_put``.
        .PROC sends the present value once more, as processing an output does.
        """
        await self.source.put(self, self.val if spec.name == "PROC" else value, context)

    def _store(self, spec: FieldSpec, value: Value) -> None:
        """Change a field and post it to its monitors (dbPut)."""
        self._settled, self._quiet, self._repeats = False, None, None
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
            self._mark(spec, value)
        if not (spec.name == "VAL" and spec.pp):
            self.post_events(spec.name, st.DBE_VALUE | st.DBE_LOG)
        if spec.prop and self.get(spec.name) != before:
            self.post_all(st.DBE_PROPERTY)
        if spec.name == "ASG":
            self.database.on_regroup()

    def _store_value(self, value: Value) -> None:
        self.val = value

    def acknowledge(self, severity: int) -> None:
        """Acknowledge alarms up to this severity (DBR_PUT_ACKS)."""
        if severity >= self.acks:
            self.acks = 0
            self.post_events("ACKS", st.DBE_VALUE | st.DBE_ALARM)
            self.post_all(st.DBE_ALARM)
        self._put_done()

    def acknowledge_transient(self, transient: bool) -> None:
        """Choose whether an alarm that has gone must still be acknowledged (DBR_PUT_ACKT)."""
        if bool(self.ackt) != transient:
            self.ackt = int(transient)
            self.post_events("ACKT", st.DBE_VALUE | st.DBE_ALARM)
            if not transient and self.acks > self.sevr:
                self.acks = self.sevr
                self.post_events("ACKS", st.DBE_VALUE | st.DBE_ALARM)
            self.post_all(st.DBE_ALARM)
        self._put_done()

    def _put_done(self) -> None:
        """Process a soft record, as any put to its value does."""
        if self.device is None and self.scan == PASSIVE:
            self.process()
