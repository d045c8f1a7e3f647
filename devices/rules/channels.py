"""Which signals a supply with channels has, and where each of them is: at the board, or at one of its channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from devices.errors import Refused
from devices.model import DeviceSettings, Reading, Signal
from devices.rules.hv_channel import HvChannel
from devices.rules.settings import Demand, check_writable, moved


class Row(Protocol):
    """One quantity of a catalogue."""

    @property
    def settable(self) -> bool:
        """Whether a user can set it."""

    def signal(self, prefix: str = "") -> Signal:
        """Describe the signal to the outside under its full name."""


class Board(Protocol):
    """What gives out the readings that are of no channel."""

    demands: dict[str, Demand]

    def reading(self, name: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when a single bad answer leaves it out; ``now`` is Unix time."""


class Channel(Protocol):
    """What gives out the readings of one channel."""

    hv: HvChannel

    @property
    def number(self) -> int:
        """Its number, from 0 on."""

    def reading(self, suffix: str, now: float) -> Reading | None:
        """As that of a board."""


C = TypeVar("C", bound=Channel)
R = TypeVar("R", bound=Row)


def channel_prefix(channel: int) -> str:
    """Return ``CH00.`` for channel 0."""
    return f"CH{channel:02d}."


def place_of(name: str) -> str:
    """Return what a signal belongs to: ``CH00`` for ``CH00.VSET``, empty for the device as a whole."""
    place, dot, _ = name.partition(".")
    return place if dot else ""


class Places(Generic[C, R]):
    """Board and channels by the names of their signals; ``of_board`` and ``of_channel`` are rows of the catalogue."""

    def __init__(
        self, board: Board, channels: Sequence[C], of_board: Mapping[str, R], of_channel: Mapping[str, R]
    ) -> None:
        self._board = board
        self._channels = channels
        self._of_board = of_board
        self._of_channel = of_channel
        self._at = {
            channel_prefix(channel.number) + suffix: (channel, suffix) for channel in channels for suffix in of_channel
        }

    def signals(self) -> dict[str, Signal]:
        """Return every signal by its full name."""
        rows = [row.signal() for row in self._of_board.values()]
        for channel in self._channels:
            rows += [row.signal(channel_prefix(channel.number)) for row in self._of_channel.values()]
        return {row.name: row for row in rows}

    def find(self, name: str) -> tuple[C | None, str]:
        """Return the channel of a signal and what it is called there; None and the name when it is of no channel."""
        return self._at.get(name, (None, name))

    def to_set(self, name: str, settings: DeviceSettings) -> tuple[C | None, str, R]:
        """Return the same with the row of a signal that is to be set. Raises Refused when that is not possible."""
        channel, suffix = self.find(name)
        row = self._of_board.get(suffix) if channel is None else self._of_channel[suffix]
        if row is None or not row.settable:
            raise Refused(f"{name} cannot be set")
        if suffix != "TRIP.ACK.CMD":  # which never reaches the device
            check_writable(settings)
        return channel, suffix, row

    def readings(self, names: Iterable[str], now: float) -> dict[str, Reading]:
        """Return the readings of signals; unknown ones are left out, and so is what a single bad answer concerns.

        ``now`` is Unix time.
        """
        found: dict[str, Reading] = {}
        for name in names:
            channel, suffix = self.find(name)
            if channel is not None:
                reading = channel.reading(suffix, now)
            else:
                reading = self._board.reading(name, now) if name in self._of_board else None
            if reading is not None:
                found[name] = reading
        return found

    def moved(self) -> list[str]:
        """Return the settings whose demand has changed without a put."""
        names = moved(self._board.demands)
        for channel in self._channels:
            names += moved(channel.hv.demands, channel_prefix(channel.number))
        return names

    def latched(self, now: float) -> dict[str, Reading]:
        """Return the trips that have not been acknowledged; ``now`` is Unix time."""
        return {
            f"{channel_prefix(channel.number)}TRIP": channel.hv.trip.reading(now)
            for channel in self._channels
            if channel.hv.trip.latched
        }
