"""How a CAEN supply is simulated: for a device of the site file, and by ``labioc simulate caen-dt55xx``."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from devices.caen.driver import DEFAULT_CHANNELS
from devices.caen.protocol import Profile
from devices.caen.simulator.backdoor import BackDoor
from devices.caen.simulator.model import CaenModel
from devices.caen.simulator.server import SimulatedSupply
from devices.model import DeviceSettings
from devices.simulation.simulation import NOISE_MICROAMPS, NOISE_VOLTS, Simulation


def _make(settings: DeviceSettings, port: int) -> SimulatedSupply:
    """Return a DT5533E, or a unit of profile B where the site file gives it a board above 0: only those have one."""
    board = int(settings.options.get("board", 0))
    model = CaenModel(
        Profile.B if board else Profile.A,
        channels=settings.channels or DEFAULT_CHANNELS,
        serial=str(settings.options.get("serial", "00123")),
        board=board,
    )
    model.noise_volts, model.noise_microamps = NOISE_VOLTS, NOISE_MICROAMPS
    return SimulatedSupply(model, port=port)


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--channels", type=int, choices=range(1, 33), default=4, metavar="N", help="1 to 32")
    parser.add_argument(
        "--profile", choices=["A", "B"], default="A", help="B: requests carry a module address ($BD:00,...)"
    )
    parser.add_argument("--serial", action="store_true", help="on a pseudo terminal as well")


def _from_arguments(args: Namespace) -> SimulatedSupply:
    return SimulatedSupply(CaenModel(Profile[args.profile], channels=args.channels), port=args.port)


async def _announce(supply: SimulatedSupply, args: Namespace) -> list[str]:
    lines = [f"{supply.model.name} with {len(supply.model.channels)} channels at {supply.address}"]
    if args.serial:
        lines.append(f"and at serial://{await supply.plug_in_serial()}?baudrate=9600")
    return lines


SIMULATION = Simulation(
    make=_make,
    add_arguments=_add_arguments,
    from_arguments=_from_arguments,
    announce=_announce,
    back_door=BackDoor,
    example="trip 0",
    effect="{device}:CH00:TRIP turns MAJOR and stays so until {device}:CH00:TRIP:ACK:CMD is written",
    listens=True,
)
