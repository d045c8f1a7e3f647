"""One supply behind its real driver, scan engine, put path and recovery, with time and faults in the hands of the test.

The judge keeps its own account of what has happened, from the readings that were posted and the puts that were made,
and raises at the first byte of a write of the recovery that must not be.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar

from devices.caen.driver import CaenDriver
from devices.caen.simulator.model import CaenModel
from devices.clock import DriverClock
from devices.model import RawAccess
from ioc.automation.recovery import ARMED, Recoveries
from ioc.database.support import STATUS_SIGNALS
from ioc.puts import PutPath
from ioc.records import PutContext, PutRefused, Record, RecordSet
from ioc.records.fieldtable import fields_of
from ioc.scan.scanner import DeviceScanner
from ioc.services.statistics import IocStatistics
from ioc.site.config import parse_site
from ioc.site.expansion import expand
from tests.devices.caen.bench import ModelLink
from tests.ioc.fakes import FakeClock
from tests.ioc.put_rig import KeptJournal

BASE = "LAB:HV1:CH00:"
WAIT, FRACTION, DWELL, CALM, TRIES, PER_HOUR = 10.0, 0.8, 5.0, 60.0, 2, 3
RECOVERY = {"channels": ["HV1:*"], "wait": WAIT, "fraction": FRACTION, "dwell": DWELL, "calm": CALM, "timeout": 30,
            "tries": TRIES, "per_hour": PER_HOUR}  # fmt: skip
STEP = 0.25
"""Seconds of the model between two looks at the clock."""

PERSON = ContextVar("PERSON", default=False)
INVALID = 3
PROTECTIONS = ("STAT:KILL", "STAT:INTLCK", "STAT:OVT")


class QuickClock(FakeClock):
    """A clock that goes on as soon as no task is ready to run, which is several times as fast as letting all settle."""

    async def advance(self, seconds: float) -> None:
        end, ready = self.now + seconds, asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        while True:
            while ready:  # noqa: ASYNC110  what is ready to run raises no event
                await asyncio.sleep(0)
            if not self._timers or self._timers[0][0] > end:
                break
            due, _, timer = heapq.heappop(self._timers)
            self.now = max(self.now, due)
            if timer.callback is not None:
                timer.callback()
        self.now = end


class SlowLink(ModelLink):
    """A link on which each exchange waits for its line, and then for its answer, so long."""

    def __init__(self, model: CaenModel, clock: FakeClock) -> None:
        super().__init__(model)
        self.delay = 0.0
        self._clock = clock

    async def exchange(self, request: bytes, *, timeout: float | None = None, changes: bool = False) -> str:
        if self.delay:
            await self._clock.sleep(self.delay)
        answer = await super().exchange(request, timeout=timeout, changes=changes)
        if self.delay:
            await self._clock.sleep(self.delay)
        return answer


class ForbiddenError(AssertionError):
    """The recovery was about to write what it must not."""


class Judge:
    """What a recovery may do now, judged by what could be known. Times are monotonic, in seconds."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.target: float | None = None  # setting when it was last seen in order
        self.pending = False  # it has tripped, and is not back at the target
        self.blocked = self.locked = ""  # until it is acknowledged, until it is armed anew
        self.since_good: list[str] = []
        self.tripped = self.looked = 0.0
        self.attempts: list[float] = []
        self.in_a_row = 0
        self.successes = 0
        self._count: int | None = None
        self._good_since: float | None = None
        self._setting: float | None = None
        self._set_at = 0.0

    def offence(self, what: str, lock: bool = False) -> None:
        """Take note of what ends a recovery, or keeps a trip from being recovered from."""
        self.since_good.append(what)
        if self.pending:
            self.blocked = self.blocked or what
            if lock:
                self.locked = self.locked or what

    def person(self, suffix: str, value: float) -> None:
        """Take note of a put of a person, before it is made."""
        if suffix == "REC:MODE":
            self.since_good.append("armed")
            if value != ARMED:
                self.pending, self.blocked, self.locked = False, "", ""
            elif not (self.rig["REC:MODE"].val and self.rig["REC:STATE"].val in (1, 2)):
                self.pending, self.blocked, self.locked, self.in_a_row = False, "", "", 0
        elif suffix == "TRIP:ACK:CMD":
            if not self.locked and self.blocked:
                self.pending, self.blocked = False, ""
        elif suffix not in ("REC:TRIES", "IOC:ARMED"):
            self._setting = None
            self.offence(f"put to {suffix}")

    def look(self) -> None:
        """Take what has just been posted."""
        rig, now = self.rig, self.rig.clock.now
        self.looked = now
        watched = [rig[name] for name in ("STATE", "ON:RBV", "VSET:RBV", "TRIP:COUNT", *PROTECTIONS)]
        if any(record.udf or record.sevr >= INVALID for record in watched):
            self.offence("INVALID")
            self._good_since = None
            return
        for name in PROTECTIONS:
            if rig[name].val:
                self.offence(name, lock=True)
        if rig.objection:
            self.offence("objection")
        if self.pending and rig["ON:RBV"].val and not any(time > self.tripped for time in self.attempts):
            self.offence("switched on elsewhere")
        count = int(str(rig["TRIP:COUNT"].val))
        if self._count is not None and count > self._count and rig["REC:MODE"].val == ARMED:
            if not self.pending:
                self.blocked = self.since_good[0] if self.since_good else ""
                self.locked = next((what for what in self.since_good if what in PROTECTIONS), "")
            self.pending, self.tripped = True, now
        self._count = count
        setting = float(str(rig["VSET:RBV"].val))
        if self._setting is None or abs(setting - self._setting) > 0.1:
            self._setting, self._set_at = setting, rig.clock.time()
        fresh = rig["SETTLED"].stamp > self._set_at
        good = fresh and rig["ON"].val and rig["ON:RBV"].val and rig["SETTLED"].val and rig["STATE"].val in (1, 6)
        if not good or self.since_good[-1:] == ["INVALID"]:
            self._good_since = None
        if not good:
            return
        if self.pending and not self.blocked and self.target is not None and abs(setting - self.target) < 1.0:
            self.pending = False
            self.successes += 1
        if not self.pending:
            if self._good_since is None or setting != self.target:
                self._good_since = now
            self.target = setting
            self.since_good.clear()
            if now - self._good_since >= CALM:
                self.in_a_row = 0

    def write(self, request: str) -> None:
        """Judge a write of the recovery at its first byte. Raises ForbiddenError."""
        rig, now = self.rig, self.rig.clock.now
        model = rig.model.channels[0]
        reasons = [
            ("it is not armed", rig["REC:MODE"].val != ARMED),
            ("no trip to recover from", not self.pending),
            (f"blocked by {self.blocked}", bool(self.blocked)),
            (f"locked by {self.locked}", bool(self.locked)),
            ("the server is not armed", not rig.statistics.armed),
            ("the device is disabled", rig.scanner.status.disabled),
            ("too early", now - self.tripped < WAIT - 0.01),
            ("nothing was read for long", now - self.looked > (9.0 if rig.link.delay else 2.5)),
        ]
        if "PAR:ON" in request:
            recent = [time for time in self.attempts if now - time < 3600]
            reasons += [
                ("too many attempts in an hour", len(recent) >= PER_HOUR),
                ("too many attempts in a row", self.in_a_row >= int(str(rig["REC:TRIES"].val))),
                ("the setting is too high", model.vset > FRACTION * (self.target or 0.0) + 0.1),
                ("it is on", model.on),
            ]
            self.attempts.append(now)
            self.in_a_row += 1
        elif "PAR:VSET" in request:
            volts, target = float(request.partition("VAL:")[2]), self.target or 0.0
            full = abs(volts - target) < 0.1
            reasons += [
                ("no setting of a recovery", not full and abs(volts - FRACTION * target) > 0.1),
                ("full voltage while off", full and not rig["ON:RBV"].val),  # a spark since then is not known yet
            ]
        elif "PAR:BDCLR" not in request:
            reasons.append(("nothing that a recovery writes", True))
        broken = [text for text, holds in reasons if holds]
        if broken:
            raise ForbiddenError(f"{request} at {now:.2f}: {', '.join(broken)}\n" + "\n".join(rig.story))


