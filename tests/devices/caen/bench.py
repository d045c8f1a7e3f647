"""A driver on a bench: the simulated unit behind an in-memory link, with time that only the test moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from devices.caen.driver import CaenDriver
from devices.caen.simulator.model import CaenModel
from devices.clock import DriverClock
from devices.errors import LinkDown
from devices.model import DeviceSettings, LinkStats, Reading
from devices.permit import changing

START = 1_700_000_000.0
FAST = [f"CH{channel:02d}.{suffix}" for channel in range(4) for suffix in ("VMON", "IMON", "STAT", "STATE")]

Intercept = Callable[[bytes], str | Exception | None]


class ModelLink:
    """Looks like a LineLink, answers from a model; ``intercept`` may answer, or fail, instead of the unit."""

    address = "model"

    def __init__(self, model: CaenModel) -> None:
        self.model = model
        self.stats = LinkStats()
        self.log: list[str] = []
        self.connected = False
        self.reachable = True
        self.connects = 0
        self.unsynchronised = 0
        self.intercept: Intercept = lambda _: None

    async def connect(self) -> None:
        if not self.reachable:
            raise LinkDown("model: refused")
        self.connected = True
        self.connects += 1

    async def close(self) -> None:
        self.connected = False

    def mark_unsynchronised(self) -> None:
        self.unsynchronised += 1

    async def exchange(self, request: bytes, *, timeout: float | None = None, changes: bool = False) -> str:
        assert changes == (b"CMD:SET" in request)
        if not self.connected:
            raise LinkDown("model: not connected")
        assert request.endswith(b"\r\n")
        if changes:
            changing()
        self.log.append(request.decode("ascii").strip())
        answer = self.intercept(request.strip())
        if isinstance(answer, Exception):
            if isinstance(answer, LinkDown):
                self.connected = False
            raise answer
        return self.model.respond(request).decode("ascii").strip() if answer is None else answer


@dataclass
class Bench:
    model: CaenModel
    link: ModelLink
    driver: CaenDriver
    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def pass_time(self, seconds: float) -> None:
        self.seconds += seconds
        self.model.step(seconds)

    def sent(self, since: int = 0) -> list[str]:
        return self.link.log[since:]

    def sets(self) -> list[str]:
        return [line for line in self.link.log if "CMD:SET" in line]

    def everything(self) -> list[str]:
        return list(self.driver.signals())

    async def look(self, *suffixes: str, channel: int = 0) -> dict[str, Reading]:
        """Read signals of a channel after what a fast scan reads, as the scan engine does."""
        names = [f"CH{channel:02d}.{suffix}" for suffix in ("VMON", "IMON", "STAT", *suffixes)]
        found = await self.driver.read(names)
        return {name[5:]: reading for name, reading in found.items()}

    async def start(self) -> None:
        await self.driver.connect()
        await self.driver.read(self.everything())


def bench(model: CaenModel | None = None, **settings: Any) -> Bench:
    model = model or CaenModel()
    link = ModelLink(model)
    made: list[Bench] = []

    async def sleep(seconds: float) -> None:
        made[0].slept.append(seconds)
        made[0].pass_time(seconds)

    clock = DriverClock(lambda: START + made[0].seconds, lambda: made[0].seconds, sleep)
    configuration = DeviceSettings("HV1", "caen-dt55xx", **{"channels": 4, **settings})
    made.append(Bench(model, link, CaenDriver(configuration, clock, link)))  # type: ignore[arg-type]
    return made[0]


async def started(model: CaenModel | None = None, **settings: Any) -> Bench:
    """A bench whose driver is connected and has read everything."""
    rig = bench(model, **settings)
    await rig.start()
    return rig


def lost_answer(rig: Bench, what: bytes, error: Exception, executed: bool) -> Intercept:
    """Intercept: the answer to a SET is lost, once, after or before the unit obeyed."""
    pending = [error]

    def intercept(request: bytes) -> Exception | None:
        if what not in request or not pending:
            return None
        if executed:
            rig.model.respond(request)
        return pending.pop()

    return intercept


def garbling(name: str) -> Intercept:
    """An intercept that garbles the answers to requests for one parameter."""
    return lambda request: "#CMD:OK,VAL:12x4" if request.endswith(f"PAR:{name}".encode()) else None
