"""The data items of EDCP: what each identifier means, its type, unit and place in a frame.

Source: iseg CAN EDCP Programmers guide 2.4; where its detail pages contradict its tables (CurrentRampSpeedUp and
Down, the group words of the module) the tables count, as in the EPICS driver drvAsynCan. Factory items (0x1401,
temperature calibration) are left out on purpose: they must not be sent.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from itertools import chain

from devices.errors import Garbled, OutOfLimits
from devices.model import Value


class Scope(Enum):
    """What an item belongs to."""

    CHANNEL = "channel"
    MODULE = "module"
    GROUP = "group"
    CRATE = "crate"


class Index(Enum):
    """What stands between the DATA_ID and the value.

    ``width`` is its length in bytes where there is a value, ``asked`` the lengths that it may have in a request.
    """

    NONE = "index", 0, (0,)
    CHANNEL = "channel", 1, (1,)
    OFFSET = "offset", 1, (0, 1)
    """The first channel of the word: 0, 16, 32...; some hosts and modules leave it out."""
    SENSOR = "sensor", 1, (0, 1)
    """A request without it asks for all of them."""
    PART = "part", 1, (0,)
    """The item comes in several frames."""
    GROUP = "group", 1, (2,)
    """A request adds the offset, 0."""
    SELECTOR = "selector", 4, (4,)

    def __init__(self, word: str, width: int, asked: tuple[int, ...]) -> None:
        self.word = word
        self.width = width
        self.asked = asked


class Type(Enum):
    """Type of a value; integers are big endian, R4 is an IEEE-754 single."""

    UI1 = ">B"
    SI1 = ">b"
    UI2 = ">H"
    UI4 = ">I"
    R4 = ">f"
    R4_UI1 = ">fB"
    RELEASE = ">4B"
    GROUP = ">BHH"
    """Offset, member list and type word of a variable group."""
    COUNT = "count"
    """One to four bytes, because guide and firmware differ; sent as four."""
    TEXT = "text"
    """ASCII up to the end of the frame, not terminated."""


@dataclass(frozen=True, slots=True)
class Item:
    """One data item. ``span`` is the range of values that the guide allows, None where it names none.

    Of a word that ``clears``, each bit written as 1 is cleared.
    """

    name: str
    id: int
    type: Type
    scope: Scope
    index: Index = Index.NONE
    unit: str = ""
    readable: bool = True
    settable: bool = False
    clears: bool = False
    span: tuple[float, float] | None = None
    help: str = ""

    @property
    def many_id(self) -> int:
        """DATA_ID that reads this item of many channels with one request; only for items of a channel."""
        return self.id | 0x2000


def pack(item: Item, value: Value) -> bytes:
    """Return the bytes of a value. Raises OutOfLimits when the item's type cannot hold it (or it is not finite)."""
    if item.type is Type.TEXT:
        return _pack_text(item, value)
    numbers = value if isinstance(value, tuple) else (value,)
    if any(isinstance(number, str) or not math.isfinite(number) for number in numbers):
        raise OutOfLimits(f"{item.name} cannot be {value!a}")
    whole = item.type not in (Type.R4, Type.R4_UI1)
    if whole and any(number != int(number) for number in numbers):
        raise OutOfLimits(f"{item.name} is a whole number, not {value}")
    layout = ">I" if item.type is Type.COUNT else item.type.value
    try:
        return struct.pack(layout, *(int(number) for number in numbers) if whole else numbers)
    except (struct.error, OverflowError):
        raise OutOfLimits(f"{item.name} cannot hold {value}") from None


def _pack_text(item: Item, value: Value) -> bytes:
    if not isinstance(value, str) or not value.isascii() or not 1 <= len(value) <= 6:
        raise OutOfLimits(f"{item.name} is a text of 1 to 6 ASCII characters, not {value!a}")
    return value.encode("ascii")


