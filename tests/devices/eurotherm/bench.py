"""A Eurotherm driver on a simulated controller in the same process, with a clock that the test moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from devices.clock import DriverClock
from devices.errors import DeviceError, LinkDown, ReplyTimeout
from devices.eurotherm.catalogue import QUANTITIES, Rate
from devices.eurotherm.driver import EurothermDriver
from devices.eurotherm.memory import Computer
from devices.eurotherm.simulator.model import EurothermModel
from devices.eurotherm.simulator.slave import Slave
from devices.links.modbus_frames import (
    EXCEPTION,
    READ,
    WRITE,
    WRITE_ONE,
    ModbusRefusal,
    Request,
    twin_of,
    words_from_float,
    words_from_seconds,
)
from devices.model import DeviceSettings, LinkStats, Reading, Value
from devices.permit import changing

EPOCH = 1_700_000_000.0
READABLE = [name for name in QUANTITIES if not name.endswith(".CMD")]
FAST = [name for name, row in QUANTITIES.items() if row.rate is Rate.FAST]
PERIODIC = [name for name, row in QUANTITIES.items() if row.rate in (Rate.FAST, Rate.MEDIUM, Rate.SLOW)]


class SlaveLink:
    """The link of a driver, without a line: requests go to the simulated instrument at once."""

    def __init__(self, slave: Slave) -> None:
        self.slave = slave
        self.stats = LinkStats()
        self.connected = False
        self.plugged = True
        self.requests: list[Request] = []
        self.lose_answers_to_writes = self.lose_writes = False
        self.writes_until_silence: int | None = None  # after more than these nothing is read any more
        self.error: DeviceError | None = None
        self.refusal: Callable[[Request], int] = lambda _: 0  # code with which a request is refused, 0 to answer it

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.function != READ]

    async def connect(self) -> None:
        if not self.plugged:
            raise LinkDown("port: cannot open: No such file or directory")
        self.connected = True

    async def close(self) -> None:
        self.connected = False

    async def read_registers(self, start: int, count: int) -> tuple[int, ...]:
        if self.writes_until_silence is not None and len(self.writes) > self.writes_until_silence:
            raise ReplyTimeout("no reply")
        data = await self._exchange(Request(1, READ, start, count))
        return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(3, 3 + 2 * count, 2))

    async def write_register(self, address: int, word: int) -> None:
        await self._exchange(Request(1, WRITE_ONE, address, 1, (word,)))

    async def write_registers(self, start: int, words: Sequence[int]) -> None:
        await self._exchange(Request(1, WRITE, start, len(words), tuple(words)))

    async def write_float(self, address: int, number: float) -> None:
        await self.write_registers(twin_of(address), words_from_float(number))

    async def write_seconds(self, address: int, seconds: float) -> None:
        await self.write_registers(twin_of(address), words_from_seconds(seconds))

    async def _exchange(self, request: Request) -> bytes:
        await asyncio.sleep(0)
        if not self.plugged or not self.connected:
            self.connected = False
            raise LinkDown("port: lost: Input/output error")
        if request.function != READ:
            changing()
        self.requests.append(request)
        if self.error is not None:
            raise self.error
        if code := self.refusal(request):
            raise ModbusRefusal(request, code)
        writes = request.function != READ
        if writes and self.lose_writes:
            raise ReplyTimeout(f"{request}: no reply")
        reply = self.slave.respond(request.frame)
        if not reply or (writes and self.lose_answers_to_writes):
            raise ReplyTimeout(f"{request}: no reply")
        if reply[1] & EXCEPTION:
            raise ModbusRefusal(request, reply[2])
        return reply


class FakeComputer(Computer):
    """A computer that goes on with the clock of the bench; ``right`` is whether its clock is set."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.boot, self.right = "first", True
        self._now = now
        self._started = now() - 1000.0

    def restart(self) -> None:
        """Start anew."""
        self.boot, self._started = f"{self.boot} again", self._now()

    def uptime(self) -> float:
        return self._now() - self._started

    def clock_is_set(self) -> bool:
        return self.right


class Bench:
    """Everything together; ``folder`` is where the driver keeps things."""

    fast = frozenset(FAST)
    medium = frozenset(name for name, row in QUANTITIES.items() if row.rate is Rate.MEDIUM)

    def __init__(self, folder: Path | None = None, model: EurothermModel | None = None, **settings: Any) -> None:
        self.now = EPOCH  # true time
        self.wrong = 0.0  # seconds that the clock of the computer is ahead of it
        self.computer = FakeComputer(lambda: self.now)
        self.model = model or EurothermModel()
        self.link = SlaveLink(Slave(self.model))
        self.folder = folder
        self.settings = settings
        self.driver = self.new_driver()

    def new_driver(self) -> EurothermDriver:
        """What happens when the program is started."""
        options = {"safe_temperature": 20.0, "detail": "full", **self.settings.pop("options", {})}
        self.settings["options"] = options
        where = {"state_dir": str(self.folder)} if self.folder else {}
        made = DeviceSettings(
            "FURN1", "eurotherm-3200", "serial:///dev/none", simulated=self.folder is None,
            **self.settings | {"options": options | where},
        )  # fmt: skip
        return EurothermDriver(
            made, DriverClock(lambda: self.now + self.wrong, lambda: self.now, self._sleep), self.link, self.computer
        )

    async def _sleep(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:  # noqa: ASYNC110 - the test moves the hands of this clock
            await asyncio.sleep(0)

    async def start(self) -> Mapping[str, Reading]:
        await self.driver.connect()
        return await self.driver.read(READABLE)

    def let_pass(self, seconds: float) -> None:
        self.now += seconds
        self.model.step(seconds)

    async def scan(self, seconds: float = 1.0, names: Collection[str] = FAST) -> Mapping[str, Reading]:
        """Let a scan period pass, then read."""
        self.let_pass(seconds)
        return await self.driver.read(names)

    async def run(self, seconds: float, step: float = 1.0) -> Mapping[str, Reading]:
        """Scan for a while; what is read slowly comes with it."""
        found: dict[str, Reading] = {}
        for n in range(round(seconds / step)):
            found |= await self.scan(step, PERIODIC if n % 10 == 0 else FAST)
        return found

    async def lose(self) -> None:
        """Scan until the driver notices, and close as the scan engine does."""
        try:
            await self.scan()
        except DeviceError:
            await self.driver.close()
            return
        raise AssertionError("still connected")

    async def come_back(self, patience: int = 60) -> Mapping[str, Reading]:
        """Try to connect once a second."""
        for _ in range(patience):
            try:
                return await self.start()
            except DeviceError:
                await self.driver.close()
                self.let_pass(1.0)
        raise AssertionError("does not come back")

    async def value(self, name: str) -> Value | None:
        return (await self.driver.read([name]))[name].value


@asynccontextmanager
async def limited_bench() -> AsyncIterator[Bench]:
    """A bench that has read everything, whose site file allows targets of 0 to 900 C."""
    made = Bench(limits={"TSET": (0.0, 900.0)})
    await made.start()
    try:
        yield made
    finally:
        await made.driver.close()
