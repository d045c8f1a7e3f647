"""Outputs of an Iseg module: on, off, emergency off, and clearing what happened.

No voltage comes that nobody asked for: on is sent again only when the channel has not reacted at all, taken back when
it is refused, and clearing events never leaves an on bit behind that would switch the output on with them.
"""

from __future__ import annotations

from devices.clock import DriverClock
from devices.errors import NotReady, Refused, ReplyTimeout
from devices.iseg.catalogue import SETTINGS, TOLD_BY_EVENTS
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
from devices.iseg.exchange import FOLLOW_LOOKS, LOOKS, SENDINGS, IsegExchange, Target, bits
from devices.iseg.unit import IsegUnit
from devices.model import Value
from devices.rules.channels import channel_prefix

HARMLESS = ChannelEvent.CURRENT_BOUNDS | ChannelEvent.VOLTAGE_BOUNDS
"""Events of a past ramp that block switching on by one of the guide's three rules, and are no reason not to."""

_REACTIONS = int(BLOCKING_EVENTS | ChannelEvent.ON_TO_OFF | ChannelEvent.ARC_ERROR)
"""Events by which a channel that was told to switch on shows that it did, and has gone off again."""

_NO_REASON = int(ModuleEvent.INPUT_ERROR | ModuleEvent.LIVE_INSERTION)
"""Module events that block nothing; a request for an item that the firmware does not know leaves the first one."""

_CONTROL, _STATUS, _EVENTS = "ChannelControl", "ChannelStatus", "ChannelEventStatus"


