"""How furnace controllers are simulated: for a device of the site file, and by ``labioc simulate eurotherm-3200``."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace

from devices.eurotherm.simulator.backdoor import BackDoor
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces
from devices.links.modbus import UNITS
from devices.links.modbus_serial import BAUDRATES
from devices.model import DeviceSettings
from devices.simulation.simulation import Simulation


def _make(settings: DeviceSettings, _port: int) -> SimulatedFurnaces:
    """Return an instrument on a pseudo terminal, with a furnace that heats up to its setpoint."""
    model = EurothermModel()
    model.memory["SP1"], model.memory["SP.RAT"] = 150.0, 20.0
    model.settle()
    return SimulatedFurnaces({int(settings.options.get("unit", 1)): model})


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--unit",
        type=_unit,
        action="append",
        metavar="ADDRESS",
        help="address of an instrument on the line, may be repeated (default: 1)",
    )
    parser.add_argument(
        "--baudrate",
        type=int,
        choices=BAUDRATES,
        default=BAUDRATES[0],
        metavar="BAUD",
        help="1200 to 19200 (default: 9600); characters take the time they would take on a wire",
    )


def _unit(text: str) -> int:
    """Read an address on the line. Raises ArgumentTypeError."""
    if text.isdecimal() and int(text) in UNITS:
        return int(text)
    raise ArgumentTypeError(f"{text!r} is not an address, {UNITS[0]} to {UNITS[-1]}")


def _from_arguments(args: Namespace) -> SimulatedFurnaces:
    models = {number: EurothermModel() for number in args.unit or [1]}
    return SimulatedFurnaces(models, baudrate=args.baudrate, realtime=True)


async def _announce(furnaces: SimulatedFurnaces, _args: Namespace) -> list[str]:
    return [f"furnace controllers {', '.join(map(str, furnaces.slaves))} at {furnaces.address}"]


SIMULATION = Simulation(
    make=_make,
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    announce=_announce,
    back_door=BackDoor,
    example="mains 1 off",
    effect="{device}:TEMP turns INVALID; echo mains 1 on the same way, and {device}:PWR:MSG tells the story",
)
