"""``labioc simulate iseg-edcp``: simulated modules on a CAN segment that other processes can reach."""

from __future__ import annotations

import argparse
import asyncio

import can

from devices.iseg.simulator.backdoor import BackDoor
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import TYPES, SimulatedIsegModule
from ioc.app import stop_signal
from ioc.commands.run import port_number

MULTICAST_GROUP = "239.74.163.2"
NOISE_VOLTS, NOISE_AMPS = 0.1, 0.05e-6
"""Noise of the readings: a current that never changes would be reported as old data."""


def add(types: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the family to the types of ``labioc simulate``."""
    iseg = types.add_parser("iseg-edcp", help="Iseg high voltage modules on CAN (EDCP)")
    iseg.add_argument(
        "--interface",
        default="slcan",
        metavar="NAME",
        help="slcan (a pseudo terminal, the default), udp_multicast, or any other interface of python-can",
    )
    iseg.add_argument("--channel", metavar="NAME", help="channel of that interface; slcan makes its own")
    iseg.add_argument(
        "--bitrate",
        type=int,
        choices=[20, 50, 100, 125, 250],
        default=125,
        metavar="KBIT",
        help="kbit/s of the segment, 20 to 250 (default: 125); frames take the time they would take on a wire",
    )
    iseg.add_argument(
        "--module",
        type=module,
        action="append",
        metavar="ADDRESS[:TYPE[:CHANNELS]]",
        help=f"a module, may be repeated (default: 0:E16C1:16); types: {', '.join(TYPES)}",
    )
    iseg.add_argument("--door", type=port_number, default=0, metavar="N", help="port of the back door")
    iseg.set_defaults(func=run)


def module(text: str) -> SimulatedIsegModule:
    """Read the description of a module. Raises ArgumentTypeError."""
    address, kind, channels, *rest = [*text.split(":"), "", ""][: max(3, text.count(":") + 1)]
    kind, channels = kind or "E16C1", channels or "16"
    numbers = address.isdecimal() and channels.isdecimal()
    if rest or kind not in TYPES or not numbers or int(address) > 63 or not 1 <= int(channels) <= 48:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address (0 to 63), a type ({', '.join(TYPES)}) and 1 to 48 channels"
        )
    made = SimulatedIsegModule(int(address), TYPES[kind], channels=int(channels), serial=7900000 + int(address))
    made.noise_volts, made.noise_amps = NOISE_VOLTS, NOISE_AMPS
    return made


def run(args: argparse.Namespace) -> int:
    """Simulate until Ctrl-C; raises OSError when a port or the interface is not to be had."""
    modules = args.module or [module("0")]
    options = {} if args.channel is None else {"channel": args.channel}
    if args.interface == "udp_multicast":
        options = {"channel": MULTICAST_GROUP, **options, "hop_limit": 0}
    for one in modules:
        one.bit_rate = args.bitrate
    bus = SimulatedIsegBus(modules, args.interface, bit_rate=args.bitrate, **options)
    try:
        asyncio.run(_serve(bus, args.bitrate, args.door))
    except (can.CanError, ValueError) as error:  # python-can says so in many ways
        raise OSError(f"CAN interface {args.interface}: {error}") from error
    return 0


async def _serve(bus: SimulatedIsegBus, kbit: int, door_port: int) -> None:
    stop = stop_signal()
    door = BackDoor(bus, door_port)
    try:
        await bus.start()
        await door.start()
        for address, one in bus.modules.items():
            print(f"module {address}: {one.firmware.article} with {len(one.channels)} channels")
        print("in a site file:")
        print(f'  [can.main]\n  interface = "{bus.interface}"\n  channel = "{bus.channel}"')
        print("  hop_limit = 0" if bus.interface == "udp_multicast" else f"  bitrate = {kbit * 1000}")
        print(f"back door: telnet 127.0.0.1 {door.port}, then for example: trip any 0   (or: help)")
        print("Ctrl-C ends it", flush=True)
        await stop.wait()
    finally:
        await door.stop()
        await bus.stop()
