"""What the drivers of supplies with channels have in common.

Each of their signals is at the board, or at one of the channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Generic, Protocol, TypeVar

from devices import permit
from devices.clock import DriverClock
from devices.errors import DeviceError, Refused
from devices.model import DeviceSettings, LinkStats, Reading, Signal, Value
from devices.rules.hv_channel import HvChannel
from devices.rules.settings import Demand, check_writable, choice_asked, moved


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
C_contra = TypeVar("C_contra", bound=Channel, contravariant=True)


class Writer(Protocol[C_contra]):
    """What writes the settings of a supply and gives its commands."""

    async def write(self, name: str, channel: C_contra | None, suffix: str, value: Value) -> list[str]:
        """Apply a setting or command; return the names of the signals that have something new to say.

        ``channel`` is that of the signal with this ``name``, and ``suffix`` what it is called there. Raises Refused,
        OutOfLimits or NotReady when nothing was changed or the read-back disagrees, ReplyTimeout or LinkDown when the
        outcome is not known.
        """


def channel_prefix(channel: int) -> str:
    """Return ``CH00.`` for channel 0."""
    return f"CH{channel:02d}."


def place_of(name: str) -> str:
    """Return what a signal belongs to: ``CH00`` for ``CH00.VSET``, empty for the device as a whole."""
    place, dot, _ = name.partition(".")
    return place if dot else ""


def supply_signals(of_board: Mapping[str, Signal], of_channel: Mapping[str, Signal], count: int) -> dict[str, Signal]:
    """Return the signals of a supply with so many channels, by their full names."""
    rows = dict(of_board)
    for number in range(count):
        rows |= {channel_prefix(number) + suffix: row for suffix, row in of_channel.items()}
    return {name: Signal(name, row.kind, row.settable, row.unit, row.labels) for name, row in rows.items()}


class ChannelDriver(Generic[C]):
    """A driver as ``devices.model.Driver`` describes it, but for connecting, reading and the way of a write.

    ``of_board`` and ``of_channel`` are rows of the catalogue.
    """

    _writer: Writer[C]

    def __init__(
        self,
        settings: DeviceSettings,
        stats: LinkStats,
        clock: DriverClock,
        board: Board,
        channels: Sequence[C],
        of_board: Mapping[str, Signal],
        of_channel: Mapping[str, Signal],
    ) -> None:
        self.settings: Final = settings
        self.stats: Final = stats
        self._clock = clock
        self._board = board
        self._channels = channels
        self._prefixes = {channel_prefix(channel.number): channel for channel in channels}
        self._at = {
            prefix + suffix: (channel, suffix) for prefix, channel in self._prefixes.items() for suffix in of_channel
        }
        self._signals = supply_signals(of_board, of_channel, len(channels))

    def _forget_connection(self) -> None:
        """Forget what only holds within one connection; demands and trips stay."""
        for demand in self._board.demands.values():
            demand.link_lost()
        for channel in self._channels:
            channel.hv.link_lost()

    def signals(self) -> Mapping[str, Signal]:
        """Return every signal that the supply can have, by its full name."""
        return self._signals

    def find(self, name: str) -> tuple[C | None, str]:
        """Return the channel of a signal and what it is called there; None and the name when it is of no channel."""
        return self._at.get(name, (None, name))

    def readings(self, names: Iterable[str]) -> dict[str, Reading]:
        """Return the readings of signals; unknown ones are left out, and so is what a single bad answer concerns."""
        now = self._clock.time()
        found: dict[str, Reading] = {}
        for name in names:
            channel, suffix = self._at.get(name, (None, name))
            if channel is not None:
                reading = channel.reading(suffix, now)
            else:
                reading = self._board.reading(name, now) if name in self._signals else None
            if reading is not None:
                found[name] = reading
        return found

    def moved(self) -> list[str]:
        """Return the settings whose demand has changed without a put."""
        names = moved(self._board.demands)
        for prefix, channel in self._prefixes.items():
            names += moved(channel.hv.demands, prefix)
        return names

    def latched(self) -> Mapping[str, Reading]:
        """Return the trips that have not been acknowledged."""
        now = self._clock.time()
        return {
            f"{prefix}TRIP": channel.hv.trip.reading(now)
            for prefix, channel in self._prefixes.items()
            if channel.hv.trip.latched
        }

    async def write(self, name: str, value: Value) -> Mapping[str, Reading]:
        """Apply one setting or command and read it back; the writer of the family says what it promises."""
        try:
            return self.readings(await self.put(name, value))
        except DeviceError as error:
            error.readings = self.readings((name, f"{name}.RBV"))
            raise

    async def put(self, name: str, value: Value) -> list[str]:
        """Write without giving out readings; return the names of the signals that have something new to say."""
        channel, suffix = self.find(name)
        if name not in self._signals or not self._signals[name].settable:
            raise Refused(f"{name} cannot be set")
        acknowledged = suffix == "TRIP.ACK.CMD"  # which never reaches the device
        if not acknowledged:
            check_writable(self.settings)
        if suffix.endswith(".CMD") and not choice_asked(suffix, value, ("IDLE", "ACT")):
            return [name]
        if acknowledged and channel is not None:
            permit.changing()
            channel.hv.acknowledge(self._clock.time())
            return [name, name.removesuffix(".ACK.CMD")]
        return await self._writer.write(name, channel, suffix, value)
