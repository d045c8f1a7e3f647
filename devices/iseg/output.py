"""Outputs of an Iseg module: on, off, emergency off, and clearing what happened.

On is decided by what the module says at that moment, sent again only after events that blocked it have been cleared,
and taken back when the output does not follow. Off never releases an emergency off, and clearing events never leaves an
on bit behind that would switch the output on with them.
"""

from __future__ import annotations

from collections import Counter

from devices.errors import NotReady, Refused, ReplyTimeout
from devices.iseg.catalogue import CHANGED_BY_EVENTS, SETTINGS
from devices.iseg.channel import IsegChannel
from devices.iseg.edcp.bits import (
    BLOCKING_EVENTS,
    CLEARABLE_EVENTS,
    ChannelControl,
    ChannelEvent,
    ChannelStatus,
    ModuleEvent,
    ModuleStatus,
    bit_names,
)
from devices.iseg.exchange import FOLLOW_LOOKS, LOOKS, SENDINGS, IsegExchange
from devices.iseg.limits import IsegLimits
from devices.rules.channels import channel_prefix
from devices.rules.settings import Asked, check_limits

HARMLESS = ChannelEvent.CURRENT_BOUNDS | ChannelEvent.VOLTAGE_BOUNDS
"""Events of a past ramp that block switching on by one of the guide's three rules, and are no reason not to."""

_REACTIONS = int(BLOCKING_EVENTS | ChannelEvent.ON_TO_OFF | ChannelEvent.ARC_ERROR)
"""Events by which a channel shows that it has switched on, and has gone off again."""

_NO_REASON = int(ModuleEvent.INPUT_ERROR | ModuleEvent.LIVE_INSERTION)
"""Module events that block nothing; a request for an item that the firmware does not know leaves the first one."""

_CONTROL, _STATUS, _EVENTS = "ChannelControl", "ChannelStatus", "ChannelEventStatus"


