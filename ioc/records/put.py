"""A put on its way from a client to a record, and what is behind the record: the device, or the server itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ioc.records.fields import Value
    from ioc.records.fieldtable import FieldSpec, FieldValue
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
