"""Any item of an Iseg module by its name or DATA_ID, for experts at a console; a write is guarded as a put is."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence

from devices.clock import DriverClock
from devices.errors import LinkDown, OutOfLimits, Refused, ReplyTimeout
from devices.iseg.catalogue import CHANNEL_SETTINGS, MODULE_SETTINGS
from devices.iseg.edcp.bits import KEPT_CONTROL, ModuleControl
from devices.iseg.edcp.items import BY_NAME, Index, Item, Scope, Type, item_of
from devices.iseg.edcp.protocol import read
from devices.iseg.exchange import LOOKS, PAUSE
from devices.iseg.question import Question
from devices.iseg.unit import IsegUnit
from devices.model import DeviceSettings, RawRequest, Value, Way
from devices.rules.channels import channel_prefix
from devices.rules.raw_words import number_in, whole_number
from devices.rules.settings import check_writable

USAGE = "ITEM [INDEX] [= VALUE]; ITEM is a name or a number like 0x4100, INDEX a channel, group, offset or sensor"

Access = Callable[[str | int, int | None, Value | None], Awaitable[Mapping[int | None, Value]]]

_NAMES = {name.lower(): name for name in BY_NAME}
_HIGHEST_INDEX = 0xFFFFFFFF  # of the items with a selector; the driver refuses what is too much for the others

_HAVE_PVS = {
    **{setting.item: f"CHnn:{setting.suffix}" for setting in CHANNEL_SETTINGS},
    **{setting.item: setting.suffix for setting in MODULE_SETTINGS},
    "ChannelControl": "CHnn:ON",
    "ChannelControl32": "CHnn:ON",
    "OnAll": "CHnn:ON",
    "OnAllUpper": "CHnn:ON",
    "VoltageSetAll": "CHnn:VSET",
    "CurrentSetAll": "CHnn:ISET",
    "VariableGroup": "CHnn:VSET and CHnn:ON",  # a set group copies settings past all limits
}
"""Items that are written through a PV, where limits in force and demands are known."""

_CONFIGURATION = frozenset({"BitRate", "ModuleCommMode"})
"""Items by which a module may be lost: it speaks at another rate, or in another way, from then on."""

_SENSORS = 16  # more than any board has; what does not answer is not there


class IsegRaw:
    """Raw access to the items of one module."""

    def __init__(self, unit: IsegUnit, settings: DeviceSettings, clock: DriverClock) -> None:
        self._unit = unit
        self._settings = settings
        self._clock = clock

    async def access(self, item: str | int, index: int | None, value: Value | None) -> dict[int | None, Value]:
        """Read an item, or set it and read it back; returns its values by channel, offset, group or sensor.

        Raises Refused for what cannot be read or set, or is set through a PV; ReplyTimeout when nothing answers, as
        modules do with items that they do not know.
        """
        found = BY_NAME.get(item) if isinstance(item, str) else item_of(item)
        if found is None or found.scope is Scope.CRATE:
            name = item if isinstance(item, str) else f"{item:#06x}"
            raise Refused(f"{name} is no item of a module")
        if not self._unit.link.connected:
            raise LinkDown(f"{self._unit.link}: not connected")
        if value is None:
            return await self._read(found, index)
        check_writable(self._settings)
        if isinstance(value, float) and value.is_integer() and found.type not in (Type.R4, Type.R4_UI1):
            value = int(value)  # 64.0 is a word too
        _check(found, value)
        if found.name in _CONFIGURATION and not self._settings.options.get("allow_configuration"):
            raise Refused(f"{found.name}: the module may be lost by it; the site file has no allow_configuration")
        await self._unit.check_byte_order()
        return await self._write(found, index, value)

    async def _read(self, item: Item, index: int | None) -> dict[int | None, Value]:
        if item.index is Index.CHANNEL and index is None:
            raise OutOfLimits(f"{item.name} of which channel?")
        frame = read(self._unit.link.address, item, index, base=self._unit.link.base)
        if item.index in (Index.PART, Index.SENSOR) and index is None:
            # How many frames come is not known: take what comes until it is quiet.
            question = Question(frame, item.id, frozenset(), lambda parts: len(parts) >= _SENSORS)
        else:
            key = index if index is not None or item.index is Index.NONE else 0
            question = Question(frame, item.id, frozenset((key,)))
        await self._unit.link.ask([question])
        if not question.answers:
            raise ReplyTimeout(f"{item.name}: no answer; either the module does not know it or the index is wrong")
        return {number: answer.value for number, answer in question.answers.items()}

    async def _write(self, item: Item, index: int | None, value: Value) -> dict[int | None, Value]:
        self._unit.write(item, value, index)
        if not item.readable:
            return {}
        shown: dict[int | None, Value] = {}
        for look in range(LOOKS):
            if look:
                await self._clock.sleep(PAUSE)
            try:
                shown = await self._read(item, index)
            except ReplyTimeout as error:
                sent = f"{item.name} = {value} was sent, and the module has not answered since"
                raise ReplyTimeout(f"{sent}: the outcome is unknown") from error
            if item.clears or all(_same(item, found, value) for found in shown.values()):
                return shown
        raise Refused(f"{item.name} = {value}: the module reads back {', '.join(str(v) for v in shown.values())}")


def _check(item: Item, value: Value) -> None:
    """Raise Refused or OutOfLimits for what must not be written here."""
    if not item.settable:
        raise Refused(f"{item.name} cannot be set")
    if item.name in _HAVE_PVS:
        raise Refused(f"{item.name} is set through {_HAVE_PVS[item.name]}, which knows its limits")
    if item.type not in (Type.TEXT, Type.GROUP) and not isinstance(value, int | float):
        raise OutOfLimits(f"{item.name}: {value!r} is not a number")
    if item.span is not None and isinstance(value, int | float) and not item.span[0] <= value <= item.span[1]:
        raise OutOfLimits(f"{item.name} {value} {item.unit} is outside {item.span[0]:g} to {item.span[1]:g}")
    if item.name.startswith("ModuleControl") and isinstance(value, int) and value & KEPT_CONTROL != KEPT_CONTROL:
        raise OutOfLimits(f"{item.name}: bits 11 (big endian) and 12 (fine adjustment) have to stay set")


def _same(item: Item, found: Value, value: Value) -> bool:
    if isinstance(found, float) and isinstance(value, int | float):
        return math.isclose(found, value, rel_tol=1e-6)  # R4 has 24 bits
    if item.name.startswith("ModuleControl") and isinstance(found, int) and isinstance(value, int):
        return found == value & ~int(ModuleControl.CLEAR)  # doClear reads 0
    return found == value


def iseg_request(
    access: Access, way: Callable[[str, Value], Way], words: Sequence[str], value: str | None
) -> RawRequest:
    """Understand a raw access; ``access`` performs it, ``way`` is that of the driver.

    Raises Refused when the words make no sense.
    """
    if not 1 <= len(words) <= 2:
        raise Refused(f"expected {USAGE}")
    key: str | int
    if words[0][:1].isdigit():
        key = whole_number("number of an item", words[0], 0, 0xFFFF)
        item = item_of(key)
    else:
        key = _NAMES.get(words[0].lower(), words[0])
        item = BY_NAME.get(key)
    if item is None:
        raise Refused(f"{words[0]} is no item of a module")
    index = whole_number("channel, group, offset or sensor", words[1], 0, _HIGHEST_INDEX) if len(words) == 2 else None
    asked = None if value is None else value if item.type is Type.TEXT else number_in(item.name, value)
    what = item.name if index is None else f"{item.name} {item.index.word} {index}"

    async def perform() -> list[str]:
        found = await access(key, index, asked)
        return [_line(item, number, shown) for number, shown in found.items()] or [f"{item.name}: sent"]

    of_channel = item.index is Index.CHANNEL and index is not None
    return RawRequest(what, value, perform, way(channel_prefix(index or 0) if of_channel else "", 0))


def _line(item: Item, number: int | None, value: Value) -> str:
    where = "" if number is None or item.index is Index.NONE else f" {item.index.word} {number}"
    if isinstance(value, tuple):
        text = ", ".join(f"{part:.10g}" for part in value)
    elif isinstance(value, float):
        text = f"{value:.7g}"  # R4 has no more
    else:
        text = f"{value} (0x{value:X})" if isinstance(value, int) and value > 9 else str(value)
    return f"{item.name}{where} = {text}" + (f" {item.unit}" if item.unit else "")
