"""Records with a number: ai, ao, longin, longout."""

from __future__ import annotations

import math
from typing import ClassVar, Final

from ioc.records import status as st
from ioc.records.convert import check_range
from ioc.records.fields import NAN, Meta, Value, default_precision, type_range
from ioc.records.fieldtable import FieldSpec
from ioc.records.put import PutRefused
from ioc.records.record import Record

# Fields that share the limits of the value; the record definitions of base list them one by one.
_LIKE_VALUE: Final = frozenset(["VAL", "HIHI", "HIGH", "LOW", "LOLO", "LALM", "ALST", "MLST", "SVAL"])
_LIMITS: Final = (
    ("HIHI", "HHSV", st.HIHI, 1),
    ("LOLO", "LLSV", st.LOLO, -1),
    ("HIGH", "HSV", st.HIGH, 1),
    ("LOW", "LSV", st.LOW, -1),
)


def exceeds(old: float, new: float, deadband: float) -> bool:
    """Whether a change is larger than a deadband (recGblCheckDeadband); one to or from NaN or infinity is infinite."""
    if math.isfinite(old) and math.isfinite(new):
        return abs(old - new) > deadband
    changed = math.isnan(old) != math.isnan(new) or math.isinf(old) != math.isinf(new)
    changed = changed or (math.isinf(new) and old != new)
    return (math.inf if changed else 0.0) > deadband


def differs(old: float, new: float) -> bool:
    """Whether a change is larger than no deadband at all, decided quickly; NaN is no change from NaN."""
    return old != new and not (math.isnan(old) and math.isnan(new))


class NumberRecord(Record):
    """What ai, ao, longin and longout share: four limits with hysteresis, and the posting deadbands."""

    __slots__ = ()

    value_type: ClassVar[str] = "DOUBLE"
    no_units: ClassVar[frozenset[str]] = frozenset()
    like_value: ClassVar[frozenset[str]] = _LIKE_VALUE
    shown_like_value: ClassVar[frozenset[str]] = frozenset()
    initialised: ClassVar[int] = 1
    live = Record.live | {"INIT": "initialised"}
    val: float
    lalm: float
    alst: float
    mlst: float

    def _initialise(self) -> None:
        initial = self._fields.pop("VAL", None)
        value = self.number("VAL") if initial is None else initial
        self.val = value if isinstance(value, (int, float)) else 0.0
        self.lalm = self.alst = self.mlst = self.val

    def _accept(self, value: Value) -> float:
        if not isinstance(value, (int, float)):
            raise TypeError(f"{value!r} is not a number")
        return float(value)

    def _check_alarms(self) -> None:
        if self.udf and self._undefined():
            return
        value = self.val
        quiet = self._quiet
        if quiet is None:
            quiet = self._quiet = self._quiet_range()
        if quiet[0] < value < quiet[1]:
            self.lalm = value
            return
        for limit_name, severity_name, status, sign in _LIMITS:
            severity = self._fields.get(severity_name)
            if not severity:
                continue
            limit = self.number(limit_name)
            hysteresis = self.number("HYST") if self.lalm == limit else 0.0
            if sign * value >= sign * limit or (hysteresis and sign * value >= sign * limit - hysteresis):
                if isinstance(severity, int) and severity > self._nsev:
                    self._alarm(status, severity)
                    self.lalm = limit
                return
        self.lalm = value

    def _quiet_range(self) -> tuple[float, float]:
        """Return what the value must lie between to be no alarm, whatever it was before; nearly every reading does."""
        low, high, hysteresis = -math.inf, math.inf, max(0.0, self.number("HYST"))
        for limit_name, severity_name, _, sign in _LIMITS:
            if self._fields.get(severity_name):
                limit = self.number(limit_name)
                if sign > 0:
                    high = min(high, limit - hysteresis)
                else:
                    low = max(low, limit + hysteresis)
        return low, high

    def _can_repeat(self) -> bool:
        return super()._can_repeat() or self.number("MDEL") < 0 or self.number("ADEL") < 0

    def _value_mask(self) -> int:
        fields, value = self._fields, self.val
        if "MDEL" not in fields and "ADEL" not in fields:  # both have followed every change so far
            if not differs(self.mlst, value):
                return 0
            self.mlst = self.alst = value
            return st.DBE_VALUE | st.DBE_LOG
        mask = 0
        if exceeds(self.mlst, value, self.number("MDEL")):
            mask = st.DBE_VALUE
            self.mlst = value
        if exceeds(self.alst, value, self.number("ADEL")):
            mask |= st.DBE_LOG
            self.alst = value
        return mask

    def _control(self) -> tuple[float, float]:
        return self.number("HOPR"), self.number("LOPR")

    def meta(self, spec: FieldSpec) -> Meta:
        """Limits of the value for the value's kin, the range of the type for the rest."""
        like_value = spec.name in self.like_value
        disp = (self.number("HOPR"), self.number("LOPR"))
        if not (like_value or spec.name in self.shown_like_value):
            disp = type_range(spec.dbf)
        ctrl = self._control() if like_value else type_range(spec.dbf)
        has_units = spec.dbf == self.value_type and spec.name not in self.no_units
        counts = self._fields if spec.name == "VAL" else {}
        hihi, lolo, high, low = (self.number(limit) if counts.get(by) else NAN for limit, by, _, _ in _LIMITS)
        units = str(self.get("EGU")) if has_units else ""
        return Meta(units, self._precision(spec), *disp, hihi, high, low, lolo, *ctrl)

    def text_precision(self, spec: FieldSpec) -> int:
        """PREC, for all fields."""
        return self._precision(spec)

    def _precision(self, spec: FieldSpec) -> int:
        precision = int(self.number("PREC"))
        return precision if spec.name in ("VAL", "OVAL", "PVAL") else default_precision(spec.dbf, precision)


