"""Every write to an Iseg module: checked, sent, read back.

Nothing on the bus acknowledges a write, and nothing says no: only reading back tells whether a frame arrived and was
accepted. A write that has left no trace is sent once more, since every one of them says what is to be the case, not
what is to be changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.clock import DriverClock
from devices.edcp_bits import (
    CLEARABLE_EVENTS,
    ChannelControl,
    ChannelEvent,
    ChannelStatus,
    ModuleControl,
    ModuleEvent,
    ModuleStatus,
    bit_names,
)
from devices.edcp_items import BY_NAME
from devices.errors import DeviceError, LinkDown, NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.hv_demand import check_limits, choice_asked, number_asked
from devices.iseg_catalogue import CHANNEL, MODULE, RAMPS, SETTINGS, TOLD_BY_EVENTS, Setting, channel_prefix
from devices.iseg_channel import IsegChannel
from devices.iseg_limits import IsegLimits
from devices.iseg_module import IsegModule
from devices.iseg_unit import IsegUnit
from devices.model import DeviceSettings, Value

log = logging.getLogger("labioc.iseg")

LOOKS = 3  # times that something is read back before a write counts as lost or refused
PAUSE = 0.1  # s between these looks; a board of 16 channels renews its readings every 160 ms
SENDINGS = 2
HARMLESS = ChannelEvent.CURRENT_BOUNDS | ChannelEvent.VOLTAGE_BOUNDS
"""Events of a past ramp that block switching on by one of the guide's three rules, and are no reason not to."""

_NO_REASON = int(ModuleEvent.INPUT_ERROR | ModuleEvent.LIVE_INSERTION)
"""Module events that block nothing; a request for an item that the firmware does not know leaves the first one."""

_KEPT = ModuleControl.BIG_ENDIAN | ModuleControl.FINE_ADJUSTMENT
_READONLY = "writes to this device are switched off by the configuration"


@dataclass(frozen=True, slots=True)
class _Target:
    """An item that a request is about, and how people call it."""

    what: str
    item: str
    channel: int | None = None


