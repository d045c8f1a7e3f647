"""A put on its way from a client to a record, and what is behind the record: the device, or the server itself.

What a client puts is converted to the type of the field as dbConvert of EPICS base does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ioc.records.convert import INTEGER_RANGES, check_range, choice, number_text, parse_float, parse_integer
from ioc.records.fieldtable import FLOAT_TYPES, LINK_TYPES, FieldSpec, FieldValue

if TYPE_CHECKING:
    from ioc.records.fields import Value
    from ioc.records.record import Record


class PutRefused(Exception):
    """The put changed nothing; the text goes to the client that asked for it."""


class AccessDenied(PutRefused):
    """This client, or every client, lacks the right to put."""


@dataclass(slots=True)
class Cancelled:
    """Set when the client of a put has gone."""

    _set: bool = False
    _calls: list[Callable[[], object]] = field(default_factory=list)

    def set(self) -> None:
        """Note that the client has gone, and call what waits for that."""
        self._set = True
        while self._calls:
            self._calls.pop()()

    def then(self, call: Callable[[], object]) -> None:
        """Call once when the client has gone; at once when it has."""
        if self._set:
            call()
        else:
            self._calls.append(call)

    def is_set(self) -> bool:
        """Whether the client has gone."""
        return self._set


@dataclass(slots=True)
class PutContext:
    """Who puts: user and host as the client says, address as the socket says.

    ``callback`` tells a put with completion from a plain one. ``cancelled`` is set when the client went away while
    its put with completion was still waiting: such a put must not reach a device any more.
    """

    user: str = ""
    host: str = ""
    address: tuple[str, int] = ("", 0)
    callback: bool = False
    cancelled: Cancelled = field(default_factory=Cancelled)


class Source:
    """Where values come from and puts go to; this one is of records that have none, and refuses a put for a device.

    ``read`` and ``rescan`` return at once and send nothing that could change a device.
    """

    def read(self, record: Record) -> None:
        """Have the record read soon: it was processed, or is enabled again."""

    def rescan(self, record: Record) -> None:
        """Take note of the SCAN field, which a client has changed."""

    async def put(self, record: Record, value: Value, context: PutContext) -> None:
        """Apply a value and return when it has been read back. Raises PutRefused with the reason when it was not."""
        raise PutRefused(f"{record.name}: its device is not served")

    def refused(self, record: Record, field: str, value: str, context: PutContext, reason: str) -> None:
        """Take note of a put that the record or the access rules refused."""

    def applied(self, record: Record, spec: FieldSpec, old: FieldValue, new: Value, context: PutContext) -> None:
        """Take note of a put to a field that concerns the record alone."""


NO_SOURCE = Source()
"""What a record has until it is served."""


def as_text(record: Record, value: Any) -> str:
    """Write a value as an operator knows it: the text of a state, or a number without needless digits."""
    choices = record.enum_strings()
    if isinstance(value, int) and 0 <= value < len(choices) and choices[value]:
        return str(choices[value])
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def from_client(spec: FieldSpec, dbf: str, value: float | int | bytes) -> FieldValue:
    """Convert one element that a client put (bytes stand for a DBR_STRING) to the type of the field.

    Raises PutRefused with the value found and what is allowed.
    """
    try:
        if isinstance(value, bytes):
            return _from_string(spec, dbf, text_of(value))
        return _from_number(spec, dbf, value)
    except ValueError as error:
        raise PutRefused(f"{spec.name}: {error}") from None


def _from_string(spec: FieldSpec, dbf: str, text: str) -> FieldValue:
    if dbf == "STRING":
        return fit(text, spec.size)
    if dbf in LINK_TYPES:
        return text.strip()
    if dbf in ("MENU", "DEVICE"):
        return choice(spec, text)
    if dbf in FLOAT_TYPES:
        try:
            return parse_float(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
    try:
        return check_range(dbf, _integer_part(text))
    except (ValueError, OverflowError):
        low, high = INTEGER_RANGES[dbf]
        raise ValueError(f"{text!r} is not a number from {low} to {high}") from None


def _integer_part(text: str) -> int:
    """Integer in a text; of a number with a fraction the part before the point, as base takes it."""
    try:
        return parse_integer(text)
    except ValueError:
        return int(parse_float(text))


def _from_number(spec: FieldSpec, dbf: str, value: float | int) -> FieldValue:
    if dbf in FLOAT_TYPES:
        return float(value)
    if dbf == "STRING" or dbf in LINK_TYPES:
        return number_text(value, 6)[: spec.size - 1]
    if not math.isfinite(value):
        raise ValueError(f"{value} is not an integer")
    number = check_range(dbf, int(value))
    if dbf in ("MENU", "DEVICE") and number >= len(spec.choices):
        raise ValueError(f"{number} is not a choice; there are {len(spec.choices)}, counted from 0")
    return number


def text_of(element: bytes) -> str:
    """Return the text in a C string; bytes that are no UTF-8 stay as they are."""
    return element.split(b"\0")[0].decode("utf-8", "surrogateescape")


def fit(text: str, size: int) -> str:
    """Cut a text to fit a C string of ``size`` bytes; bytes that are no UTF-8 stay as they are."""
    return text.encode("utf-8", "surrogateescape")[: size - 1].decode("utf-8", "surrogateescape")
