"""What the parameters of the board mean: identity, interlock, alarms and who controls the supply."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from devices.caen.catalogue import BOARD, BOARD_SETTINGS, Plain
from devices.caen.unit import CaenUnit
from devices.model import Cause, DeviceSettings, Level, Reading, state_reading
from devices.rules.hv_trip import UNDECIDED
from devices.rules.settings import Demand, instead

_LOCAL = 1  # index of LOCAL among the words of BDCTR


class CaenBoard:
    """The board of one supply; ``channels`` is the number of channels that the site file expects."""

    def __init__(self, unit: CaenUnit, settings: DeviceSettings, channels: int) -> None:
        self.refused_as_local = False
        self.unit = unit
        self.serial = settings.options.get("serial")
        self.channels = channels
        self._alarms: int | None = None  # the alarm word, once it has been read in this connection
        self._raised: dict[int, float] = {}  # its bits that have come since, and the monotonic time of each
        self.demands = {setting.name: Demand() for setting in BOARD_SETTINGS}

    def link_lost(self) -> None:
        """Forget what only holds within one connection; demands stay."""
        self.refused_as_local = False
        self._alarms = None
        self._raised.clear()

    def parameters(self, name: str) -> tuple[str, ...]:
        """Return what has to be asked for a signal now."""
        row = BOARD[name]
        if row.settable and (name.endswith(".CMD") or self.demands[name].value is not None):
            return ()
        return (row.wire,)

    def polled(self, parameters: set[str], now: float) -> None:
        """Draw conclusions from what a batch has just read; ``now`` is monotonic time in seconds."""
        if "BDALARM" in parameters and isinstance(word := self.unit.value("BDALARM"), int):
            fresh = 0 if self._alarms is None else word & ~self._alarms
            self._alarms = word
            self._raised = {bit: since for bit, since in self._raised.items() if word & bit}
            self._raised |= {1 << n: now for n in range(fresh.bit_length()) if fresh >> n & 1}
        for setting in BOARD_SETTINGS:
            found = self.unit.value(setting.wire)
            if setting.wire in parameters and found is not None and not isinstance(found, str):
                self.unit.link.stats.late += self.demands[setting.name].observe(found, 0.0)

    def new_trip(self, channel: int, now: float) -> bool:
        """Whether the alarm word has got a trip of this channel a moment ago, or of one that it does not name."""
        mask = self.unit.layout.trip_alarm(channel)
        return any(bit & mask and now - since <= UNDECIDED for bit, since in self._raised.items())

    def reading(self, name: str, now: float) -> Reading | None:
        """Return the reading of a signal, None when a single bad answer leaves it out; ``now`` is Unix time."""
        row = BOARD[name]
        if name.endswith(".CMD"):
            return Reading(0, now)
        if row.settable and (demand := self.demands[name].reading(now)) is not None:
            return demand
        if name == "BD.LOCAL" and row.wire in self.unit.unsupported:
            # Without a parameter for it, a refused write is the only sign.
            return state_reading(int(self.refused_as_local), now, self._level(name, int(self.refused_as_local)))
        if row.wire in self.unit.unsupported:
            return Reading(None, now, Level.INVALID, Cause.READ)
        if missed := self.unit.missed(row.wire, None):
            return instead(missed, now)
        cell = self.unit.cells[None].get(row.wire)
        if cell is None:
            return None
        value = cell.value
        if name == "BD.PROT":
            value = int(self.unit.layout.protected(int(value)))
        return state_reading(value, cell.time, self._level(name, value))

    def _level(self, name: str, value: Plain) -> Level:
        level, alarming = _ALARMS.get(name, (Level.OK, None))
        return level if alarming is not None and alarming(self, value) else Level.OK


_ALARMS: Mapping[str, tuple[Level, Callable[[CaenBoard, Plain], bool]]] = {
    "BD.NAME": (Level.MINOR, lambda board, _: not board.unit.layout.known),
    "BD.SERIAL": (Level.MAJOR, lambda board, serial: board.serial not in (None, serial)),
    "BD.NCH": (Level.MINOR, lambda board, count: count != board.channels),
    "BD.ALARM": (Level.MINOR, lambda _, word: bool(word)),
    "BD.ILK": (Level.MAJOR, lambda _, active: bool(active)),
    "BD.LOCAL": (Level.MINOR, lambda _, control: control == _LOCAL),
    "BD.ILKM.RBV": (Level.MINOR, lambda board, _: board.demands["BD.ILKM"].lasting),
}
"""How bad the value of a signal is, and when."""
