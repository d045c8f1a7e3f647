"""How furnace controllers are found: every address of a line is asked for its status word, by reads alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from devices.clock import DriverClock
from devices.discovery import Discovery, Found, Report, completed, serial_places, take_options
from devices.errors import Garbled, LinkDown, ReplyTimeout
from devices.eurotherm.registers import REGISTERS, firmware_text
from devices.eurotherm.unit import EurothermUnit
from devices.links.modbus import UNITS, ModbusPort, ModbusUnit
from devices.links.modbus_frames import READ, ModbusRefusal, Request
from devices.links.modbus_serial import ModbusAddress, parse_modbus_address

ADDRESSES: Final = "1-8"
"""Asked when the place does not say which."""

LINES: Final = ((9600, "none"), (19200, "none"), (9600, "even"), (9600, "odd"))
"""Bit rates and parities that are tried when the place does not say which; instruments are delivered with the first."""

TIMEOUT: Final = 0.3
"""Seconds that an address has for its answer beyond the time of the bytes; instruments begin within 0.1 s."""

_IDENTITY: Final = ("VERSION", "TYPE", "SP.HI", "SP.LO", "PV.IN")


async def look(place: str, report: Report) -> Sequence[Found]:
    """Return the instruments on a line; all of them have the same bit rate and parity."""
    line, options = take_options(completed(place), "units")
    units = _units(options.get("units", ADDRESSES))
    for where in _lines(line):
        report(f"asking addresses {units[0]} to {units[-1]} at {where.baudrate} baud, parity {where.parity}")
        port = ModbusPort(where)
        opened = ModbusUnit(port, units[0], TIMEOUT)
        try:
            await opened.connect()
            found = [one for unit in units if (one := await _ask(port, unit, report)) is not None]
        except LinkDown as error:
            report(str(error))
            return []
        finally:
            await opened.close()
        if found:
            return found
    report(f"{line}: no controller answers: is its address (ADDR) within {units[0]} to {units[-1]}?")
    return []


def _units(text: str) -> range:
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", text)
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
    if first not in UNITS or last not in UNITS or last < first:
        raise ValueError(f"units: found {text!r}, allowed: {UNITS[0]} to {UNITS[-1]}, e.g. {ADDRESSES}")
    return range(first, last + 1)


def _lines(place: str) -> Iterator[ModbusAddress]:
    """Yield what to try. Raises ValueError."""
    where = parse_modbus_address(place)
    given: dict[str, Any] = {key: getattr(where, key) for key in ("baudrate", "parity") if f"{key}=" in place}
    tried = (ModbusAddress(where.device, rate, parity) for rate, parity in LINES)
    return iter(dict.fromkeys(replace(one, **given) for one in tried))


async def _ask(port: ModbusPort, number: int, report: Report) -> Found | None:
    """Return the instrument at an address of an open port, None when there is none. Raises LinkDown."""
    status = Request(number, READ, REGISTERS["StAt"].address, 2)
    try:
        await port.run(partial(port.line.transact, status, TIMEOUT))
    except ReplyTimeout:
        return None  # there is none, or at another rate
    except (Garbled, ModbusRefusal) as error:
        report(f"unit {number} does not answer as a controller of this family: {error}")
        return None
    link = ModbusUnit(port, number, TIMEOUT)
    try:
        await link.connect()
        return await _identified(link, port.address)
    except (ReplyTimeout, Garbled, ModbusRefusal) as error:
        report(f"unit {number} does not answer as a controller of this family: {error}")
        return None
    finally:
        await link.close()


async def _identified(link: ModbusUnit, where: ModbusAddress) -> Found:
    unit = EurothermUnit("init", link, DriverClock())
    await unit.identify()
    if not unit.planner.floats:
        await unit.read_decimals()
    await unit.read(_IDENTITY)
    version, kind, high, low, temperature = map(unit.value, _IDENTITY)
    text = f"unit {link.unit} at {where.baudrate} baud"
    text += "" if version is None else f", firmware {firmware_text(int(version))}"
    text += "" if kind is None else f", type code {int(kind):04X}"
    text += "" if temperature is None else f", {temperature:g} C now"
    text += "" if unit.confirmed_status else ", perhaps no 3200: words 75 and 76 do not complement each other"
    parity = "" if where.parity == "none" else f"&parity={where.parity}"
    keys: dict[str, Any] = {
        "address": f"serial://{where.device}?baudrate={where.baudrate}{parity}",
        "unit": link.unit,
    }
    if high is not None and low is not None:
        keys["limits"] = {"TSET": (low, high)}
    hints = [
        ("safe_temperature = 20", "where SAFE:CMD goes, in C"),
        ("slope_limit = 15", "C/min that the tube stands"),
        ("deviation = [5, 20]", "C from the setpoint that are MINOR and MAJOR"),
    ]
    if unit.decimals is None and not unit.planner.floats:
        hints.append(("decimals = 1", "of the temperature: it does not tell"))
    return Found(
        text=text,
        keys=keys,
        remarks={"limits": "C that the controller allows: make it what tube and crucible stand"},
        hints=hints,
        number=link.unit,
    )


DISCOVERY = Discovery(
    where="serial:///dev/NAME (9600 and 19200 baud and addresses 1 to 8 are tried), "
    "or serial:///dev/NAME?baudrate=9600&parity=none&units=1-32",
    places=serial_places,
    look=look,
)
