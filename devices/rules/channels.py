"""Which signals a supply with channels has, and where each of them is: at the board, or at one of its channels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from devices.model import Reading, Signal


class Row(Protocol):
    """One quantity of a catalogue."""

    def signal(self, prefix: str = "") -> Signal:
        """Describe the signal to the outside under its full name."""


class Channel(Protocol):
    """What gives out the readings of one channel."""

    @property
    def number(self) -> int:
        """Its number, from 0 on."""

    def reading(self, suffix: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when a single bad answer leaves it out; ``now`` is Unix time."""


C = TypeVar("C", bound=Channel)
BoardReading = Callable[[str, float], Reading | None]


def channel_prefix(channel: int) -> str:
    """Return ``CH00.`` for channel 0."""
    return f"CH{channel:02d}."


def place_of(name: str) -> str:
    """Return what a signal belongs to: ``CH00`` for ``CH00.VSET``, empty for the device as a whole."""
    place, dot, _ = name.partition(".")
    return place if dot else ""


def all_signals(board: Iterable[Row], channel: Iterable[Row], channels: int) -> dict[str, Signal]:
    """Return every signal of a supply with this number of channels, by its full name."""
    rows = [row.signal() for row in board]
    of_channel = list(channel)
    for number in range(channels):
        rows += [row.signal(channel_prefix(number)) for row in of_channel]
    return {row.name: row for row in rows}


class Places(Generic[C]):
    """Channels by the names of their signals; ``suffixes`` are the signals that each of them has."""

    def __init__(self, channels: Sequence[C], suffixes: Collection[str]) -> None:
        self._at = {
            channel_prefix(channel.number) + suffix: (channel, suffix) for channel in channels for suffix in suffixes
        }

    def find(self, name: str) -> tuple[C | None, str]:
        """Return the channel of a signal and what it is called there; None and the name when it is of no channel."""
        return self._at.get(name, (None, name))

    def readings(
        self, names: Iterable[str], board: Mapping[str, Row], of_board: BoardReading, now: float
    ) -> dict[str, Reading]:
        """Return the readings of signals of channels, and of the board through ``of_board``; unknown ones are left out.

        So is what a single bad answer concerns. ``now`` is Unix time.
        """
        found: dict[str, Reading] = {}
        for name in names:
            channel, suffix = self.find(name)
            if channel is not None:
                reading = channel.reading(suffix, now)
            else:
                reading = of_board(name, now) if name in board else None
            if reading is not None:
                found[name] = reading
        return found
