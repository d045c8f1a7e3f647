"""How Iseg modules are found: the bus is listened to, nothing is sent.

A module that is not registered announces itself every 1 to 10 s (EDCP guide). Answering would register it, so nothing
more is asked here: its channels and limits are read once it is served. A module that another program has registered
does not announce itself; its frames show that it is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from devices.discovery import (
    ALIAS,
    Discovery,
    Found,
    Report,
    can_cards,
    completed,
    is_up,
    number_option,
    serial_places,
    take_options,
)
from devices.errors import LinkDown
from devices.iseg.edcp.protocol import CRATE, Announcement, Data, General, decode
from devices.iseg.load import BIT_RATE
from devices.links.can_bus import join
from devices.links.can_frame import Frame
from devices.links.can_options import option_mistakes

SECONDS: Final = 12
"""How long to listen: announcements come every 10 s at least."""

_CLASSES: Final = {
    21: "E16D0, E16D1 or E24D1", 22: "HPS", 23: "HPS", 24: "E08C0", 25: "E08F0", 26: "E08F2", 27: "E08C2",
    39: "N06C2 or N04C2", 60: "HPS", 70: "E16C1",
}  # fmt: skip
"""Device class in an announcement, EDCP column of the guide's table."""

_CHANNELS: Final = {24: 8, 25: 8, 26: 8, 27: 8, 70: 16}


_wait = asyncio.sleep


class _Ear:
    """Takes every frame of a bus and sends none."""

    identifiers = frozenset(range(0x800))

    def __init__(self) -> None:
        self.frames = 0
        self.announced: dict[int, Announcement] = {}
        self.busy: set[int] = set()
        self.lost: LinkDown | None = None

    def received(self, frame: Frame, stamp: float) -> None:
        """Note whose frame this is."""
        self.frames += 1
        match decode(frame):
            case Announcement() as message:
                self.announced[message.address] = message
            case Data(address=address) | General(address=address):
                self.busy.add(address)

    def bus_lost(self, error: LinkDown) -> None:
        """Keep why there will be no more frames."""
        self.lost = error


async def look(place: str, report: Report) -> Sequence[Found]:
    """Return the modules that announce themselves."""
    place, taken = take_options(completed(place, "can://socketcan/"), "seconds")
    seconds = number_option(taken, "seconds", SECONDS, range(1, 3601))
    options = _options(place)
    card = str(options["channel"])
    if options["interface"] == "socketcan" and not is_up(card):
        report(f"{card} is off; switch it on: sudo ip link set {card} up type can bitrate {BIT_RATE}")
        return []
    ear = _Ear()
    report(f"listening to {options['interface']} {card} for {seconds} s, nothing is sent")
    try:
        bus = await join("init", options, ear)
        await _wait(seconds)
        await bus.leave(ear)
    except LinkDown as error:
        report(str(error))
        return []
    if ear.lost is not None:
        report(str(ear.lost))
    _explain(ear, report)
    return [_found(message, options) for address, message in sorted(ear.announced.items()) if address != CRATE]


def _options(place: str) -> dict[str, Any]:
    """Return the options for python-can of a place. Raises ValueError."""
    url = urlsplit(place)
    channel = url.path if url.path.count("/") > 1 else url.path.strip("/")
    if url.scheme != "can" or not url.netloc or not channel:
        raise ValueError(f"found {place!r}, allowed: {DISCOVERY.where}")
    options: dict[str, Any] = {"interface": url.netloc, "channel": channel}
    if url.netloc not in ("socketcan", "virtual", "udp_multicast"):  # these ignore it
        options["bitrate"] = BIT_RATE
    options |= {name: int(text) if text.isdecimal() else text for name, text in parse_qsl(url.query)}
    mistakes = [f"{name}: {reason}" for name, reason in option_mistakes(options)]
    if mistakes:
        raise ValueError("; ".join(mistakes))
    return options


def _explain(ear: _Ear, report: Report) -> None:
    """Report what else was on the bus, or why there may have been nothing."""
    for address in sorted(ear.busy - ear.announced.keys() - {CRATE}):
        report(f"module {address} is in use by another program: end that first, then look again after a minute")
    if CRATE in ear.announced or CRATE in ear.busy:
        report("there is a crate controller, which needs no section of its own")
    if not ear.frames:
        report(
            f"no frame at all: are the modules on, is the bus terminated, is its bit rate {BIT_RATE} (see the label)?"
        )
    elif not ear.announced and not ear.busy:
        report(f"{ear.frames} frames, none of an Iseg module")


def _found(message: Announcement, options: dict[str, Any]) -> Found:
    kind = _CLASSES.get(message.device_class, f"class {message.device_class}")
    channels = _CHANNELS.get(message.device_class)
    return Found(
        text=f"module {message.address}, {kind}",
        keys={"can": "main", "module": message.address, **({} if channels is None else {"channels": channels})},
        remarks={"can": "the adapter above", "module": "address on the bus, usually the slot"},
        hints=(
            *((("channels = 16", "how many it has: MOD:NCH"),) if channels is None else ()),
            ("limits = { VSET = [0, 3000], ISET = [0, 500] }", "V and uA; CHnn:VNOM and CHnn:INOM are what it can"),
            *ALIAS,
        ),
        number=message.address,
        adapter=options,
    )


def _places() -> list[str]:
    ports = [f"can://slcan{place.removeprefix('serial://')}?bitrate={BIT_RATE}" for place in serial_places()]
    return [*(f"can://socketcan/{card}" for card in can_cards()), *ports]


DISCOVERY = Discovery(
    where="can://INTERFACE/CHANNEL as python-can calls them, e.g. can://socketcan/can0 or "
    "can://slcan/dev/ttyACM0?bitrate=125000; with seconds=12 for how long to listen",
    places=_places,
    look=look,
)