def unpack(item: Item, data: bytes) -> Value:
    """Return the value of an item.

    Raises Garbled when the length is wrong, a number not finite or a text not ASCII.
    """
    if item.type is Type.TEXT:
        if not data:
            raise Garbled(f"{item.name} without a value")
        if not data.isascii():
            raise Garbled(f"{item.name} is not ASCII: {data!a}")
        return data.decode("ascii")
    if item.type is Type.COUNT:
        if not 1 <= len(data) <= 4:
            raise Garbled(f"{item.name} with {len(data)} bytes instead of 1 to 4")
        return int.from_bytes(data, "big")
    wanted = struct.calcsize(item.type.value)
    if len(data) != wanted:
        raise Garbled(f"{item.name} with {len(data)} bytes instead of {wanted}")
    numbers: tuple[float, ...] = struct.unpack(item.type.value, data)
    if not all(map(math.isfinite, numbers)):
        raise Garbled(f"{item.name} is {numbers[0]}")
    return numbers[0] if len(numbers) == 1 else numbers


def _item(
    scope: Scope,
    item_id: int,
    name: str,
    kind: Type,
    access: str = "r",
    unit: str = "",
    span: tuple[float, float] | None = None,
    help: str = "",
    index: Index = Index.NONE,
) -> Item:
    """Return a row of the tables; ``access`` is r, w, rw, or rc for an item that can be read and cleared."""
    readable, settable, clears = "r" in access, access != "r", "c" in access
    return Item(name, item_id, kind, scope, index, unit, readable, settable, clears, span, help)


_channel = partial(_item, Scope.CHANNEL, index=Index.CHANNEL)
_module = partial(_item, Scope.MODULE)
_group = partial(_item, Scope.GROUP)
_crate = partial(_item, Scope.CRATE)


def _words(make: Callable[..., Item], item_id: int, name: str, access: str, **more: Index) -> tuple[Item, Item]:
    """Return the word of 16 bits and the one of 32 that has it as its low half."""
    return make(item_id, name, Type.UI2, access, **more), make(item_id | 0x80, f"{name}32", Type.UI4, access, **more)


_FLEX = "EHS FLEX only"
_SWITCHED = "NHR and SHR only"

_CHANNEL_ITEMS = (
    *_words(_channel, 0x4000, "ChannelStatus", "r"),
    *_words(_channel, 0x4001, "ChannelControl", "rw"),
    *_words(_channel, 0x4002, "ChannelEventStatus", "rc"),
    *_words(_channel, 0x4003, "ChannelEventMask", "rw"),
    _channel(0x4005, "DelayedTripTime", Type.UI2, "rw", "ms", (1, 4095)),
    _channel(0x4006, "DelayedTripAction", Type.UI1, "rw", span=(0, 4)),
    _channel(0x4007, "ExternalInhibitAction", Type.UI1, "rw", span=(0, 4)),
    _channel(0x4010, "VoltageRampPriority", Type.UI2, "rw"),
    _channel(0x4100, "VoltageSet", Type.R4, "rw", "V"),
    _channel(0x4101, "CurrentSet", Type.R4, "rw", "A", help="trip value while kill is enabled"),
    _channel(0x4102, "VoltageMeasure", Type.R4, "r", "V"),
    _channel(0x4103, "CurrentMeasure", Type.R4, "r", "A"),
    _channel(0x4104, "VoltageBounds", Type.R4, "rw", "V", help="half width of the band round VoltageSet"),
    _channel(0x4105, "CurrentBounds", Type.R4, "rw", "A"),
    _channel(0x4106, "VoltageNominal", Type.R4, "r", "V", help="negative on negative outputs"),
    _channel(0x4107, "CurrentNominal", Type.R4, "r", "A"),
    _channel(0x4108, "PowerNominal", Type.R4, "r", "W"),
    _channel(0x4109, "CurrentMeasureRange", Type.R4_UI1, "r", "A", help="then 1 in the low range; some classes"),
    _channel(0x410A, "VoltageBottom", Type.R4, "rw", "%", help="of set; EHS STACK only"),
    _channel(0x4120, "VctCoefficient", Type.R4, "rw", "V/K", help="option VCT"),
    _channel(0x4121, "TemperatureExternal", Type.R4, "r", "degC", help="option VCT"),
    _channel(0x4122, "ResistorExternal", Type.R4, "rw", "Ohm", help="EHS STACK only"),
    _channel(0x4123, "VoltageRampSpeedUp", Type.R4, "rw", "V/s", help=_FLEX),
    _channel(0x4124, "VoltageRampSpeedDown", Type.R4, "rw", "V/s", help=_FLEX),
    _channel(0x4125, "CurrentRampSpeedUp", Type.R4, "rw", "A/s", help=_FLEX),
    _channel(0x4126, "CurrentRampSpeedDown", Type.R4, "rw", "A/s", help=_FLEX),
    _channel(0x4127, "VoltageRampSpeedMin", Type.R4, "r", "V/s", help=_FLEX),
    _channel(0x4128, "VoltageRampSpeedMax", Type.R4, "r", "V/s", help=_FLEX),
    _channel(0x4129, "CurrentRampSpeedMin", Type.R4, "r", "A/s", help=_FLEX),
    _channel(0x4130, "CurrentRampSpeedMax", Type.R4, "r", "A/s", help=_FLEX),
    _channel(0x4134, "PowerSet", Type.R4, "rw", "W"),
    _channel(0x4135, "PowerMeasure", Type.R4, "r", "W"),
    _channel(0x4140, "OutputMode", Type.UI1, "rw", span=(1, 3), help=_SWITCHED),
    _channel(0x4141, "OutputPolarity", Type.SI1, "rw", span=(-1, 1), help=_SWITCHED),
    _channel(0x4142, "VoltageMode", Type.R4, "r", "V", help=_SWITCHED),
    _channel(0x4143, "CurrentMode", Type.R4, "r", "A", help=_SWITCHED),
    *(_channel(0x4150 + n, f"VoltageModeList{n}", Type.R4, "r", "V", help=_SWITCHED) for n in range(16)),
    *(_channel(0x4160 + n, f"CurrentModeList{n}", Type.R4, "r", "A", help=_SWITCHED) for n in range(16)),
    _channel(0x4200, "GroupNumber", Type.UI1, "rw", span=(0, 255), help="for broadcasts to groups"),
)

