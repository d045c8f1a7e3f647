"""``ILK:NAME:*``: a condition over PVs, and what is done while it does not hold. It is no safety system."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Final

from devices.model import Level
from ioc.automation.control import Control
from ioc.automation.group import GroupControl
from ioc.automation.judge import Judge
from ioc.automation.member import Member
from ioc.automation.sequence import failures
from ioc.clock import Clock, local_time, wait_for
from ioc.inputs import Inputs
from ioc.puts import PutPath
from ioc.records import (
    PutContext,
    PutRefused,
    Record,
    RecordSet,
    Value,
    fields_of,
)
from ioc.site.interlocks import OFF, RAMP_DOWN, REFUSE, SAFE, STANDBY, Interlock

log = logging.getLogger("labioc.interlocks")

START_SECONDS: Final = 30.0
"""Seconds after the start of the server that inputs have to be read for the first time."""

TICK, QUIET_TICK = 0.1, 1.0
"""Seconds between two looks when no input changes, while something is not as it should be, and while all is well."""

RETRY: Final = 5.0
"""Seconds after which what could not be done is tried again, or what was undone is done again."""

WELL: Final = "OK"
"""MSG when nothing is wrong, and what is kept over a restart then; else the cause is, until it is acknowledged."""

_DONE: Final = {RAMP_DOWN: "set to 0", OFF: "off", SAFE: "safe"}
_RAISED: Final = ("VSET", "TSET", "SP1", "SP2", "RSP")
_OUTPUT: Final = "MOUT"
_SWITCHED: Final = ("ON", "MODE", "REMOTE", "SPSEL", "TUNE", "TMR:RUN:CMD")
"""What raises a voltage or temperature: settings, the output of a furnace in manual, and what puts others in force."""


class InterlockControl(Control):
    """The source of the PVs of one interlock; ``group`` is the group that it acts on, if it does."""

    def __init__(
        self,
        interlock: Interlock,
        own: Mapping[str, Record],
        records: RecordSet,
        prefix: str,
        inputs: Inputs,
        puts: PutPath,
        clock: Clock,
        group: GroupControl | None = None,
    ) -> None:
        super().__init__(interlock.name, own, puts, clock)
        self._interlock = interlock
        self._group = group
        self._members = [Member(one, records, prefix, clock) for one in interlock.members]
        self._guarded = dict(self._guards())
        self._judge = Judge(interlock.condition, inputs, clock, self._wake.set)
        self._context = PutContext(f"labioc:ILK:{interlock.name}", socket.gethostname(), ("labioc", 0), callback=False)
        self._started = clock.monotonic()
        self.ok: bool | None = None
        """Whether it is OK; None until it is known for the first time."""
        self._armed = False
        self._seen_good = False
        kept = str(self._own["MSG"].val)
        self._unacknowledged = interlock.latch and kept != WELL
        self._cause = kept if self._unacknowledged else ""
        if self._unacknowledged:
            self.ok = False
            log.warning("interlock %s: not acknowledged before the server started: %s", self.name, kept)
        else:
            self._show("MSG", "not known yet")
        self._since: float | None = None
        self._bypassed_until = -math.inf
        self._tried: dict[str, float] = {}
        self._failed: dict[str, str] = {}
        self._busy: set[str] = set()
        for signal in ("BYPASS", "ACK.CMD"):
            self._own[signal].source = self
            self._show(signal, 0)

    # ---- puts to its own PVs

    async def put(self, record: Record, value: Value, context: PutContext) -> None:
        """Bypass it, or acknowledge that it was not OK. Raises PutRefused."""
        bypass = record is self._own["BYPASS"]
        if not bypass and not value:
            return
        work, text = (self._bypass, "YES" if value else "NO") if bypass else (self._acknowledge, "ACK")
        await self._puts.put_group(record.name, text, context, None, partial(work, bool(value), context))

    async def _bypass(self, on: bool, context: PutContext) -> None:
        seconds = self._interlock.bypass
        if on and not seconds:
            raise PutRefused(f"interlock {self.name} can't be bypassed: bypass_seconds is 0 in the site file")
        self._bypassed_until = self._clock.monotonic() + seconds if on else -math.inf
        who = f"{context.user}@{context.host}"
        log.warning("interlock %s: bypass %s by %s", self.name, f"for {seconds:g} s" if on else "ended", who)
        self._show("BYPASS", int(on))
        self._wake.set()

    async def _acknowledge(self, _on: bool, context: PutContext) -> None:
        verdict = self._judge.verdict()
        if verdict.holds is not True:
            raise PutRefused(f"still not OK: {verdict.cause}")
        self._unacknowledged = False
        self._wake.set()

    # ---- judging

    @property
    def bypassed(self) -> bool:
        """Whether it does not act at the moment, because an expert wants that."""
        return self._clock.monotonic() < self._bypassed_until

    def objection(self, record: Record, value: Value) -> str | None:
        """Return why this value must not be put to one of its ``guarded`` records, None when it may."""
        if self.ok or self.bypassed:
            return None
        member, suffix = self._guarded[record.name]
        if suffix in _SWITCHED:
            wrong = bool(value) or suffix == "SPSEL"
        else:
            present = member.output if suffix == _OUTPUT else member.set_to + member.tolerance
            wrong = isinstance(value, int | float) and not value <= present
        return f"interlock {self.name}: {self._cause or 'its inputs are not known yet'}" if wrong else None

    @property
    def guarded(self) -> Collection[str]:
        """The PVs to which it objects while it is not OK: what switches on or raises what it acts on."""
        return self._guarded.keys()

    def _guards(self) -> Iterator[tuple[str, tuple[Member, str]]]:
        for member in self._members:
            switch_only = member.unit == "V" and self._interlock.action in (REFUSE, OFF)
            for suffix in ("ON",) if switch_only else (*_RAISED, _OUTPUT, *_SWITCHED):
                if (record := member.find(suffix)) is not None and record.is_output:
                    yield record.name, (member, suffix)

    async def run(self) -> None:
        """Judge after each change of an input, and act, until cancelled."""
        while True:
            self._wake.clear()
            try:
                self.look()
            except Exception as error:
                self._fail(error)
            well = self.ok and self._since is None and not self._own["BYPASS"].val and not self._judge.timed
            await wait_for(self._wake, QUIET_TICK if well else TICK, self._clock)

    def _fail(self, error: Exception) -> None:
        """Refuse from now on: what cannot be judged is not OK. It acts no more until it can be judged again."""
        cause = f"internal error: {type(error).__name__}: {error}"
        if self._cause != cause:
            log.critical("interlock %s: cannot be judged", self.name, exc_info=error)
        self._unacknowledged |= self.ok is True and self._interlock.latch
        self.ok, self._cause, self._since = False, cause, None
        self._show("OK", 0)
        self._show("MSG", cause, Level.MAJOR)

    def look(self) -> None:
        """Judge by the inputs of now, and begin to act when that is due."""
        if self._own["BYPASS"].val and not self.bypassed:
            log.warning("interlock %s: its bypass has ended", self.name)
            self._show("BYPASS", 0)
        verdict, now = self._judge.verdict(), self._clock.monotonic()
        good = verdict.holds is True
        self._seen_good |= good
        self._armed |= self._unacknowledged and self._seen_good and not good  # a latch from before the start fails anew
        if self.ok is None:
            self._begin(good, verdict.cause, now)
        elif self.ok != good:
            self._turn(good, verdict.cause, now)
        else:
            self._since = None
        if self.ok is False and self._armed and not self.bypassed:
            self._enforce(now)
        self._tell(good, verdict.cause)

    def _begin(self, good: bool, cause: str, now: float) -> None:
        """Take the first verdict. One that is not OK from the beginning refuses, but acts only once it has been OK."""
        if good:
            self.ok, self._armed = True, True
        elif self._judge.known or now - self._started >= START_SECONDS:
            self.ok = False
            self._cause = f"{cause} [since the server started]"
        else:
            self._cause = cause

    def _turn(self, good: bool, cause: str, now: float) -> None:
        """Change its mind when that is due; the cause that counts is the first one."""
        if self._since is None:
            self._since = now
            if not good:
                self._cause = f"{cause} [{local_time(self._clock.time())}]"
        if now - self._since < (self._interlock.ok_after if good else self._interlock.act_after):
            return
        if good and self._unacknowledged:
            return
        self._since = None
        self.ok = good
        if good:
            self._armed, self._cause = True, ""
            self._failed.clear()
            self._keep(WELL)
            log.info("interlock %s: OK again", self.name)
            return
        log.warning("interlock %s: %s", self.name, self._cause)
        self._unacknowledged = self._interlock.latch
        self._tried.clear()
        self._puts.withdraw_objectionable()
        if self._interlock.latch:
            self._keep(self._cause)

    def _keep(self, text: str) -> None:
        """Have the server keep this as MSG over a restart."""
        msg = self._own["MSG"]
        entry = self._puts.notes.entry(msg.name, str(msg.val), text, self._context)
        self._show("MSG", text)
        self._puts.notes.on_applied(entry)

    # ---- acting

    def _enforce(self, now: float) -> None:
        """Put what is not as it has to be; again after a while when it could not be done, or was undone."""
        if self._interlock.action == REFUSE:
            return
        if (closed := self._puts.server_closed()) is not None:
            self._failed = {"all": closed}  # known before anything is put: the journal is not filled with refusals
            return
        self._failed.pop("all", None)
        if self._interlock.action == STANDBY:
            assert self._group is not None
            if self._due("", now) and (not self._tried or self._failed):
                self._failed.clear()
                self._begin_to("", self._group.name, partial(self._group.lower, self._context))
            return
        for member in self._members:
            first = member.base not in self._tried  # then it is put whatever it shows, as an ON may be under way
            if self._due(member.base, now) and (first or (not member.problem() and self._wrong(member))):
                self._begin_to(member.base, member.title, partial(self._set_right, member))

    def _due(self, base: str, now: float) -> bool:
        return base not in self._busy and now - self._tried.get(base, -math.inf) >= RETRY

    def _wrong(self, member: Member) -> bool:
        """Whether a member is not as it has to be, as far as is known."""
        if member.problem():
            return True
        if self._interlock.action == RAMP_DOWN:
            return member.on and member.set_to > max(member.limits()[0], 0.0) + member.tolerance
        return not member.at("off")

    def _begin_to(self, base: str, title: str, work: Callable[[], Awaitable[None]]) -> None:
        self._busy.add(base)
        self._tried[base] = self._clock.monotonic()
        self._spawn(self._do(base, title, work))

    async def _do(self, base: str, title: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._failed.pop(title, None)
        except PutRefused as refusal:
            self._failed[title] = str(refusal)
        finally:
            self._busy.discard(base)
            self._tried[base] = self._clock.monotonic()
            self._wake.set()

    async def _set_right(self, member: Member) -> None:
        if self._interlock.action != RAMP_DOWN:
            await member.move("off", self._put)
        elif self._wrong(member):
            await self._put(member.setting, max(member.limits()[0], 0.0))

    async def _put(self, record: Record, value: Value) -> None:
        record.check_device_put(fields_of(record.rtyp)["VAL"], value)
        await self._puts.put(record, value, self._context, patient=True)

    # ---- showing

    def _tell(self, good: bool, cause: str) -> None:
        """Show OK and MSG, where they have changed."""
        if self.ok is not None and (self._own["OK"].udf or self._own["OK"].val != int(self.ok)):
            self._show("OK", int(self.ok))
        level = Level.MAJOR if self._failed and self.ok is False and not self.bypassed else Level.OK
        self._say(self._text(good, cause), level)

    def _text(self, good: bool, cause: str) -> str:
        if self.ok:
            return WELL if good else f"OK for {self._interlock.act_after:g} s longer: {cause}"
        if self.ok is None:
            return f"not known yet: {cause}"
        parts = [self._cause]
        if self.bypassed:
            parts.append("bypassed")
        elif self._failed:
            parts.append(f"not done: {failures(self._failed)}")
        elif not self._armed:
            parts.append("nothing was done, it was not OK when the server started")
        elif self._interlock.action in _DONE and self._members:
            right = sum(not self._wrong(member) for member in self._members)
            parts.append(f"{right} of {len(self._members)} {_DONE[self._interlock.action]}")
        if good and self._unacknowledged:
            parts.append("OK now, acknowledge it")
        elif good:
            parts.append(f"OK now, for less than {self._interlock.ok_after:g} s")
        return "; ".join(parts)


def objections(interlocks: list[InterlockControl]) -> Callable[[Record, Value], str | None]:
    """Return what asks those interlocks that guard a record."""
    guards: dict[str, list[InterlockControl]] = {}
    for interlock in interlocks:
        for name in interlock.guarded:
            guards.setdefault(name, []).append(interlock)

    def ask(record: Record, value: Value) -> str | None:
        found = (one.objection(record, value) for one in guards.get(record.name, ()))
        return next((reason for reason in found if reason is not None), None)

    return ask
