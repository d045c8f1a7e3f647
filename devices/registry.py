"""The device families this package serves, by the ``type`` key of a ``[[device]]`` in the site file.

A new family is one driver, one template and one entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from devices.caen.driver import DEFAULT_CHANNELS, CaenDriver
from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply
from devices.eurotherm.driver import DEFAULT_UNIT, EurothermDriver
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces
from devices.iseg.driver import DEFAULT_CHANNELS as ISEG_CHANNELS
from devices.iseg.driver import IsegDriver
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import E16C1, SimulatedIsegModule
from devices.model import DeviceSettings, Driver

SIMULATED_VOLTS, SIMULATED_MICROAMPS = 0.1, 0.05
"""Noise of simulated readings: a current that never changes would be reported as old data."""


class Simulator(Protocol):
    """A simulated device behind its real transport."""

    @property
    def address(self) -> str:
        """The address for a site file, once started."""

    async def start(self) -> None:
        """Listen and let time pass; raises OSError when the port is taken."""

    async def stop(self) -> None:
        """Close everything."""


@dataclass(frozen=True, slots=True)
class Family:
    """One kind of hardware.

    ``template`` is the file in ``db/`` with the records of the device, ``options`` the JSON Schema of each key
    that a ``[[device]]`` of this family may have beyond the common ones. ``make_driver`` raises ValueError when
    the address of the settings is not one of this family; ``make_simulator`` takes the port to listen on, 0 for
    a free one. ``timeout`` is the usual one in seconds; ``registers``: the driver knows 16-bit registers by number.
    """

    type: str
    title: str
    template: str
    default_channels: int
    make_driver: Callable[[DeviceSettings], Driver]
    make_simulator: Callable[[DeviceSettings, int], Simulator]
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    timeout: float = 1.0
    registers: bool = False


def _simulate_caen(settings: DeviceSettings, port: int) -> SimulatedSupply:
    """Return a DT5533E, or a unit of profile B where the site file gives it a board above 0: only those have one."""
    board = int(settings.options.get("board", 0))
    model = CaenModel(
        Profile.B if board else Profile.A,
        channels=settings.channels or DEFAULT_CHANNELS,
        serial=str(settings.options.get("serial", "00123")),
        board=board,
    )
    model.noise_volts, model.noise_microamps = SIMULATED_VOLTS, SIMULATED_MICROAMPS
    return SimulatedSupply(model, port=port)


_CAEN = Family(
    type="caen-dt55xx",
    title="CAEN DT55xxE / N1470 high voltage",
    template="caen-dt55xx.template",
    default_channels=DEFAULT_CHANNELS,
    make_driver=CaenDriver,
    make_simulator=_simulate_caen,
    options={
        "board": {
            "type": "integer",
            "minimum": 0,
            "maximum": 31,
            "default": 0,
            "description": "Address set at the unit; units without addresses ignore it",
        },
        "serial": {
            "type": "string",
            "minLength": 1,
            "description": "Serial number expected, leading zeros included; another one raises a MAJOR alarm",
        },
        "settle": {
            "type": "number",
            "minimum": 0,
            "maximum": 600,
            "default": 5,
            "description": "Seconds after a ramp before a deviating voltage or a current limit counts",
        },
        "allow_infinite_trip": {
            "type": "boolean",
            "default": False,
            "description": "Do not warn when the trip time is infinite (overcurrent protection off)",
        },
    },
)


def _simulate_iseg(settings: DeviceSettings, _port: int) -> SimulatedIsegBus:
    """Return a bus of its own inside this process, which needs no port."""
    module = SimulatedIsegModule(
        int(settings.options.get("module", 0)),
        E16C1,
        channels=settings.channels or ISEG_CHANNELS,
        serial=int(settings.options.get("serial", 7900016)),
    )
    module.noise_volts, module.noise_amps = SIMULATED_VOLTS, SIMULATED_MICROAMPS * 1e-6
    return SimulatedIsegBus([module], "virtual", channel=f"simulated {settings.name}")


_ISEG = Family(
    type="iseg-edcp",
    title="Iseg high voltage modules on CAN (EDCP)",
    template="iseg-edcp.template",
    default_channels=ISEG_CHANNELS,
    make_driver=IsegDriver,
    make_simulator=_simulate_iseg,
    options={
        "can": {
            "type": "string",
            "minLength": 1,
            "description": "Name of the [can.NAME] section of the adapter",
        },
        "module": {
            "type": "integer",
            "minimum": 0,
            "maximum": 63,
            "description": "Address of the module on the bus, usually its slot",
        },
        "serial": {
            "type": "string",
            "pattern": "^[0-9]+$",
            "description": "Serial number expected; another one raises a MAJOR alarm",
        },
        "settle": _CAEN.options["settle"],
        "setpoints": {
            "enum": ["auto", "signed", "magnitude"],
            "default": "auto",
            "description": "Sign of voltage settings on negative boards; auto: that of the nominal voltage",
        },
        "allow_kill_off": {
            "type": "boolean",
            "default": False,
            "description": "Do not warn when kill is off (trips do not switch off)",
        },
    },
)


def _simulate_eurotherm(settings: DeviceSettings, _port: int) -> SimulatedFurnaces:
    """Return an instrument on a pseudo terminal, with a furnace that heats up to its setpoint."""
    model = EurothermModel()
    model.memory["SP1"], model.memory["SP.RAT"] = 150.0, 20.0
    model.settle()
    return SimulatedFurnaces({int(settings.options.get("unit", DEFAULT_UNIT)): model})


_EUROTHERM = Family(
    type="eurotherm-3200",
    title="Eurotherm 3200 furnace controllers (3216, 3208, 3204) on Modbus RTU",
    template="eurotherm-3200.template",
    default_channels=0,
    make_driver=EurothermDriver,
    make_simulator=_simulate_eurotherm,
    timeout=0.5,
    registers=True,
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

FAMILIES: Mapping[str, Family] = {family.type: family for family in (_CAEN, _ISEG, _EUROTHERM)}
"""Every family by its type."""
