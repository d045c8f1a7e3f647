"""The waveform record."""

from __future__ import annotations

from collections.abc import Sequence

from ioc.records import status as st
from ioc.records.convert import check_range
from ioc.records.fields import NAN, Meta, Value, default_precision, type_range
from ioc.records.fieldtable import FLOAT_TYPES, FieldSpec, fields_of
from ioc.records.put import PutRefused, from_client
from ioc.records.record import Record


class Waveform(Record):
    """An array of NELM numbers; NORD of them were given, the rest is zero."""

    __slots__ = ("_posted", "nord")
    live = Record.live | {"NORD": "nord"}
    val: tuple[float, ...]
    nord: int
    _posted: tuple[float, ...]

    def _initialise(self) -> None:
        self._fields["NELM"] = max(int(self.number("NELM")), 1)
        self.val = self._posted = ()
        self.nord = 0

    @property
    def element_type(self) -> str:
        """FTVL: the type of the elements, without DBF_."""
        spec = fields_of(self.rtyp)["FTVL"]
        index = self._fields.get("FTVL", spec.default)
        return spec.choices[index] if isinstance(index, int) else "STRING"

    @property
    def capacity(self) -> int:
        """NELM: the most elements that the record holds."""
        return int(self.number("NELM"))

    def field_type(self, spec: FieldSpec) -> tuple[str, int]:
        """VAL has NELM elements of type FTVL."""
        return (self.element_type, self.capacity) if spec.name == "VAL" else super().field_type(spec)

    def present_count(self, spec: FieldSpec, long_string: bool) -> int:
        """Return NORD for the value."""
        return self.nord if spec.name == "VAL" else super().present_count(spec, long_string)

    def _accept(self, value: Value) -> tuple[float, ...]:
        """Take a reading; what it lacks to the full length is filled with zeros, and NORD says full."""
        if not isinstance(value, tuple):
            raise TypeError(f"{value!r} is not an array")
        if len(value) > self.capacity:
            raise ValueError(f"{len(value)} elements do not fit into {self.capacity}")
        if self.element_type not in FLOAT_TYPES:
            value = tuple(check_range(self.element_type, int(element)) for element in value)
        full = value + (0,) * (self.capacity - len(value))
        self._count(self.capacity)
        return full

    def _can_repeat(self) -> bool:
        return True

    def _count(self, elements: int) -> None:
        if elements != self.nord:
            self.nord = elements
            self.post_events("NORD", st.DBE_VALUE | st.DBE_LOG)

    def _store_value(self, value: Value) -> None:
        if isinstance(value, tuple):
            self.val = value
            self._count(len(value))

    def _value_mask(self) -> int:
        # Arrays are posted each time, whatever they hold: that is the default of MPST and APST in base.
        changed = self.val != self._posted
        self._posted = self.val
        mask = st.DBE_VALUE if changed or not self._fields.get("MPST") else 0
        return mask | (st.DBE_LOG if changed or not self._fields.get("APST") else 0)

    def text_precision(self, spec: FieldSpec) -> int:
        """PREC."""
        return self.meta(spec).precision

    def convert_array(self, spec: FieldSpec, elements: Sequence[float | int | bytes]) -> Value:
        """Take up to NELM elements of any type that fits FTVL."""
        if len(elements) > self.capacity:
            raise PutRefused(f"{self.name}: {len(elements)} elements, but it holds {self.capacity}")
        values = (from_client(spec, self.element_type, element) for element in elements)
        return tuple(value for value in values if isinstance(value, (int, float)))

    def meta(self, spec: FieldSpec) -> Meta:
        """HOPR, LOPR and EGU for the value."""
        if spec.name == "VAL":
            disp = self.number("HOPR"), self.number("LOPR")
        elif spec.name in ("NORD", "BUSY"):
            disp = (float(self.capacity) if spec.name == "NORD" else 1.0), 0.0
        else:
            disp = type_range(spec.dbf)
        units = str(self.get("EGU")) if spec.name in ("VAL", "HOPR", "LOPR") else ""
        precision = int(self.number("PREC"))
        shown = precision if spec.name == "VAL" else default_precision(spec.dbf, precision)
        return Meta(units, shown, *disp, NAN, NAN, NAN, NAN, *disp)
