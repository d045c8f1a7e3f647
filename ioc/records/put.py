"""A put on its way from a client to a record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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


def as_text(record: Record, value: Any) -> str:
    """Write a value as an operator knows it: the text of a state, or a number without needless digits."""
    choices = record.enum_strings()
    if isinstance(value, int) and 0 <= value < len(choices) and choices[value]:
        return str(choices[value])
    return f"{value:.10g}" if isinstance(value, float) else str(value)
