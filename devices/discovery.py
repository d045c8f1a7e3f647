"""How a family finds its devices, for ``labioc init``. It only looks: nothing that is sent changes a device."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from serial.tools import list_ports

from devices.links.modbus_serial import stable_name

ALIAS: tuple[tuple[str, str], ...] = (("[device.channel.0]", ""), ('alias = "CALO:PMT07"', "a second name of its PVs"))
"""Hints about the channels of high voltage."""

Report = Callable[[str], None]
"""Takes a line about what is being done, or why something was not found."""

CAN_CARDS = Path("/sys/class/net")
_ARPHRD_CAN = "280"
"""Type of a CAN interface in Linux (include/uapi/linux/if_arp.h)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One device that was found; ``text`` is what it says of itself.

    ``keys`` are those of its ``[[device]]`` beside name and type, in the order to be written, ``remarks`` a few words
    about some of them, ``hints`` lines of TOML that a user may want to have, each with a few words. ``number`` is the
    address on a shared wire, where that is a good number for its name, ``adapter`` the options of the CAN adapter
    behind the key ``can``.
    """

    text: str
    keys: Mapping[str, Any]
    remarks: Mapping[str, str] = field(default_factory=dict)
    hints: Sequence[tuple[str, str]] = ()
    number: int | None = None
    adapter: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """``where`` says how a place to look at is written, ``places`` lists those that this computer has.

    ``look`` returns the devices at a place. It raises ValueError for a place that is none, and reports why nothing was
    found there.
    """

    where: str
    places: Callable[[], Sequence[str]]
    look: Callable[[str, Report], Coroutine[Any, Any, Sequence[Found]]]


def serial_places() -> list[str]:
    """Return the serial ports of this computer, by names that stay the same when they are plugged in again."""
    return [f"serial://{stable_name(port.device)}" for port in sorted(list_ports.comports())]


def can_cards(folder: Path = CAN_CARDS) -> list[str]:
    """Return the CAN interfaces that Linux has."""
    types = ((path.parent.name, path) for path in sorted(folder.glob("*/type")))
    return [name for name, path in types if path.read_text().strip() == _ARPHRD_CAN]


def is_up(card: str, folder: Path = CAN_CARDS) -> bool:
    """Return whether a network interface has been switched on, True when that is not known."""
    try:
        return bool(int((folder / card / "flags").read_text(), 16) & 1)
    except (OSError, ValueError):
        return True


def completed(place: str, default: str = "") -> str:
    """Return a place as an address: ``/dev/NAME`` is a serial port, anything else without a scheme gets the default."""
    if not place or "://" in place:
        return place
    return f"serial://{place}" if place.startswith("/") else f"{default}{place}"


def take_options(place: str, *names: str) -> tuple[str, dict[str, str]]:
    """Take options out of the query of an address; returns what is left of it, and those that were there."""
    base, _, query = place.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    taken = {name: options.pop(name) for name in names if name in options}
    return (f"{base}?{urlencode(options)}" if options else base), taken


def number_option(options: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    """Return a whole number among options. Raises ValueError that says what is allowed."""
    text = options.get(name, str(default))
    if not text.isdecimal() or int(text) not in allowed:
        raise ValueError(f"{name}: found {text!r}, allowed: {allowed[0]} to {allowed[-1]}")
    return int(text)
