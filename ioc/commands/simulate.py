"""``labioc simulate TYPE``: a simulated device alone, with the back door that makes it misbehave."""

from __future__ import annotations

import argparse
import asyncio

from devices.caen.protocol import Profile
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply
from ioc.app import stop_signal
from ioc.commands import simulate_eurotherm, simulate_iseg
from ioc.commands.run import port_number
from ioc.commands.simulators import BACK_DOORS


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the sub-command and one of its own for each kind of device."""
    parser = subparsers.add_parser("simulate", help="run a simulated device alone")
    types = parser.add_subparsers(metavar="TYPE", required=True)
    caen = types.add_parser("caen-dt55xx", help="CAEN DT55xxE / N1470 high voltage")
    caen.add_argument("--port", type=port_number, default=0, metavar="N", help="TCP port (default: a free one)")
    caen.add_argument("--door", type=port_number, default=0, metavar="N", help="port of the back door")
    caen.add_argument("--channels", type=int, choices=range(1, 33), default=4, metavar="N", help="1 to 32")
    caen.add_argument(
        "--profile", choices=["A", "B"], default="A", help="B: requests carry a module address ($BD:00,...)"
    )
    caen.add_argument("--serial", action="store_true", help="on a pseudo terminal as well")
    caen.set_defaults(func=caen_supply)
    simulate_iseg.add(types)
    simulate_eurotherm.add(types)


def caen_supply(args: argparse.Namespace) -> int:
    """Simulate a supply until Ctrl-C; raises OSError when a port is taken."""
    model = CaenModel(Profile[args.profile], channels=args.channels)
    asyncio.run(_serve(SimulatedSupply(model, port=args.port), args.door, args.serial))
    return 0


async def _serve(supply: SimulatedSupply, door_port: int, serial: bool) -> None:
    stop = stop_signal()
    back = BACK_DOORS["caen-dt55xx"]
    door = back.make(supply, door_port)
    try:
        await supply.start()
        await door.start()
        print(f"{supply.model.name} with {len(supply.model.channels)} channels at {supply.address}")
        if serial:
            print(f"and at serial://{await supply.plug_in_serial()}?baudrate=9600")
        print(f"back door: telnet 127.0.0.1 {door.port}, then for example: {back.example}   (or: help)")
        print("Ctrl-C ends it", flush=True)
        await stop.wait()
    finally:
        await door.stop()
        await supply.stop()
