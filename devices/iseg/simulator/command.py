"""How Iseg modules are simulated: for a device of the site file, and by ``labioc simulate iseg-edcp``."""

from __future__ import annotations

import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from devices.iseg.driver import DEFAULT_CHANNELS
from devices.iseg.simulator.backdoor import BackDoor
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.iseg.simulator.module import E16C1, TYPES, SimulatedIsegModule
from devices.model import DeviceSettings
from devices.simulation.simulation import NOISE_MICROAMPS, NOISE_VOLTS, Simulation

MULTICAST_GROUP = "239.74.163.2"


def _make(settings: DeviceSettings, _port: int) -> SimulatedIsegBus:
    """Return a bus of its own inside this process, which needs no port."""
    module = SimulatedIsegModule(
        int(settings.options.get("module", 0)),
        E16C1,
        channels=settings.channels or DEFAULT_CHANNELS,
        serial=int(settings.options.get("serial", 7900016)),
    )
    return SimulatedIsegBus([_noisy(module)], "virtual", channel=f"simulated {settings.name}")


def _noisy(module: SimulatedIsegModule) -> SimulatedIsegModule:
    module.noise_volts, module.noise_amps = NOISE_VOLTS, NOISE_MICROAMPS * 1e-6
    return module


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--interface",
        default="slcan",
        metavar="NAME",
        help="slcan (a pseudo terminal, the default), udp_multicast, or any other interface of python-can",
    )
    parser.add_argument("--channel", metavar="NAME", help="channel of that interface; slcan makes its own")
    parser.add_argument(
        "--bitrate",
        type=int,
        choices=[20, 50, 100, 125, 250],
        default=125,
        metavar="KBIT",
        help="kbit/s of the segment, 20 to 250 (default: 125); frames take the time they would take on a wire",
    )
    parser.add_argument(
        "--module",
        type=_module,
        action="append",
        metavar="ADDRESS[:TYPE[:CHANNELS]]",
        help=f"a module, may be repeated (default: 0:E16C1:16); types: {', '.join(TYPES)}",
    )


def _module(text: str) -> SimulatedIsegModule:
    """Read the description of a module. Raises ArgumentTypeError."""
    found = re.fullmatch(r"(\d+)(?::(\w*)(?::(\d*))?)?", text, re.ASCII)
    address, kind, channels = (int(found[1]), found[2] or "E16C1", int(found[3] or 16)) if found else (64, "", 0)
    if address > 63 or kind not in TYPES or not 1 <= channels <= 48:
        raise ArgumentTypeError(
            f"{text!r} is not an address (0 to 63), a type ({', '.join(TYPES)}) and 1 to 48 channels"
        )
    return _noisy(SimulatedIsegModule(address, TYPES[kind], channels=channels, serial=7900000 + address))


def _from_arguments(args: Namespace) -> SimulatedIsegBus:
    modules = args.module or [_module("0")]
    options = {} if args.channel is None else {"channel": args.channel}
    if args.interface == "udp_multicast":
        options = {"channel": MULTICAST_GROUP, **options, "hop_limit": 0}
    for one in modules:
        one.bit_rate = args.bitrate
    return SimulatedIsegBus(modules, args.interface, bit_rate=args.bitrate, **options)


async def _announce(bus: SimulatedIsegBus, args: Namespace) -> list[str]:
    lines = [
        f"module {address}: {one.firmware.article} with {len(one.channels)} channels"
        for address, one in bus.modules.items()
    ]
    lines += ["in a site file:", "  [can.main]", f'  interface = "{bus.interface}"', f'  channel = "{bus.channel}"']
    return [*lines, "  hop_limit = 0" if bus.interface == "udp_multicast" else f"  bitrate = {args.bitrate * 1000}"]


SIMULATION = Simulation(
    make=_make,
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    announce=_announce,
    back_door=BackDoor,
    example="trip any 0",
    effect="{device}:CH00:TRIP turns MAJOR and stays so until {device}:CH00:TRIP:ACK:CMD is written",
)