def _matters(record: Record) -> bool:
    """Whether a record has to be scanned or put here: each costs time in every scan of ten thousand scenarios."""
    signal = record.signal or ""
    return signal in STATUS_SIGNALS | {"BD.ILK", "BD.ALARM", "BD.PROT"} or signal.removeprefix("CH00.").startswith(
        ("VMON", "IMON", "STAT", "STATE", "ON", "VSET", "ISET", "MOVING", "SETTLED", "TRIP", "CLR", "RAMP", "REC")
    )


class Rig:
    """A supply with one channel, served; ``rig[suffix]`` is a record of the channel."""

    def __init__(self) -> None:
        self.clock = QuickClock()
        self.journal = KeptJournal(self.clock)
        self.model = CaenModel(channels=1)
        self.link = SlowLink(self.model, self.clock)
        self.link.intercept = self._on_the_wire
        device = {"name": "HV1", "type": "caen-dt55xx", "address": "tcp://127.0.0.1:1", "channels": 1, "settle": 1.0}
        site = parse_site({"site": {"prefix": "LAB"}, "device": [device], "recovery": RECOVERY})
        self.records = RecordSet.build(expand(site).records.values(), time=self.clock.time)
        times = DriverClock(self.clock.time, self.clock.monotonic, self.clock.sleep)
        self.driver = CaenDriver(site.devices[0], times, self.link)  # type: ignore[arg-type]
        mine = [record for record in self.records.values() if record.device == "HV1" and _matters(record)]
        self.scanner = DeviceScanner(self.driver, mine, self.clock)
        of_server = [self["IOC:ARMED"], self["IOC:PUTS"]]
        self.statistics = IocStatistics(of_server, self.clock, {})
        self.puts = PutPath({"HV1": self.scanner}, self.statistics, self.clock, journal=self.journal)
        self.objection = ""
        self.trouble: Callable[[str], Exception | None] = lambda request: None
        self.writes: list[tuple[float, str]] = []
        self.story: list[str] = []
        self.judge = Judge(self)
        self._people: set[asyncio.Task[None]] = set()
        self._stepped = self.clock.now
        self.recoveries = Recoveries(site, self.records, self.puts, self.clock)
        for record in self.records.values():
            self.puts.attach(record)
        self.recoveries.objections.append(lambda channel: self.objection)
        self.scanner.on_posted.append(self.judge.look)
        self.recoveries.start({"HV1": self.scanner})

    def __getitem__(self, suffix: str) -> Record:
        if suffix == "DISABLE":
            return self.records["LAB:HV1:DISABLE"]
        return self.records[f"LAB:{suffix}" if suffix.startswith("IOC:") else BASE + suffix]

    @property
    def phase(self) -> str:
        record = self["REC:STATE"]
        return record.enum_strings()[int(str(record.val))]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Rig]:
        """Scan, with the output on and settled at 500 V and the recovery armed."""
        self.statistics.post()
        task = asyncio.create_task(self.scanner.run())
        try:
            await self.wait(8.0)
            for suffix, value in (("RAMPUP", 500.0), ("RAMPDN", 500.0), ("TRIPTIME", 1.0), ("VSET", 500.0), ("ON", 1)):
                await self.put(suffix, value)
            await self.wait(8.0)
            assert self["SETTLED"].val == 1, "the rig is not at voltage"
            await self.put("REC:MODE", ARMED)
            await self.wait(3.0)
            yield self
        finally:
            await self.recoveries.close()
            for one in self._people:
                one.cancel()
            task.cancel()
            await asyncio.gather(task, *self._people, return_exceptions=True)
            await self.puts.close(0.1)

    async def wait(self, seconds: float) -> None:
        """Let time pass, for the model too."""
        end = self.clock.now + seconds
        while self.clock.now < end - 1e-9:
            step = min(STEP, end - self.clock.now)
            self.model.channels[0].step(step)
            self.model._latch()
            await self.clock.advance(step)

    async def until(self, phase: str, seconds: float = 120.0) -> None:
        """Let time pass until the recovery is in a phase."""
        end = self.clock.now + seconds
        while self.phase != phase:
            assert self.clock.now < end, f"{self.phase}, not {phase}: {self['REC:MSG'].val}"
            await self.wait(STEP)

    async def put(self, suffix: str, value: float, refused: bool | None = False) -> None:
        """Put as a person does, and wait for the answer."""
        task = self.ask(suffix, value, refused)
        while not task.done():
            await self.wait(STEP)
        await task

    def ask(self, suffix: str, value: float, refused: bool | None = None) -> asyncio.Task[None]:
        """Put as a person does; ``refused`` None: it does not matter what comes of it."""
        task = asyncio.create_task(self._ask(suffix, value, refused), name=f"person {suffix}")
        self._people.add(task)
        task.add_done_callback(self._people.discard)
        return task

    async def _ask(self, suffix: str, value: float, refused: bool | None) -> None:
        PERSON.set(True)
        record = self[suffix]
        self.judge.person(suffix, value)
        try:
            spec = fields_of(record.rtyp)["VAL"]
            record.check_device_put(spec, value)
            await record.put_device(spec, value, PutContext("olga", "desk1", ("127.0.0.1", 1), callback=True))
        except PutRefused:
            if refused is False:
                raise
        else:
            assert refused is not True, f"{suffix} was not refused"

    async def raw(self, words: list[str], value: str | None) -> None:
        """Write past the PVs, as an expert at the console."""
        PERSON.set(True)
        assert isinstance(self.driver, RawAccess)
        self.judge.offence("raw write")
        with suppress(PutRefused):
            await self.puts.write_raw("HV1", self.driver.raw_request(words, value), PutContext("eve", "desk2"), None)

    def _on_the_wire(self, request: bytes) -> Exception | None:
        text = request.decode()
        if "CMD:SET" in text:
            who = "person" if PERSON.get() else "recovery"
            self.writes.append((self.clock.now, f"{who} {text}"))
            self.story.append(f"{self.clock.now:9.2f} {who} {text}")
            if who == "recovery":
                self.judge.write(text)
        return self.trouble(text)

    def recovered(self) -> list[str]:
        """What the recovery has sent, without the time."""
        return [text.removeprefix("recovery $CMD:SET,") for _, text in self.writes if text.startswith("recovery")]
