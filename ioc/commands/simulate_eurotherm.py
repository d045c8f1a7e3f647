"""``labioc simulate eurotherm-3200``: simulated furnace controllers on a pseudo terminal."""

from __future__ import annotations

import argparse
import asyncio

from devices.eurotherm.simulator.backdoor import BackDoor
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.server import SimulatedFurnaces
from devices.links.modbus import UNITS
from devices.links.modbus_serial import BAUDRATES
from ioc.app import stop_signal
from ioc.commands.run import port_number


def add(types: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the family to the types of ``labioc simulate``."""
    furnace = types.add_parser("eurotherm-3200", help="Eurotherm 3200 furnace controllers on Modbus RTU")
    furnace.add_argument(
        "--unit",
        type=unit,
        action="append",
        metavar="ADDRESS",
        help="address of an instrument on the line, may be repeated (default: 1)",
    )
    furnace.add_argument(
        "--baudrate",
        type=int,
        choices=BAUDRATES,
        default=BAUDRATES[0],
        metavar="BAUD",
        help="1200 to 19200 (default: 9600); characters take the time they would take on a wire",
    )
    furnace.add_argument("--door", type=port_number, default=0, metavar="N", help="port of the back door")
    furnace.set_defaults(func=run)


def unit(text: str) -> int:
    """Read an address on the line. Raises ArgumentTypeError."""
    if text.isdecimal() and int(text) in UNITS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not an address, {UNITS[0]} to {UNITS[-1]}")


def run(args: argparse.Namespace) -> int:
    """Simulate until Ctrl-C; raises OSError when the port of the back door is taken."""
    models = {number: EurothermModel() for number in args.unit or [1]}
    asyncio.run(_serve(SimulatedFurnaces(models, baudrate=args.baudrate, realtime=True), args.door))
    return 0


async def _serve(furnaces: SimulatedFurnaces, door_port: int) -> None:
    stop = stop_signal()
    door = BackDoor(furnaces, door_port)
    try:
        await furnaces.start()
        await door.start()
        print(f"furnace controllers {', '.join(map(str, furnaces.slaves))} at {furnaces.address}")
        print(f"back door: telnet 127.0.0.1 {door.port}, then for example: mains 1 off   (or: help)")
        print("Ctrl-C ends it", flush=True)
        await stop.wait()
    finally:
        await door.stop()
        await furnaces.stop()
