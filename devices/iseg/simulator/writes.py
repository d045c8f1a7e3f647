"""What a simulated iseg module makes of the values that hosts write to it."""

from __future__ import annotations

from devices.iseg.edcp.bits import ChannelControl, ChannelEvent, ModuleControl, ModuleEvent
from devices.iseg.edcp.bits import ChannelStatus as Bit
from devices.iseg.edcp.items import Item, Scope, Type
from devices.iseg.simulator.channel import Channel
from devices.iseg.simulator.module import FASTEST, SimulatedIsegModule
from devices.model import Value

_TOLERANCE = 1 + 1e-6  # single precision


CLEAR_ALL = {"VoltageLimitAll": 15, "CurrentLimitAll": 14, "TripAll": 13, "InhibitAll": 12}
"""Number of the event bit that these items show for all channels."""


STORED = {
    "DelayedTripTime": "trip_time",
    "DelayedTripAction": "trip_action",
    "ExternalInhibitAction": "inhibit_action",
    "CurrentSet": "iset",
    "VoltageBounds": "volts_bounds",
    "CurrentBounds": "amps_bounds",
    "GroupNumber": "group",
    "ChannelEventMask": "mask",
}
"""Items of a channel that are only kept, by their attribute."""


class RefusedError(Exception):
    """Not accepted: silence."""


def channel_of(module: SimulatedIsegModule, number: int) -> Channel:
    """Return a channel. Raises RefusedError when there is none of this number."""
    if number >= len(module.channels):
        raise RefusedError
    return module.channels[number]


def require(module: SimulatedIsegModule, item: Item, allowed: bool) -> None:
    """Raise RefusedError for an item that this type of module does not have, or that is not to be read or set."""
    wide = item.type is Type.UI4 and item.name.endswith("32")
    if not allowed or item.id in module.unknown or item.scope is Scope.CRATE or (wide and not module.firmware.words32):
        raise RefusedError


def width_of(item: Item) -> int:
    """Return the mask of the bits that a word has."""
    return 0xFFFF if item.type is Type.UI2 else 0xFFFFFFFF


def write(module: SimulatedIsegModule, item: Item, index: int | None, value: Value) -> None:
    """Take a value for an item. Raises RefusedError for what the module ignores."""
    require(module, item, item.settable)
    if item.scope is Scope.CHANNEL:
        channel = channel_of(module, index or 0)
        try:
            _write_channel(module, item, channel, value)
        except RefusedError:
            channel.faults |= int(Bit.INPUT_ERROR)
        channel.latch()
    else:
        _write_module(module, item, index or 0, value)
    module.forget_channel_events()


def _check(item: Item, value: Value) -> float:
    """Return a number that is within the range of its item."""
    if not isinstance(value, int | float) or (item.span and not item.span[0] <= value <= item.span[1]):
        raise RefusedError
    return value


def _within(value: float, nominal: float, limit: float) -> float:
    """Return a set point: refused outside 0 to nominal, silently reduced to the hardware limit (in %)."""
    if not 0 <= value <= nominal * _TOLERANCE:
        raise RefusedError
    highest = nominal * limit / 100
    return value if value <= highest * _TOLERANCE else highest


def _write_channel(module: SimulatedIsegModule, item: Item, channel: Channel, value: Value) -> None:
    number = _check(item, value)
    match item.name.removesuffix("32"):
        case "ChannelControl":
            module.command(channel, int(number))
        case "ChannelEventStatus":
            channel.clear(int(number))
        case "VoltageSet":
            channel.vset = _within(number * module.sign(channel), channel.volts_nominal, module.volts_max)
        case "CurrentSet":
            channel.iset = _within(number, channel.amps_nominal, module.amps_max)
        case "OutputPolarity" if module.firmware.switched and number in (-1, 1) and channel.quiet:
            channel.polarity = int(number)
        case "VoltageBounds":
            channel.volts_bounds = _within(number, channel.volts_nominal, 100)
        case "CurrentBounds":
            channel.amps_bounds = _within(number, channel.amps_nominal, 100)
        case "VoltageRampSpeedUp" | "VoltageRampSpeedDown" if module.firmware.channel_ramps:
            if not 0.001 <= number <= channel.volts_nominal * FASTEST / 100 * _TOLERANCE:
                raise RefusedError
            setattr(channel, "rate_up" if item.name.endswith("Up") else "rate_down", number)
        case name if name in STORED:
            setattr(channel, STORED[name], number)
        case _:
            raise RefusedError


def _write_module(module: SimulatedIsegModule, item: Item, index: int, value: Value) -> None:
    if item.name == "VariableGroup" and module.firmware.groups and isinstance(value, tuple) and index < 32:
        module.groups[index] = (int(value[1]), int(value[2]))
        return
    number = _check(item, value)
    word = int(number)
    match item.name.removesuffix("32"):
        case "ModuleControl":
            _control(module, word, width_of(item))
        case "ModuleEventStatus":
            module.events &= ~ModuleEvent(word)
            module.input_error = module.input_error and not word & ModuleEvent.INPUT_ERROR
        case "ModuleEventMask":
            module.mask = ModuleEvent(word)
        case "ModuleEventChannelStatus":
            module.channel_events &= ~(word << index)
        case "ModuleEventChannelMask":
            module.channel_mask = module.channel_mask & ~(width_of(item) << index) | word << index
        case "VoltageRampSpeed" if 0 < number <= FASTEST:
            module.ramp_speed = number
        case "BitRate" if module.prepared:
            module.bit_rate = word
        case _ if item.scope is Scope.GROUP:
            _write_all(module, item, number)
        case name if name in module.stored:
            module.stored[name] = number
        case _:
            raise RefusedError


def _control(module: SimulatedIsegModule, word: int, width: int) -> None:
    module.control = ModuleControl(int(module.control) & ~width | word & ~int(ModuleControl.CLEAR))
    if word & ModuleControl.CLEAR:
        module.clear_events()
    if word & ModuleControl.INTERLOCK:
        for channel in module.channels:
            channel.shut_off()
            channel.events |= int(ChannelEvent.INHIBIT)


def _write_all(module: SimulatedIsegModule, item: Item, number: float) -> None:
    word = int(number)
    for n, channel in enumerate(module.channels[:32]):
        bit = word >> n & 1
        match item.name:
            case "OnAll":
                emergency = int(ChannelControl.EMERGENCY_OFF) if channel.emergency else 0
                module.command(channel, emergency | bit * ChannelControl.ON)
            case "EmergencyOffAll" if bit or channel.emergency:
                module.command(channel, bit * ChannelControl.EMERGENCY_OFF)
            case "VoltageSetAll":
                channel.vset = _within(number * module.sign(channel), channel.volts_nominal, module.volts_max)
            case "CurrentSetAll":
                channel.iset = _within(number, channel.amps_nominal, module.amps_max)
            case name if name in CLEAR_ALL and bit:
                channel.clear(1 << CLEAR_ALL[name])
