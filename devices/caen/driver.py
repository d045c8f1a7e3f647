"""Driver of a CAEN DT55xxE / N1470 supply: batches of signals in, readings out.

Nothing but MON is sent by connecting and reading; writing is in devices.caen.writer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from devices.caen.board import CaenBoard
from devices.caen.catalogue import BOARD, CHANNEL, CHANNEL_SETTINGS, LIVE, SETTINGS
from devices.caen.channel import CaenChannel
from devices.caen.identity import CaenIdentity
from devices.caen.raw import USAGE, CaenRaw
from devices.caen.unit import CaenUnit
from devices.caen.writer import CaenWriter
from devices.clock import DriverClock
from devices.errors import DeviceError, LinkDown
from devices.links.line import LineLink, open_link
from devices.model import DeviceSettings, Limits, RawRequest, Reading, Value, Way
from devices.rules.channels import ChannelDriver, place_of
from devices.rules.hv_trip import Activity

log = logging.getLogger("labioc.caen")

DEFAULT_CHANNELS = 4
_RANGED_LIKE = {"VMON": "VSET", "TRIP.V": "VSET", "IMON": "ISET", "TRIP.I": "ISET"}
_LIVE = frozenset(LIVE)
_SETTINGS = frozenset({"POL", *(setting.wire for setting in CHANNEL_SETTINGS)})
_OF_BOARD = frozenset(row.wire for row in BOARD.values())
_NUMBERS = {setting.name: setting for setting in CHANNEL_SETTINGS if setting.numeric}


class CaenDriver(ChannelDriver[CaenChannel]):
    """One supply, as ``devices.model.Driver`` describes it.

    Options of the site file: ``board`` (address in a daisy chain), ``serial`` (the one expected), ``settle``
    (seconds), ``allow_infinite_trip``. Raises ValueError when the address is not one of a link.
    """

    raw_usage: Final = USAGE
    """The words that ``raw_request`` takes."""

    def __init__(
        self, settings: DeviceSettings, clock: DriverClock | None = None, link: LineLink | None = None
    ) -> None:
        clock = clock or DriverClock()
        self._link = link or open_link(settings.address, settings.timeout)
        count = settings.channels or DEFAULT_CHANNELS
        self._unit = CaenUnit(settings.name, self._link, int(settings.options.get("board", 0)), count, clock)
        self._identity = CaenIdentity(self._unit)
        activity = Activity()
        self._board: CaenBoard = CaenBoard(self._unit, settings, count)
        channels = [CaenChannel(self._unit, number, settings, activity) for number in range(count)]
        super().__init__(settings, self._link.stats, clock, self._board, channels, BOARD, CHANNEL)
        self._writer: CaenWriter = CaenWriter(self._unit, self._board, channels, settings, clock)
        self._interlocked = False  # as the channels reported at the last look

    async def connect(self) -> None:
        """Open the link, find the dialect, learn the identity; sends nothing but MON.

        Limits and resolutions follow with the signals that show them: the values that an operator watches do not wait
        for them. Raises LinkDown, ReplyTimeout, or Garbled when it is not a supply of this family.
        """
        self._forget_connection()
        await self._link.connect()
        try:
            await self._identity.find_out()
        except DeviceError:
            await self._link.close()
            raise
        log.info(
            "%s: %s, serial %s, firmware %s, %d channels, profile %s, status words of %s",
            self.settings.name,
            *(self._unit.value(parameter) for parameter in ("BDNAME", "BDSNUM", "BDFREL")),
            self._unit.channels.count,
            self._unit.dialect.profile.value,
            self._unit.layout.name,
        )
        name, layout = self._unit.value("BDNAME"), self._unit.layout
        assumed = f"model {name} is not known: its status words are read as those of {layout.name}"
        self.stats.notice = "" if layout.known else assumed

    async def close(self) -> None:
        """Close the link; safe to call at any time and more than once."""
        await self._link.close()
        self._forget_connection()

    def _forget_connection(self) -> None:
        super()._forget_connection()
        self._board.link_lost()
        self._interlocked = False

    async def read(self, names: Collection[str]) -> Mapping[str, Reading]:
        """Read a batch of signals: one request for each parameter, however many channels there are.

        A signal whose answer could not be read is left out the first time and INVALID from the second in a row.
        Raises LinkDown or ReplyTimeout when the supply is lost, Garbled when it only sends rubbish.
        """
        if not self._link.connected:
            raise LinkDown(f"{self._link.address}: not connected")
        of_board = dict.fromkeys(
            parameter for name in names if name in BOARD for parameter in self._board.parameters(name)
        )
        of_channels = dict.fromkeys(self._of_channels(names))
        for parameter in of_board:
            await self._unit.read_board(parameter)
        for parameter in of_channels:
            await self._unit.read_channels(parameter)
        if "STAT" in of_channels and "BDILK" not in of_board and await self._look_at_interlock():
            names = [*names, "BD.ILK"]
        now = self._clock.monotonic()
        self._board.polled({parameter for parameter in of_board if not self._unit.missed(parameter, None)}, now)
        for channel in self._channels[: self._unit.channels.count]:
            fresh = {name for name in of_channels if not self._unit.missed(name, channel.number)}
            channel.polled(fresh, now)
        if "STAT" in of_channels:
            await self._explain_outputs_gone()
        return self.readings([*names, *self.moved()])

    async def _look_at_interlock(self) -> bool:
        """Ask the board at once when channels begin to report an interlock; return whether it was asked.

        Its alarm is that of BD.ILK, which is read more seldom than the status words.
        """
        unit, before, self._interlocked = self._unit, self._interlocked, False
        for channel in unit.channels.present:
            cell = unit.cells[channel].get("STAT")
            self._interlocked |= cell is not None and unit.layout.has("INTLCK", int(cell.value))
        begins = self._interlocked and not before and not unit.interlock_shown
        if begins:
            await unit.read_board("BDILK")
        return begins

    async def _explain_outputs_gone(self) -> None:
        """Ask for the alarm word at once when an output has gone without a reason: it may tell of a trip."""
        gone = [channel for channel in self._channels if channel.hv.trip.undecided]
        if not gone or await self._unit.read_board("BDALARM") is None:
            return
        now = self._clock.monotonic()
        self._board.polled({"BDALARM"}, now)
        for channel in gone:
            if self._board.new_trip(channel.number, now):
                channel.hv.trip.alarmed()

    def _of_channels(self, names: Collection[str]) -> list[str]:
        wanted: dict[str, None] = {}
        for name in names:
            channel, suffix = self.find(name)
            if channel is not None and self._unit.channels.asked(channel.number):
                wanted |= dict.fromkeys(channel.parameters(suffix))
        live = [parameter for parameter in LIVE if parameter in wanted]
        # The values of one look belong together, in the order that the trip memory counts on.
        return [*(parameter for parameter in wanted if parameter not in LIVE), *live]

    def portions(self, names: Sequence[str]) -> Sequence[Collection[str]]:
        """Divide signals by what has to be asked for them: settings first, then the board, constants last.

        Settings of which a write has an unknown outcome come before everything else.
        """
        found: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            found.setdefault(self._parameters(name), []).append(name)
        doubted = {place for channel in self._channels for place in channel.doubted()}
        return [
            found[asked]
            for asked in sorted(found, key=lambda asked: (doubted.isdisjoint(found[asked]), _urgency(asked)))
        ]

    def _parameters(self, name: str) -> tuple[str, ...]:
        channel, suffix = self.find(name)
        if channel is not None:
            return channel.parameters(suffix)
        return self._board.parameters(name) if name in BOARD else ()

    def way(self, name: str, value: Value) -> Way:
        """One write at a time over the link; switching an output off does not wait."""
        place = place_of(name)
        return Way(self._link.address, place, urgent=name == f"{place}.ON" and not value)

    def raw_request(self, words: Sequence[str], value: str | None) -> RawRequest:
        """Understand a raw access in words; see devices.caen.raw for what it promises."""
        return CaenRaw(self, self._unit, self._writer).request(words, value)

    def limits(self, name: str) -> Limits | None:
        """Return the tightest of device, MAXV and site; None when a setting has none or they are not known."""
        channel, suffix = self._at.get(name, (None, name))
        if channel is None or suffix not in _NUMBERS:
            return None
        limits = channel.limits.limits(_NUMBERS[suffix])
        return limits if limits is not None and math.isfinite(limits.high) else None

    def display_range(self, name: str) -> tuple[float, float] | None:
        """Return the range of the unit itself for a reading or a read-back; None when it does not tell."""
        channel, suffix = self.find(name)
        if channel is None:
            return None
        base, _, part = suffix.rpartition(".")
        shown = _RANGED_LIKE.get(suffix) or (base if part in ("RBV", "HI", "LO") else "")
        return channel.limits.of_unit(SETTINGS[shown]) if shown in SETTINGS else None

    def precision(self, name: str) -> int | None:
        """Return the decimals that the supply shows for a signal; None when it does not tell."""
        channel, suffix = self.find(name)
        if channel is None:
            return None
        return channel.limits.decimals(suffix) if CHANNEL[suffix].unit else None


def _urgency(parameters: tuple[str, ...]) -> int:
    """Return the place of a portion in the order of reading."""
    ranks = (
        (not parameters, 0),
        (not _LIVE.isdisjoint(parameters) or parameters == ("BDFREL",), 1),
        (_SETTINGS.issuperset(parameters), 2),
        (_OF_BOARD.issuperset(parameters), 3),
    )
    return next((rank for applies, rank in ranks if applies), 4)
