"""The Eurotherm 3200 family, as the rest of labioc knows it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from devices.family import Family, Keys, numbered, numbers

DEFAULT_UNIT = 1


def _mistakes(device: Keys) -> Iterator[tuple[str, str]]:
    """Yield what an instrument could not do, or would never alarm of."""
    limits, safe = device.get("limits"), device.get("safe_temperature", math.nan)
    target = limits.get("TSET") if isinstance(limits, dict) else None
    if numbers(target, 2) and isinstance(safe, int | float) and (safe < target[0] or safe > target[1]):
        yield "safe_temperature", f"found {safe:g}, allowed: {target[0]:g} to {target[1]:g}, the limits of TSET"
    pair = device.get("deviation")
    if numbers(pair, 2) and pair[0] > pair[1]:
        yield "deviation", f"found {pair}, allowed: [MINOR, MAJOR], the lower one first"


FAMILY = Family(
    type="eurotherm-3200",
    title="Eurotherm 3200 furnace controllers (3216, 3208, 3204) on Modbus RTU",
    template="eurotherm-3200.substitutions",
    driver="devices.eurotherm.driver:EurothermDriver",
    simulated_by="devices.eurotherm.simulator.command:SIMULATION",
    found_by="devices.eurotherm.discovery:DISCOVERY",
    place=numbered("Modbus RTU", "unit", DEFAULT_UNIT, {"baudrate": "9600", "parity": "none"}),
    mistakes=_mistakes,
    load_by="devices.eurotherm.load:line_load",
    address="serial:///dev/NAME?baudrate=9600&parity=none; 1200 to 19200 baud, parity none, even or odd",
    timeout=0.5,
    example={
        "name": "FURN1",
        "address": "serial:///dev/ttyUSB0",
        "safe_temperature": 20.0,
        "slope_limit": 50.0,
        "deviation": [10.0, 30.0],
    },
    demo=True,
    registers=True,
    measurement="EUROTHERM",
    options={
        "unit": {
            "type": "integer",
            "minimum": 1,
            "maximum": 254,
            "default": DEFAULT_UNIT,
            "description": "Address of the instrument on the line",
        },
        "decimals": {
            "enum": [0, 1, 2],
            "description": "Decimals of the temperature, for instruments that do not tell",
        },
        "deviation": {
            "type": "array",
            "items": {"type": "number", "exclusiveMinimum": 0, "maximum": 10000, "description": "Degrees"},
            "minItems": 2,
            "maxItems": 2,
            "description": "Pair [MINOR, MAJOR]: degrees between temperature and working setpoint that are an alarm",
        },
        "settle": {
            "type": "number",
            "minimum": 0,
            "maximum": 86400,
            "default": 600,
            "description": "Seconds after the setpoint has stopped moving before the deviation counts",
        },
        "detail": {
            "enum": ["basic", "full"],
            "default": "basic",
            "description": "Basic: PVs of the furnace; full: programmer, tuning and all else that the instrument has",
        },
        "settled_band": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1000,
            "default": 2,
            "description": "C around the setpoint within which the temperature counts as settled",
        },
        "settled_time": {
            "type": "number",
            "minimum": 0,
            "maximum": 86400,
            "default": 60,
            "description": "Seconds within settled_band after which SETTLED is YES",
        },
        "slope_limit": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 10000,
            "description": "C/min that tube or crucible stand; more is a MAJOR alarm",
        },
        "safe_temperature": {
            "type": "number",
            "minimum": -273,
            "maximum": 3000,
            "description": "Where SAFE:CMD sends the furnace, in C",
        },
        "writes_per_hour": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 30,
            "description": "How often one register of the non-volatile memory may be written within an hour",
        },
        "state_dir": {
            "type": "string",
            "minLength": 1,
            "description": "Folder for the power record and the write counters; ~/.local/state/labioc when left out",
        },
        "allow_no_ramp": {
            "type": "boolean",
            "default": False,
            "description": "Do not warn when the setpoint rate limit is off",
        },
        "allow_configuration": {
            "type": "boolean",
            "default": False,
            "description": "Let experts write configuration and unknown registers, and enter configuration mode",
        },
    },
)