class IsegOutput:
    """Switches the outputs of one module; each method returns the names of signals that have something new to say."""

    def __init__(self, unit: IsegUnit, exchange: IsegExchange, clock: DriverClock) -> None:
        self._unit = unit
        self._exchange = exchange
        self._clock = clock

    @staticmethod
    def _told(channel: IsegChannel) -> list[str]:
        return [channel_prefix(channel.number) + suffix for suffix in TOLD_BY_EVENTS]

    # On and off

    async def switch(self, name: str, channel: IsegChannel, on: bool) -> list[str]:
        """Switch on or off and wait until the channel says so; the ramp has only begun by then.

        Raises Refused when the channel does not follow: it is not on then.
        """
        word, number, seen = "ON" if on else "OFF", channel.number, 0
        if on:  # off is allowed whatever is known
            if self._unit.value(_STATUS, number) is None or channel.found(SETTINGS["VSET"]) is None:
                raise NotReady("ON: the channel has not been read yet")
            seen = await self._refuse_what_must_be_cleared(number)
        before = channel.hv.demand_on
        if not on:
            channel.hv.demand_on = False  # at once, or an output that obeys would look like one that was lost
        try:
            accepted = await self._control(channel, on, seen)
            if not (accepted and await self._follows(Target(word, _STATUS, number), on)):
                reason = await self._why_off(number) if on else "it is still on"
                if on and accepted:
                    await self._take_back(number)
                raise Refused(f"{word}: the module did not follow: {reason}")
        except Refused:
            if not on:  # an on has not changed it, and an off may have overtaken
                channel.hv.demand_on = before
            raise
        channel.hv.accept_on(on)
        channel.polled({_STATUS}, self._clock.monotonic())
        return [name, *self._told(channel)]

    async def _refuse_what_must_be_cleared(self, number: int) -> int:
        """Return the events of the channel; raise Refused when they tell of a trip or an emergency off."""
        status = await self._exchange.read_before(Target("ON", _STATUS, number))
        events = await self._exchange.read_before(Target("ON", _EVENTS, number))
        if (status | events) & ChannelStatus.TRIP:
            raise Refused("ON: tripped, clear it with CLR:CMD first")
        if (status | events) & ChannelStatus.EMERGENCY_OFF:
            raise Refused("ON: in emergency off, clear it with CLR:CMD first")
        return events

    async def _control(self, channel: IsegChannel, on: bool, seen: int) -> bool:
        """Write the control word and see whether it sticks; ``seen`` are the events from before."""
        target = Target("ON" if on else "OFF", _CONTROL, channel.number)
        emergency = int(ChannelControl.EMERGENCY_OFF) if self._emergency(channel.number) else 0
        word = int(ChannelControl.ON) if on else emergency

        def agrees(found: Value) -> bool:
            return bool(bits(found) & ChannelControl.ON) == on

        for attempt in range(SENDINGS):
            if attempt and on and not await self._may_be_sent_again(channel.number, seen):
                return False
            self._exchange.send(target, word)
            if await self._exchange.look(target, agrees):
                return True
        return False

    async def _may_be_sent_again(self, number: int, seen: int) -> bool:
        """Tell whether on got lost or was blocked, and clear the bounds events that one of the rules blames."""
        target = Target("events", _EVENTS, number)
        pending = bits(await self._exchange.read_back(target))
        if pending & ~seen & _REACTIONS:
            return False
        if pending & HARMLESS:
            self._exchange.send(target, int(pending & HARMLESS))
        return True

    async def _follows(self, target: Target, on: bool) -> bool:
        if await self._exchange.look(target, lambda found: bool(bits(found) & ChannelStatus.ON) == on, FOLLOW_LOOKS):
            return True
        # Whether the on bit is already gone while the output ramps down is not documented.
        return not on and bool(self._unit.word(_STATUS, target.channel) & ChannelStatus.RAMPING)

    async def _take_back(self, number: int) -> None:
        """Withdraw an on that was accepted but not followed, so that it does not come true after it was refused."""
        target = Target("ON", _CONTROL, number)
        if not await self._exchange.apply(target, 0, lambda found: not bits(found) & ChannelControl.ON):
            raise ReplyTimeout("ON: outcome unknown, the module does not follow and cannot be told off again")

    def _emergency(self, channel: int) -> bool:
        return bool(self._unit.word(_STATUS, channel) & ChannelStatus.EMERGENCY_OFF)

    async def _why_off(self, channel: int) -> str:
        status, module, pending, of_module = [
            bits(await self._exchange.read_back(Target("ON", item, number)))
            for item, number in (
                (_STATUS, channel),
                ("ModuleStatus", None),
                (_EVENTS, channel),
                ("ModuleEventStatus", None),
            )
        ]
        of_module &= ~_NO_REASON
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
        target = Target("emergency off", _CONTROL, channel.number)
        self._exchange.send(target, int(ChannelControl.EMERGENCY_OFF))

    async def emergency_off(self, name: str, channel: IsegChannel) -> list[str]:
        """Cut the output without ramp; it stays so until cleared. Raises Refused when the channel does not follow."""
        before, channel.hv.demand_on = channel.hv.demand_on, False
        target = Target("emergency off", _STATUS, channel.number)
        for looks in (LOOKS, FOLLOW_LOOKS):
            self.cut(channel)
            if await self._exchange.look(target, lambda found: bool(bits(found) & ChannelStatus.EMERGENCY_OFF), looks):
                channel.hv.accept_on(False)
                channel.polled({_STATUS}, self._clock.monotonic())
                # Some boards also forget their set point: the next scan shows it.
                return [name, f"{channel_prefix(channel.number)}ON", *self._told(channel)]
        channel.hv.demand_on = before
        raise Refused("emergency off: the module did not follow")

    async def clear(self, name: str, channel: IsegChannel) -> list[str]:
        """Release an emergency off and clear the events; a trip's mark goes with its event.

        Raises Refused when events stay.
        """
        number, exchange = channel.number, self._exchange
        control, events = Target("clear", _CONTROL, number), Target("clear", _EVENTS, number)
        status = await exchange.read_before(Target("clear", _STATUS, number))
        await exchange.read_before(events)
        # What no scan has seen yet is latched before its marks go.
        channel.polled({_STATUS, _EVENTS}, self._clock.monotonic())
        word = await exchange.read_before(control)
        waiting = word & ChannelControl.ON and not status & ChannelStatus.ON
        if word & ChannelControl.EMERGENCY_OFF or waiting:
            held = int(ChannelControl.EMERGENCY_OFF | ChannelControl.ON)
            if not await exchange.apply(control, 0, lambda found: not bits(found) & held):
                raise Refused("clear: the emergency off cannot be released, or the output does not stay off")
        gone = int(ChannelEvent.TRIP | ChannelEvent.EMERGENCY_OFF)
        cleared = await exchange.apply(events, CLEARABLE_EVENTS, lambda found: not bits(found) & gone)
        await exchange.read_back(Target("clear", _STATUS, number))
        channel.polled({_STATUS, _EVENTS}, self._clock.monotonic())
        if not cleared:
            left = bit_names(ChannelEvent(self._unit.word(_EVENTS, number)))
            raise Refused(f"clear: events are still pending ({', '.join(left)})")
        return [name, *self._told(channel)]
