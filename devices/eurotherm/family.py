"""The Eurotherm 3200 family, as the rest of labioc knows it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from devices.family import RTU_LINE, Family, Keys, numbers
from devices.rules.options import MODBUS_UNIT, between, choice, flag, key, several, text


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
    **RTU_LINE,
    mistakes=_mistakes,
    signals_by="devices.eurotherm.catalogue:signals",
    load_by="devices.eurotherm.blocks:line_load",
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
        "unit": MODBUS_UNIT,
        "decimals": choice((0, 1, 2), "Decimals of the temperature, for instruments that do not tell"),
        "deviation": several(
            key("number", "Degrees", exclusiveMinimum=0, maximum=10000),
            "Pair [MINOR, MAJOR]: degrees between temperature and working setpoint that are an alarm",
            minItems=2,
            maxItems=2,
        ),
        "settle": between(0, 86400, "Seconds after the setpoint has stopped moving before the deviation counts", 600),
        "detail": choice(
            ("basic", "full"),
            "Basic: PVs of the furnace; full: programmer, tuning and all else that the instrument has",
            default="basic",
        ),
        "settled_band": key(
            "number",
            "C around the setpoint within which the temperature counts as settled",
            exclusiveMinimum=0,
            maximum=1000,
            default=2,
        ),
        "settled_time": between(0, 86400, "Seconds within settled_band after which SETTLED is YES", 60),
        "slope_limit": key(
            "number", "C/min that tube or crucible stand; more is a MAJOR alarm", exclusiveMinimum=0, maximum=10000
        ),
        "safe_temperature": between(-273, 3000, "Where SAFE:CMD sends the furnace, in C"),
        "writes_per_hour": between(
            1, 1000, "How often one register of the non-volatile memory may be written within an hour", 30, "integer"
        ),
        "state_dir": text("Folder for the power record and the write counters; ~/.local/state/labioc when left out"),
        "allow_no_ramp": flag(False, "Do not warn when the setpoint rate limit is off"),
        "allow_configuration": flag(
            False, "Let experts write configuration and unknown registers, and enter configuration mode"
        ),
    },
)
