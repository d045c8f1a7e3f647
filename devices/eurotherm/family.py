"""The Eurotherm 3200 family, as the rest of labioc knows it."""

from __future__ import annotations

from devices.family import Family, numbered

DEFAULT_UNIT = 1

FAMILY = Family(
    type="eurotherm-3200",
    title="Eurotherm 3200 furnace controllers (3216, 3208, 3204) on Modbus RTU",
    template="eurotherm-3200.template",
    driver="devices.eurotherm.driver:EurothermDriver",
    simulated_by="devices.eurotherm.simulator.command:SIMULATION",
    place=numbered("Modbus RTU", "unit", DEFAULT_UNIT),
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