class IsegWriter:
    """Writes to one module, one after the other."""

    def __init__(
        self,
        unit: IsegUnit,
        module: IsegModule,
        channels: Sequence[IsegChannel],
        limits: IsegLimits,
        settings: DeviceSettings,
        clock: DriverClock,
    ) -> None:
        self._unit = unit
        self._module = module
        self._channels = channels
        self._limits = limits
        self._settings = settings
        self._clock = clock
        self.lock = asyncio.Lock()
        self._places = {channel_prefix(channel.number): channel for channel in channels}

    async def write(self, name: str, value: Value) -> list[str]:
        """Apply a setting or command; return the names of the signals that have something new to say.

        Raises Refused, OutOfLimits or NotReady when it was not applied, ReplyTimeout or LinkDown when the outcome is
        not known.
        """
        channel = self._places.get(name[:5])
        suffix = name[5:] if channel else name
        row = CHANNEL.get(suffix) if channel else MODULE.get(suffix)
        if row is None or not row.settable:
            raise Refused(f"{name} cannot be set")
        if suffix != "TRIP.ACK.CMD":
            self.require_writable()
        async with self.lock:
            if suffix.endswith(".CMD"):
                return await self._command(name, suffix, channel, value)
            if channel is None:
                return await self._set_module(SETTINGS[suffix], value)
            self._require_channel(suffix, channel)
            if suffix == "ON":
                return await self._switch(name, channel, bool(choice_asked(suffix, value, row.labels)))
            return await self._set_channel(name, SETTINGS[suffix], channel, value)

    def require_writable(self) -> None:
        """Raise Refused when the configuration forbids writing."""
        if self._settings.readonly:
            raise Refused(_READONLY)

    def _require_channel(self, what: str, channel: IsegChannel) -> None:
        if self._unit.channels and channel.number >= self._unit.channels:
            raise Refused(f"{what}: the module has only {self._unit.channels} channels")

    # Settings

    async def _set_channel(self, name: str, setting: Setting, channel: IsegChannel, value: Value) -> list[str]:
        number = self._checked(setting, channel.number, value)
        if setting.suffix in RAMPS and not self._limits.ramp_is_own():
            nominal = self._limits.nominal("VoltageNominal", channel.number) or 1.0
            return [name, *await self._set_ramp(f"{setting.suffix} {number:.10g} V/s", 100 * number / nominal)]
        if channel.found(setting) is None:
            raise NotReady(f"{setting.suffix}: not read yet")
        sign = self._limits.sign(channel.number) if setting.suffix == "VSET" else 1.0
        wire: float | int = int(number) if setting.whole else sign * number / setting.scale
        step = self._limits.resolution(setting, channel.number)

        def agrees(_: Value) -> bool:
            found = channel.found(setting)
            return found is not None and abs(found[0] - number) <= 0.5001 * step

        target = _Target(setting.suffix, setting.item, channel.number)
        if not await self._apply(target, wire, agrees):
            found = channel.found(setting)
            shown = f"{found[0]:.7g} {setting.unit}" if found else "nothing"
            reason = await self._input_error(channel.number)
            raise Refused(f"{setting.suffix} {number:.10g} {setting.unit}: the module reads back {shown}{reason}")
        found = channel.found(setting)
        channel.demands[setting.suffix].accept(found[0] if found else number)
        limits = [f"{name}.HI", f"{name}.LO"] if setting.lowest else []
        return [name, f"{name}.RBV", *limits]

    def _checked(self, setting: Setting, channel: int, value: Value) -> float:
        """Return a demanded number that is within the limits in force."""
        number = number_asked(setting.suffix, value)
        if setting.whole and number != int(number):
            raise OutOfLimits(f"{setting.suffix}: {value} is not a whole number")
        if setting.item in self._unit.unsupported and setting.suffix not in RAMPS:
            raise Refused(f"{setting.suffix}: this firmware does not know {setting.item}")
        limits = self._limits.limits(setting, channel)
        if limits is None:
            raise NotReady(f"{setting.suffix}: it and its limits have not been read yet")
        check_limits(setting.suffix, number, setting.unit, limits)
        return number

    async def _set_module(self, setting: Setting, value: Value) -> list[str]:
        if not setting.numeric:
            return await self._set_kill(bool(choice_asked(setting.suffix, value, setting.labels)))
        number = self._checked(setting, 0, value)
        if self._module.found(setting) is None:
            raise NotReady(f"{setting.suffix}: not read yet")
        if setting.suffix == "MOD.RAMPV":
            return await self._set_ramp(f"{setting.suffix} {number:.10g} %/s", number)
        if not await self._apply(_Target(setting.suffix, setting.item), int(number), lambda found: found == number):
            raise Refused(f"{setting.suffix} {number:.10g}: the module reads back {self._unit.value(setting.item)}")
        self._module.demands[setting.suffix].accept(int(number))
        return [setting.suffix, f"{setting.suffix}.RBV"]

    async def _set_ramp(self, asked: str, percent: float) -> list[str]:
        """Set the ramp speed of the module, which all channels without their own share."""
        setting = SETTINGS["MOD.RAMPV"]
        step = self._limits.resolution(setting, 0)

        def agrees(found: Value) -> bool:
            return isinstance(found, float) and abs(found - percent) <= 0.5001 * step

        if not await self._apply(_Target("MOD.RAMPV", setting.item), percent, agrees):
            found = self._unit.number(setting.item)
            raise Refused(f"{asked}: the module reads back {found:.5g} %/s" if found else f"{asked}: not accepted")
        self._module.demands["MOD.RAMPV"].accept(self._unit.number(setting.item) or percent)
        names = ["MOD.RAMPV", "MOD.RAMPV.RBV", "MOD.RAMPV.VPS"]
        for channel in self._channels[: self._unit.channels]:
            for suffix in RAMPS:
                found_ramp = channel.found(SETTINGS[suffix])
                if found_ramp is not None and not self._limits.ramp_is_own():
                    channel.demands[suffix].accept(found_ramp[0])
                    names += [channel_prefix(channel.number) + suffix, f"{channel_prefix(channel.number)}{suffix}.RBV"]
        return names

    async def _set_kill(self, on: bool) -> list[str]:
        """Change one bit of ModuleControl; a write replaces the whole word, so it is read just before."""
        target = _Target("MOD.KILLEN", "ModuleControl")
        old = await self._read_before(target)
        word = int((old | _KEPT) & ~ModuleControl.CLEAR & ~ModuleControl.KILL_ENABLE)
        word |= int(ModuleControl.KILL_ENABLE) if on else 0
        if not await self._apply(target, word, lambda found: found == word):
            raise Refused(
                f"MOD.KILLEN {'ON' if on else 'OFF'}: ModuleControl reads back {self._unit.value(target.item)}"
            )
        # The status follows the control word, perhaps only with the next round of the board.
        status = _Target("MOD.KILLEN", "ModuleStatus")
        if not await self._look(status, lambda found: bool(_bits(found) & ModuleStatus.KILL_ENABLE) == on):
            raise Refused(f"MOD.KILLEN {'ON' if on else 'OFF'}: the module does not follow")
        self._module.demands["MOD.KILLEN"].accept(int(on))
        return ["MOD.KILLEN", "MOD.KILLEN.RBV", "MOD.STAT"]

    async def _input_error(self, channel: int) -> str:
        """Say whether the module found a value not plausible, and clear the mark that this write has left."""
        had = self._unit.word("ChannelEventStatus", channel) & ChannelEvent.INPUT_ERROR
        target = _Target("events", "ChannelEventStatus", channel)
        if not _bits(await self._read_back(target)) & ChannelEvent.INPUT_ERROR:
            return ""
        if not had:
            self._send(target, int(ChannelEvent.INPUT_ERROR))
            await self._read_back(target)
            await self._read_back(_Target("status", "ChannelStatus", channel))
        return ", it found the value not plausible (input error)"

    # Output on and off

    async def _switch(self, name: str, channel: IsegChannel, on: bool) -> list[str]:
        word, number = "ON" if on else "OFF", channel.number
        status = _Target(word, "ChannelStatus", number)
        if on:  # off is allowed whatever is known
            if self._unit.value("ChannelStatus", number) is None or channel.found(SETTINGS["VSET"]) is None:
                raise NotReady("ON: the channel has not been read yet")
            await self._refuse_what_must_be_cleared(number)
        before = channel.hv.demand_on
        if not on:
            channel.hv.demand_on = False  # at once, or an output that obeys would look like one that was lost
        emergency = int(ChannelControl.EMERGENCY_OFF) if self._emergency(number) else 0
        bits = int(ChannelControl.ON) if on else emergency
        try:
            done = await self._control(channel, bits, on)
            done = done and await self._look(status, lambda found: bool(_bits(found) & ChannelStatus.ON) == on)
            if not done:
                reason = await self._why_off(number) if on else "it is still on"
                raise Refused(f"{word}: the module did not follow: {reason}")
        except Refused:
            channel.hv.demand_on = before
            raise
        channel.hv.accept_on(on)
        channel.polled({"ChannelStatus"}, self._clock.monotonic())
        return [name, *self._told(number)]

    async def _refuse_what_must_be_cleared(self, number: int) -> None:
        status = await self._read_before(_Target("ON", "ChannelStatus", number))
        events = await self._read_before(_Target("ON", "ChannelEventStatus", number))
        if (status | events) & ChannelStatus.TRIP:
            raise Refused("ON: tripped, clear it with CLR:CMD first")
        if (status | events) & ChannelStatus.EMERGENCY_OFF:
            raise Refused("ON: in emergency off, clear it with CLR:CMD first")

    async def _control(self, channel: IsegChannel, bits: int, on: bool) -> bool:
        """Write the control word and see whether it sticks; events of a past ramp may have to go first."""
        target = _Target("ON" if on else "OFF", "ChannelControl", channel.number)

        def agrees(found: Value) -> bool:
            return bool(_bits(found) & ChannelControl.ON) == on

        for attempt in range(SENDINGS):
            if attempt and on:
                events = _Target("events", "ChannelEventStatus", channel.number)
                pending = _bits(await self._read_back(events)) & HARMLESS
                if pending:
                    self._send(events, int(pending))
            self._send(target, bits)
            if await self._look(target, agrees):
                return True
        return False

    def _emergency(self, channel: int) -> bool:
        return bool(self._unit.word("ChannelStatus", channel) & ChannelStatus.EMERGENCY_OFF)

    async def _why_off(self, channel: int) -> str:
        status = ChannelStatus(_bits(await self._read_back(_Target("ON", "ChannelStatus", channel))))
        module = _bits(await self._read_back(_Target("ON", "ModuleStatus")))
        pending = ChannelEvent(_bits(await self._read_back(_Target("ON", "ChannelEventStatus", channel))))
        of_module = ModuleEvent(_bits(await self._read_back(_Target("ON", "ModuleEventStatus"))) & ~_NO_REASON)
        reasons = (
            (not module & ModuleStatus.SAFETY_LOOP_GOOD, "the safety loop is open"),
            (not module & ModuleStatus.TEMPERATURE_GOOD, "the board is too hot"),
            (not module & ModuleStatus.SUPPLY_GOOD, "a supply voltage is bad"),
            (status & ChannelStatus.TRIP, "it tripped at once"),
            (status & ChannelStatus.INHIBIT, "external inhibit"),
            (of_module, f"module events are pending ({', '.join(bit_names(of_module))}), clear them with MOD:CLR:CMD"),
            (
                pending & ~int(ChannelEvent.CURRENT_CONTROL | ChannelEvent.VOLTAGE_CONTROL | ChannelEvent.END_OF_RAMP),
                f"events are pending ({', '.join(bit_names(pending))}), clear them with CLR:CMD",
            ),
        )
        return ", ".join(text for holds, text in reasons if holds) or "it gives no reason"

    # Commands

    async def _command(self, name: str, suffix: str, channel: IsegChannel | None, value: Value) -> list[str]:
        if not choice_asked(suffix, value, ("IDLE", "ACT")):
            return [name]
        if channel is None:
            return await self._clear_module(name)
        if suffix == "TRIP.ACK.CMD":
            channel.acknowledge(self._clock.time())
            return [name, channel_prefix(channel.number) + "TRIP"]
        self._require_channel(suffix, channel)
        if suffix == "EMCY.CMD":
            return await self._emergency_off(name, channel)
        return await self._clear(name, channel)

    async def _emergency_off(self, name: str, channel: IsegChannel) -> list[str]:
        before, channel.hv.demand_on = channel.hv.demand_on, False
        target = _Target("emergency off", "ChannelStatus", channel.number)
        for _ in range(SENDINGS):
            self._send(_Target(target.what, "ChannelControl", channel.number), int(ChannelControl.EMERGENCY_OFF))
            if await self._look(target, lambda found: bool(_bits(found) & ChannelStatus.EMERGENCY_OFF)):
                channel.hv.accept_on(False)
                channel.polled({"ChannelStatus"}, self._clock.monotonic())
                # Some boards also forget their set point: the next scan shows it.
                return [name, f"{channel_prefix(channel.number)}ON", *self._told(channel.number)]
        channel.hv.demand_on = before
        raise Refused("emergency off: the module did not follow")

    async def _clear(self, name: str, channel: IsegChannel) -> list[str]:
        """Release an emergency off and clear the events; a trip's mark goes with its event."""
        number = channel.number
        control = _Target("clear", "ChannelControl", number)
        word = await self._read_before(control)
        if word & ChannelControl.EMERGENCY_OFF:
            bits = word & ~int(ChannelControl.EMERGENCY_OFF)
            if not await self._apply(control, bits, lambda found: not _bits(found) & ChannelControl.EMERGENCY_OFF):
                raise Refused("clear: the emergency off cannot be released")
        events = _Target("clear", "ChannelEventStatus", number)
        gone = int(ChannelEvent.TRIP | ChannelEvent.EMERGENCY_OFF)
        cleared = await self._apply(events, CLEARABLE_EVENTS, lambda found: not _bits(found) & gone)
        await self._read_back(_Target("clear", "ChannelStatus", number))
        channel.polled({"ChannelStatus", "ChannelEventStatus"}, self._clock.monotonic())
        if not cleared:
            left = bit_names(ChannelEvent(self._unit.word("ChannelEventStatus", number)))
            raise Refused(f"clear: events are still pending ({', '.join(left)})")
        return [name, *self._told(number)]

    async def _clear_module(self, name: str) -> list[str]:
        target = _Target("clear", "ModuleEventStatus")
        pending = await self._read_before(target)
        if pending:
            # An event whose cause persists comes back at once, which is no reason to complain here.
            await self._apply(target, pending, lambda found: _bits(found) != pending)
        await self._read_back(_Target("clear", "ModuleStatus"))
        return [name, "MOD.STAT", "MOD.EVT"]

    # Wire

    @staticmethod
    def _told(channel: int) -> list[str]:
        return [channel_prefix(channel) + suffix for suffix in TOLD_BY_EVENTS]

    def _send(self, target: _Target, value: Value) -> None:
        if not self._unit.link.connected:
            raise LinkDown(f"{target.what}: not connected, nothing was sent")
        self._unit.write(BY_NAME[target.item], value, target.channel)

    async def _apply(self, target: _Target, value: Value, agrees: Callable[[Value], bool]) -> bool:
        """Write, read back, and write once more if there is no trace of it; return whether it is there."""
        for attempt in range(SENDINGS):
            if attempt:
                log.info("%s: %s reads back unchanged, sending it again", self._settings.name, target.what)
            self._send(target, value)
            if await self._look(target, agrees):
                return True
        return False

    async def _look(self, target: _Target, agrees: Callable[[Value], bool]) -> bool:
        """Read an item back until it agrees, a few times at most."""
        for look in range(LOOKS):
            if look:
                await self._clock.sleep(PAUSE)
            if agrees(await self._read_back(target)):
                return True
        return False

    async def _read_before(self, target: _Target) -> int:
        """Read a word that a write depends on. Raises ReplyTimeout when it cannot be learnt."""
        try:
            return _bits(await self._unit.read_back(BY_NAME[target.item], target.channel))
        except DeviceError as error:
            raise ReplyTimeout(f"{target.what}: nothing was sent, {target.item} cannot be read: {error}") from error

    async def _read_back(self, target: _Target) -> Value:
        """Read an item during a write. Raises ReplyTimeout when it cannot be learnt."""
        try:
            return await self._unit.read_back(BY_NAME[target.item], target.channel)
        except DeviceError as error:
            raise ReplyTimeout(f"{target.what}: outcome unknown, {target.item} cannot be read: {error}") from error


def _bits(value: Value) -> int:
    return int(value) if isinstance(value, int | float) else 0
