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
from devices.iseg.simulator.channel import Channel
from devices.iseg.simulator.module import FASTEST, Many, SimulatedIsegModule
from devices.iseg.simulator.writes import CLEAR_ALL, STORED, RefusedError, channel_of, width_of, write
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
    if item.id in module.unknown or not item.readable or item.scope is Scope.CRATE:
        raise RefusedError
    if item.type is Type.UI4 and item.name.endswith("32") and not module.firmware.words32:
        raise RefusedError
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


def _read_channel(module: SimulatedIsegModule, item: Item, number: int) -> Value:
    channel = channel_of(module, number)
    if item.name in STORED:
        value: float = getattr(channel, STORED[item.name])
        return value
    if item.name in ("VoltageRampSpeedUp", "VoltageRampSpeedDown", "VoltageRampSpeedMin", "VoltageRampSpeedMax"):
        return _channel_ramp(module, item, channel)
    volts, amps = module.measured[number]
    low = module.firmware.ranges and channel.low_range(module.kill)
    match item.name.removesuffix("32"):
        case "ChannelStatus":
            return channel.status(low) & width_of(item)
        case "ChannelControl":
            return channel.on * ChannelControl.ON | channel.emergency * ChannelControl.EMERGENCY_OFF
        case "ChannelEventStatus":
            return channel.events & width_of(item)
        case "ChannelEventMask":
            return channel.mask & width_of(item)
        case "VoltageSet":
            return channel.vset * module.sign(channel) or 0.0  # never -0.0
        case "VoltageMeasure":
            return volts * module.sign(channel) or 0.0
        case "OutputPolarity" if module.firmware.switched:
            return channel.polarity
        case "CurrentMeasure":
            return amps
        case "VoltageNominal":
            return module.firmware.volts
        case "CurrentNominal":
            return module.firmware.amps
        case "CurrentMeasureRange" if module.firmware.ranges:
            return (amps, int(low))
    raise RefusedError


def _channel_ramp(module: SimulatedIsegModule, item: Item, channel: Channel) -> float:
    if not module.firmware.channel_ramps:
        raise RefusedError
    fastest = channel.volts_nominal * FASTEST / 100
    return {
        "VoltageRampSpeedUp": channel.rate_up or module.rules().rate,
        "VoltageRampSpeedDown": channel.rate_down or module.rules().rate,
        "VoltageRampSpeedMin": 0.001,
        "VoltageRampSpeedMax": fastest,
    }[item.name]


_LISTS: Mapping[str, Callable[[SimulatedIsegModule], list[float]]] = {
    "Temperature": lambda module: [module.temperature + offset for offset in module.temperatures],
    "SupplyMeasure": lambda module: [module.supply24, module.supply5],
    "SupplyNominal": lambda module: [24.0, 5.0],
    "ChannelVoltageMax": lambda module: [module.volts_max] * len(module.channels),
    "ChannelCurrentMax": lambda module: [module.amps_max] * len(module.channels),
}


def _read_module(module: SimulatedIsegModule, item: Item, index: int) -> Value:
    match item.name.removesuffix("32"):
        case "ModuleStatus":
            return int(module.status()) & width_of(item)
        case "ModuleControl":
            return int(module.control) & width_of(item)
        case "ModuleEventStatus":
            return int(module.events)
        case "ModuleEventMask":
            return int(module.mask)
        case "ModuleEventChannelStatus":
            return module.channel_events >> index & width_of(item)
        case "ModuleEventChannelMask":
            return module.channel_mask >> index & width_of(item)
        case "VoltageRampSpeed":
            return module.ramp_speed
        case "VoltageMax":
            return module.volts_max
        case "CurrentMax":
            return module.amps_max
        case "Supply24":
            return module.supply24
        case "Supply5":
            return module.supply5
        case "BoardTemperature":
            return module.temperature
        case "SerialNumber":
            return module.serial
        case "FirmwareRelease":
            return module.firmware.release
        case "BitRate":
            return module.bit_rate
        case "FirmwareName":
            return module.firmware.name
        case "ChannelNumber" if module.firmware.count_bytes:
            return len(module.channels)
        case "ModuleOption":
            return int(module.firmware.options)
        case "ModuleOptionSpec" if ModuleOption.FAST_RAMP in module.firmware.options:
            return 1
        case "OnAll":
            return _bits(channel.on for channel in module.channels)
        case "EmergencyOffAll":
            return _bits(channel.emergency for channel in module.channels)
        case "VariableGroup" if module.firmware.groups:
            return _read_group(module, index)
    if bit := CLEAR_ALL.get(item.name):
        return _bits(bool(channel.events >> bit & 1) for channel in module.channels)
    if item.name in module.stored:
        return module.stored[item.name]
    raise RefusedError


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << n for n, flag in enumerate(flags) if flag)


def _read_group(module: SimulatedIsegModule, number: int) -> Value:
    """Return a variable group; a status group shows the status bit of its members instead of the members."""
    members, kind = module.groups.get(number, (0, 0))
    if kind >> 14 == 1:
        bit = kind >> 4 & 0xF
        members &= _bits(bool(channel.status() >> bit & 1) for channel in module.channels)
    return (0, members, kind)
