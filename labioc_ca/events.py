"""What the subscription hands on: one event of one PV, a value or a change of connection."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, TypeAlias

Value: TypeAlias = "float | int | str | array[float] | array[int] | tuple[str, ...] | None"
"""A scalar; an array of numbers; several strings; text of a character array; None when there is no value."""

EPICS_EPOCH: Final = 631_152_000
"""1990-01-01 in Unix seconds."""


class Kind(IntEnum):
    """What an event carries: the native type of the channel, or its connection. Numbers are those of db_access.h."""

    STRING = 0
    SHORT = 1
    FLOAT = 2
    ENUM = 3
    CHAR = 4
    LONG = 5
    DOUBLE = 6
    CONNECTION = 7


@dataclass(slots=True)
class Event:
    """One event.

    ``seconds_ns`` is the time stamp of the IOC in Unix nanoseconds; of a change of connection, which no IOC stamps,
    it is the time at which the client saw it. ``severity`` and ``status`` are those of EPICS (0 to 3, 0 to 21).
    """

    pv: str
    kind: int
    value: Value
    seconds_ns: int
    severity: int = 0
    status: int = 0
    connected: bool = True
