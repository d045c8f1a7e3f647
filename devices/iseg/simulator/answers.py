"""What a simulated iseg module makes of the frames it receives.

``respond`` is the wire side of a module: every item of the guide that the type of module has. An item that it
does not have, a channel that is not there and a malformed frame get no answer and set the input error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from devices.errors import Garbled
from devices.iseg.edcp.bits import ChannelControl, ChannelEvent, ChannelStatus, ModuleControl, ModuleEvent, ModuleOption
from devices.iseg.edcp.items import BY_NAME, Item, Scope, Type, item_of
from devices.iseg.edcp.protocol import (
    NMT_ID,
    Broadcast,
    Data,
    GeneralRequest,
    Registration,
    Request,
    Service,
    Unexplained,
    answer,
    broadcast_setting,
    decode,
    general,
)
from devices.iseg.question import Many
from devices.iseg.simulator.channel import Channel
from devices.iseg.simulator.module import FASTEST, SimulatedIsegModule, members
from devices.links.can_frame import Frame
from devices.model import Value

PREPARED_FOR = 60.0
"""Seconds after which the state PREPARED ends; the guide says only that it does."""

_TOLERANCE = 1 + 1e-6  # single precision
_BITS = {Type.UI2: 0xFFFF, Type.UI4: 0xFFFFFFFF}


class RefusedError(Exception):
    """Not accepted: silence."""


def respond(module: SimulatedIsegModule, frame: Frame) -> list[Frame]:
    """Return what the module sends because of this frame; nothing for a frame that is not for it."""
    mine = module.base | module.address << 3
    if ModuleControl.BIG_ENDIAN not in module.control:
        frame = _swapped(frame)
    if frame.extended or frame.remote or frame.error or frame.id not in (mine, mine | 1, NMT_ID):
        return []
    frames: list[Frame] = []
    try:
        frames = _obey(module, decode(frame))
    except RefusedError:
        module.input_error = True
    if ModuleControl.BIG_ENDIAN not in module.control:
        frames = [_swapped(answer) for answer in frames]
    return frames + module.notice()


def _swapped(frame: Frame) -> Frame:
    """Return a data frame with its value in the other byte order; the guide leaves open which words bit 11 concerns.

    Chosen: all numbers of more than one byte, but not DATA_IDs and member lists.
    """
    layouts = {Type.UI2: (2, 0), Type.UI4: (4, 0), Type.R4: (4, 0), Type.R4_UI1: (5, 1), Type.COUNT: (4, 0)}
    item = item_of(int.from_bytes(frame.data[:2], "big"))
    if frame.id & 1 or item is None or item.type not in layouts:
        return frame
    begin, end = layouts[item.type]
    head, value = frame.data[: len(frame.data) - begin], frame.data[len(frame.data) - begin :]
    return frame._replace(data=head + value[: begin - end][::-1] + value[begin - end :])


def _obey(module: SimulatedIsegModule, message: object) -> list[Frame]:
    match message:
        case Broadcast():
            _broadcast(module, message)
            return []
        case Registration():
            module.register(message.on)
            return []
        case GeneralRequest():
            module.idle = 0.0
            return [general(module.address, *module.general(), base=module.base)]
    if module.dcp or not module.registered:
        return []
    frames: list[Frame] = []
    match message:
        case Request():
            frames = _answers(module, message)
        case Data():
            _write(module, message.item, message.index or 0, message.value)
        case Unexplained():
            raise RefusedError
        case _:
            return []
    module.idle = 0.0
    return frames


def _broadcast(module: SimulatedIsegModule, message: Broadcast) -> None:
    match message.service:
        case Service.START:
            module.prepared = 0.0
        case Service.STOP:
            module.prepared = PREPARED_FOR
        case Service.RESET_CAN if module.prepared:
            module.reset_can()
        case Service.RESET if module.prepared:
            module.power_cycle()
        case Service.BIT_RATE if module.prepared:
            module.bit_rate = int.from_bytes(message.payload, "big")
        case Service.PROTOCOL:
            module.dcp = message.payload[:1] == b"\0"
        case Service.SET_CHANNELS | Service.SET_MODULES:
            try:
                group, item, value = broadcast_setting(message.payload)
            except Garbled:
                raise RefusedError from None
            if message.service is Service.SET_MODULES:
                _write(module, item, 0, value)
                return
            for number, channel in enumerate(module.channels):
                if channel.group == group:
                    _write(module, item, number, value)


def _require(module: SimulatedIsegModule, item: Item, allowed: bool) -> None:
    """Raise RefusedError for an item that this type of module does not have, or that is not to be read or set."""
    wide = item.type is Type.UI4 and item.name.endswith("32")
    if not allowed or item.id in module.unknown or item.scope is Scope.CRATE or (wide and not module.firmware.words32):
        raise RefusedError


def _channel(module: SimulatedIsegModule, number: int) -> Channel:
    if number >= len(module.channels):
        raise RefusedError
    return module.channels[number]


# Reading


def _answers(module: SimulatedIsegModule, request: Request) -> list[Frame]:
    item, index, many = request.item, request.index, request.members is not None
    _require(module, item, item.readable)
    values: list[tuple[int | None, Value]]
    if request.members is not None:
        numbers = _asked(module, request.members, index or 0)
        values = [(number, _read_channel(module, item, number)) for number in numbers]
    elif item.scope is Scope.CHANNEL:
        values = [(index, _read_channel(module, item, index or 0))]
    elif item.name in _LISTS:
        every = list(enumerate(_LISTS[item.name](module)))
        values = [*every] if index is None else [*every[index : index + 1]]
        if not values:
            raise RefusedError
    else:
        values = [(index, _read_module(module, item, index or 0))]
    frames = [answer(module.address, item, value, n, many=many, base=module.base) for n, value in values]
    if item.name == "ChannelNumber" and module.firmware.count_bytes == 1:
        return [frame._replace(data=frame.data[:2] + frame.data[-1:]) for frame in frames]
    return frames


def _asked(module: SimulatedIsegModule, mask: int, offset: int) -> Sequence[int]:
    """Return the channels that a request for many means."""
    many = module.firmware.many
    if many is Many.SINGLE or (many is Many.MASK and not mask):
        raise RefusedError
    if not mask:
        return range(len(module.channels))
    return [offset + n for n in range(16) if mask >> n & 1 and offset + n < len(module.channels)]


Read = Callable[[SimulatedIsegModule, int], Value | None]
"""What a module has for an item; None, which is silence, where its type lacks it."""

_STORED = {
    "DelayedTripTime": "trip_time",
    "DelayedTripAction": "trip_action",
    "ExternalInhibitAction": "inhibit_action",
    "CurrentSet": "iset",
    "VoltageBounds": "volts_bounds",
    "CurrentBounds": "amps_bounds",
    "GroupNumber": "group",
    "ChannelEventMask": "mask",
}
"""Items of a channel that are kept as they are, by their attribute."""

_OF_CHANNEL: Mapping[str, Read] = {
    "ChannelStatus": lambda m, n: m.channels[n].status(_low_range(m, n)),
    "ChannelControl": lambda m, n: (
        m.channels[n].on * ChannelControl.ON | m.channels[n].emergency * ChannelControl.EMERGENCY_OFF
    ),
    "ChannelEventStatus": lambda m, n: m.channels[n].events,
    "VoltageSet": lambda m, n: m.channels[n].vset * m.sign(m.channels[n]) or 0.0,  # never -0.0
    "VoltageMeasure": lambda m, n: m.measured[n][0] * m.sign(m.channels[n]) or 0.0,
    "CurrentMeasure": lambda m, n: m.measured[n][1],
    "OutputPolarity": lambda m, n: m.channels[n].polarity if m.firmware.switched else None,
    "VoltageNominal": lambda m, _: m.firmware.volts,
    "CurrentNominal": lambda m, _: m.firmware.amps,
    "CurrentMeasureRange": lambda m, n: (m.measured[n][1], int(_low_range(m, n))) if m.firmware.ranges else None,
    "VoltageRampSpeedUp": lambda m, n: _ramp(m, m.channels[n].rate_up or m.rules().rate),
    "VoltageRampSpeedDown": lambda m, n: _ramp(m, m.channels[n].rate_down or m.rules().rate),
    "VoltageRampSpeedMin": lambda m, _: _ramp(m, 0.001),
    "VoltageRampSpeedMax": lambda m, n: _ramp(m, m.channels[n].volts_nominal * FASTEST / 100),
}

_OF_MODULE: Mapping[str, Read] = {
    "ModuleStatus": lambda m, _: m.status(),
    "ModuleControl": lambda m, _: m.control,
    "ModuleEventStatus": lambda m, _: m.events,
    "ModuleEventMask": lambda m, _: m.mask,
    "ModuleEventChannelStatus": lambda m, first: m.channel_events >> first,
    "ModuleEventChannelMask": lambda m, first: m.channel_mask >> first,
    "VoltageRampSpeed": lambda m, _: m.ramp_speed,
    "VoltageMax": lambda m, _: m.volts_max,
    "CurrentMax": lambda m, _: m.amps_max,
    "Supply24": lambda m, _: m.supply24,
    "Supply5": lambda m, _: m.supply5,
    "BoardTemperature": lambda m, _: m.temperature,
    "SerialNumber": lambda m, _: m.serial,
    "FirmwareRelease": lambda m, _: m.firmware.release,
    "BitRate": lambda m, _: m.bit_rate,
    "FirmwareName": lambda m, _: m.firmware.name,
    "ChannelNumber": lambda m, _: len(m.channels) if m.firmware.count_bytes else None,
    "ModuleOption": lambda m, _: m.firmware.options,
    "ModuleOptionSpec": lambda m, _: 1 if ModuleOption.FAST_RAMP in m.firmware.options else None,
    "OnAll": lambda m, _: members(channel.on for channel in m.channels),
    "EmergencyOffAll": lambda m, _: members(channel.emergency for channel in m.channels),
    "VariableGroup": lambda m, number: _read_group(m, number) if m.firmware.groups else None,
}

_LISTS: Mapping[str, Callable[[SimulatedIsegModule], Sequence[Value]]] = {
    "ArticleDescription": lambda m: _parts(f"{m.firmware.article}\0"),
    "Temperature": lambda m: [m.temperature + offset for offset in m.temperatures],
    "SupplyMeasure": lambda m: [m.supply24, m.supply5],
    "SupplyNominal": lambda _: [24.0, 5.0],
    "ChannelVoltageMax": lambda m: [m.volts_max] * len(m.channels),
    "ChannelCurrentMax": lambda m: [m.amps_max] * len(m.channels),
}
"""Items that come in several frames."""

_EVENT_ALL = {
    "VoltageLimitAll": ChannelEvent.VOLTAGE_LIMIT,
    "CurrentLimitAll": ChannelEvent.CURRENT_LIMIT,
    "TripAll": ChannelEvent.TRIP,
    "InhibitAll": ChannelEvent.INHIBIT,
}
"""Event that these items show, and clear, of all channels."""


def _read_channel(module: SimulatedIsegModule, item: Item, number: int) -> Value:
    channel, name = _channel(module, number), item.name.removesuffix("32")
    if name in _STORED:
        return _shown(item, getattr(channel, _STORED[name]))
    return _shown(item, _OF_CHANNEL[name](module, number) if name in _OF_CHANNEL else None)


def _read_module(module: SimulatedIsegModule, item: Item, index: int) -> Value:
    name = item.name.removesuffix("32")
    if name in _OF_MODULE:
        return _shown(item, _OF_MODULE[name](module, index))
    if event := _EVENT_ALL.get(name):
        return _shown(item, members(bool(channel.events & event) for channel in module.channels))
    return _shown(item, module.stored.get(name))


def _shown(item: Item, value: Value | None) -> Value:
    """Return a value as it is sent: of a word, the bits that it has. Raises RefusedError for what is not there."""
    if value is None:
        raise RefusedError
    return value & _BITS[item.type] if isinstance(value, int) and item.type in _BITS else value


def _parts(text: str) -> list[str]:
    return [text[n : n + 5] for n in range(0, len(text), 5)]


def _low_range(module: SimulatedIsegModule, number: int) -> bool:
    return module.firmware.ranges and module.channels[number].low_range(module.kill)


def _ramp(module: SimulatedIsegModule, speed: float) -> float | None:
    return speed if module.firmware.channel_ramps else None


def _read_group(module: SimulatedIsegModule, number: int) -> Value:
    """Return a variable group; a status group shows the status bit of its members instead of the members."""
    found, kind = module.groups.get(number, (0, 0))
    if kind >> 14 == 1:
        bit = kind >> 4 & 0xF
        found &= members(bool(channel.status() >> bit & 1) for channel in module.channels)
    return (0, found, kind)


# Writing


def _write(module: SimulatedIsegModule, item: Item, index: int, value: Value) -> None:
    """Take a value for an item. Raises RefusedError for what the module ignores."""
    _require(module, item, item.settable)
    if item.scope is Scope.CHANNEL:
        channel = _channel(module, index)
        try:
            _write_channel(module, item, channel, value)
        except RefusedError:
            channel.faults |= int(ChannelStatus.INPUT_ERROR)
        channel.latch()
    else:
        _write_module(module, item, index, value)
    module.forget_channel_events()


def _number(item: Item, value: Value) -> float:
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
    number = _number(item, value)
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
        case name if name in _STORED:
            setattr(channel, _STORED[name], number)
        case _:
            raise RefusedError


def _write_module(module: SimulatedIsegModule, item: Item, index: int, value: Value) -> None:
    if item.name == "VariableGroup" and module.firmware.groups and isinstance(value, tuple) and index < 32:
        module.groups[index] = (int(value[1]), int(value[2]))
        return
    number = _number(item, value)
    word, channels = int(number), module.channels[:32]
    match item.name.removesuffix("32"):
        case "ModuleControl":
            module.set_control(word, _BITS[item.type])
        case "ModuleEventStatus":
            module.events &= ~ModuleEvent(word)
            module.input_error = module.input_error and not word & ModuleEvent.INPUT_ERROR
        case "ModuleEventMask":
            module.mask = ModuleEvent(word)
        case "ModuleEventChannelStatus":
            module.channel_events &= ~(word << index)
        case "ModuleEventChannelMask":
            module.channel_mask = module.channel_mask & ~(_BITS[item.type] << index) | word << index
        case "VoltageRampSpeed" if 0 < number <= FASTEST:
            module.ramp_speed = number
        case "BitRate" if module.prepared:
            module.bit_rate = word
        case "VoltageSetAll" | "CurrentSetAll":
            for channel in channels:
                _write_channel(module, BY_NAME[item.name.removesuffix("All")], channel, number)
        case "OnAll":
            for n, channel in enumerate(channels):
                emergency = int(ChannelControl.EMERGENCY_OFF) if channel.emergency else 0
                module.command(channel, emergency | (word >> n & 1) * ChannelControl.ON)
        case "EmergencyOffAll":
            for n, channel in enumerate(channels):
                if word >> n & 1 or channel.emergency:
                    module.command(channel, (word >> n & 1) * ChannelControl.EMERGENCY_OFF)
        case name if name in _EVENT_ALL:
            for n, channel in enumerate(channels):
                if word >> n & 1:
                    channel.clear(int(_EVENT_ALL[name]))
        case name if name in module.stored:
            module.stored[name] = number
        case _ if item.scope is not Scope.GROUP:
            raise RefusedError
