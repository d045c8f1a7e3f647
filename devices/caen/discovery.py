"""How CAEN supplies are found: BDNAME is asked for at an address; then identity and limits are read, all by MON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from devices.caen.driver import CaenDriver
from devices.caen.family import FAMILY
from devices.discovery import ALIAS, Discovery, Found, Report, completed, number_option, serial_places, take_options
from devices.errors import DeviceError, Garbled, LinkDown
from devices.links.line import parse_address

PORTS: Final = (23, 1470)
"""TCP ports of DT55xxE units (Telnet, DT55xxE manual) and of the N1470 and NDT14xx family."""

BAUDRATES: Final = (9600, 115200, 57600, 38400, 19200)
"""What units can be set to (N1470 manual); 9600 is how they are delivered."""

_MOST_CHANNELS: Final = 100


async def look(place: str, report: Report) -> Sequence[Found]:
    """Return the supply at a place, the first that answers where several ports or bit rates are to be tried."""
    place, options = take_options(completed(place, "tcp://"), "board")
    board = number_option(options, "board", 0, range(32))
    for address in list(_addresses(place)):
        report(f"asking for BDNAME at {address}")
        try:
            return [await _ask(address, board)]
        except DeviceError as error:
            report(str(error) if address in str(error) else f"{address}: {error}")
            if isinstance(error, LinkDown) and address.startswith("serial"):
                break  # the port cannot be opened, at whatever rate
    return []


def _addresses(place: str) -> Iterator[str]:
    """Yield what to try. Raises ValueError."""
    url = urlsplit(place)
    if url.scheme == "tcp" and url.hostname and ":" not in url.netloc and not url.path.strip("/"):
        places = [f"tcp://{url.hostname}:{port}" for port in PORTS]
    elif url.scheme == "serial" and "baudrate" not in url.query:
        places = [f"{place}{'&' if url.query else '?'}baudrate={rate}" for rate in BAUDRATES]
    else:
        places = [place]
    for one in places:
        parse_address(one)
        yield one


async def _ask(address: str, board: int) -> Found:
    """Return the supply at an address. Raises DeviceError."""
    driver = CaenDriver(
        FAMILY.example_settings(
            name="init", address=address, channels=_MOST_CHANNELS, readonly=True, options={"board": board}
        )
    )
    try:
        await driver.connect()
        about = await driver.read(_ABOUT)
        value = {name: reading.value for name, reading in about.items() if reading.value is not None}
        if "BD.NCH" not in value:
            raise Garbled("a supply answers, but not how many channels it has")
        count = int(str(value["BD.NCH"]))
        channels = [f"CH{number:02d}" for number in range(count)]
        await driver.read([f"{channel}.{name}.{end}" for channel in channels for name, end in _LIMITS])
        limits = {number: _limits(driver, channel) for number, channel in enumerate(channels)}
    finally:
        await driver.close()
    keys: dict[str, Any] = {"address": address, "channels": count}
    if "BD.SERIAL" in value:
        keys["serial"] = str(value["BD.SERIAL"])
    if board:
        keys["board"] = board
    same = all(one == limits[0] for one in limits.values())
    if same and limits[0]:
        keys["limits"] = limits[0]
    elif not same:
        keys["channel"] = {str(number): {"limits": one} for number, one in limits.items() if one}
    name, serial, firmware = (value.get(one, "unknown") for one in _ABOUT[:3])
    text = f"{name}, serial {serial}, firmware {firmware}, {count} channels"
    return Found(
        text=text + ("; its front panel is in LOCAL: it will refuse settings" if value.get("BD.LOCAL") == 1 else ""),
        keys=keys,
        remarks={
            "serial": "another unit at this address is a MAJOR alarm",
            "limits": "V and uA that the supply allows now: make it what your load stands",
        },
        hints=() if "channel" in keys else (*ALIAS, ("limits = { VSET = [0, 1500] }", "of this channel alone")),
    )


_ABOUT: Final = ("BD.NAME", "BD.SERIAL", "BD.FW", "BD.NCH", "BD.LOCAL")
_LIMITS: Final = (("VSET", "HI"), ("VSET", "LO"), ("ISET", "HI"))


def _limits(driver: CaenDriver, channel: str) -> Mapping[str, tuple[float, float]]:
    """Return the limits in force for the settings of a channel, as far as they are known."""
    found = {name: driver.limits(f"{channel}.{name}") for name in ("VSET", "ISET")}
    return {
        name: (limits.low, limits.high)
        for name, limits in found.items()
        if limits is not None and math.isfinite(limits.low) and math.isfinite(limits.high)
    }


DISCOVERY = Discovery(
    where="tcp://HOST (ports 23 and 1470 are tried), tcp://HOST:PORT, or serial:///dev/NAME (all bit rates are tried)",
    places=serial_places,
    look=look,
)
