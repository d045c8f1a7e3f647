"""Every setting of an Iseg module: checked, sent, read back. Outputs are in devices.iseg.output."""

from __future__ import annotations

from collections.abc import Sequence

from devices import permit
from devices.clock import DriverClock
from devices.errors import NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.iseg.catalogue import CHANNEL, MODULE, RAMPS, SETTINGS, Setting
from devices.iseg.channel import IsegChannel
from devices.iseg.edcp.bits import ChannelEvent, ModuleControl, ModuleStatus
from devices.iseg.exchange import FOLLOW_LOOKS, IsegExchange, Target, bits
from devices.iseg.limits import IsegLimits
from devices.iseg.module import IsegModule
from devices.iseg.output import IsegOutput
from devices.iseg.unit import IsegUnit
from devices.model import DeviceSettings, Value
from devices.rules.channels import channel_prefix
from devices.rules.settings import Asked, check_limits, check_writable, choice_asked, decide, number_asked

MODULE_PLACE = "MOD"
_KEPT = ModuleControl.BIG_ENDIAN | ModuleControl.FINE_ADJUSTMENT


class IsegWriter:
    """Writes to one module; in which order writes come is settled before they get here."""

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
        self._exchange = IsegExchange(unit, settings.name, clock)
        self._output = IsegOutput(unit, self._exchange, clock)
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
        if suffix.endswith(".CMD"):
            return await self._command(name, suffix, channel, value)
        if channel is None:
            return await self._set_module(SETTINGS[suffix], value)
        self._require_channel(suffix, channel)
        if suffix == "ON":
            return await self._output.switch(name, channel, bool(choice_asked(suffix, value, row.labels)))
        return await self._set_channel(name, SETTINGS[suffix], channel, value)

    def place(self, name: str) -> str:
        """Return the place of a write: a channel, or the module, whose ramp speed channels may share."""
        shared = name[5:] in RAMPS and not self._limits.ramp_is_own()
        return MODULE_PLACE if shared or name[:5] not in self._places else name[:4]

    def require_writable(self) -> None:
        """Raise Refused when the configuration forbids writing."""
        check_writable(self._settings)

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
        # 0.0 is added so that a negative board gets no negative zero, which it might find below its range.
        wire: float | int = int(number) if setting.whole else sign * number / setting.scale + 0.0
        step = self._limits.resolution(setting, channel.number)

        def agrees(_: Value) -> bool:
            found = channel.found(setting)
            return found is not None and abs(found[0] - number) <= 0.5001 * step

        target = Target(setting.suffix, setting.item, channel.number)
        asked = Asked(setting.suffix, number, setting.unit, step, device="module", place=channel_prefix(channel.number))
        demand = channel.hv.demands[setting.suffix]
        before = channel.found(setting)
        try:
            agreed = await self._exchange.apply(target, wire, agrees)
        except ReplyTimeout:
            demand.doubt(asked)
            raise
        reason = "" if agreed else await self._input_error(channel.number)
        found = channel.found(setting)
        decide(asked, demand, before[0] if before else None, found[0] if found else None, None, reason)
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
        if not await self._exchange.apply(
            Target(setting.suffix, setting.item), int(number), lambda found: found == number
        ):
            raise Refused(f"{setting.suffix} {number:.10g}: the module reads back {self._unit.value(setting.item)}")
        self._module.demands[setting.suffix].accept(int(number))
        return [setting.suffix, f"{setting.suffix}.RBV"]

    async def _set_ramp(self, asked: str, percent: float) -> list[str]:
        """Set the ramp speed of the module, which all channels without their own share."""
        setting = SETTINGS["MOD.RAMPV"]
        step = self._limits.resolution(setting, 0)

        def agrees(found: Value) -> bool:
            return isinstance(found, float) and abs(found - percent) <= 0.5001 * step

        if not await self._exchange.apply(Target("MOD.RAMPV", setting.item), percent, agrees):
            found = self._unit.number(setting.item)
            raise Refused(f"{asked}: the module reads back {found:.5g} %/s" if found else f"{asked}: not accepted")
        self._module.demands["MOD.RAMPV"].accept(self._unit.number(setting.item) or percent)
        names = ["MOD.RAMPV", "MOD.RAMPV.RBV", "MOD.RAMPV.VPS"]
        for channel in self._channels[: self._unit.channels]:
            for suffix in RAMPS:
                found_ramp = channel.found(SETTINGS[suffix])
                if found_ramp is not None and not self._limits.ramp_is_own():
                    channel.hv.demands[suffix].accept(found_ramp[0])
                    names += [channel_prefix(channel.number) + suffix, f"{channel_prefix(channel.number)}{suffix}.RBV"]
        return names

    async def _set_kill(self, on: bool) -> list[str]:
        """Change one bit of ModuleControl; a write replaces the whole word, so it is read just before."""
        target = Target("MOD.KILLEN", "ModuleControl")
        old = await self._exchange.read_before(target)
        word = int((old | _KEPT) & ~ModuleControl.CLEAR & ~ModuleControl.KILL_ENABLE)
        word |= int(ModuleControl.KILL_ENABLE) if on else 0
        asked = f"MOD.KILLEN {'ON' if on else 'OFF'}"
        if not await self._exchange.apply(target, word, lambda found: found == word):
            raise Refused(f"{asked}: ModuleControl reads back {self._unit.value(target.item)}")
        # The status follows the control word, perhaps only with the next round of the board.
        status = Target("MOD.KILLEN", "ModuleStatus")
        follows = await self._exchange.look(
            status, lambda found: bool(bits(found) & ModuleStatus.KILL_ENABLE) == on, FOLLOW_LOOKS
        )
        if not follows:
            before = int((old | _KEPT) & ~ModuleControl.CLEAR)
            back = await self._exchange.apply(target, before, lambda found: found == before)
            raise Refused(f"{asked}: the module does not follow{'' if back else ', and ModuleControl stays changed'}")
        self._module.demands["MOD.KILLEN"].accept(int(on))
        return ["MOD.KILLEN", "MOD.KILLEN.RBV", "MOD.STAT"]

    async def _input_error(self, channel: int) -> str:
        """Say whether the module found a value not plausible, and clear the mark that this write has left."""
        had = self._unit.word("ChannelEventStatus", channel) & ChannelEvent.INPUT_ERROR
        target = Target("events", "ChannelEventStatus", channel)
        if not bits(await self._exchange.read_back(target)) & ChannelEvent.INPUT_ERROR:
            return ""
        if not had:
            self._exchange.send(target, int(ChannelEvent.INPUT_ERROR))
            await self._exchange.read_back(target)
            await self._exchange.read_back(Target("status", "ChannelStatus", channel))
        return ", it found the value not plausible (input error)"

    # Commands

    async def _command(self, name: str, suffix: str, channel: IsegChannel | None, value: Value) -> list[str]:
        if not choice_asked(suffix, value, ("IDLE", "ACT")):
            return [name]
        if channel is None:
            return await self._clear_module(name)
        if suffix == "TRIP.ACK.CMD":
            permit.changing()
            channel.hv.acknowledge(self._clock.time())
            return [name, channel_prefix(channel.number) + "TRIP"]
        self._require_channel(suffix, channel)
        if suffix == "EMCY.CMD":
            return await self._output.emergency_off(name, channel)
        return await self._output.clear(name, channel)

    async def _clear_module(self, name: str) -> list[str]:
        target = Target("clear", "ModuleEventStatus")
        pending = await self._exchange.read_before(target)
        if pending:
            # An event whose cause persists comes back at once, which is no reason to complain here.
            await self._exchange.apply(target, pending, lambda found: bits(found) != pending)
        await self._exchange.read_back(Target("clear", "ModuleStatus"))
        return [name, "MOD.STAT", "MOD.EVT"]
