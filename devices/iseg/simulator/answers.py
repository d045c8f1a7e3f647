"""What a simulated iseg module makes of the frames it receives.

``respond`` is the wire side of a module: every item of the guide that the type of module has. An item that it
does not have, a channel that is not there and a malformed frame get no answer and set the input error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from devices.errors import Garbled
from devices.iseg.edcp.bits import ChannelControl, ModuleControl, ModuleOption
from devices.iseg.edcp.items import Item, Scope, Type, item_of
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
from devices.iseg.simulator.module import FASTEST, Many, SimulatedIsegModule
from devices.iseg.simulator.writes import CLEAR_ALL, STORED, RefusedError, channel_of, require, width_of, write
from devices.links.can_frame import Frame
from devices.model import Value

PREPARED_FOR = 60.0
"""Seconds after which the state PREPARED ends; the guide says only that it does."""


def respond(module: SimulatedIsegModule, frame: Frame) -> list[Frame]:
    """Return what the module sends because of this frame; nothing for a frame that is not for it."""
    mine = module.base | module.address << 3
    if ModuleControl.BIG_ENDIAN not in module.control:
        frame = _swapped(frame)
    if frame.extended or frame.remote or frame.error or frame.id not in (mine, mine | 1, NMT_ID):
        return []
    frames: list[Frame] = []
    message = decode(frame)
    try:
        frames = _obey(module, message)
    except RefusedError:
        module.input_error = True
    if ModuleControl.BIG_ENDIAN not in module.control:
        frames = [_swapped(answer) for answer in frames]
    return frames + module.notice()


def _swapped(frame: Frame) -> Frame:
    """Return a data frame with its value in the other byte order; the guide leaves open which words bit 11 concerns.

    Chosen: all numbers of more than one byte, but not DATA_IDs and member lists.
    """
    message = decode(frame)
    layouts = {Type.UI2: (2, 0), Type.UI4: (4, 0), Type.R4: (4, 0), Type.R4_UI1: (5, 1), Type.COUNT: (4, 0)}
    item = item_of(int.from_bytes(frame.data[:2], "big"))
    if isinstance(message, Request) or frame.id & 1 or item is None or item.type not in layouts:
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
            module.accessed()
            return [general(module.address, *module.general(), base=module.base)]
    if module.dcp or (module.firmware.quiet_unregistered and not module.registered):
        return []
    match message:
        case Request():
            frames = _answers(module, message)
            module.accessed()
            return frames
        case Data():
            write(module, message.item, message.index, message.value)
            module.accessed()
        case Unexplained():
            raise RefusedError
    return []


def _broadcast(module: SimulatedIsegModule, message: Broadcast) -> None:
    match message.service:
        case Service.START:
            module.prepare(0.0)
        case Service.STOP:
            module.prepare(PREPARED_FOR)
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
                write(module, item, 0, value)
                return
            for number, channel in enumerate(module.channels):
                if channel.group == group:
                    write(module, item, number, value)


def _answers(module: SimulatedIsegModule, request: Request) -> list[Frame]:
    item, index = request.item, request.index
    require(module, item, item.readable)
    if item.scope is Scope.CHANNEL:
        numbers = [index or 0] if request.members is None else _members(module, request.members, index or 0)
        many = request.members is not None
        return [
            answer(module.address, item, _read_channel(module, item, n), n, many=many, base=module.base)
            for n in numbers
        ]
    if item.name == "ArticleDescription":
        text = module.firmware.article + "\0"
        parts = [text[n : n + 5] for n in range(0, len(text), 5)]
        return [answer(module.address, item, part, n, base=module.base) for n, part in enumerate(parts)]
    if item.name in _LISTS:
        values = _LISTS[item.name](module)
        numbers = list(range(len(values))) if index is None else [index]
        if numbers[-1] >= len(values):
            raise RefusedError
        return [answer(module.address, item, values[n], n, base=module.base) for n in numbers]
    if item.name == "ChannelNumber" and module.firmware.count_bytes == 1:
        data = item.id.to_bytes(2, "big") + bytes([len(module.channels)])
        return [Frame(module.base | module.address << 3, data)]
    return [answer(module.address, item, _read_module(module, item, index or 0), index, base=module.base)]


def _members(module: SimulatedIsegModule, members: int, offset: int) -> list[int]:
    """Return the channels that a request for many means."""
    many = module.firmware.many
    if many is Many.NONE or (many is Many.MASK and not members):
        raise RefusedError
    if not members:
        return list(range(len(module.channels)))
    return [offset + n for n in range(16) if members >> n & 1 and offset + n < len(module.channels)]


Read = Callable[[SimulatedIsegModule, int], Value | None]
"""What a module has for an item; None, which is silence, where its type lacks it."""

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


def _read_channel(module: SimulatedIsegModule, item: Item, number: int) -> Value:
    channel, name = channel_of(module, number), item.name.removesuffix("32")
    if name in STORED:
        return _shown(item, getattr(channel, STORED[name]))
    return _shown(item, _OF_CHANNEL[name](module, number) if name in _OF_CHANNEL else None)


def _shown(item: Item, value: Value | None) -> Value:
    """Return a value as it is sent: of a word, the bits that it has. Raises RefusedError for what is not there."""
    if value is None:
        raise RefusedError
    return value & width_of(item) if isinstance(value, int) and item.type in (Type.UI2, Type.UI4) else value


def _low_range(module: SimulatedIsegModule, number: int) -> bool:
    return module.firmware.ranges and module.channels[number].low_range(module.kill)


def _ramp(module: SimulatedIsegModule, speed: float) -> float | None:
    return speed if module.firmware.channel_ramps else None


_LISTS: Mapping[str, Callable[[SimulatedIsegModule], list[float]]] = {
    "Temperature": lambda module: [module.temperature + offset for offset in module.temperatures],
    "SupplyMeasure": lambda module: [module.supply24, module.supply5],
    "SupplyNominal": lambda module: [24.0, 5.0],
    "ChannelVoltageMax": lambda module: [module.volts_max] * len(module.channels),
    "ChannelCurrentMax": lambda module: [module.amps_max] * len(module.channels),
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
    "OnAll": lambda m, _: _bits(channel.on for channel in m.channels),
    "EmergencyOffAll": lambda m, _: _bits(channel.emergency for channel in m.channels),
    "VariableGroup": lambda m, number: _read_group(m, number) if m.firmware.groups else None,
}


def _read_module(module: SimulatedIsegModule, item: Item, index: int) -> Value:
    name = item.name.removesuffix("32")
    if name in _OF_MODULE:
        return _shown(item, _OF_MODULE[name](module, index))
    if bit := CLEAR_ALL.get(name):
        return _bits(bool(channel.events >> bit & 1) for channel in module.channels)
    return _shown(item, module.stored.get(name))


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << n for n, flag in enumerate(flags) if flag)


def _read_group(module: SimulatedIsegModule, number: int) -> Value:
    """Return a variable group; a status group shows the status bit of its members instead of the members."""
    members, kind = module.groups.get(number, (0, 0))
    if kind >> 14 == 1:
        bit = kind >> 4 & 0xF
        members &= _bits(bool(channel.status() >> bit & 1) for channel in module.channels)
    return (0, members, kind)