class IsegOutput:
    """Switches the outputs of one module; each method returns the names of signals that may have changed."""

    def __init__(self, exchange: IsegExchange, limits: IsegLimits) -> None:
        self._unit = exchange.unit
        self._exchange = exchange
        self._limits = limits
        self._cuts: Counter[int] = Counter()  # emergency offs that were sent, by channel

    @staticmethod
    def _changed(channel: IsegChannel) -> list[str]:
        return [channel_prefix(channel.number) + suffix for suffix in CHANGED_BY_EVENTS]

    # On and off

    async def switch(self, name: str, channel: IsegChannel, on: bool) -> list[str]:
        """Switch on or off and wait until the channel says so; the ramp has only begun by then.

        Raises Refused when the channel does not follow: it is not on then.
        """
        await (self._on(channel) if on else self._off(channel))
        channel.hv.accept_on(on)
        channel.polled({_STATUS}, self._exchange.clock.monotonic())
        return [name, *self._changed(channel)]

    async def _off(self, channel: IsegChannel) -> None:
        exchange = self._exchange.about("OFF", channel.number)
        before = channel.hv.demand_on
        try:
            if not await self._switched_off(exchange, channel):
                raise Refused("OFF: the module did not follow, its control word still says on")
            if not await self._follows(exchange, False):
                raise Refused("OFF: the module took the command, but the output is still on")
        except Refused:
            channel.hv.demand_on = before
            raise

    async def _switched_off(self, exchange: IsegExchange, channel: IsegChannel) -> bool:
        """Take the on bit away, twice if there is no trace of it, and return whether it is gone.

        An emergency off must not be released by the control word, be it that of another host or the one that overtakes
        this write, so the word is looked at before each sending. The status shows it, too, and an output that is to go
        off does not depend on one answer.
        """
        for _ in range(SENDINGS):
            cuts = self._cuts[channel.number]
            try:
                held = bool(await exchange.read_before(_CONTROL) & ChannelControl.EMERGENCY_OFF)
            except NotReady:
                held = bool(await exchange.read_before(_STATUS) & ChannelStatus.EMERGENCY_OFF)
            held = held or self._cuts[channel.number] != cuts
            exchange.send(_CONTROL, int(ChannelControl.EMERGENCY_OFF) if held else 0)
            channel.hv.demand_on = False  # at once, or an output that obeys would look like one that was lost
            if await exchange.look(_CONTROL, lambda found: not found & ChannelControl.ON):
                return True
        return False

    async def _on(self, channel: IsegChannel) -> None:
        exchange = self._exchange.about("ON", channel.number)
        seen = await self._look_before_on(exchange, channel)
        try:
            accepted = await self._control_on(exchange, seen)
            if not accepted or not await self._follows(exchange, True):
                reason = await self._why_off(exchange)
                if accepted and not await self._switched_off(exchange, channel):
                    # Or what was accepted but not followed might come true after it was refused.
                    raise ReplyTimeout(
                        "ON: outcome unknown, the module does not follow and cannot be switched off again"
                    )
                raise Refused(f"ON: the module did not follow: {reason}")
        except ReplyTimeout:
            place = channel_prefix(channel.number)
            channel.hv.demands["ON"].doubt(Asked("output", 1, labels=("OFF", "ON"), device="module", place=place))
            raise

    async def _look_before_on(self, exchange: IsegExchange, channel: IsegChannel) -> int:
        """Return the events of the channel.

        Raises Refused when it has tripped, is in emergency off, or would go to where it must not.
        """
        number = channel.number
        settings = [SETTINGS[suffix] for suffix in ("VSET", "ISET")]
        limits = [cell for setting in settings for cell in self._limits.depends_on(setting, number)]
        items = (_CONTROL, _STATUS, _EVENTS, *(setting.item for setting in settings))
        await exchange.look_before(*((item, number) for item in items), *limits, groups=True)
        control, status, events = (self._unit.word(item, number) for item in (_CONTROL, _STATUS, _EVENTS))
        if (status | events) & ChannelStatus.TRIP:
            raise Refused("ON: tripped, clear it with CLR:CMD first")
        if control & ChannelControl.EMERGENCY_OFF or (status | events) & ChannelStatus.EMERGENCY_OFF:
            raise Refused("ON: in emergency off, clear it with CLR:CMD first")
        if others := self._unit.followers(_CONTROL, number):
            names = ", ".join(f"CH{other:02d}" for other in sorted(others))
            raise Refused(f"ON: a group of the module would switch on {names}, too; take the group out of use first")
        for setting in settings:
            found, limit = channel.found(setting), self._limits.limits(setting, number)
            if found is None or limit is None:
                raise NotReady(f"ON: nothing was sent, {setting.suffix} or its limits cannot be read")
            step = self._limits.resolution(setting, number)
            if found[0] > limit.high + step / 2:
                check_limits(f"ON: {setting.suffix}", found[0], setting.unit, limit)
        return events

    async def _control_on(self, exchange: IsegExchange, seen: int) -> bool:
        """Write the control word and see whether it sticks; ``seen`` are the events from before."""
        for attempt in range(SENDINGS):
            if attempt and not await self._may_be_sent_again(exchange.about("events", exchange.channel), seen):
                return False
            exchange.send(_CONTROL, int(ChannelControl.ON))
            if await exchange.look(_CONTROL, lambda found: bool(found & ChannelControl.ON)):
                return True
        return False

    async def _may_be_sent_again(self, exchange: IsegExchange, seen: int) -> bool:
        """Whether on was only blocked by bounds events of a past ramp, which one of the rules blames; clears them."""
        pending = await exchange.read_back(_EVENTS)
        if pending & ~seen & _REACTIONS or not pending & HARMLESS:
            return False
        exchange.send(_EVENTS, int(pending & HARMLESS))
        return True

    async def _follows(self, exchange: IsegExchange, on: bool) -> bool:
        if await exchange.look(_STATUS, lambda found: bool(found & ChannelStatus.ON) == on, FOLLOW_LOOKS):
            return True
        # Whether the on bit is already gone while the output ramps down is not documented.
        return not on and bool(self._unit.word(_STATUS, exchange.channel) & ChannelStatus.RAMPING)

    async def _why_off(self, exchange: IsegExchange) -> str:
        board = self._exchange.about("ON")
        status, module = await exchange.read_back(_STATUS), await board.read_back("ModuleStatus")
        pending = await exchange.read_back(_EVENTS)
        of_module = await board.read_back("ModuleEventStatus") & ~_NO_REASON
        events, module_events = bit_names(ChannelEvent(pending)), bit_names(ModuleEvent(of_module))
        of_a_ramp = ChannelEvent.CURRENT_CONTROL | ChannelEvent.VOLTAGE_CONTROL | ChannelEvent.END_OF_RAMP
        reasons = (
            (not module & ModuleStatus.SAFETY_LOOP_GOOD, "the safety loop is open"),
            (not module & ModuleStatus.TEMPERATURE_GOOD, "the board is too hot"),
            (not module & ModuleStatus.SUPPLY_GOOD, "a supply voltage is bad"),
            (status & ChannelStatus.TRIP, "it tripped at once"),
            (status & ChannelStatus.INHIBIT, "external inhibit"),
            (of_module, f"module events are pending ({', '.join(module_events)}), clear them with MOD:CLR:CMD"),
            (pending & ~int(of_a_ramp), f"events are pending ({', '.join(events)}), clear them with CLR:CMD"),
        )
        return ", ".join(text for holds, text in reasons if holds) or "it gives no reason"

    # Commands

    def cut(self, channel: IsegChannel) -> None:
        """Send an emergency off and wait for nothing. Raises LinkDown when nothing can be sent."""
        exchange = self._exchange.about("emergency off", channel.number)
        exchange.send(_CONTROL, int(ChannelControl.EMERGENCY_OFF))
        self._cuts[channel.number] += 1

    async def emergency_off(self, name: str, channel: IsegChannel) -> list[str]:
        """Cut the output without ramp; it stays so until cleared. Raises Refused when the channel does not follow."""
        before = channel.hv.demand_on
        exchange = self._exchange.about("emergency off", channel.number)
        for looks in (LOOKS, FOLLOW_LOOKS):
            self.cut(channel)
            channel.hv.demand_on = False  # see _switched_off
            if await exchange.look(_STATUS, lambda found: bool(found & ChannelStatus.EMERGENCY_OFF), looks):
                channel.hv.accept_on(False)
                channel.polled({_STATUS}, self._exchange.clock.monotonic())
                # Some boards also forget their set point: the next scan shows it.
                return [name, f"{channel_prefix(channel.number)}ON", *self._changed(channel)]
        channel.hv.demand_on = before
        raise Refused("emergency off: the module did not follow")

    async def clear(self, name: str, channel: IsegChannel) -> list[str]:
        """Release an emergency off and clear the events; a trip's mark goes with its event.

        Raises Refused when events stay.
        """
        exchange = self._exchange.about("clear", channel.number)
        status = await exchange.read_before(_STATUS)
        await exchange.read_before(_EVENTS)
        # What no scan has seen yet is latched before its marks go.
        channel.polled({_STATUS, _EVENTS}, self._exchange.clock.monotonic())
        word = await exchange.read_before(_CONTROL)
        waiting = word & ChannelControl.ON and not status & ChannelStatus.ON
        if word & ChannelControl.EMERGENCY_OFF or waiting:
            held = int(ChannelControl.EMERGENCY_OFF | ChannelControl.ON)
            if not await exchange.apply(_CONTROL, 0, lambda found: not found & held):
                raise Refused("clear: the emergency off cannot be released, or the output does not stay off")
        gone = int(ChannelEvent.TRIP | ChannelEvent.EMERGENCY_OFF)
        cleared = await exchange.apply(_EVENTS, CLEARABLE_EVENTS, lambda found: not found & gone)
        await exchange.read_back(_STATUS)
        channel.polled({_STATUS, _EVENTS}, self._exchange.clock.monotonic())
        if not cleared:
            left = bit_names(ChannelEvent(self._unit.word(_EVENTS, channel.number)))
            raise Refused(f"clear: events are still pending ({', '.join(left)})")
        return [name, *self._changed(channel)]
