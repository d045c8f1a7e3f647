"""Simulated devices with their back doors, for ``labioc demo`` and ``labioc simulate``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from devices.caen.simulator.backdoor import BackDoor
from devices.caen.simulator.server import SimulatedSupply
from devices.eurotherm.simulator.backdoor import BackDoor as EurothermBackDoor
from devices.eurotherm.simulator.server import SimulatedFurnaces
from devices.iseg.simulator.backdoor import BackDoor as IsegBackDoor
from devices.iseg.simulator.bus import SimulatedIsegBus
from devices.registry import Simulator


class Door(Protocol):
    """A text port that puts a simulated device into states that no user could reach."""

    @property
    def port(self) -> int:
        """The TCP port on the loopback interface, once started."""

    async def start(self) -> None:
        """Listen; raises OSError when the port is taken."""

    async def stop(self) -> None:
        """Stop listening and close every connection."""


@dataclass(frozen=True, slots=True)
class Back:
    """The back door of a family: how it is made, a line to try there, and what then happens.

    ``{device}`` in ``effect`` stands for the first parts of the PV names, like ``LAB:HV1``.
    """

    make: Callable[[Simulator, int], Door]
    example: str
    effect: str


def _caen(simulator: Simulator, port: int) -> Door:
    assert isinstance(simulator, SimulatedSupply)
    return BackDoor(simulator, port)


def _iseg(simulator: Simulator, port: int) -> Door:
    assert isinstance(simulator, SimulatedIsegBus)
    return IsegBackDoor(simulator, port)


def _eurotherm(simulator: Simulator, port: int) -> Door:
    assert isinstance(simulator, SimulatedFurnaces)
    return EurothermBackDoor(simulator, port)


BACK_DOORS = {
    "caen-dt55xx": Back(
        _caen,
        "trip 0",
        "{device}:CH00:TRIP turns MAJOR and stays so until {device}:CH00:TRIP:ACK:CMD is written",
    ),
    "iseg-edcp": Back(
        _iseg,
        "trip any 0",
        "{device}:CH00:TRIP turns MAJOR and stays so until {device}:CH00:TRIP:ACK:CMD is written",
    ),
    "eurotherm-3200": Back(
        _eurotherm,
        "mains 1 off",
        "{device}:TEMP turns INVALID; echo mains 1 on the same way, and {device}:PWR:MSG tells the story",
    ),
}
"""By device family."""
