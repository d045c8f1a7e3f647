"""Raw access to an Iseg module in words: an item by its name or DATA_ID, an index, a value."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from devices.errors import Refused
from devices.iseg.edcp.items import BY_NAME, ITEMS, Index, Item, Type
from devices.model import RawRequest, Value, Way
from devices.rules.channels import channel_prefix
from devices.rules.raw_words import number_in, whole_number

USAGE = "ITEM [INDEX] [= VALUE]; ITEM is a name or a number like 0x4100, INDEX a channel, group, offset or sensor"

Access = Callable[[str | int, int | None, Value | None], Awaitable[Mapping[int | None, Value]]]

_NAMES = {name.lower(): name for name in BY_NAME}
_HIGHEST_INDEX = 0xFFFFFFFF  # of the items with a selector; the driver refuses what is too much for the others


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
        item = ITEMS.get(key & ~0x2000 if key >> 12 == 6 else key)  # 0x6xxx: the same item for many channels
    else:
        key = _NAMES.get(words[0].lower(), words[0])
        item = BY_NAME.get(key)
    if item is None:
        raise Refused(f"{words[0]} is no item of a module")
    index = whole_number("channel, group, offset or sensor", words[1], 0, _HIGHEST_INDEX) if len(words) == 2 else None
    asked = None if value is None else value if item.type is Type.TEXT else number_in(item.name, value)
    what = item.name if index is None else f"{item.name} {_index_name(item)} {index}"

    async def perform() -> list[str]:
        found = await access(key, index, asked)
        return [_line(item, number, shown) for number, shown in found.items()] or [f"{item.name}: sent"]

    of_channel = item.index is Index.CHANNEL and index is not None
    return RawRequest(what, value, perform, way(channel_prefix(index or 0) if of_channel else "", 0))


def _index_name(item: Item) -> str:
    return item.index.value if item.index is not Index.NONE else "index"


def _line(item: Item, number: int | None, value: Value) -> str:
    where = "" if number is None or item.index is Index.NONE else f" {item.index.value} {number}"
    if isinstance(value, tuple):
        text = ", ".join(f"{part:.10g}" for part in value)
    elif isinstance(value, float):
        text = f"{value:.7g}"  # R4 has no more
    else:
        text = f"{value} (0x{value:X})" if isinstance(value, int) and value > 9 else str(value)
    return f"{item.name}{where} = {text}" + (f" {item.unit}" if item.unit else "")