_MODULE_ITEMS = (
    *_words(_module, 0x1000, "ModuleStatus", "r"),
    *_words(_module, 0x1001, "ModuleControl", "rw"),
    *_words(_module, 0x1002, "ModuleEventStatus", "rc"),
    *_words(_module, 0x1003, "ModuleEventMask", "rw"),
    *_words(_module, 0x1004, "ModuleEventChannelStatus", "rc", index=Index.OFFSET),
    *_words(_module, 0x1005, "ModuleEventChannelMask", "rw", index=Index.OFFSET),
    _module(0x1006, "ModuleEventGroupStatus", Type.UI4, "rc"),
    _module(0x1007, "ModuleEventGroupMask", Type.UI4, "rw"),
    _module(0x1100, "VoltageRampSpeed", Type.R4, "rw", "%/s", (0, 100), "of the nominal voltage"),
    _module(0x1101, "CurrentRampSpeed", Type.R4, "rw", "%/s", (2, 100), "of the nominal current; not EDS"),
    _module(0x1102, "VoltageMax", Type.R4, "r", "%", help="front potentiometer, of nominal"),
    _module(0x1103, "CurrentMax", Type.R4, "r", "%", help="front potentiometer; some firmware answers in A"),
    _module(0x1104, "Supply24", Type.R4, "r", "V", help="good within 10 %"),
    _module(0x1105, "Supply5", Type.R4, "r", "V", help="good within 5 %"),
    _module(0x1106, "BoardTemperature", Type.R4, "r", "degC", help="limit 55"),
    _module(0x1107, "ThresholdArmErrorDetection", Type.R4, "rw", "%"),
    _module(0x1200, "SerialNumber", Type.UI4, "r"),
    _module(0x1201, "FirmwareRelease", Type.RELEASE, "r", help="four numbers"),
    _module(0x1202, "BitRate", Type.UI2, "rw", "kbit/s", help="after reset"),
    _module(0x1203, "FirmwareName", Type.TEXT, "r"),
    _module(0x1204, "AdcSamplesPerSecond", Type.UI2, "rw", "1/s", (5, 500)),
    _module(0x1205, "DigitalFilter", Type.UI2, "rw", span=(1, 1024)),
    _module(0x1208, "ChannelNumber", Type.COUNT, "r"),
    _module(0x1209, "ArticleDescription", Type.TEXT, "r", index=Index.PART),
    _module(0x1280, "ModuleOption", Type.UI4, "r"),
    _module(0x1290, "ModuleOptionSpec", Type.UI1, "r", index=Index.SELECTOR),
    _module(0x12A0, "ModuleCommMode", Type.UI2, "w", help="bit 0: fast mode"),
)

