"""``REC:*``: channels that have tripped are switched on again, where the site file and an expert ask for it.

What is done when is in ioc.automation.recovery_rules; here the readings get there, and its puts on the way of every
put: with limits, the queue, ARMED, DISABLE and the journal, as user ``labioc:REC``. It is no safety system.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from devices.model import Level, Reading, state_reading
from devices.rules.hv_channel import State
from ioc.automation.read_times import ReadTimes
from ioc.automation.recovery_rules import Look, Phase, Put, RecoveryRules
from ioc.clock import Clock
from ioc.database.support import RECOVERY_CAUSE, RECOVERY_IDENTITY, RECOVERY_TAG
from ioc.puts import NotedSource, PutPath
from ioc.records import (
    PutContext,
    PutRefused,
    Record,
    RecordSet,
    Value,
    as_text,
    fields_of,
)
from ioc.records.status import INVALID, MAJOR
from ioc.scan.scanner import DeviceScanner
from ioc.site.config import Site
from ioc.site.recovery import RecoverySettings

log = logging.getLogger("labioc.recovery")

USER: Final = "labioc:REC"
"""User in the journal, the log and IOC:PUTS of what this sends."""

NOT_ASKED_FOR: Final = "the site file does not ask for it ([recovery] channels)"

ARMED = 1
"""State of REC:MODE."""

_CHANNEL = re.compile(r"CH[0-9]{2}")
_INTERLOCK = re.compile(r":ILK:[A-Z0-9_]+:OK")

Objection = Callable[[str], str]
"""Says why the channel of this name (``LAB:HV1:CH00``) must be left alone at the moment; empty when it need not."""


class ChannelRecovery(NotedSource):
    """The recovery of one channel and the source of its PVs; ``settings`` None: the site file does not ask for it.

    ``base`` is the name of the channel with the colon behind it, ``guards`` are the bits that forbid a recovery, each
    with the value that it has when all is well; ``cause`` are those with which the unit itself reports a trip.
    """

    def __init__(
        self,
        base: str,
        records: RecordSet,
        settings: RecoverySettings | None,
        guards: Sequence[tuple[Record, int]],
        cause: Sequence[Record],
        puts: PutPath,
        clock: Clock,
        objections: Sequence[Objection],
    ) -> None:
        super().__init__(puts.notes)
        self.base = base
        self._own = {name: records[f"{base}REC:{name}"] for name in ("MODE", "STATE", "TRIES", "LEFT", "MSG")}
        self._asked_for = settings is not None
        self._rules = RecoveryRules(settings or RecoverySettings(tries=1))
        if not self._asked_for:
            self._rules.reason = NOT_ASKED_FOR
        elif not (tries := self._own["TRIES"]).udf:
            self._rules.allow(int(str(tries.val)))  # what was kept
        self._guards, self._cause = guards, cause
        self._puts = puts
        self._clock = clock
        self._objections = objections
        needed = ("STATE", "ON:RBV", "VSET:RBV", "TRIP:COUNT", "SETTLED", "VMON")
        self._readings = {name: records[base + name] for name in needed}
        self._read_times = ReadTimes(clock)
        self._outputs = {name: records[base + name] for name in ("CLR:CMD", "VSET", "ON")}
        self._context = PutContext()
        self._task: asyncio.Task[None] | None = None
        self._put: Put | None = None
        self._reported = ""
        self._show()

    def start(self, scanner: DeviceScanner) -> None:
        """Take puts to its PVs, and look at all that is read from now on."""
        for name in ("MODE", "TRIES"):
            self._own[name].source = self
        if self._asked_for:
            scanner.on_posted.append(self.look)
            scanner.shown[self._readings["STATE"].signal or ""] = self.shown

    # ---- its own PVs

    async def put(self, record: Record, value: Value, context: PutContext) -> None:
        """Arm or disarm, or set how many attempts there may be. Raises PutRefused."""
        spec, old = fields_of(record.rtyp)["VAL"], record.get("VAL")
        if (reason := self._refusal(record, value)) is not None:
            self.notes.refused_record(record, "VAL", as_text(record, value), context, reason)
            raise PutRefused(reason)
        if record is self._own["TRIES"]:
            self._rules.allow(int(str(value)))
        elif value == ARMED:
            self._rules.arm()
        else:
            self._rules.disarm()
        self._follow()
        self.notes.applied_field(record, spec, old, record.get("VAL"), context)

    def _refusal(self, record: Record, value: Value) -> str | None:
        if not self._asked_for:
            return NOT_ASKED_FOR
        if record is self._own["TRIES"]:
            low, high = record.number("DRVL"), record.number("DRVH")
            if not low <= float(str(value)) <= high:
                return f"found {as_text(record, value)}, allowed: {low:g} to {high:g}"
        return None

    @property
    def putting(self) -> Put | None:
        """The put that is under way."""
        return self._rules.putting

    # ---- what it looks at

    def look(self) -> None:
        """Take what has been posted, and make the next put if there is one."""
        put = self._rules.take(self._look())
        if put is not None:
            self._put, self._context = put, PutContext(USER, socket.gethostname(), callback=True)
            self._task = asyncio.create_task(
                self._perform(put, self._context), name=f"recovery {self.base}{put.suffix}"
            )
        self._follow()

    def observe(self, name: str, context: PutContext) -> None:
        """Give way to a put of anybody else to the channel; acknowledging a trip only ends HOLD."""
        if context is self._context:
            return
        if name == f"{self.base}TRIP:ACK:CMD":
            self._rules.acknowledged()
        else:
            self._rules.other_put(f"{context.user}@{context.host} to {name.removeprefix(self.base)}")
        self._follow()

    def shown(self, reading: Reading) -> Reading:
        """Return the reading of STATE as it is shown: RECOVERING hides what is less."""
        if not self._rules.active or not isinstance(reading.value, int) or reading.value >= State.RECOVERING:
            return reading
        return state_reading(int(State.RECOVERING), reading.time, max(Level.MINOR, reading.level))

    async def close(self) -> None:
        """End what is under way; a put that has begun is left to the put path."""
        self._rules.disarm()
        self._context.cancelled.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _look(self) -> Look:
        readings = self._readings
        watched = [*readings.values(), *self._cause, *(record for record, _ in self._guards)]
        now, settled_at = self._clock.monotonic(), self._read_times.of(readings["SETTLED"])
        guarded_at = [self._read_times.of(record) for record, _ in self._guards]
        if any(record.udf or record.sevr >= INVALID for record in watched) or self._outputs["ON"].udf:
            return Look(now, known=False)
        return Look(
            now,
            known=True,
            state=int(str(readings["STATE"].val)),
            demanded=bool(self._outputs["ON"].val),
            on=bool(readings["ON:RBV"].val),
            trips=int(str(readings["TRIP:COUNT"].val)),
            reported=any(record.val for record in self._cause),
            settled=bool(readings["SETTLED"].val),
            settled_at=settled_at,
            vset=float(str(readings["VSET:RBV"].val)),
            forbidden=next(self._forbidden(), ""),
            guarded_at=min(guarded_at, default=math.inf),
            objection=next(filter(None, (objection(self.base.rstrip(":")) for objection in self._objections)), ""),
        )

    def _forbidden(self) -> Iterator[str]:
        for record, good in self._guards:
            if record.val != good:
                yield f"{record.name} is {as_text(record, record.val)}"

    # ---- what it does

    async def _perform(self, put: Put, context: PutContext) -> None:
        """Make a put as a client would, and tell the rules what came of it."""
        record = self._outputs[put.suffix]
        try:
            record.check_device_put(fields_of(record.rtyp)["VAL"], put.value)
            await self._puts.put(record, put.value, context)
        except PutRefused as refusal:
            self._rules.refused(put, str(refusal))
        except Exception as error:
            log.exception("%sREC: internal error", self.base)
            self._rules.refused(put, f"internal error: {type(error).__name__}: {error}")
        else:
            self._rules.done(put, self._clock.monotonic())
        self._follow()

    def _follow(self) -> None:
        """Withdraw a put that is no longer wanted, and show how things are."""
        if self._put is not None and self._rules.putting is not self._put:
            self._put = None
            self._context.cancelled.set()
        self._show()

    def _show(self) -> None:
        rules, now = self._rules, self._clock.time()
        left = rules.left(self._clock.monotonic())
        values: dict[str, Value] = {"MODE": int(rules.armed), "STATE": int(rules.phase), "TRIES": rules.tries}
        values |= {"LEFT": left, "MSG": rules.reason}
        if self._reported not in ("", rules.reason):
            level = logging.WARNING if rules.phase in (Phase.HOLD, Phase.LOCKOUT) else logging.INFO
            log.log(level, "%sREC: %s: %s", self.base, rules.phase.name, rules.reason)
        self._reported = rules.reason
        for name, value in values.items():
            record = self._own[name]
            if record.udf or record.val != value:
                record.post(value, now)


class Recoveries:
    """The recoveries of a site; ``objections`` are what else speaks against one, besides the interlocks of the site."""

    def __init__(self, site: Site, records: RecordSet, puts: PutPath, clock: Clock) -> None:
        self.objections: list[Objection] = []
        self._puts = puts
        self._of_device: defaultdict[str, list[ChannelRecovery]] = defaultdict(list)
        self._asked_for: defaultdict[str, list[ChannelRecovery]] = defaultdict(list)
        self._of_output: dict[str, list[ChannelRecovery]] = {}
        guards: defaultdict[str, list[tuple[Record, int]]] = defaultdict(list)
        causes: defaultdict[str, list[Record]] = defaultdict(list)
        identities: defaultdict[str, list[Record]] = defaultdict(list)
        outputs: defaultdict[str, list[str]] = defaultdict(list)
        for name, record in records.items():
            tag, place = record.defn.info.get(RECOVERY_TAG), _place(record)
            if tag == RECOVERY_CAUSE:
                causes[place].append(record)
            elif tag == RECOVERY_IDENTITY:
                identities[place].append(record)
            elif tag is not None:
                guards[place].append((record, int(tag)))
            if record.is_output:
                outputs[place].append(name)
        for name, record in records.items():
            device, place = record.device or "", _place(record)
            if (record.signal or "").endswith(".REC.MODE"):
                settings = site.recovery.get(place)
                checked = [*guards[device], *guards[place]]
                base = name.removesuffix("REC:MODE")
                found = ChannelRecovery(base, records, settings, checked, causes[place], puts, clock, self.objections)
                self._of_device[device].append(found)
                if settings is not None:
                    self._asked_for[device].append(found)
                    self._of_output |= {output: [found] for output in outputs[place]}
        for device, channels in self._asked_for.items():
            self._of_output |= dict.fromkeys(outputs[device], channels)
        known = ((name.removeprefix(site.prefix), record) for name, record in records.items())
        interlocks = [record for name, record in known if _INTERLOCK.fullmatch(name)]
        self.objections.append(lambda _: next(_not_ok(interlocks), "") or puts.server_closed() or "")
        start = len(site.prefix) + 1
        self.objections.append(lambda name: next(_not_expected(identities[name[start:].partition(":")[0]]), ""))

    def start(self, scanners: Mapping[str, DeviceScanner]) -> None:
        """Look at all that is read and put from now on."""
        for device, channels in self._of_device.items():
            for channel in channels:
                channel.start(scanners[device])
        if self._asked_for:
            self._puts.observers.append(self._observe)
            self._puts.raw_observers.append(self._observe_raw)

    @property
    def channels(self) -> list[ChannelRecovery]:
        """Every channel that has the PVs."""
        return [channel for channels in self._of_device.values() for channel in channels]

    async def close(self) -> None:
        """End what is under way."""
        await asyncio.gather(*(channel.close() for channel in self.channels))

    def _observe(self, record: Record, context: PutContext) -> None:
        for channel in self._of_output.get(record.name, ()):
            channel.observe(record.name, context)

    def _observe_raw(self, device: str, context: PutContext) -> None:
        for channel in self._asked_for.get(device, ()):
            channel.observe("past the PVs", context)


def _place(record: Record) -> str:
    """Return the channel that a record belongs to, as ``HV1:CH00``, or else its device."""
    channel, inside, _ = (record.signal or "").partition(".")
    return f"{record.device}:{channel}" if inside and _CHANNEL.fullmatch(channel) else record.device or ""


def _not_expected(identities: Iterable[Record]) -> Iterator[str]:
    """Yield what shows that a device is not the unit of the site file; some units do not say which they are."""
    for record in identities:
        if record.sevr == MAJOR:
            yield f"{record.name} is {as_text(record, record.val)}, which is not the unit of the site file"


def _not_ok(interlocks: Iterable[Record]) -> Iterator[str]:
    """Yield the interlocks that are not known to be OK."""
    for record in interlocks:
        if record.udf or record.sevr >= INVALID or not record.val:
            yield f"the interlock {record.name} is not OK"
