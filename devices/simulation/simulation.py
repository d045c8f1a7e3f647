"""What a family's simulator offers: to the server, to ``labioc simulate`` and to ``labioc demo``; and its time."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from devices.model import DeviceSettings
from devices.simulation.backdoor import TextDoor

NOISE_VOLTS, NOISE_MICROAMPS = 0.1, 0.05
"""Noise of simulated high voltage: a current that never changes would be reported as old data."""


class Simulator(Protocol):
    """A simulated device behind its real transport."""

    @property
    def address(self) -> str:
        """The address for a site file, once started."""

    async def start(self) -> None:
        """Listen and let time pass; raises OSError when the port is taken."""

    async def stop(self) -> None:
        """Close everything."""


TICK = 0.1  # seconds


class ModelTime:
    """Advances a model by the time of a clock: ten times a second, and whenever it is asked for."""

    def __init__(self, step: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._step = step
        self._clock = clock
        self._now = clock()
        self._ticker: asyncio.Task[None] | None = None

    def advance(self) -> None:
        """Bring the model up to the clock's now."""
        now = self._clock()
        self._step(max(0.0, now - self._now))
        self._now = now

    def start(self, name: str) -> None:
        """Let time pass from now on, in a task of that name."""
        self._now = self._clock()
        self._ticker = asyncio.create_task(self._tick(), name=name)

    async def stop(self) -> None:
        """Let time stand still."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None

    async def _tick(self) -> None:
        while True:
            self.advance()
            await asyncio.sleep(TICK)


S = TypeVar("S", bound=Simulator)


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation(Generic[S]):
    """How a family is simulated.

    ``make`` returns the simulator behind a ``simulated`` device of a site file, ``from_arguments`` that of ``labioc
    simulate TYPE``, whose own arguments ``add_arguments`` adds; ``listens`` says that it takes a TCP port, the argument
    ``--port``. ``announce`` returns the lines that tell where it is, once started. ``back_door`` returns the port for
    faults; ``example`` is a command to try there and ``effect`` what then happens, where ``{device}`` stands for the
    first parts of the PV names, like ``LAB:HV1``.
    """

    make: Callable[[DeviceSettings, int], S]
    from_arguments: Callable[[Namespace], S]
    announce: Callable[[S, Namespace], Awaitable[Sequence[str]]]
    back_door: Callable[[S, int], TextDoor]
    example: str
    effect: str
    add_arguments: Callable[[ArgumentParser], None] = lambda _: None
    listens: bool = False
