"""Every setting of an Iseg module: checked, sent, read back. Outputs are in devices.iseg.output."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from devices.clock import DriverClock
from devices.errors import NotReady, OutOfLimits, Refused, ReplyTimeout
from devices.iseg.catalogue import CHANNEL, MODULE_RAMP, RAMPS, SETTINGS, Setting
from devices.iseg.channel import IsegChannel
from devices.iseg.edcp.bits import KEPT_CONTROL, ChannelEvent, ModuleControl, ModuleStatus
from devices.iseg.exchange import FOLLOW_LOOKS, IsegExchange
from devices.iseg.limits import IsegLimits
from devices.iseg.module import IsegModule
from devices.iseg.output import IsegOutput
from devices.iseg.unit import COPIED, IsegUnit
from devices.model import DeviceSettings, Value
from devices.rules.channels import channel_prefix
from devices.rules.settings import Asked, Demand, check_limits, choice_asked, decide, number_asked

MODULE_PLACE = "MOD"
_CONTROL = "ModuleControl"


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
        self._exchange = IsegExchange(unit, settings.name, clock)
        self._output = IsegOutput(self._exchange, limits)

    async def write(self, name: str, channel: IsegChannel | None, suffix: str, value: Value) -> list[str]:
        """Apply a setting or command; see devices.rules.channels.Writer."""
        if channel is None and suffix.endswith(".CMD"):
            return await self._clear_module(name)
        if channel is None:
            return await self._set(name, SETTINGS[suffix], None, value)
        if self._unit.channels and channel.number >= self._unit.channels:
            raise self._too_few(suffix)
        if suffix == "EMCY.CMD":
            return await self._output.emergency_off(name, channel)
        if suffix == "CLR.CMD":
            return await self._output.clear(name, channel)
        if suffix == "ON":
            return await self._output.switch(name, channel, bool(choice_asked(suffix, value, CHANNEL[suffix].labels)))
        return await self._set(name, SETTINGS[suffix], channel, value)

    def place(self, name: str) -> str:
        """Return the place of a write: a channel, or the module, whose ramp speed channels may share."""
        place, _, suffix = name.partition(".")
        shared = suffix in RAMPS and self._limits.shares_ramp(SETTINGS[suffix])
        return MODULE_PLACE if shared or not place.startswith("CH") else place

    def _too_few(self, what: str) -> Refused:
        return Refused(f"{what}: the module has only {self._unit.channels} channels")

    # Settings

    async def _set(self, name: str, setting: Setting, channel: IsegChannel | None, value: Value) -> list[str]:
        if 0 < setting.first >= self._unit.channels:
            raise self._too_few(setting.suffix)
        number, place = (channel.number, channel_prefix(channel.number)) if channel else (0, "")
        asked = self._asked(setting, value, number, place)
        demand = (channel.hv.demands if channel else self._module.demands)[setting.suffix]
        names = [name, f"{name}.RBV", *([f"{name}.HI", f"{name}.LO"] if setting.lowest else [])]
        if setting.labels:
            await self._set_kill(asked, demand)
            return [*names, "MOD.STAT", "MOD.CTRL"]
        # Decided once: channels may turn out to have ramps of their own while this write is under way.
        item = MODULE_RAMP if self._limits.shares_ramp(setting) else setting.item
        try:
            await self._apply(setting, item, asked, demand, channel)
        finally:
            if item == MODULE_RAMP:
                names += self._share_ramp(demand)
        return names

    def _wire(self, setting: Setting, item: str, value: float, channel: IsegChannel | None) -> Value:
        """Return what stands for a value of a setting in an item, made of what has just been read."""
        if setting.whole:
            rest = self._unit.word(setting.item) & ~(0xFFFF << setting.first) if setting.first else 0
            return int(value) << setting.first | rest
        if channel is None:
            return value
        if item == MODULE_RAMP:
            nominal = self._limits.nominal("VoltageNominal", channel.number)
            if not nominal:
                raise NotReady(f"{setting.suffix}: the nominal voltage has not been read yet")
            return 100 * value / nominal
        sign = self._limits.sign(channel.number) if setting.suffix == "VSET" else 1.0
        # 0.0 is added so that a negative board gets no negative zero, which it might find below its range.
        return sign * value / setting.scale + 0.0

    def _asked(self, setting: Setting, value: Value, channel: int, place: str = "") -> Asked:
        """Return what is asked for; raises OutOfLimits for what is no value of this setting."""
        if setting.labels:
            number: float = choice_asked(setting.suffix, value, setting.labels)
        else:
            number = number_asked(setting.suffix, value)
        if setting.whole and number != int(number):
            raise OutOfLimits(f"{setting.suffix}: {value} is not a whole number")
        if setting.item in self._unit.unsupported and setting.suffix not in RAMPS:
            raise Refused(f"{setting.suffix}: this firmware does not know {setting.item}")
        step = self._limits.resolution(setting, channel)
        return Asked(setting.suffix, number, setting.unit, step, setting.labels, "module", place)

    def _check(self, setting: Setting, asked: Asked, channel: int) -> None:
        """Raise OutOfLimits for what is outside the limits in force."""
        limits = self._limits.limits(setting, channel)
        if limits is None:
            missing = "the nominal voltage has" if setting.suffix in RAMPS else "its limits have"
            raise NotReady(f"{setting.suffix}: {missing} not been read yet")
        check_limits(setting.suffix, asked.value, setting.unit, limits)

    async def _apply(
        self, setting: Setting, item: str, asked: Asked, demand: Demand, channel: IsegChannel | None
    ) -> None:
        """Look at the setting and at what limits it, check, send once, read back, decide."""
        number = channel.number if channel else None
        found = partial(channel.found if channel else self._module.found, setting)
        place = None if item == MODULE_RAMP else number
        exchange = self._exchange.about(setting.suffix, place)
        self._check(setting, asked, number or 0)  # what is known to be outside needs no look
        await exchange.look_before(
            (item, place), *self._limits.depends_on(setting, number), groups=setting.item in COPIED
        )
        self._check(setting, asked, number or 0)
        before = found()

        def agrees(_: int) -> bool:
            now = found()
            return now is not None and asked.same(now[0], asked.value)

        exchange.send(item, self._wire(setting, item, asked.value, channel))
        try:
            agreed = await exchange.look(item, agrees)
            reason = "" if agreed or number is None else await self._input_error(number)
        except ReplyTimeout:
            demand.doubt(asked)
            raise
        now = found()
        decide(asked, demand, before[0] if before else None, now[0] if now else None, None, reason)

    def _share_ramp(self, asked: Demand) -> list[str]:
        """Let all demands that stand for the ramp speed of the module follow it, but for the one that was asked."""
        if self._unit.number(MODULE_RAMP) is None:
            return []
        names = ["MOD.RAMPV.VPS"]
        places: list[tuple[str, Demand, tuple[float | int, float] | None]] = [
            ("MOD.RAMPV", self._module.demands["MOD.RAMPV"], self._module.found(SETTINGS["MOD.RAMPV"]))
        ]
        if not self._limits.ramp_is_own():
            places += [
                (channel_prefix(one.number) + suffix, one.hv.demands[suffix], one.found(SETTINGS[suffix]))
                for one in self._channels[: self._unit.channels]
                for suffix in RAMPS
            ]
        for name, demand, found in places:
            if found is not None and demand is not asked:
                demand.accept(found[0])
            names += [name, f"{name}.RBV"]
        return names

    async def _set_kill(self, asked: Asked, demand: Demand) -> None:
        """Change one bit of ModuleControl; a write replaces the whole word, so it is read just before."""
        on, setting, exchange = bool(asked.value), SETTINGS["MOD.KILLEN"], self._exchange.about("MOD.KILLEN")
        await exchange.look_before((setting.item, None))
        old, before = self._unit.word(_CONTROL), self._module.found(setting)
        word = int((old | KEPT_CONTROL) & ~ModuleControl.CLEAR & ~ModuleControl.KILL_ENABLE)
        word |= int(ModuleControl.KILL_ENABLE) if on else 0
        exchange.send(_CONTROL, word)
        try:
            written = await exchange.look(_CONTROL, lambda found: found == word)
            # The status follows the control word, perhaps only with the next round of the board.
            followed = await exchange.look(
                setting.item, lambda found: bool(found & ModuleStatus.KILL_ENABLE) == on, FOLLOW_LOOKS if written else 1
            )
            reason = "" if followed else await self._withdraw_kill(int((old | KEPT_CONTROL) & ~ModuleControl.CLEAR))
        except ReplyTimeout:
            demand.doubt(asked)
            raise
        found = self._module.found(setting)
        decide(asked, demand, before[0] if before else None, found[0] if found else None, None, reason)

    async def _withdraw_kill(self, before: int) -> str:
        """Restore a control word that the module does not follow, so that it cannot change the mode later."""
        exchange = self._exchange.about("MOD.KILLEN")
        if self._unit.word(_CONTROL) == before or await exchange.apply(_CONTROL, before, lambda found: found == before):
            return ", its status does not follow"
        return ", its status does not follow, and ModuleControl stays changed"

    async def _input_error(self, channel: int) -> str:
        """Say whether the module found a value not plausible, and clear the mark that this write has left."""
        had = self._unit.word("ChannelEventStatus", channel) & ChannelEvent.INPUT_ERROR
        events = self._exchange.about("events", channel)
        if not await events.read_back("ChannelEventStatus") & ChannelEvent.INPUT_ERROR:
            return ""
        if not had:
            events.send("ChannelEventStatus", int(ChannelEvent.INPUT_ERROR))
            await events.read_back("ChannelEventStatus")
            await self._exchange.about("status", channel).read_back("ChannelStatus")
        return ", it found the value not plausible (input error)"

    # Commands

    async def _clear_module(self, name: str) -> list[str]:
        exchange = self._exchange.about("clear")
        pending = await exchange.read_before("ModuleEventStatus")
        if pending:
            # An event whose cause persists comes back at once, which is no reason to complain here.
            await exchange.apply("ModuleEventStatus", pending, lambda found: found != pending)
        await exchange.read_back("ModuleStatus")
        return [name, "MOD.STAT", "MOD.EVT"]
