"""What a site file holds as far as it can be understood, for rules that look at one that may have mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeGuard

from devices.registry import FAMILIES

Table = Mapping[str, Any]


def table(of: Table, key: str) -> Table:
    """Return the table of this key; an empty one when there is none."""
    found = of.get(key)
    return found if isinstance(found, dict) else {}


def listed(of: Table, key: str) -> list[Any]:
    """Return the list of this key; an empty one when there is none."""
    found = of.get(key)
    return found if isinstance(found, list) else []


def tables(of: Table, key: str) -> Iterator[tuple[int, Table]]:
    """Yield the tables in the list of this key, each with its place."""
    return ((index, one) for index, one in enumerate(listed(of, key)) if isinstance(one, dict))


def devices(data: Table) -> Iterator[tuple[int, Table]]:
    """Yield the devices that are complete enough to be looked at further, each with its place."""
    for index, device in tables(data, "device"):
        if isinstance(device.get("type"), str) and device["type"] in FAMILIES:
            yield index, device


def channel_count(device: Table) -> int:
    """Return how many channels a device has, 0 when that is not known."""
    count = device.get("channels", FAMILIES[device["type"]].default_channels)
    return min(count, 100) if isinstance(count, int) else 0


def channels(device: Table) -> Iterator[tuple[str, Table]]:
    """Yield the channels that have settings of their own, each with its number."""
    for number, channel in table(device, "channel").items():
        if number.isdecimal() and isinstance(channel, dict):
            yield number, channel


def prefix(data: Table) -> str:
    """Return the prefix of the site, empty when it has none."""
    found = table(data, "site").get("prefix")
    return found if isinstance(found, str) else ""


def is_number(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
