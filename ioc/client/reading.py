"""What a client reads of a PV: value, time and alarm, with unit, limits and states."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

import caproto

from ioc.records.status import EPICS_EPOCH, SEVERITY_NAMES, STATUS_NAMES
from labioc_ca.decode import text_of

STRING: Final = 0
ENUM: Final = 3
CHAR: Final = 4
TYPE_NAMES: Final = ("string", "short", "float", "enum", "char", "long", "double")

Scalar = int | float | str
Span = tuple[float, float]

_LIMITS: Final = {
    "display": ("lower_disp_limit", "upper_disp_limit"),
    "warning": ("lower_warning_limit", "upper_warning_limit"),
    "alarm": ("lower_alarm_limit", "upper_alarm_limit"),
    "control": ("lower_ctrl_limit", "upper_ctrl_limit"),
}


@dataclass(frozen=True, slots=True)
class Meta:
    """What a server says about a PV beside its value.

    ``limits`` are pairs of lowest and highest value by ``display``, ``warning``, ``alarm`` and ``control``.
    """

    units: str = ""
    precision: int = 0
    states: tuple[str, ...] = ()
    limits: dict[str, Span] = field(default_factory=dict)

    @classmethod
    def of(cls, structure: Any) -> Meta:
        """Take it from a ``dbr_ctrl_*`` structure."""
        if structure is None or not hasattr(structure, "units"):
            strings = getattr(structure, "enum_strings", ())
            return cls(states=tuple(text_of(bytes(text)) for text in strings))
        limits = {name: (getattr(structure, low), getattr(structure, high)) for name, (low, high) in _LIMITS.items()}
        return cls(text_of(bytes(structure.units)), getattr(structure, "precision", 0), (), limits)


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a PV; ``stamp`` is Unix time, 0 when the record never had a value.

    ``value`` is a number or text, a tuple for an array; of an enum it is the number of the state.
    """

    value: Scalar | tuple[Scalar, ...]
    stamp: float
    severity: int
    status: int
    meta: Meta = Meta()

    @property
    def text(self) -> str:
        """The value as people read it: the name of a state, a number with the digits of its record."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return " ".join(map(self._one, values))

    @property
    def quantity(self) -> str:
        """The value with its unit."""
        return f"{self.text} {self.meta.units}".rstrip()

    @property
    def alarm(self) -> str:
        """Severity and status, ``MAJOR HIHI`` for example; empty without an alarm."""
        return f"{self.severity_name} {self.status_name}" if self.severity else ""

    @property
    def severity_name(self) -> str:
        """The severity as EPICS names it."""
        return _name(SEVERITY_NAMES, self.severity)

    @property
    def status_name(self) -> str:
        """The alarm status as EPICS names it."""
        return _name(STATUS_NAMES, self.status)

    def age(self, now: float) -> str:
        """Return how old the value is, ``12.3 s``; ``never read`` when it never had one."""
        return duration(now - self.stamp) if self.stamp else "never read"

    def as_json(self) -> dict[str, Any]:
        """Return what a program wants to know; NaN and infinity, which JSON does not have, become null."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        plain = [None if isinstance(one, float) and not math.isfinite(one) else one for one in values]
        return {
            "value": plain if isinstance(self.value, tuple) else plain[0],
            "text": self.text,
            "units": self.meta.units,
            "severity": self.severity_name,
            "status": self.status_name,
            "time": self.stamp or None,
        }

    def _one(self, value: Scalar) -> str:
        if isinstance(value, str):
            return value
        if isinstance(value, float):
            # A precision of 0 is also what a record says that knows none: no digit is cut off then.
            return f"{value:.{self.meta.precision}f}" if self.meta.precision > 0 else f"{value:.10g}"
        states = self.meta.states
        return states[value] if 0 <= value < len(states) and states[value] else str(value)


def reading_of(response: Any, long_string: bool, meta: Meta) -> Reading:
    """Make a reading of a response with a ``dbr_time_*`` structure; ``long_string`` for characters that are a text."""
    about, data = response.metadata, response.data
    native = int(response.data_type) % 7
    seconds, nanoseconds = about.secondsSinceEpoch, about.nanoSeconds
    stamp = seconds + EPICS_EPOCH + nanoseconds * 1e-9 if seconds or nanoseconds else 0.0
    value: Any
    if native == CHAR and long_string:
        value = text_of(bytes(bytearray(int(one) & 0xFF for one in data)))
    elif native == STRING:
        value = tuple(text_of(bytes(one)) for one in data)
    else:
        value = tuple(one.item() if hasattr(one, "item") else one for one in data)
    if isinstance(value, tuple) and len(value) == 1:
        value = value[0]
    return Reading(value, stamp, int(about.severity), int(about.status), meta)


def encoded(value: Scalar | tuple[Scalar, ...], native: int, count: int) -> tuple[Any, int, int]:
    """Return data, DBR type and number of elements for a put.

    Text is converted by the server; for an array of characters it is sent as such. Raises ValueError for what does not
    fit.
    """
    if isinstance(value, str) and native == CHAR and count > 1:
        raw = value.encode("utf-8", "surrogateescape")
        if len(raw) >= count:
            raise ValueError(f"{len(raw)} characters are more than the {count - 1} that fit")
        return raw + b"\0", CHAR, len(raw) + 1
    values = value if isinstance(value, tuple) else (value,)
    if len(values) > count:
        raise ValueError(f"{len(values)} values are more than the {count} that it takes; quote a text with spaces")
    if all(isinstance(one, int | float) for one in values):
        return list(values), int(caproto.ChannelType.DOUBLE), len(values)
    texts = [str(one).encode("utf-8", "surrogateescape") for one in values]
    longest = max(map(len, texts))
    if longest >= 40:
        raise ValueError(f"{longest} characters are more than the 39 that fit; NAME$ takes a long text")
    return texts, STRING, len(texts)


def duration(seconds: float) -> str:
    """Return a time span as people read it: ``0.3 s``, ``12 min``, ``5.0 h``, ``3.1 d``."""
    sign, span = ("-", -seconds) if seconds < -0.05 else ("", max(seconds, 0.0))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if span >= 2 * size:
            return f"{sign}{span / size:.1f} {unit}"
    return f"{sign}{span:.1f} s"


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)
