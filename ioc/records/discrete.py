"""Records with states: bi, bo, mbbi, mbbo."""

from __future__ import annotations

from ioc.records import status as st
from ioc.records.fields import Meta, Value, type_range
from ioc.records.fieldtable import STATE_SEVERITIES, STATE_STRINGS, STATE_VALUES, FieldSpec, FieldValue
from ioc.records.put import PutRefused, text_of
from ioc.records.record import Record


class StateRecord(Record):
    """What the four share: severities per state, change-of-state alarm, a posting for each change."""

    __slots__ = ()
    val: int
    lalm: int
    mlst: int

    def _initialise(self) -> None:
        initial = self._fields.pop("VAL", 0)
        self.val = initial if isinstance(initial, int) else 0
        self.lalm = self.mlst = self.val

    def _states(self) -> int:
        """Number of values that a put or a reading may have."""
        raise NotImplementedError

    def _state_severity(self) -> FieldValue:
        raise NotImplementedError

    def _accept(self, value: Value) -> int:
        if not isinstance(value, (int, float)) or not 0 <= value < self._states():
            raise ValueError(f"{value!r} is not a state of {self.name}")
        return int(value)

    def _check_alarms(self) -> None:
        if self._undefined():
            return
        self._alarm(st.STATE, self._state_severity())
        if self.val != self.lalm:
            self._change_of_state()

    def _change_of_state(self) -> None:
        self._alarm(st.COS, self._fields.get("COSV", 0))
        self.lalm = self.val

    def _value_mask(self) -> int:
        if self.val == self.mlst:
            return 0
        self.mlst = self.val
        return st.DBE_VALUE | st.DBE_LOG

    def convert(self, spec: FieldSpec, element: float | int | bytes) -> FieldValue:
        """Accept a state by its text or its number; anything else is refused, unlike in base."""
        if spec.name != "VAL":
            return super().convert(spec, element)
        states = self.enum_strings()
        shown = text_of(element) if isinstance(element, bytes) else element
        if isinstance(shown, str):
            if shown in states:
                return states.index(shown)
            found = int(shown) if shown.strip().isdecimal() else None
        else:
            found = int(shown) if shown == shown and abs(shown) < 1e9 else None  # noqa: PLR0124 (NaN)
        if found is not None and 0 <= found < self._states():
            return found
        allowed = ", ".join(f"{i} {name}".rstrip() for i, name in enumerate(states)) or f"0..{self._states() - 1}"
        raise PutRefused(f"{self.name}: {shown!r} is not one of its states ({allowed})")


class BinaryRecord(StateRecord):
    """The bi record, and what bo shares with it."""

    __slots__ = ()

    def _states(self) -> int:
        return 2

    def _state_severity(self) -> FieldValue:
        return self._fields.get("OSV" if self.val else "ZSV", 0)

    def state_text(self, index: int) -> str:
        """Return ZNAM or ONAM, whether given or empty."""
        return str(self.get("ONAM" if index else "ZNAM")) if index < 2 else "Illegal_Value"

    def enum_strings(self) -> tuple[str, ...]:
        """ZNAM and ONAM, given or empty."""
        return self.state_text(0), self.state_text(1)


class BinaryOutput(BinaryRecord):
    """The bo record."""

    __slots__ = ()
    is_output = True

    def text_precision(self, spec: FieldSpec) -> int:
        """Two digits for the seconds of HIGH, as boRecord in base."""
        return 2 if spec.name == "HIGH" else 6

    def meta(self, spec: FieldSpec) -> Meta:
        """HIGH is a time in seconds, at most 100000; other fields have the range of their type (boRecord in base)."""
        if spec.name == "HIGH":
            return Meta(units="s", precision=2, ctrl_high=1e5)
        high, low = type_range(spec.dbf)
        return Meta(ctrl_high=high, ctrl_low=low)


class MultiBitRecord(StateRecord):
    """The mbbi record, and what mbbo shares with it."""

    __slots__ = ()
    live = StateRecord.live | {"SDEF": "states_defined"}

    def _states(self) -> int:
        return len(self.enum_strings()) or len(STATE_STRINGS)

    @property
    def states_defined(self) -> int:
        """The .SDEF field: 1 when any state has a text or a value."""
        return int(any(self.get(name) for name in (*STATE_STRINGS, *STATE_VALUES)))

    def _state_severity(self) -> FieldValue:
        return self._fields.get(STATE_SEVERITIES[self.val], 0)

    def _change_of_state(self) -> None:
        # Unlike bi and bo, base forgets the old state only when nothing worse than COS has been raised.
        severity = self._fields.get("COSV", 0)
        if isinstance(severity, int) and severity > self._nsev:
            self._alarm(st.COS, severity)
        else:
            self.lalm = self.val

    def _store(self, spec: FieldSpec, value: Value) -> None:
        super()._store(spec, value)
        if self.val < len(STATE_STRINGS) and spec.name == STATE_STRINGS[self.val]:
            self.post_events("VAL", st.DBE_VALUE | st.DBE_LOG)

    def state_text(self, index: int) -> str:
        """Text of a state; one without text has an empty one."""
        return str(self._fields.get(STATE_STRINGS[index], "")) if index < len(STATE_STRINGS) else "Illegal Value"

    def enum_strings(self) -> tuple[str, ...]:
        """Texts of the states up to the last one given."""
        texts = [str(self._fields.get(name, "")) for name in STATE_STRINGS]
        while texts and not texts[-1]:
            texts.pop()
        return tuple(texts)


class MultiBitOutput(MultiBitRecord):
    """The mbbo record; without any state defined it is a plain number, as in base."""

    __slots__ = ()
    is_output = True

    def process(self) -> None:
        """Process as base does: an undefined soft output raises its alarm and leaves the time stamp alone."""
        if self.device is None and self.udf:
            self._undefined()
            self._publish(self._reset_alarms())
        else:
            super().process()

    def field_type(self, spec: FieldSpec) -> tuple[str, int]:
        """VAL is a state only when there are states."""
        return ("USHORT", 1) if spec.name == "VAL" and not self.get("SDEF") else super().field_type(spec)