class AnalogInput(NumberRecord):
    """The ai record."""

    __slots__ = ()
    no_units = frozenset({"ASLO", "AOFF", "SMOO"})


class _OutputLimits(NumberRecord):
    """Drive limits, which clamp a soft output as in base; on a device the driver refuses instead."""

    __slots__ = ("pval",)
    is_output = True
    live = NumberRecord.live | {"PVAL": "pval"}
    pval: float

    def _initialise(self) -> None:
        super()._initialise()
        self.pval = self.val

    def check_put(self, spec: FieldSpec) -> None:
        """Refuse the limits too where the driver has them: it would go on with its own, whatever the field says."""
        super().check_put(spec)
        if self._is_limit_in_force(spec):
            raise PutRefused(f"{self.name}.{spec.name} is a limit in force, set by the device and the site file")

    def is_tunable(self, spec: FieldSpec) -> bool:
        """Leave out the limits that the driver has."""
        return not self._is_limit_in_force(spec) and super().is_tunable(spec)

    def number_limits(self) -> tuple[float, float]:
        """Return DRVL and DRVH where they are limits at all."""
        low, high = self.number("DRVL"), self.number("DRVH")
        return (low, high) if high > low else super().number_limits()

    def _is_limit_in_force(self, spec: FieldSpec) -> bool:
        return self.device is not None and spec.name in ("DRVH", "DRVL")

    def _control(self) -> tuple[float, float]:
        return self.number("DRVH"), self.number("DRVL")

    def _convert(self) -> None:
        if not math.isnan(self.val):
            low, high = self.number_limits()
            self.val = min(max(self.val, low), high)

    def _publish(self, mask: int) -> int:
        mask = super()._publish(mask)
        self.pval = self.val
        return mask


class AnalogOutput(_OutputLimits):
    """The ao record."""

    __slots__ = ()
    live = _OutputLimits.live | {"OVAL": "val"}
    like_value = _LIKE_VALUE | {"OVAL", "PVAL"}
    shown_like_value = frozenset({"IVOV"})

    def _convert(self) -> None:
        super()._convert()
        self.udf = math.isnan(self.val)

    def _publish(self, mask: int) -> int:
        if self.monitors is None or "OVAL" not in self.monitors:
            return super()._publish(mask)
        # OVAL goes out whenever it has changed (OMOD of base), whatever the dead bands hold back of VAL
        moved = st.DBE_VALUE | st.DBE_LOG if self.val != self.pval else 0
        mask = super()._publish(mask)
        if mask | moved:
            self.post_events("OVAL", mask | moved)
        return mask

    no_units = frozenset({"ASLO", "AOFF"})


class IntegerRecord(NumberRecord):
    """The longin record, and what longout shares with it: a 32-bit integer."""

    __slots__ = ()
    value_type = "LONG"

    def _accept(self, value: Value) -> int:
        return check_range("LONG", int(super()._accept(value)))

    def text_precision(self, spec: FieldSpec) -> int:
        """There is no PREC here."""
        return 6

    def _precision(self, spec: FieldSpec) -> int:
        return 0


class IntegerOutput(_OutputLimits, IntegerRecord):
    """The longout record."""

    __slots__ = ()

    def _convert(self) -> None:
        super()._convert()
        self.val = int(self.val)

    def _control(self) -> tuple[float, float]:
        drive = super()._control()
        return drive if drive[0] > drive[1] else (self.number("HOPR"), self.number("LOPR"))
