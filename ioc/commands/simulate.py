"""``labioc simulate TYPE``: a simulated device alone, with the back door that makes it misbehave."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from devices.registry import FAMILIES
from devices.simulation.simulation import Simulation
from ioc.app import stop_signal
from ioc.commands.arguments import port_number


def simulate_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a sub-command for each family that has a simulator."""
    types = parser.add_subparsers(metavar="TYPE", required=True)
    for family in FAMILIES.values():
        if not family.simulated_by:
            continue
        simulation = family.simulation()
        one = types.add_parser(family.type, help=family.title)
        if simulation.listens:
            one.add_argument("--port", type=port_number, default=0, metavar="N", help="TCP port (default: a free one)")
        simulation.add_arguments(one)
        one.add_argument("--door", type=port_number, default=0, metavar="N", help="port of the back door")
        one.set_defaults(simulation=simulation)


def simulate(args: argparse.Namespace) -> int:
    """Simulate a device until Ctrl-C; raises OSError when a port or an interface cannot be had."""
    asyncio.run(_serve(args.simulation, args))
    return 0


async def _serve(simulation: Simulation[Any], args: argparse.Namespace) -> None:
    stop = stop_signal()
    simulator = simulation.from_arguments(args)
    door = simulation.back_door(simulator, args.door)
    try:
        await simulator.start()
        await door.start()
        print(*await simulation.announce(simulator, args), sep="\n")
        print(f"back door: telnet 127.0.0.1 {door.port}, then for example: {simulation.example}   (or: help)")
        print("Ctrl-C ends it", flush=True)
        await stop.wait()
    finally:
        await door.stop()
        await simulator.stop()
