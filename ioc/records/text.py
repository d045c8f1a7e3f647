"""Records with text: stringin, stringout and the long string lsi."""

from __future__ import annotations

from ioc.records import status as st
from ioc.records.convert import STRING_SIZE
from ioc.records.fields import Value
from ioc.records.fieldtable import FieldSpec, FieldValue
from ioc.records.put import PutRefused, fit, text_of
from ioc.records.record import Record

MAX_LONG_STRING = 0x7FFF


class TextRecord(Record):
    """What the three share: a posting for each change, or for each processing if MPST or APST say so."""

    __slots__ = ("oval",)
    live = Record.live | {"OVAL": "oval"}
    val: str
    oval: str

    def _initialise(self) -> None:
        initial = self._fields.pop("VAL", "")
        self.val = self.oval = fit(str(initial), self.size)

    @property
    def size(self) -> int:
        """Bytes that the value may take, the closing NUL included."""
        return STRING_SIZE

    def _accept(self, value: Value) -> str:
        return fit(value if isinstance(value, str) else str(value), self.size)

    def _value_mask(self) -> int:
        mask = 0
        if self.val != self.oval:
            mask = st.DBE_VALUE | st.DBE_LOG
            self.oval = self.val
        if self._fields.get("MPST"):  # the choice that is not the default: Always
            mask |= st.DBE_VALUE
        if self._fields.get("APST"):
            mask |= st.DBE_LOG
        return mask


class StringInput(TextRecord):
    """The stringin record: soft, it has no alarm of its own and keeps UDF until a value comes, both as in base."""

    __slots__ = ()

    def _convert(self) -> None:
        """Leave UDF alone."""

    def _check_alarms(self) -> None:
        if self.device is not None:
            super()._check_alarms()


class StringOutput(TextRecord):
    """The stringout record."""

    __slots__ = ()
    is_output = True


class LongString(StringInput):
    """The lsi record: 40 characters as a string, all SIZV of them through ``VAL$``."""

    __slots__ = ("olen",)
    live = TextRecord.live | {"LEN": "length", "OLEN": "olen"}
    olen: int

    def _initialise(self) -> None:
        size = int(self.number("SIZV"))
        self._fields["SIZV"] = min(max(size, 16), MAX_LONG_STRING)
        super()._initialise()
        self.olen = 0

    @property
    def size(self) -> int:
        """SIZV: bytes that the value may take, the closing NUL included."""
        return int(self.number("SIZV"))

    def present_count(self, spec: FieldSpec, long_string: bool) -> int:
        """Elements that VAL has now: none before it was ever set."""
        if spec.name == "VAL" and not long_string:
            return int(self.length > 0)
        return self.length if spec.name == "VAL" else super().present_count(spec, long_string)

    @property
    def length(self) -> int:
        """Bytes of the value with its closing NUL, 0 when it was never set."""
        return len(self.val.encode("utf-8", "surrogateescape")) + 1 if self.val or not self.udf else 0

    def field_type(self, spec: FieldSpec) -> tuple[str, int]:
        """VAL and OVAL are strings here."""
        return ("STRING", 1) if spec.name in ("VAL", "OVAL") else super().field_type(spec)

    def convert(self, spec: FieldSpec, element: float | int | bytes) -> FieldValue:
        """Take text only."""
        if spec.name != "VAL":
            return super().convert(spec, element)
        if not isinstance(element, bytes):
            raise PutRefused(f"{self.name} takes text, not {element!r}")
        return fit(text_of(element), self.size)

    def _publish(self, mask: int) -> int:
        mask = super()._publish(mask)
        if self.length != self.olen:
            self.olen = self.length
            self.post_events("LEN", st.DBE_VALUE | st.DBE_LOG)
        return mask
