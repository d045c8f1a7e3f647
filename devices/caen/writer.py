"""The way of a write to a CAEN supply: checked, sent once, read back.

What is promised: no byte leaves for a value outside the limits in force; one request is sent at most once; it
counts as done only when the unit reads it back. A request whose answer was lost is decided by reading back too.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial

from devices import permit
from devices.caen.board import CaenBoard
from devices.caen.catalogue import CHANNEL, SETTINGS, Setting
from devices.caen.channel import CaenChannel
from devices.caen.protocol import ErrorReply, format_number
from devices.caen.unit import CaenUnit
from devices.clock import DriverClock
from devices.errors import DeviceError, Garbled, LinkDown, NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.model import DeviceSettings, Limits, Value
from devices.rules.settings import Asked, apply, check_limits, choice_asked, number_asked

log = logging.getLogger("labioc.caen")

STATUS_LOOKS = 6  # how often STAT is read before "it answered, but did not"
STATUS_PAUSE = 0.1  # s between these looks
CLEAR_PATIENCE = 3.0  # s at least for BDCLR, which takes longer than other commands (DT547x practice)
_HAIR = 1e-9  # what binary fractions may add to a decimal number
DEVICE = "supply"  # in messages
_OUTPUT = ("OFF", "ON")
READ_BACKS = 2  # a read-back may be garbled once: asking again changes nothing

_AFFECTED = {
    "VSET": ("MAXV.RBV",),
    "MAXV": ("VSET.HI",),
    "IRANGE": ("ISET.RBV", "ISET.HI", "IMON.RES"),
}
"""What else may change with a setting, beside its own read-back."""


class CaenWriter:
    """Writes to one supply; in which order writes come is settled before they get here."""

    def __init__(
        self,
        unit: CaenUnit,
        board: CaenBoard,
        channels: Sequence[CaenChannel],
        settings: DeviceSettings,
        clock: DriverClock,
    ) -> None:
        self._unit = unit
        self._board = board
        self._channels = channels
        self._settings = settings
        self._clock = clock

    async def write(self, name: str, channel: CaenChannel | None, suffix: str, value: Value) -> list[str]:
        """Apply a setting or command; see devices.rules.channels.Writer."""
        if suffix == "ZCDTC.CMD" and channel:
            return await self._sample_zero(name, channel)
        if suffix.endswith(".CMD"):
            return await self._clear(name)
        if suffix == "ON" and channel:
            return await self._switch(name, channel, bool(choice_asked(suffix, value, _OUTPUT)))
        return await self._set(name, SETTINGS[suffix], channel, value)

    # Settings

    async def _set(self, name: str, setting: Setting, channel: CaenChannel | None, value: Value) -> list[str]:
        number = None if channel is None else channel.number
        demands = self._board.demands if channel is None else channel.hv.demands
        if channel is not None and setting.numeric:
            asked, text = await self._number(setting, channel, value)
        else:
            asked, text = await self._choice(setting, channel, value)
        place = (setting.name, setting.wire, number)

        async def look() -> float | None:
            return self._unit.number(setting.wire, number)

        send, read_back = partial(self.send, *place, text), partial(self._read_back, *place)
        await apply(asked, demands[setting.name], look, send, read_back)
        if setting.name == "IRANGE" and number is not None:
            await self._refresh_range(number)
        return [name, f"{name}.RBV", *(asked.place + suffix for suffix in _AFFECTED.get(setting.name, ()))]

    async def _number(self, setting: Setting, channel: CaenChannel, value: Value) -> tuple[Asked, str]:
        """Return what is asked for, with the text that stands for it on the wire, when it is within the limits."""
        number = number_asked(setting.name, value)
        self._require(setting.name, channel.number, setting.wire)
        await channel.limits.before_setting(setting)
        limits = channel.limits.limits(setting)
        if limits is None:
            raise NotReady(f"{setting.name}: it and its limits have not been read yet")
        check_limits(setting.name, number, setting.unit, limits)
        step = channel.limits.resolution(setting.name)
        text = self._rounded(setting, channel, number, step, limits)
        await channel.limits.before_number(setting, float(text))
        return Asked(setting.name, float(text), setting.unit, step, device=DEVICE, place=channel.prefix), text

    async def _choice(self, setting: Setting, channel: CaenChannel | None, value: Value) -> tuple[Asked, str]:
        """Return what is asked for, with the word that stands for it on the wire."""
        index = choice_asked(setting.name, value, setting.labels)
        number = None if channel is None else channel.number
        self._require(setting.name, number, setting.wire)
        if channel is not None:
            await channel.limits.before_setting(setting)
            await channel.limits.before_choice(setting, index)
        if self._unit.value(setting.wire, number) is None:
            raise NotReady(f"{setting.name}: not read yet")
        place = "" if channel is None else channel.prefix
        return Asked(setting.name, index, labels=setting.words, device=DEVICE, place=place), setting.words[index]

    @staticmethod
    def _rounded(setting: Setting, channel: CaenChannel, number: float, step: float, limits: Limits) -> str:
        decimals = channel.limits.decimals(setting.name)
        if decimals is None:
            decimals = setting.digits
        steps = round(number / step)
        # Rounding must not carry a value across a limit that is no multiple of the step.
        steps -= steps * step > limits.high + _HAIR
        steps += steps * step < limits.low - _HAIR
        text = format_number(steps * step, decimals)
        if not limits.low - _HAIR <= float(text) <= limits.high + _HAIR:
            unit = setting.unit
            raise OutOfLimits(
                f"{setting.name} {number:.10g} {unit} would be set as {text} {unit}, which is outside "
                f"{limits.low:.10g} to {limits.high:.10g} {unit}"
            )
        return text

    async def _refresh_range(self, number: int) -> None:
        """Look at what follows the range: the unit may have moved ISET, and profile B reports other decimals."""
        followers = ["ISET", *(name for name in ("IMAX", "IMDEC") if not self._unit.settled(name, number))]
        for parameter in followers:
            try:
                await self._unit.read_back(parameter, number)
            except DeviceError as error:
                log.info("%s: %s not read after IRANGE: %s", self._settings.name, parameter, error)

    # Output on and off

    async def _switch(self, name: str, channel: CaenChannel, on: bool) -> list[str]:
        word = "ON" if on else "OFF"
        self._require(word, channel.number)
        if on:  # off is allowed whatever is known
            await channel.limits.before_on()
            if self._unit.value("STAT", channel.number) is None:
                raise NotReady("ON: the state of the channel has not been read yet")
        before = channel.hv.demand_on
        if not on:
            channel.hv.demand_on = False  # at once, or an output that obeys would look like one that was lost
        switch = self._unit.layout.switch
        try:
            answered = await self.send(word, switch or word, channel.number, word if switch else None)
            status = await self._await_output(word, channel, on)
        except (Refused, LinkDown):
            self._still(channel, on, before)
            raise
        except ReplyTimeout:
            channel.hv.demands["ON"].doubt(Asked("output", on, labels=_OUTPUT, place=channel.prefix))
            raise
        if self._unit.layout.has("ON", status) != on:
            self._still(channel, on, before)
            raise Refused(f"{word}: {self._why_off(status, answered) if on else _why_on(answered)}")
        if on and permit.current().ended:  # or what obeys the off now would look like an output that was lost
            raise Refused("ON: the output was on for a moment")
        channel.hv.accept_on(on)
        channel.polled({"STAT"}, self._clock.monotonic())
        return [name, *_status_signals(channel)]

    @staticmethod
    def _still(channel: CaenChannel, on: bool, before: bool | None) -> None:
        """Take a refused off back from the demand; an on has not changed it, and an off may have overtaken it."""
        if not on:
            channel.hv.demand_on = before

    async def _await_output(self, what: str, channel: CaenChannel, on: bool) -> int:
        """Read STAT until the on bit has followed, a few times at most; return the last word."""
        status = 0
        for look in range(STATUS_LOOKS):
            if look:
                await self._clock.sleep(STATUS_PAUSE)
            status = int(await self._read_back(what, "STAT", channel.number))
            if self._unit.layout.has("ON", status) == on:
                break
        return status

    def _why_off(self, status: int, answered: bool) -> str:
        reason = self._unit.layout.why_off(status) or "it gives no reason"
        return f"{'' if answered else 'no answer, and '}the supply keeps the output off: {reason}"

    # Commands

    async def _sample_zero(self, name: str, channel: CaenChannel) -> list[str]:
        self._require("ZCDTC", channel.number, "ZCDTC")
        place = ("ZCDTC", "ZCDTC", channel.number)
        if not await self.send(*place, "ON") and not await self._read_back(*place):
            raise Refused("ZCDTC: no answer, and the zero current is not being sampled")
        await self._read_back(*place)
        return [name, f"{channel.prefix}ZCDTC"]

    async def _clear(self, name: str) -> list[str]:
        """Clear the alarms of the board; there is no form for one channel (DT55xxE manual, BDCLR)."""
        patience = max(CLEAR_PATIENCE, 3 * self._settings.timeout)
        await self._latch_trips()
        answered = await self.send("clear", "BDCLR", None, None, patience)
        await self._look_at_alarms()
        names = [name, "BD.ALARM"]
        tripped = False
        for channel in self._channels[: self._unit.channels.count]:
            channel.polled({"STAT"}, self._clock.monotonic())
            tripped |= self._unit.layout.has("TRIP", int(self._unit.number("STAT", channel.number) or 0))
            names += _status_signals(channel)
        if not answered and tripped:
            raise Refused("clear: no answer, and a channel still shows its trip")
        if not answered and (word := self._unit.value("BDALARM")):
            raise Refused(f"clear: no answer, and the alarm word is still {word}")
        return names

    async def _latch_trips(self) -> None:
        """Look for what a clear would wipe out before a scan has latched it, of any channel: a trip needs two looks."""
        for _ in range(2):
            await self._unit.read_channels("STAT")
            for channel in self._channels[: self._unit.channels.count]:
                if not self._unit.missed("STAT", channel.number):
                    channel.polled({"STAT"}, self._clock.monotonic())

    async def _look_at_alarms(self) -> None:
        """Read what a clear changes. Raises ReplyTimeout when it cannot be learnt."""
        channels = self._channels[: self._unit.channels.count]
        for _ in range(READ_BACKS):
            try:
                await self._unit.read_channels("STAT")
                await self._unit.read_board("BDALARM")
            except DeviceError as error:
                raise ReplyTimeout(f"clear: outcome unknown, cannot be read back: {error}") from error
            missed = [self._unit.missed("STAT", channel.number) for channel in channels]
            if not any((*missed, self._unit.missed("BDALARM", None))):
                return
        raise ReplyTimeout(f"clear: outcome unknown, cannot be read back: {self._unit.link.stats.last_error}")

    # Wire

    def _require(self, what: str, channel: int | None, parameter: str = "") -> None:
        """Refuse what this firmware does not know, and a channel that is not there.

        The number behind the last channel means all of them on the wire.
        """
        if parameter in self._unit.unsupported:
            raise Refused(f"{what}: this firmware does not know {parameter}")
        if channel is not None and 0 < self._unit.channels.count <= channel:
            raise Refused(f"{what}: the supply has only {self._unit.channels.count} channels")

    async def send(
        self, what: str, parameter: str, channel: int | None, text: str | None, timeout: float | None = None
    ) -> bool:
        """Send one SET, once; return whether it was acknowledged, False when only reading back can tell.

        ``what`` is the name for people. Raises Refused, Withdrawn or LinkDown when nothing has changed, ReplyTimeout
        when the outcome is not known.
        """
        if not self._unit.link.connected:
            raise LinkDown(f"{what}: not connected, nothing was sent")
        try:
            await self._unit.set(parameter, channel, text, timeout)
        except ErrorReply as error:
            self._board.refused_as_local = error.word == "LOC" or self._board.refused_as_local
            raise Refused(f"{what}: {error.explained}") from error
        except (Garbled, ReplyTimeout) as error:
            log.warning("%s: %s: %s; reading back", self._settings.name, what, error)
            return False
        except LinkDown as error:
            log.warning("%s: %s: %s; reconnecting to read back", self._settings.name, what, error)
            await self._reopen(what, error)
            return False
        self._board.refused_as_local = False
        return True

    async def _reopen(self, what: str, lost: LinkDown) -> None:
        """Get a connection to the same supply again, only to read."""
        serial = self._unit.value("BDSNUM")
        try:
            await self._unit.link.connect()
            same = serial is None or (await self._unit.monitor("BDSNUM")).word() == serial
        except DeviceError as error:
            raise ReplyTimeout(f"{what}: outcome unknown, {lost}") from error
        if not same:
            await self._unit.link.close()
            raise ReplyTimeout(f"{what}: outcome unknown, another supply answers at this address now")

    async def _read_back(self, what: str, parameter: str, channel: int | None) -> float:
        """Read a parameter after a SET. Raises ReplyTimeout when it cannot be learnt."""
        failure: DeviceError = Garbled("no answer")
        for _ in range(READ_BACKS):
            try:
                return float(await self._unit.read_back(parameter, channel))
            except Garbled as error:
                failure = error
            except DeviceError as error:
                failure = error
                break
        raise ReplyTimeout(f"{what}: outcome unknown, cannot be read back: {failure}") from failure


def _status_signals(channel: CaenChannel) -> list[str]:
    return [channel.prefix + suffix for suffix, row in CHANNEL.items() if row.needs == ("STAT",) and suffix != "ON"]


def _why_on(answered: bool) -> str:
    return "the supply answered OK but is still on" if answered else "no answer, and the output is still on"