_GROUP_ITEMS = (
    _group(0x2000, "VariableGroup", Type.GROUP, "rw", index=Index.GROUP, help="offset, members, type"),
    _group(0x2001, "Temperature", Type.R4, "r", "degC", index=Index.SENSOR),
    _group(0x2002, "SupplyMeasure", Type.R4, "r", "V", index=Index.SENSOR),
    _group(0x2003, "SupplyNominal", Type.R4, "r", "V", index=Index.SENSOR),
    _group(0x2005, "ChannelVoltageMax", Type.R4, "r", "%", help="hardware limit of each channel", index=Index.SENSOR),
    _group(0x2006, "ChannelCurrentMax", Type.R4, "r", "%", help="hardware limit of each channel", index=Index.SENSOR),
    _group(0x2100, "VoltageSetAll", Type.R4, "w", "V"),
    _group(0x2101, "CurrentSetAll", Type.R4, "w", "A"),
    _group(0x2200, "OnAll", Type.UI4, "rw", help="bit n: channel n; a 0 switches it off"),
    _group(0x2201, "EmergencyOffAll", Type.UI4, "rw"),
    _group(0x2202, "VoltageLimitAll", Type.UI4, "rc"),
    _group(0x2203, "CurrentLimitAll", Type.UI4, "rc"),
    _group(0x2204, "TripAll", Type.UI4, "rc"),
    _group(0x2205, "InhibitAll", Type.UI4, "rc"),
    _group(0x2280, "OnAllUpper", Type.UI4, "rw", help="channels 32 to 63"),
    _group(0x2290, "EmergencyOffAllUpper", Type.UI4, "rw", help="channels 32 to 63"),
)

_BUS_STATISTICS = (
    "Received", "Overrun", "Transmitted", "BufferFull", "Dropped",
    "ErrorSeconds", "Throttle", "Status", "Disabled", "BitRate",
)  # fmt: skip

_CRATE_ITEMS = (
    _crate(0x1113, "Uptime", Type.UI4, unit="s"),
    _crate(0x1A00, "CrateStatus", Type.UI4),
    _crate(0x1A01, "CrateControl", Type.UI4, "rw"),
    _crate(0x1A02, "CrateEventStatus", Type.UI4, "rw"),
    _crate(0x1A03, "CrateEventMask", Type.UI4, "rw"),
    _crate(0x1A04, "FanSpeed", Type.R4, "rw", "%"),
    _crate(0x1A05, "CratePower", Type.UI1, "rw"),
    _crate(0x1A06, "ChassisId", Type.COUNT),
    *(_crate(0x2040 + n, f"Bus{word}", Type.COUNT) for n, word in enumerate(_BUS_STATISTICS)),
)

ITEMS: Mapping[int, Item] = {item.id: item for item in chain(_CHANNEL_ITEMS, _MODULE_ITEMS, _GROUP_ITEMS, _CRATE_ITEMS)}
"""Every item by its DATA_ID, channel items by the one of a single channel (0x4xxx)."""

BY_NAME: Mapping[str, Item] = {item.name: item for item in ITEMS.values()}
"""Every item by its name, as in the manufacturer's guide."""


def item_of(data_id: int) -> Item | None:
    """Return the item of a DATA_ID, that of many channels (0x6xxx) too; None for an unknown one."""
    return ITEMS.get(data_id & ~0x2000 if data_id >> 12 == 6 else data_id)
